//! Whatever a name is, what is sent says what was meant, in every dialect. (More
//! cases: see tests/fuzz.rs.)

mod support;

use std::net::UdpSocket;

use proptest::prelude::*;
use state_counts::stats::{Dialect, Endpoint, Stats};
use support::random::{cases, text};

/// A name as a server reads it: what would end it is an underscore.
fn cleaned(name: &str, dialect: Dialect) -> String {
    let mark = |c: char| match c {
        ':' | '|' | '@' => '_',
        c if c.is_ascii_control() => '_',
        ',' | ';' | '=' | '#' | '~' | ' ' if dialect != Dialect::Plain => '_',
        c => c,
    };
    name.chars().map(mark).collect()
}

type Tags = Vec<(String, String)>;

/// A line, read by what the dialect's manual says and no more: name, tags, value
/// and type.
fn read(line: &str, dialect: Dialect) -> Option<(String, Tags, String, String)> {
    let (series, rest) = line.split_once(':')?;
    let mut fields = rest.split('|');
    let (value, kind) = (fields.next()?, fields.next()?);
    let pairs = |text: &str, between: char, equals: char| -> Option<Tags> {
        let pairs = text.split(between).map(|pair| pair.split_once(equals));
        pairs.map(|pair| pair.map(|(key, value)| (key.to_owned(), value.to_owned()))).collect()
    };
    let (name, tags) = match dialect {
        Dialect::Plain => (series, Tags::new()),
        Dialect::DogStatsD => match fields.next() {
            Some(tags) => (series, pairs(tags.strip_prefix('#')?, ',', ':')?),
            None => (series, Tags::new()),
        },
        Dialect::Graphite | Dialect::InfluxDb => {
            let between = if dialect == Dialect::Graphite { ';' } else { ',' };
            match series.split_once(between) {
                Some((name, tags)) => (name, pairs(tags, between, '=')?),
                None => (series, Tags::new()),
            }
        }
    };
    let parsed = (name.to_owned(), tags, value.to_owned(), kind.to_owned());
    fields.next().is_none().then_some(parsed)
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn any_name_is_the_lines_that_were_meant_in_every_dialect(
        prefix in prop_oneof![Just(String::new()), text()],
        name in text(),
        own in prop::collection::vec((text(), text()), 0..3),
        common in prop::collection::vec((text(), text()), 0..3),
        number in any::<i64>(),
    ) {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        server.set_nonblocking(true).unwrap();
        let endpoint: Endpoint = server.local_addr().unwrap().to_string().parse().unwrap();
        let number = number / 2;
        for dialect in [Dialect::Plain, Dialect::DogStatsD, Dialect::Graphite, Dialect::InfluxDb] {
            let mut stats = Stats::new(&endpoint).unwrap();
            if stats.set_prefix(&prefix).is_err()
                || stats.set_dialect(dialect, common.clone()).is_err()
            {
                return Ok(()); // Too long, and refused.
            }
            let tags: Vec<_> = own.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
            let Ok(metric) = stats.tagged(&name, &tags) else { return Ok(()) };
            stats.batch(|stats| {
                stats.inc(metric)?;
                stats.gauge_set(metric, number)?;
                stats.count(metric, number)?;
                stats.timing(metric, 1.5)
            }).unwrap();

            let mut got = Vec::new();
            let mut buffer = [0; 65536];
            while let Ok(length) = server.recv(&mut buffer) {
                prop_assert!(length <= 1432, "{} bytes", length);
                let text = std::str::from_utf8(&buffer[..length]).expect("statsd is text");
                for line in text.split('\n') {
                    let line = read(line, dialect);
                    prop_assert!(line.is_some(), "{:?} in {:?}", text, dialect);
                    got.push(line.unwrap());
                }
            }
            let all = own.iter().chain(&common);
            let mut whole = prefix.clone();
            let add = |whole: &mut String, part: &str| {
                if !whole.is_empty() {
                    whole.push('.');
                }
                whole.push_str(part);
            };
            if !name.is_empty() {
                add(&mut whole, &name);
            }
            let tags: Tags = match dialect {
                Dialect::Plain => {
                    all.for_each(|(_, value)| add(&mut whole, value));
                    Tags::new()
                }
                _ => all.map(|(k, v)| (cleaned(k, dialect), cleaned(v, dialect))).collect(),
            };
            let name = cleaned(&whole, dialect);
            let mut meant = vec![("+1".to_owned(), "g")];
            if number < 0 {
                meant.push(("0".to_owned(), "g"));
            }
            meant.extend([(number.to_string(), "g"), (number.to_string(), "c")]);
            meant.push(("1.500".to_owned(), "ms"));
            let meant: Vec<_> = meant
                .into_iter()
                .map(|(value, kind)| (name.clone(), tags.clone(), value, kind.to_owned()))
                .collect();
            prop_assert_eq!(&got, &meant, "{:?}", dialect);
        }
    }
}
