//! Names that users and administrators can choose, with characters that have a meaning in a
//! dialect; the lines that are sent for them, and the expected ones.

use std::collections::BTreeMap;

use serde_json::json;

use super::fake_job_manager::FakeJobManager;
use super::jobs::{live_as, COURSE, RUN};

/// Names of queues, banks and exception types. One run uses a part of them, because the number
/// of exception types is limited.
const NAMES: &[&str] = &[
    "a:1|c",
    "a|g",
    "a\nflux.job.state.RUN:9|g",
    "a\r\nb:1|ms",
    "a@0.1",
    "a|@0.5",
    "|#state:RUN",
    "a,state=RUN",
    "a;state=RUN",
    "a=b",
    "a b",
    "a\tb",
    "a#b",
    "~a",
    "a.b/c\\d",
    "../../etc",
    "\"quoted\" 'twice'",
    "{cluster}",
    "$HOME `id`",
    "+1",
    "-1",
    "0",
    "größe",
    "名前",
    "\u{202e}txt",
    "\u{1}\u{7f}",
    "*",
    "%s%n",
];

/// The names of each run.
pub fn chunks() -> impl Iterator<Item = &'static [&'static str]> {
    NAMES.chunks(12)
}

/// Tags by key.
pub type Tags = BTreeMap<String, String>;

/// The name, the tags and the type of a line.
pub type Series = (String, Tags, char);

/// The lines that are sent for jobs with these names.
pub fn lines(dialect: &str, names: &[&str]) -> Vec<String> {
    let mut receiver = super::receiver::Receiver::start();
    let mut host = FakeJobManager::start(Some(&receiver.endpoint()));
    let mut conf = json!({
        "dialect": dialect, "resync": 0, "verify": 0, "prefix": "jobs,on;x=y#z.state",
        "metrics": "states,queues,banks,results", "period": "1s",
    });
    if dialect != "plain" {
        conf["tags"] = json!({"site": "a=b,c;d#e~f"});
    }
    host.load(super::artifact::plugin(), conf).unwrap();
    host.advance(0.1);
    for (id, name) in names.iter().enumerate() {
        let system = json!({"queue": name, "bank": name});
        let job = json!({"id": id, "jobspec": {"attributes": {"system": system}}});
        let running = COURSE.iter().position(|state| *state == RUN).unwrap();
        live_as(&mut host, &job, &COURSE[..=running]);
        host.raise(id as i64, name);
    }
    host.advance(1.0);
    host.counts();
    host.kill();
    receiver.others().iter().flat_map(|text| text.lines()).map(str::to_owned).collect()
}

/// The expected sums of values, without those that are 0.
pub fn meant(dialect: &str, names: &[&str]) -> BTreeMap<Series, i64> {
    let mut meant = BTreeMap::new();
    let site = ("site", "a_b_c_d_e_f");
    let base = if dialect == "plain" { "jobs,on;x=y#z" } else { "jobs_on_x_y_z" };
    let mut add = |name: &str, tags: &[(&str, &str)], kind: char| {
        let series = match dialect {
            "plain" => {
                let values: String = tags.iter().map(|(_, value)| format!(".{value}")).collect();
                (format!("{base}.{name}{values}"), Tags::new(), kind)
            }
            _ => {
                let tags = tags.iter().chain([&site]);
                let tags = tags.map(|(key, value)| (key.to_string(), value.to_string())).collect();
                (format!("{base}.{name}"), tags, kind)
            }
        };
        *meant.entry(series).or_default() += 1;
    };
    for name in names {
        let is_kept = |c: char| c.is_ascii_alphanumeric() || c == '-';
        let keep = |c: char| is_kept(c) || !c.is_ascii() && c != '\u{202e}';
        let name: String = name.chars().map(|c| if keep(c) { c } else { '_' }).collect();
        add("state", &[("state", "RUN")], 'g');
        add("queue", &[("queue", &name), ("state", "RUN")], 'g');
        add("bank", &[("bank", &name), ("state", "RUN")], 'g');
        add("exception", &[("type", &name)], 'c');
        add("result", &[("result", "submitted")], 'c');
    }
    meant
}

/// The sums of values according to a reader, which returns the series and the value of a line.
pub fn read(
    lines: &[String],
    mut reader: impl FnMut(&str) -> (Series, f64),
) -> BTreeMap<Series, i64> {
    let mut sums: BTreeMap<Series, i64> = BTreeMap::new();
    for line in lines {
        let (series, value) = reader(line);
        assert_eq!(value.fract(), 0.0, "{line}");
        *sums.entry(series).or_default() += value as i64;
    }
    sums.retain(|_, sum| *sum != 0);
    sums
}

/// The value and the type of a line, read by statsd-parser.
pub fn value(line: &str) -> (f64, char) {
    match statsd_parser::parse(line).expect("it can be read").metric {
        statsd_parser::Metric::Gauge(gauge) => (gauge.value, 'g'),
        statsd_parser::Metric::Counter(counter) => (counter.value, 'c'),
        other => panic!("{line}: {other:?}"),
    }
}
