//! What the metrics are called in this broker.

use crate::collectors::{MetricSpec, TagValue};
use crate::config::{BrokerInfo, Config, Template};
use crate::flux::{JobState, NameForm};
use crate::jobs::State;
use crate::stats::{Dialect, Error, Metric, Stats, Tag, Transport};

/// What the metrics are called.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MetricNames {
    /// The prefix, with its placeholders filled.
    pub prefix: String,
    /// What all names begin with, and what the state counts add to it.
    base: (String, String),
    states: NameForm,
    dialect: Dialect,
    tags: Vec<Tag>,
}

impl MetricNames {
    /// What a configuration's names come to at this broker.
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

    /// Has `stats` write them.
    ///
    /// # Errors
    /// If they are too long.
    pub fn set<T: Transport>(&self, stats: &mut Stats<T>) -> Result<(), Error> {
        stats.set_prefix(&self.base.0)?;
        stats.set_dialect(self.dialect, self.tags.clone())
    }

    /// Interns a metric.
    ///
    /// # Errors
    /// If its name is too long.
    pub fn metric<T: Transport>(
        &self,
        stats: &mut Stats<T>,
        spec: &MetricSpec,
    ) -> Result<Metric, Error> {
        let text = |value: &TagValue| match value {
            TagValue::State(state) => state.name(self.states).to_owned(),
            TagValue::Text(text) => text.clone(),
        };
        let tags: Vec<_> = spec.tags.iter().map(|(key, value)| (*key, text(value))).collect();
        let tags: Vec<_> = tags.iter().map(|(key, value)| (*key, value.as_str())).collect();
        stats.tagged(spec.name.unwrap_or(&self.base.1), &tags)
    }
}

/// What all names begin with, and what the state counts add to it: the prefix's
/// last part. They add nothing to a prefix of one part, nor to one whose last
/// part distinguishes instances, for then it does so for the other collectors, too.
fn base(prefix: &Template, broker: &BrokerInfo) -> (String, String) {
    let text = prefix.as_str();
    match text.rsplit_once('.') {
        Some((_, last)) if !last.contains(['{', '}']) => {
            let filled = prefix.fill(broker);
            let (base, last) = filled.split_at(filled.len() - last.len());
            (base.trim_end_matches('.').to_owned(), last.to_owned())
        }
        _ => (prefix.fill(broker), String::new()),
    }
}

/// The state as Flux has it.
pub fn flux_state(state: State) -> JobState {
    JobState::ALL[state as usize]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_families_stand_under_what_distinguishes_instances() {
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
    fn the_tables_states_are_fluxs() {
        for state in State::ALL {
            assert_eq!(State::from_number(flux_state(state).0), Some(state));
        }
    }
}
