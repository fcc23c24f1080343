//! Taking a configuration over, at load and while the plugin runs.

use std::collections::BTreeMap;
use std::env;

use super::usage::UsageGauges;
use super::StateCounts;
use crate::config::{Config, Family, Place, Template};
use crate::flux::{hostname, Conf, Error, JobState, NameForm, Timer};
use crate::stats::{Dialect, Metric, Stats, Tag, ENDPOINT_VARIABLE};

/// What the metrics are called.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Names {
    pub(super) prefix: String,
    /// What all names begin with, and what the state counts add to it.
    base: (String, String),
    pub(super) states: NameForm,
    pub(super) dialect: Dialect,
    pub(super) tags: Vec<Tag>,
}

/// What all names begin with, and what the state counts add to it: the prefix's
/// last part. They add nothing to a prefix of one part, nor to one whose last
/// part tells instances apart, for then it tells the other families' apart, too.
fn base(prefix: &Template, place: &Place) -> (String, String) {
    let text = prefix.as_str();
    match text.rsplit_once('.') {
        Some((_, last)) if !last.contains(['{', '}']) => {
            let filled = prefix.fill(place);
            let (base, last) = filled.split_at(filled.len() - last.len());
            (base.trim_end_matches('.').to_owned(), last.to_owned())
        }
        _ => (prefix.fill(place), String::new()),
    }
}

impl StateCounts {
    /// `conf.update`. What is refused changes nothing.
    pub(super) fn configure(&mut self, conf: Conf<'_>) -> Result<(), Error> {
        let environment = env::var_os(ENDPOINT_VARIABLE);
        let environment = environment.as_ref().map(|text| text.to_string_lossy());
        let config =
            Config::new(conf.plugin, conf.broker, environment.as_deref()).map_err(error)?;
        if self.config.as_ref() == Some(&config) {
            return Ok(());
        }
        let names = self.names_for(&config);
        let old = self.config.as_ref();
        let wants_queues = config.metrics.contains(&Family::Queues);
        if old.is_some() && self.queues.is_none() && wants_queues {
            // The jobs that are there were announced, and not listened to.
            return Err(Error::new(
                "metrics: \"queues\" can be switched on at load only (remove the plugin, and \
                 load it again)",
            ));
        }
        if old.is_some() && self.usage.is_none() && UsageGauges::keeps(&config.metrics) {
            return Err(Error::new(
                "metrics: \"resources\", \"users\" and \"banks\" can be switched on at load only \
                 (remove the plugin, and load it again)",
            ));
        }
        // What can be refused comes first: names, then timers.
        let mut trial = Stats::disabled();
        name_gauges(&mut trial, &names)?;
        let changed = |value: fn(&Config) -> f64| old.map(value) != Some(value(&config));
        let flush = self.timer_for(changed(|config| config.period), config.period, Self::flush)?;
        let resync =
            self.timer_for(changed(|config| config.resync), config.resync, Self::resync)?;
        let start = match old {
            // After 0 seconds: when the reactor turns, after the whole load.
            None => Some(self.jobtap.timer(0.0, 0.0, Self::start)?),
            Some(_) => None,
        };
        self.hosts_change(&config)?;

        let owned = self.owns_its_gauges();
        self.change_outlets(config, names)?;
        self.flush = flush.unwrap_or(self.flush.take());
        self.resync = resync.unwrap_or(self.resync.take());
        self.start = start.or(self.start.take());
        if self.live && !owned && self.owns_its_gauges() {
            self.resync();
        }
        self.say_what_is_sent();
        self.look_up_new_hosts();
        Ok(())
    }

    /// A timer that fires every `seconds`: `None` if nothing `changed`, none
    /// inside where there is nothing to do.
    fn timer_for(
        &self,
        changed: bool,
        seconds: f64,
        callback: fn(&mut Self),
    ) -> Result<Option<Option<Timer>>, Error> {
        match (changed, seconds) {
            (false, _) => Ok(None),
            (true, 0.0) => Ok(Some(None)),
            (true, _) => {
                self.jobtap.timer(seconds, seconds, callback).map(|timer| Some(Some(timer)))
            }
        }
    }

    /// Changes endpoints and names: what goes is taken leave of, what comes
    /// gets its first values, what stays notices nothing.
    fn change_outlets(&mut self, config: Config, names: Names) -> Result<(), Error> {
        let renamed = self.names != names || self.gauges.is_empty();
        let old: Vec<_> = self.stats.connections().iter().map(|c| c.endpoint().clone()).collect();
        let endpoints = config.endpoints.clone();
        let wants = |family| config.metrics.contains(&family);
        let before = self.config.as_ref().map_or(Vec::new(), |config| config.metrics.clone());
        let goes: Vec<_> = before.iter().copied().filter(|&family| !wants(family)).collect();
        let comes: Vec<_> =
            config.metrics.iter().copied().filter(|family| !before.contains(family)).collect();
        let period = self.config.as_ref().map(|config| config.period);
        let outlets = renamed || old != endpoints || period != Some(config.period);
        if !outlets && goes.is_empty() && comes.is_empty() {
            self.config = Some(config);
            return Ok(());
        }
        // What is pending is of the old names and endpoints, and so is what
        // telemetry has to tell.
        self.tell_telemetry();
        self.stats.flush();
        if self.live {
            for (number, endpoint) in old.iter().enumerate() {
                let stays = !renamed && endpoints.contains(endpoint);
                self.farewell(Some(number), if stays { &goes } else { &Family::ALL });
            }
        }
        self.stats.set_endpoints(&endpoints);
        self.report.count_from(&self.stats);
        self.stats.set_aggregated(config.period > 0.0);
        self.families.switch(&config.metrics);
        self.tells_states = wants(Family::States);
        self.queues = wants(Family::Queues).then(|| self.queues.take().unwrap_or_default());
        self.usage = self.usage_for(&config.metrics);
        self.forget();
        self.config = Some(config);
        if renamed {
            self.stats.clear();
            self.gauges = name_gauges(&mut self.stats, &names)?;
            self.report.name_metrics(&mut self.stats)?;
            self.families.name_metrics(&mut self.stats, &names)?;
            if let Some(queues) = &mut self.queues {
                queues.rename(names.states);
            }
            if let Some(usage) = &mut self.usage {
                usage.rename(&names);
            }
            self.names = names;
        }
        self.hosts.follow(&self.stats);
        if self.live {
            for (number, endpoint) in endpoints.iter().enumerate() {
                let stays = !renamed && old.contains(endpoint);
                self.greet(Some(number), if stays { &comes } else { &Family::ALL });
            }
        }
        Ok(())
    }

    /// Forgets of the jobs what no family needs any more.
    fn forget(&mut self) {
        if !self.remembers() {
            self.records = BTreeMap::new();
        }
        let StateCounts { records, families, queues, usage, .. } = self;
        for record in records.values_mut() {
            record.queue = record.queue.filter(|_| queues.is_some());
            record.entered = record.entered.filter(|_| families.timings);
            record.usage = record.usage.filter(|_| usage.is_some());
        }
    }

    /// What the configuration's names come to in this broker.
    fn names_for(&mut self, config: &Config) -> Names {
        let templates = || {
            let tags = config.tags.iter().map(|(_, value)| value);
            [&config.prefix].into_iter().chain(tags)
        };
        // Where nobody asks, the broker is not asked either.
        let place = match templates().any(|template| template.as_str().contains('{')) {
            true => self.place(config),
            false => Place::default(),
        };
        Names {
            base: base(&config.prefix, &place),
            prefix: config.prefix.fill(&place),
            states: config.states,
            dialect: config.dialect,
            tags: config
                .tags
                .iter()
                .map(|(key, value)| (key.clone(), value.fill(&place)))
                .collect(),
        }
    }

    /// Where this broker is. It stays there: it is asked once.
    fn place(&mut self, config: &Config) -> Place {
        let jobtap = &self.jobtap;
        let place = self.place.get_or_insert_with(|| {
            let attribute = |name| jobtap.attribute(name);
            // Old brokers do not tell.
            let hostname = attribute(c"hostname").unwrap_or_else(hostname);
            let host = hostname.split('.').next().unwrap_or_default();
            let cluster = host.trim_end_matches(|c: char| c.is_ascii_digit() || c == '-');
            Place {
                // A number alone is better than no name.
                cluster: if cluster.is_empty() { host } else { cluster }.to_owned(),
                rank: attribute(c"rank").unwrap_or_default(),
                // In plain letters, which every server takes: f58plain (RFC 19).
                jobid: attribute(c"jobid").map_or("top".to_owned(), |id| id.replace('ƒ', "f")),
                level: attribute(c"instance-level").unwrap_or_else(|| "0".to_owned()),
                hostname,
            }
        });
        let cluster = config.cluster.clone().unwrap_or_else(|| place.cluster.clone());
        Place { cluster, ..place.clone() }
    }

    /// One line in the log for each configuration.
    fn say_what_is_sent(&self) {
        let Some(config) = &self.config else { return };
        if config.endpoints.is_empty() {
            return self.warn(&format!(
                "no endpoint is set: no metrics are sent (want endpoint=HOST:PORT at load or in \
                 the broker's [state-counts], or {ENDPOINT_VARIABLE} in its environment)"
            ));
        }
        let endpoints: Vec<_> = config.endpoints.iter().map(ToString::to_string).collect();
        let send = config.get("send");
        self.inform(&format!(
            "version {}: sends {} to {}, period {} s, resync {} s",
            env!("CARGO_PKG_VERSION"),
            send.as_str().unwrap_or_default(),
            endpoints.join(", "),
            config.get("period"),
            config.get("resync")
        ));
    }
}

/// Gives `stats` these names, and the states' gauges.
fn name_gauges(stats: &mut Stats, names: &Names) -> Result<Vec<Metric>, Error> {
    let (base, name) = &names.base;
    stats.set_prefix(base).map_err(error)?;
    stats.set_dialect(names.dialect, names.tags.clone()).map_err(error)?;
    tagged_by_state(stats, name, &[], names.states)
}

/// Metrics of this name, one for each state, with these tags before the state's.
pub(super) fn tagged_by_state(
    stats: &mut Stats,
    name: &str,
    tags: &[(&str, &str)],
    states: NameForm,
) -> Result<Vec<Metric>, Error> {
    let mut metrics = Vec::new();
    for state in JobState::ALL {
        let state = state.name(states);
        metrics.push(stats.tagged(name, &[tags, &[("state", &state)]].concat()).map_err(error)?);
    }
    Ok(metrics)
}

pub(super) fn error(error: impl std::error::Error) -> Error {
    Error::new(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_families_stand_under_what_tells_instances_apart() {
        let place = Place { cluster: "x.y".into(), level: "1".into(), ..Place::default() };
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
            assert_eq!(base(&prefix, &place), (names.to_owned(), states.to_owned()));
        }
    }
}
