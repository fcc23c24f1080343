//! Taking a configuration over, at load and while the plugin runs.

use std::env;

use super::StateCounts;
use crate::config::{Config, Family, Place, SendAs};
use crate::flux::{hostname, Conf, Error, JobState, NameForm, Timer};
use crate::stats::{Dialect, Metric, Stats, Tag, ENDPOINT_VARIABLE};

/// What the metrics are called.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Names {
    pub(super) prefix: String,
    pub(super) states: NameForm,
    pub(super) dialect: Dialect,
    pub(super) tags: Vec<Tag>,
}

impl Names {
    /// What all names begin with, and what the state counts add to it. Where
    /// the prefix is of one part, they add nothing.
    fn base(&self) -> (&str, &str) {
        self.prefix.rsplit_once('.').unwrap_or((&self.prefix, ""))
    }
}

impl StateCounts {
    /// `conf.update`. What is refused changes nothing.
    pub(super) fn configure(&mut self, conf: Conf<'_>) -> Result<(), Error> {
        let environment = env::var_os(ENDPOINT_VARIABLE);
        let environment = environment.as_ref().map(|text| text.to_string_lossy());
        let config =
            Config::new(conf.plugin, conf.broker, environment.as_deref()).map_err(error)?;
        let old = self.config.as_ref();
        if old == Some(&config) {
            return Ok(());
        }
        let wants_queues = config.metrics.contains(&Family::Queues);
        if old.is_some() && self.queues.is_none() && wants_queues {
            // The jobs that are there were announced, and not listened to.
            return Err(Error::new(
                "metrics: \"queues\" can be switched on at load only (remove the plugin, and \
                 load it again)",
            ));
        }
        let names = self.names_for(&config);
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
        let (tells_states, tells_queues) = (wants(Family::States), wants(Family::Queues));
        let other = self.tells_states != tells_states || self.queues.is_some() != tells_queues;
        let goes = |endpoint| renamed || other || !endpoints.contains(endpoint);
        let comes = |endpoint| renamed || other || !old.contains(endpoint);
        // What is pending is of the old names and endpoints.
        self.stats.flush();
        if self.live {
            for (number, _) in old.iter().enumerate().filter(|(_, endpoint)| goes(endpoint)) {
                self.farewell(Some(number));
            }
        }
        self.stats.set_endpoints(&endpoints);
        self.stats.set_aggregated(config.period > 0.0);
        self.families.switch(&config.metrics);
        self.tells_states = tells_states;
        self.queues = tells_queues.then(|| self.queues.take().unwrap_or_default());
        self.config = Some(config);
        if renamed {
            self.stats.clear();
            self.gauges = name_gauges(&mut self.stats, &names)?;
            self.report.name_metrics(&mut self.stats)?;
            self.families.name_metrics(&mut self.stats, &names)?;
            if let Some(queues) = &mut self.queues {
                queues.rename(names.states);
            }
            self.names = names;
        }
        self.hosts.follow(&self.stats);
        if self.live {
            for (number, _) in endpoints.iter().enumerate().filter(|(_, endpoint)| comes(endpoint))
            {
                self.greet(Some(number));
            }
        }
        Ok(())
    }

    /// What the configuration's names come to in this broker.
    fn names_for(&self, config: &Config) -> Names {
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

    /// Where this broker is.
    fn place(&self, config: &Config) -> Place {
        let attribute = |name| self.jobtap.attribute(name);
        let hostname = attribute(c"hostname")
            // Old brokers do not tell.
            .unwrap_or_else(hostname);
        let host = hostname.split('.').next().unwrap_or_default();
        let cluster = host.trim_end_matches(|c: char| c.is_ascii_digit() || c == '-');
        Place {
            cluster: config.cluster.clone().unwrap_or_else(|| cluster.to_owned()),
            rank: attribute(c"rank").unwrap_or_default(),
            // In plain letters, which every server takes: f58plain (RFC 19).
            jobid: attribute(c"jobid").map_or("top".to_owned(), |id| id.replace('ƒ', "f")),
            level: attribute(c"instance-level").unwrap_or_else(|| "0".to_owned()),
            hostname,
        }
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
        let send = match config.send {
            SendAs::Increments => "increments",
            SendAs::Values => "values",
        };
        self.inform(&format!(
            "version {}: sends {send} to {}, period {} s, resync {} s",
            env!("CARGO_PKG_VERSION"),
            endpoints.join(", "),
            config.get("period"),
            config.get("resync")
        ));
    }
}

/// Gives `stats` these names, and the states' gauges.
fn name_gauges(stats: &mut Stats, names: &Names) -> Result<Vec<Metric>, Error> {
    let (base, name) = names.base();
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
