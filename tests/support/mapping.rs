//! The mapping in dashboards/statsd_exporter.yml and the relabeling in dashboards/prometheus.yml,
//! applied to what the plugin sends.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use serde::Deserialize;
use serde_json::Value;

use super::found::TOP;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Exporter {
    mappings: Vec<Mapping>,
}

/// The mapping, as in pkg/mapper of statsd_exporter.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mapping {
    pub r#match: String,
    pub match_metric_type: String,
    pub name: String,
    pub help: String,
    #[serde(default)]
    labels: Labels,
    pub observer_type: Option<String>,
    pub histogram_options: Option<Histogram>,
}

#[derive(Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Histogram {
    pub buckets: Vec<f64>,
}

/// The labels of a series, with its name as `__name__`.
pub type Labels = BTreeMap<String, String>;

/// Returns `true` if the name matches the pattern, in which `*` is one part between two dots,
/// as in Graphite and in statsd_exporter.
pub fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.split('.'), name.split('.'));
    pattern.clone().count() == name.clone().count()
        && pattern.zip(name).all(|(wanted, part)| wanted == "*" || wanted == part)
}

impl Mapping {
    fn takes(&self, name: &str, kind: &str) -> bool {
        let wanted = match kind {
            "g" => "gauge",
            "c" => "counter",
            "ms" => "observer",
            _ => panic!("{name} is sent as {kind}"),
        };
        self.match_metric_type == wanted && matches(&self.r#match, name)
    }

    /// The series of the exporter for a metric with this name and these tags; the number of
    /// observations of a histogram.
    fn series(&self, name: &str, tags: Labels) -> Labels {
        let parts = self.r#match.split('.').zip(name.split('.'));
        let stars: Vec<_> =
            parts.filter(|(wanted, _)| *wanted == "*").map(|(_, part)| part).collect();
        let fill = |template: &String| {
            let mut text = template.clone();
            for (number, part) in stars.iter().enumerate() {
                text = text.replace(&format!("${{{}}}", number + 1), part);
                text = text.replace(&format!("${}", number + 1), part);
            }
            assert!(!text.contains('$'), "{template}: not all stars of {}", self.r#match);
            text
        };
        let mut labels = tags;
        labels.extend(self.labels.iter().map(|(label, value)| (label.clone(), fill(value))));
        let suffix = if self.observer_type.is_some() { "_count" } else { "" };
        labels.insert("__name__".to_owned(), fill(&self.name) + suffix);
        labels
    }
}

fn mappings() -> Vec<Mapping> {
    let text = fs::read_to_string(format!("{TOP}/dashboards/statsd_exporter.yml")).unwrap();
    serde_yaml_ng::from_str::<Exporter>(&text).unwrap().mappings
}

pub fn prometheus_config() -> Value {
    let text = fs::read_to_string(format!("{TOP}/dashboards/prometheus.yml")).unwrap();
    serde_yaml_ng::from_str(&text).unwrap()
}

/// One of the `metric_relabel_configs` of Prometheus.
struct Rule {
    sources: Vec<String>,
    regex: regex::Regex,
    target: String,
    replacement: String,
}

impl Rule {
    fn new(rule: &Value) -> Rule {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        Rule {
            sources: rule["source_labels"].as_array().unwrap().iter().map(text).collect(),
            regex: regex::Regex::new(&format!("^(?:{})$", text(&rule["regex"]))).unwrap(),
            target: text(&rule["target_label"]),
            replacement: text(&rule["replacement"]),
        }
    }

    fn apply(&self, labels: &mut Labels) {
        let value = |label| labels.get(label).map_or("", String::as_str);
        let values = self.sources.iter().map(value).collect::<Vec<_>>().join(";");
        let Some(found) = self.regex.captures(&values) else { return };
        let mut value = String::new();
        found.expand(&self.replacement, &mut value);
        match value.is_empty() {
            true => labels.remove(&self.target),
            false => labels.insert(self.target.clone(), value),
        };
    }
}

/// The mapping and the relabeling.
pub struct Names {
    pub mappings: Vec<Mapping>,
    rules: Vec<Rule>,
}

impl Names {
    pub fn read() -> Names {
        let config = prometheus_config();
        let rules = config["scrape_configs"][0]["metric_relabel_configs"].as_array().unwrap();
        Names { mappings: mappings(), rules: rules.iter().map(Rule::new).collect() }
    }

    /// The series in Prometheus for a metric with its tags in a dialect, and the index of the
    /// mapping.
    pub fn series(&self, dialect: &str, metric: &str, kind: &str) -> (Labels, usize) {
        let (start, equals) = if dialect == "dogstatsd" { ("|#", ':') } else { (",", '=') };
        let (name, tags) = metric.split_once(start).unwrap_or((metric, ""));
        let tags = tags.split(',').filter_map(|tag| tag.split_once(equals));
        let tags = tags.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
        // The first mapping that matches applies.
        let place = self.mappings.iter().position(|mapping| mapping.takes(name, kind));
        let place = place.unwrap_or_else(|| panic!("{metric} {kind}: not mapped"));
        let mut series = self.mappings[place].series(name, tags);
        self.rules.iter().for_each(|rule| rule.apply(&mut series));
        (series, place)
    }
}

/// The series in Prometheus for the golden file of this dialect, and the indices of the mappings
/// that they use.
pub fn series(dialect: &str) -> (BTreeSet<Labels>, BTreeSet<usize>) {
    let names = Names::read();
    let (mut all, mut used) = (BTreeSet::new(), BTreeSet::new());
    let golden = fs::read_to_string(format!("{TOP}/tests/data/golden/{dialect}.txt")).unwrap();
    for line in golden.lines() {
        let [metric, kind, _] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
        let (series, place) = names.series(dialect, metric, kind);
        used.insert(place);
        assert!(all.insert(series.clone()), "{line}: another metric is also {series:?}");
    }
    (all, used)
}
