//! What is sent of hostile names, read by parsers that are not ours: exactly what was
//! meant. Graphite's dialect is read in tests/external/wire.rs.

use influxdb_line_protocol::parse_lines;

use crate::support::hostile::{chunks, lines, meant, read, value, Tags};

#[test]
fn hostile_names_are_read_by_statsd_parser_as_they_were_meant() {
    let dialects = chunks().flat_map(|names| ["plain", "dogstatsd"].map(|it| (it, names)));
    for (dialect, names) in dialects {
        let read = read(&lines(dialect, names), |line| {
            let message = statsd_parser::parse(line).expect("it can be read");
            let tags: Tags = message.tags.into_iter().flatten().collect();
            let (value, kind) = value(line);
            ((message.name, tags, kind), value)
        });
        assert_eq!(read, meant(dialect, names), "{dialect}");
    }
}

/// The name and tags are a line protocol's series, which is how Telegraf has it.
#[test]
fn hostile_names_are_read_by_influxdbs_parser_as_they_were_meant() {
    for names in chunks() {
        let read = read(&lines("influxdb", names), |line| {
            let (series, rest) = line.split_once(':').unwrap();
            let (value, kind) = value(&format!("x:{rest}"));
            let line = format!("{series} value=1");
            let mut lines = parse_lines(&line);
            let series = lines.next().unwrap().expect("it can be read").series;
            assert!(lines.next().is_none(), "{line}");
            let tags = series.tag_set.iter().flatten();
            let tags = tags.map(|(key, value)| (key.to_string(), value.to_string())).collect();
            ((series.measurement.to_string(), tags, kind), value)
        });
        assert_eq!(read, meant("influxdb", names));
    }
}
