//! Names that have a meaning in a dialect, read by parsers of other projects. Carbon reads the
//! dialect of Graphite in tests/external/dialects.rs.

use std::collections::BTreeMap;

use influxdb_line_protocol::parse_lines;
use serde_json::json;

use crate::support::fake_job_manager::FakeJobManager;
use crate::support::hostile::{chunks, lines, meant, read, value, Tags};
use crate::support::jobs::{live_as, NEW, SCHED};
use crate::support::DIALECTS;

#[test]
fn hostile_names_are_read_correctly_by_statsd_parser() {
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

/// Name and tags have the form of a series in the line protocol; Telegraf reads them as such.
#[test]
fn hostile_names_are_read_correctly_by_the_influxdb_parser() {
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

#[test]
fn names_with_the_same_cleaned_form_share_a_gauge_in_each_dialect() {
    for dialect in DIALECTS {
        let conf = json!({"metrics": "queues,banks", "dialect": dialect, "resync": 3600});
        let (mut host, mut receiver) = FakeJobManager::running(conf);
        for (id, name) in ["gpu.a100", "gpu_a100", "gpu/a100", "gpu a100"].into_iter().enumerate() {
            let system = json!({"queue": name, "bank": name});
            let job = json!({"id": id, "jobspec": {"attributes": {"system": system}}});
            live_as(&mut host, &job, &[NEW, SCHED]);
        }
        host.counts();
        // The sum of the values of each name with its tags.
        let mut sums: BTreeMap<String, i64> = BTreeMap::new();
        for (name, values) in receiver.values() {
            for value in values {
                let (number, tags) = value.split_once("|g").unwrap();
                *sums.entry(format!("{name}{tags}")).or_default() += number.parse::<i64>().unwrap();
            }
        }
        sums.retain(|name, sum| *sum != 0 && name.contains("gpu_a100"));
        assert_eq!(sums.len(), 2, "{dialect}: {sums:?}");
        assert!(sums.iter().all(|(name, &sum)| sum == 4 && name.contains("gpu_a100")), "{sums:?}");
        host.end();
    }
}
