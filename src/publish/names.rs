//! Names of the metrics in this broker.

use std::collections::BTreeMap;

use crate::collectors::{CollectorId, MetricSpec, TagValue};
use crate::config::{BrokerInfo, Config, Template};
use crate::jobs::{NameForm, State};
use crate::stats::{quoted, Dialect, Error, LineTemplate, Tag};

/// The parts of all metric names, with their placeholders filled.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MetricNames {
    /// The prefix as configured.
    pub prefix: String,
    /// The part of the prefix before all names, and the name of the state counts.
    base: (String, String),
    states: NameForm,
    dialect: Dialect,
    tags: Vec<Tag>,
}

impl MetricNames {
    /// The names of a configuration in this broker.
    pub fn new(config: &Config, broker: &BrokerInfo) -> MetricNames {
        let fill = |(key, value): &(String, Template)| (key.clone(), value.fill(broker));
        MetricNames {
            base: base(&config.prefix, broker),
            prefix: config.prefix.fill(broker),
            states: config.states,
            dialect: config.dialect,
            tags: config.tags.iter().map(fill).collect(),
        }
    }

    /// Checks that the names of all collectors are short enough, and that the metrics of two
    /// enabled collectors share no name, as they do with some prefixes. The check uses the names of
    /// states as labels, because users may choose them. The length of other labels is bounded
    /// (`jobs::label_table`).
    ///
    /// # Errors
    /// If a name, the prefix or the tags are too long, or if two collectors have the same name.
    pub fn check(&self, config: &Config) -> Result<(), String> {
        let labels = State::ALL.map(|state| Some(state.name(self.states)));
        let mut owners = BTreeMap::new();
        for id in CollectorId::all() {
            let (collector, name) = ((id.spec().make)(), id.spec().name);
            for spec in [None].into_iter().chain(labels).flat_map(|it| collector.metrics(it)) {
                let template = self.template(&spec).map_err(|error| error.to_string())?;
                if !config.metrics.contains(&id) {
                    continue;
                }
                let kind = spec.kind.name();
                let (other_kind, other) = *owners.entry(template.series()).or_insert((kind, name));
                if other != name {
                    return Err(format!(
                        "prefix: {} gives a {other_kind} of \"{other}\" and a {kind} of \"{name}\" \
                         the same name (expected another prefix)",
                        quoted(&self.prefix),
                    ));
                }
            }
        }
        Ok(())
    }

    /// The line template of a collector's metric.
    ///
    /// # Errors
    /// If its name, the prefix or the tags are too long.
    pub fn template(&self, spec: &MetricSpec) -> Result<LineTemplate, Error> {
        let value = |value: &TagValue| match value {
            TagValue::State(state) => state.name(self.states).to_owned(),
            TagValue::Text(text) => text.clone(),
        };
        let tags = spec.tags.iter().map(|(key, tag)| ((*key).to_owned(), value(tag)));
        self.template_of(spec.name.unwrap_or(&self.base.1), &tags.collect::<Vec<_>>())
    }

    /// The line template of a name after the first part of the prefix.
    pub(super) fn template_of(&self, name: &str, tags: &[Tag]) -> Result<LineTemplate, Error> {
        self.dialect.template(&self.base.0, name, tags, &self.tags)
    }
}

/// Splits the prefix into the part before all names and its last part, which is the name of
/// the state counts. A prefix is not split if it has one part, or if its last part has a
/// placeholder: the placeholder distinguishes instances, so all collectors need it.
fn base(prefix: &Template, broker: &BrokerInfo) -> (String, String) {
    match prefix.as_str().rsplit_once('.') {
        Some((_, last)) if !last.contains(['{', '}']) => {
            let filled = prefix.fill(broker);
            let (base, last) = filled.split_at(filled.len() - last.len());
            (base.trim_end_matches('.').to_owned(), last.to_owned())
        }
        _ => (prefix.fill(broker), String::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_names_begin_with_the_part_of_the_prefix_that_distinguishes_instances() {
        let broker =
            BrokerInfo { cluster: "x.y".into(), level: "1".into(), ..BrokerInfo::default() };
        let table = [
            ("flux.job.state", "flux.job", "state"),
            ("jobs", "jobs", ""),
            ("{cluster}", "x_y", ""),
            ("{cluster}.{level}", "x_y.1", ""),
            ("{cluster}.l{level}", "x_y.l1", ""),
            ("{cluster}.{level}.state", "x_y.1", "state"),
        ];
        for (prefix, names, states) in table {
            let prefix = Template::new(prefix).unwrap();
            assert_eq!(base(&prefix, &broker), (names.to_owned(), states.to_owned()));
        }
    }

    #[test]
    fn duplicate_and_too_long_names_are_errors() {
        let check = |conf: &str| {
            let config = Config::new(Some(conf), "{}", None).unwrap();
            MetricNames::new(&config, &BrokerInfo::default()).check(&config)
        };
        assert_eq!(check(r#"{"metrics": ["states", "queues", "results"]}"#), Ok(()));
        let shared = r#"{"metrics": ["states", "queues"], "prefix": "flux.job.queue",
                         "dialect": "dogstatsd"}"#;
        assert_eq!(check(shared), Ok(()), "the tags differ");
        let shared = r#"{"metrics": ["states", "results"], "prefix": "flux.exception"}"#;
        let text = "prefix: \"flux.exception\" gives a gauge of \"states\" and a counter of \
                    \"results\" the same name (expected another prefix)";
        assert_eq!(check(shared), Err(text.to_owned()));
        let long = format!(r#"{{"prefix": "x.{}"}}"#, "n".repeat(254));
        let text = check(&long).unwrap_err();
        assert!(text.starts_with("metric name of 26"), "{text}");
    }
}
