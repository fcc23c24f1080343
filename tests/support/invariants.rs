//! Invariants of any input, which proptest (tests/fake/fuzz.rs and fuzz_lines.rs) and
//! libFuzzer (fuzz/) provide. Each function panics if its invariant does not hold.

use serde_json::{json, Value};
use state_counts::config::{BrokerInfo, Config, Template, KEYS};
use state_counts::flux_formats::Json;
use state_counts::jobs::{
    Event, Job, JobInfo, JobResult, JobSource, JobTable, ReadError, State, Timestamp,
};
use state_counts::stats::{DatagramBuffer, Dialect, Endpoint, Value as LineValue};

/// An error text of a load or a reload is one line. Flux cuts it at 159 bytes.
fn words(words: &str) {
    assert!(!words.is_empty() && words.len() < 400, "{words}");
    assert!(!words.chars().any(char::is_control), "{words:?}");
}

/// The conf text, the broker's configuration and the environment are refused with a short
/// line, or their values read back unchanged.
pub fn configuration(conf: Option<&str>, broker: &str, environment: Option<&str>) {
    let config = match Config::new(conf, broker, environment) {
        Ok(config) => config,
        Err(error) => return words(&error.to_string()),
    };
    let shown: serde_json::Map<String, Value> = KEYS
        .iter()
        .map(|key| (key.name.to_owned(), config.get(key)))
        .filter(|(_, value)| !value.is_null() && *value != json!([]))
        .collect();
    let text = Value::Object(shown).to_string();
    let again = Config::new(Some(&text), r#"{"conf": {}}"#, None);
    let again = again.unwrap_or_else(|error| panic!("{text}: {error}"));
    for key in &KEYS {
        assert_eq!(again.get(key), config.get(key), "{}", key.name);
    }
}

/// An endpoint, or a list of endpoints.
pub fn endpoint(text: &str) {
    match text.parse::<Endpoint>() {
        Ok(endpoint) => {
            let shown = endpoint.to_string();
            let again: Endpoint =
                shown.parse().unwrap_or_else(|error| panic!("{shown:?}: {error}"));
            assert_eq!(again, endpoint);
        }
        Err(error) => words(&error.to_string()),
    }
    if let Err(error) = Endpoint::list(text) {
        words(&error.to_string());
    }
}

/// A prefix with placeholders.
pub fn prefix(text: &str, cluster: &str) {
    match Template::new(text) {
        Ok(template) => {
            let filled =
                template.fill(&BrokerInfo { cluster: cluster.to_owned(), ..BrokerInfo::default() });
            assert!(!filled.contains("{cluster}") || cluster.contains('{'), "{filled}");
        }
        Err(problem) => words(&problem),
    }
}

/// A request for the number of inactive jobs among [`events`], and its response.
#[derive(Clone, Copy, Debug)]
pub struct Survey {
    /// The index of the event that follows the request and the response.
    pub at: usize,
    /// The response, if there is one.
    pub inactive: Option<u64>,
}

/// A job that cannot be read.
struct Unreadable;

/// JSON that does not exist.
#[derive(Clone, Copy)]
struct NoJson;

impl Json for NoJson {
    fn member(self, _: &std::ffi::CStr) -> Option<Self> {
        None
    }
    fn item(self, _: usize) -> Option<Self> {
        None
    }
    fn text(&self) -> Option<&str> {
        None
    }
    fn positive(self) -> Option<u64> {
        None
    }
}

impl JobSource for Unreadable {
    type Json<'a> = NoJson;

    fn info(&self) -> Result<JobInfo<NoJson>, ReadError> {
        Err(ReadError("nothing can be read".to_owned()))
    }
    fn submitted(&self) -> Result<Timestamp, ReadError> {
        Err(ReadError("nothing can be read".to_owned()))
    }
    fn bypasses_scheduler(&self, _: bool) -> bool {
        false
    }
    fn result(&self) -> Option<JobResult> {
        None
    }
}

/// Any events, valid or not, after the load with `announced`: each count changes by what
/// [`Change`](state_counts::jobs::Change) states, and no count is larger than the number of
/// events.
pub fn events(announced: &[Event], events: &[Event], survey: Survey) {
    let mut table = JobTable::default();
    for &event in announced {
        table.apply(event, &Unreadable);
    }
    table.loaded();
    let counts = |table: &JobTable| table.counts();
    for (place, &event) in events.iter().enumerate() {
        if place == survey.at {
            table.inactive_requested();
            if let Some(inactive) = survey.inactive {
                table.inactive_response(inactive);
            }
        }
        let before = counts(&table);
        let anomalies: u64 = table.anomalies().iter().sum();
        let change = table.apply(event, &Unreadable);
        let is_in = |job: &Option<Job>, state| {
            i128::from(job.as_ref().is_some_and(|job| job.state == Some(state)))
        };
        for (state, before) in State::ALL.into_iter().zip(before) {
            let by = match state {
                State::Inactive => change.inactive.into(),
                state => is_in(&change.after, state) - is_in(&change.before, state),
            };
            let expected = before.map(|before| i128::from(before) + by);
            assert_eq!(table.counts()[state as usize].map(i128::from), expected, "{state:?}");
        }
        assert_eq!(table.job(event.id), change.after.as_ref().or(table.job(event.id)));
        let noted: u64 = table.anomalies().iter().sum();
        assert!(noted - anomalies >= u64::from(change.anomaly.is_some()));
    }
    let most = (announced.len() + events.len()) as u64 + survey.inactive.unwrap_or(0);
    assert!(counts(&table).into_iter().flatten().all(|count| count <= most));
}

/// Keys and values of tags.
pub type Tags = Vec<(String, String)>;

/// All dialects.
const DIALECTS: [Dialect; 5] =
    [Dialect::Plain, Dialect::Pcp, Dialect::DogStatsD, Dialect::Graphite, Dialect::InfluxDb];

/// The lines of a metric with any name and tags: in each dialect, the datagrams contain
/// exactly the expected lines.
pub fn lines(prefix: &str, name: &str, own: &Tags, common: &Tags, number: i64) {
    let number = number / 2;
    for dialect in DIALECTS {
        let Ok(template) = dialect.template(prefix, name, own, common) else {
            return; // A part is too long.
        };
        let mut buffer = DatagramBuffer::default();
        let mut datagrams = Vec::new();
        let lines = [
            LineValue::GaugeAdd(1),
            LineValue::GaugeSet(number),
            LineValue::Count(number),
            LineValue::timing(1.5),
        ];
        for value in lines {
            if !buffer.append(&template, value, 1432) {
                datagrams.push(buffer.datagram().unwrap().to_vec());
                buffer.clear();
                assert!(buffer.append(&template, value, 1432));
            }
        }
        datagrams.push(buffer.datagram().unwrap().to_vec());

        let (name, tags) = meant(prefix, name, own, common, dialect);
        let mut values = vec![("+1".to_owned(), "g")];
        if number < 0 {
            values.push(("0".to_owned(), "g"));
        }
        values.extend([(number.to_string(), "g"), (number.to_string(), "c")]);
        values.push(("1.500".to_owned(), "ms"));
        let values = values.into_iter();
        let meant: Vec<_> = values
            .map(|(value, kind)| (name.clone(), tags.clone(), value, kind.to_owned()))
            .collect();
        assert_eq!(parsed(&datagrams, dialect), meant, "{dialect:?}");
    }
}

/// The name and the tags that a server of `dialect` must read.
fn meant(prefix: &str, name: &str, own: &Tags, common: &Tags, dialect: Dialect) -> (String, Tags) {
    let all = own.iter().chain(common);
    let mut whole = prefix.to_owned();
    let add = |whole: &mut String, part: &str| {
        if !whole.is_empty() {
            whole.push('.');
        }
        whole.push_str(part);
    };
    let tags = match dialect {
        Dialect::Plain | Dialect::Pcp => {
            // The value of the first own tag follows the first part of the name.
            let split = name.split_once('.').filter(|_| !own.is_empty());
            let (first, rest) = split.unwrap_or((name, ""));
            let mut parts: Vec<_> = all.map(|(_, value)| value.as_str()).collect();
            parts.insert(parts.len().min(1), rest);
            parts.insert(0, first);
            parts.into_iter().filter(|it| !it.is_empty()).for_each(|it| add(&mut whole, it));
            Tags::new()
        }
        _ => {
            if !name.is_empty() {
                add(&mut whole, name);
            }
            all.map(|(k, v)| (cleaned(k, dialect), cleaned(v, dialect))).collect()
        }
    };
    (cleaned(&whole, dialect), tags)
}

/// A name as a server reads it, with `_` for each character that would end it or that is
/// invisible.
fn cleaned(name: &str, dialect: Dialect) -> String {
    const INVISIBLE: [u32; 15] = [
        0x200e, 0x200f, 0x2028, 0x2029, 0x202a, 0x202b, 0x202c, 0x202d, 0x202e, 0x2066, 0x2067,
        0x2068, 0x2069, 0xfeff, 0x85,
    ];
    let has_tags = !matches!(dialect, Dialect::Plain | Dialect::Pcp);
    let mark = |c: char| match c {
        ':' | '|' | '@' => '_',
        '-' if dialect == Dialect::Pcp => '_',
        ',' | ';' | '=' | '#' | '~' | ' ' if has_tags => '_',
        '\\' if dialect == Dialect::InfluxDb => '_',
        c if c.is_control() || INVISIBLE.contains(&c.into()) => '_',
        c => c,
    };
    name.chars().map(mark).collect()
}

/// The name, tags, value and type of a line.
type Line = (String, Tags, String, String);

/// The lines of these datagrams.
fn parsed(datagrams: &[Vec<u8>], dialect: Dialect) -> Vec<Line> {
    let mut lines = Vec::new();
    for datagram in datagrams {
        assert!(datagram.len() <= 1432, "{} bytes", datagram.len());
        let text = std::str::from_utf8(datagram).expect("statsd is text");
        let read = |line| read(line, dialect).unwrap_or_else(|| panic!("{text:?} in {dialect:?}"));
        lines.extend(text.split('\n').map(read));
    }
    lines
}

/// Reads a line according to the manual of the dialect.
fn read(line: &str, dialect: Dialect) -> Option<Line> {
    let (series, rest) = line.split_once(':')?;
    let mut fields = rest.split('|');
    let (value, kind) = (fields.next()?, fields.next()?);
    let pairs = |text: &str, between: char, equals: char| -> Option<Tags> {
        let pairs = text.split(between).map(|pair| pair.split_once(equals));
        pairs.map(|pair| pair.map(|(key, value)| (key.to_owned(), value.to_owned()))).collect()
    };
    let (name, tags) = match dialect {
        Dialect::Plain | Dialect::Pcp => (series, Tags::new()),
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
