//! docs/metrics.md lists the metrics of each collector, and these are the metrics that are sent.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;
use std::{env, fs};

use state_counts::collectors::{CollectorSpec, MetricKind, MetricSpec, TagValue, COLLECTORS};
use state_counts::jobs::{LabelTables, NameForm, Needs, State};

use crate::golden::{golden, UPDATE};
use crate::support::found::TOP;
use crate::support::DIALECTS;

/// The label with which the metrics of a label are created.
const LABEL: &str = "LABEL";

/// The counters of the key `telemetry`.
const TELEMETRY: [&str; 7] =
    ["datagrams", "bytes", "send_errors", "anomalies", "resyncs", "repairs", "panics"];

/// Metrics that differ only in the values of constant tags.
struct Row {
    collector: &'static str,
    /// The name in dialects with tags.
    name: String,
    /// The key of the tag with the label.
    label: Option<&'static str>,
    /// The keys of the other tags.
    keys: Vec<&'static str>,
    /// The values of these tags, with dots between them.
    values: Vec<String>,
    kind: &'static str,
    unit: &'static str,
    since: &'static str,
}

impl Row {
    /// The name in dialects without tags, with these values.
    fn plain(&self, label: &str, values: &str) -> String {
        // The first tag follows the first part of the name after flux.job.
        let name = &self.name["flux.job.".len()..];
        let has_tags = self.label.is_some() || !self.keys.is_empty();
        let split = name.split_once('.').filter(|_| has_tags);
        let (first, rest) = split.unwrap_or((name, ""));
        let (tag, values) = match self.label {
            Some(_) => (label, values),
            None => values.split_once('.').unwrap_or((values, "")),
        };
        let parts = ["flux.job", first, tag, rest, values];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join(".")
    }

    /// The name in the document, with the keys of the tags in place of their values.
    fn pattern(&self) -> String {
        self.plain(
            &self.label.unwrap_or_default().to_uppercase(),
            &self.keys.join(".").to_uppercase(),
        )
    }

    fn tags(&self) -> Vec<&'static str> {
        self.label.iter().chain(&self.keys).copied().collect()
    }
}

fn unit(spec: &MetricSpec) -> &'static str {
    let name = spec.name.unwrap_or_default();
    match spec.kind {
        MetricKind::Timing => "milliseconds",
        MetricKind::Counter if name == "exception" => "exceptions",
        _ if name.ends_with("_seconds") => "seconds",
        MetricKind::Unshared => "0 or 1",
        _ if name.ends_with("resource") => "nodes, cores or GPUs",
        _ => "jobs",
    }
}

/// The version of Flux that the metric needs, if it is newer than the oldest supported one.
fn since(spec: &MetricSpec) -> &'static str {
    let is_tag = |(_, value): &(_, TagValue)| *value == TagValue::from("housekeeping");
    match spec.name {
        _ if spec.kind == MetricKind::AllocationSum => "0.56",
        Some("housekeeping.oldest_seconds") => "0.64",
        _ if spec.tags.iter().any(is_tag) => "0.64",
        _ => "",
    }
}

fn rows_of(collector: &'static CollectorSpec) -> Vec<Row> {
    let made = (collector.make)();
    let mut rows: Vec<Row> = Vec::new();
    for spec in [None, Some(LABEL)].into_iter().flat_map(|label| made.metrics(label)) {
        let is_label = |key: &&str, value: &TagValue| {
            *value == TagValue::from(LABEL) || *key == "queue" && collector.name == "queues"
        };
        let text = |value: &TagValue| match value {
            TagValue::State(state) => state.name(NameForm::default()).to_owned(),
            TagValue::Text(text) => text.clone(),
        };
        let label = spec.tags.iter().find(|(key, value)| is_label(key, value)).map(|it| it.0);
        let others = || spec.tags.iter().filter(|(key, value)| !is_label(key, value));
        let values = others().map(|(_, value)| text(value)).collect::<Vec<_>>().join(".");
        if spec.kind == MetricKind::Timing && values == State::Inactive.name(NameForm::default()) {
            // No job leaves INACTIVE.
            continue;
        }
        let row = Row {
            collector: collector.name,
            name: format!("flux.job.{}", spec.name.unwrap_or("state")),
            label,
            keys: others().map(|(key, _)| *key).collect(),
            values: vec![values],
            kind: spec.kind.name(),
            unit: unit(&spec),
            since: since(&spec),
        };
        let of = |row: &Row| (row.name.clone(), row.tags(), row.kind, row.since);
        match rows.iter_mut().find(|other| of(other) == of(&row)) {
            // The queue "anonymous" has the names of a label.
            Some(other) if other.values.contains(&row.values[0]) => (),
            Some(other) => other.values.extend(row.values),
            None => rows.push(row),
        }
    }
    rows
}

fn rows() -> Vec<Row> {
    let mut rows: Vec<_> = COLLECTORS.iter().flat_map(rows_of).collect();
    rows.extend(TELEMETRY.map(|name| Row {
        collector: "key `telemetry`",
        name: format!("flux.job.plugin.{name}"),
        label: None,
        keys: Vec::new(),
        values: vec![String::new()],
        kind: "counter",
        unit: name,
        since: "",
    }));
    rows
}

fn metrics() -> String {
    let mut text =
        String::from("| collector | name | values | type, unit | Flux |\n|---|---|---|---|---|\n");
    let mut before = "";
    for row in rows() {
        let collector = if row.collector == before { "" } else { row.collector };
        before = row.collector;
        let Row { kind, unit, since, .. } = row;
        let (name, values) = (row.pattern(), row.values.join(", "));
        let unit = unit.replace('_', " ");
        writeln!(text, "| {collector} | `{name}` | {values} | {kind}, {unit} | {since} |").unwrap();
    }
    text
}

/// The instructions of a job with this configuration, according to docs/performance.md.
fn instructions_of_a_job(of: &str) -> Option<f64> {
    let text = fs::read_to_string(Path::new(TOP).join("docs/performance.md")).unwrap();
    let row = format!("| all 9 callbacks of a job: {of} | ");
    let figure = text.lines().find_map(|line| line.strip_prefix(&row));
    figure?.split(' ').next()?.parse().ok()
}

fn cost() -> String {
    let mut text = String::from(
        "| collector | gauges | for each label | labels, at most | instructions | queries |\n\
         |---|---|---|---|---|---|\n",
    );
    let tables = LabelTables::default();
    for collector in COLLECTORS {
        let made = (collector.make)();
        let number = |label| {
            let gauges = made.metrics(label).into_iter().filter(|it| it.kind.name() == "gauge");
            gauges.count()
        };
        let (each, most) = match made.labels(&tables) {
            Some(table) => {
                let label = rows_of(collector).iter().find_map(|row| row.label);
                (format!("{} ({})", number(Some(LABEL)), label.unwrap()), table.max.to_string())
            }
            None => Default::default(),
        };
        let queries = [
            (Needs::RESOURCE_STATUS, "resource.status"),
            (Needs::QUEUE_STATUS, "job-manager.queue-status"),
        ];
        let queries = queries.into_iter().filter(|(need, _)| collector.needs.contains(*need));
        let queries = queries.map(|(_, topic)| topic).collect::<Vec<_>>().join(", ");
        let (name, fixed) = (collector.name, number(None));
        let (with, without) = match name {
            "states" => (name.to_owned(), "does nothing"),
            _ => (format!("states,{name}"), "states"),
        };
        let instructions = instructions_of_a_job(&with).zip(instructions_of_a_job(without));
        let more = instructions.map(|(with, without)| ((with - without) / 1000.0).round());
        assert!(more.is_some() || name.contains('.'), "{name} is not in docs/performance.md");
        let more = more.map_or_else(String::new, |it| format!("{it},000"));
        writeln!(text, "| {name} | {fixed} | {each} | {most} | {more} | {queries} |").unwrap();
    }
    text
}

#[test]
fn the_document_lists_the_metrics_of_each_collector() {
    let path = Path::new(TOP).join("docs/metrics.md");
    let text = fs::read_to_string(&path).unwrap();
    let mut updated = text.clone();
    for (name, table) in [("metrics", metrics()), ("cost", cost())] {
        let start = format!("<!-- {name}: written by tests/fake/docs/metrics.rs -->\n");
        let (before, rest) = updated.split_once(&start).expect("the start of the table");
        let (_, after) = rest.split_once("<!-- end -->").expect("the end of the table");
        updated = [before, &start, &table, "<!-- end -->", after].concat();
    }
    if env::var_os(UPDATE).is_some() {
        return fs::write(path, updated).unwrap();
    }
    assert_eq!(text, updated, "type: {UPDATE}=yes cargo test --test fake docs::");
}

/// The rule of the document for dialects with tags.
#[test]
fn the_parts_in_capitals_are_the_tags() {
    for row in rows() {
        let pattern = row.pattern();
        let (keys, name): (Vec<_>, Vec<_>) =
            pattern.split('.').partition(|part| part.chars().all(char::is_uppercase));
        assert_eq!(name.join("."), row.name, "{pattern}");
        assert_eq!(keys.join(" ").to_lowercase(), row.tags().join(" "), "{pattern}");
    }
}

/// A metric of a golden file: the name, the sorted tags, and the type.
type Sent = (String, BTreeMap<String, String>, String);

fn sent(dialect: &str) -> Vec<Sent> {
    let text = fs::read_to_string(golden(dialect)).unwrap();
    let lines = text.lines().map(|line| {
        let mut words = line.split(' ');
        let (metric, kind) = (words.next().unwrap(), words.next().unwrap());
        let separators: &[char] = match dialect {
            "dogstatsd" => &['|', '#', ','],
            "graphite" => &[';'],
            "influxdb" => &[','],
            _ => &[],
        };
        let mut parts = metric.split(separators).filter(|part| !part.is_empty());
        let name = parts.next().unwrap().to_owned();
        let tags = parts.map(|tag| tag.split_once([':', '=']).unwrap());
        let tags = tags.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        (name, tags, kind.to_owned())
    });
    lines.collect()
}

/// Labels in the golden files.
const LABELS: [(&str, &[&str]); 5] = [
    ("queue", &["batch", "debug"]),
    ("type", &["cancel", "node-fail", "timeout"]),
    ("user", &["0", "1000"]),
    ("bank", &["physics"]),
    ("scheme", &["afterany", "afterok"]),
];

#[test]
fn the_listed_metrics_are_those_of_the_golden_files() {
    for dialect in DIALECTS {
        let sent: BTreeSet<_> = sent(dialect).into_iter().collect();
        let mut listed = BTreeSet::new();
        for row in rows() {
            let kind = match row.kind {
                "counter" => "c",
                "timing" => "ms",
                _ => "g",
            };
            let labels = row.label.map(|label| LABELS.iter().find(|it| it.0 == label).unwrap().1);
            for label in labels.unwrap_or(&[""]) {
                for values in &row.values {
                    let (mut name, mut tags) = (row.plain(label, values), BTreeMap::new());
                    if dialect == "pcp" {
                        name = name.replace('-', "_");
                    } else if dialect != "plain" {
                        name = row.name.clone();
                        let own = row.keys.iter().copied().zip(values.split('.'));
                        let all = row.label.into_iter().map(|key| (key, *label)).chain(own);
                        tags = all.map(|(k, v)| (k.to_owned(), v.to_owned())).collect();
                    }
                    listed.insert((name, tags, kind.to_owned()));
                }
            }
        }
        let only = |some: &BTreeSet<Sent>, other| {
            some.difference(other).map(|it| format!("{it:?}\n")).collect::<String>()
        };
        let (missing, unsent) = (only(&sent, &listed), only(&listed, &sent));
        assert!(missing.is_empty(), "{dialect}: not listed:\n{missing}");
        assert!(unsent.is_empty(), "{dialect}: listed, but not in the golden file:\n{unsent}");
    }
}
