//! Taking a configuration over, at load and while the plugin runs.
//!
//! In two steps: [`prepare`](StateCounts::prepare) makes all that can fail, and
//! changes nothing; [`commit`](StateCounts::commit) puts it in place, and cannot
//! fail.

use std::env;

use serde_json::Value;

use super::destinations::PreparedTimers;
use super::{StateCounts, Timers};
use crate::collectors::CollectorId;
use crate::config::{BrokerInfo, Config, Template};
use crate::flux::{hostname, Conf, Error, Timer};
use crate::publish::publisher::GaugeMode;
use crate::publish::{MetricNames, Target};
use crate::stats::ENDPOINT_VARIABLE;

/// A configuration that is taken, and all that it takes to be put in place.
pub(super) struct Prepared {
    config: Config,
    names: MetricNames,
    timers: Timers,
    verify: Option<Timer>,
    destinations: PreparedTimers,
}

impl StateCounts {
    /// Makes ready what a configuration asks for; `None` if it is the one that is
    /// in place. (The broker is asked once for what fills placeholders.)
    ///
    /// # Errors
    /// If it cannot be used. Then nothing has changed.
    pub(super) fn prepare(&mut self, conf: Conf<'_>) -> Result<Option<Prepared>, Error> {
        let environment = env::var_os(ENDPOINT_VARIABLE);
        let environment = environment.as_ref().map(|text| text.to_string_lossy());
        let config =
            Config::new(conf.plugin, conf.broker, environment.as_deref()).map_err(error)?;
        if self.config.as_ref() == Some(&config) {
            return Ok(None);
        }
        let names = self.names_for(&config);
        names.check(&config).map_err(Error::new)?;
        let every = |seconds, callback: fn(&mut Self)| match seconds {
            0.0 => Ok(None),
            _ => self.flux.timer(seconds, seconds, callback).map(Some),
        };
        let timers = Timers {
            // After 0 seconds: when the reactor turns, after the whole load.
            start: match self.config {
                None => Some(self.flux.timer(0.0, 0.0, Self::start)?),
                Some(_) => None,
            },
            flush: every(config.period, Self::flush)?,
            turn_end: match config.period {
                0.0 => Some(self.flux.turn_end(Self::flush)?),
                _ => None,
            },
            resync: every(config.resync, Self::resync)?,
            resync_part: None,
        };
        let verify = every(config.verify, Self::verify)?;
        let destinations = self.prepare_destinations(&config)?;
        Ok(Some(Prepared { config, names, timers, verify, destinations }))
    }

    /// Puts a configuration in place. What it does not change notices nothing: a
    /// timer whose interval is the same removed on.
    pub(super) fn commit(&mut self, prepared: Prepared) {
        let Prepared { config, names, timers, verify, destinations } = prepared;
        let mut old = self.config.take();
        let same = |value: fn(&Config) -> f64| old.as_ref().map(value) == Some(value(&config));
        if !same(|config| config.period) {
            (self.timers.flush, self.timers.turn_end) = (timers.flush, timers.turn_end);
        }
        if !same(|config| config.resync) {
            self.timers.resync = timers.resync;
        }
        if !same(|config| config.verify) {
            self.verify.set_timer(verify);
        }
        self.timers.start = timers.start.or(self.timers.start.take());
        self.change_dash(&mut old, &config);
        self.commit_destinations(destinations);
        let owned = old.as_ref().is_some_and(Config::owns_its_gauges);
        self.change_destinations(old.as_ref(), &config, names);
        let owns = config.owns_its_gauges();
        self.config = Some(config);
        if !owned && owns {
            self.resync();
        }
        if self.publisher.is_running() {
            // It may be wanted now, or not any more.
            self.ask_for_machine();
        }
        self.request_flush();
        self.log_config();
        self.look_up_hosts();
    }

    /// Changes what stands for a dash. Two names may become one by it, or one become
    /// two, so the collectors that count by names go first, and come again, under the
    /// new ones, with the rest of the configuration.
    fn change_dash(&mut self, old: &mut Option<Config>, config: &Config) {
        let is_as_before = |old: &Config| old.dash == config.dash;
        if old.as_ref().is_some_and(is_as_before) {
            return;
        }
        if let Some(old) = old {
            let mut without = old.clone();
            let lists = self.table.lists();
            without.metrics.retain(|collector| (collector.spec().make)().names(lists).is_none());
            let names = self.publisher.names().clone();
            self.change_destinations(Some(old), &without, names);
            *old = without;
        }
        self.table.restart_lists(config.dash);
    }

    /// Changes endpoints, names and collectors: those that go get their last values,
    /// those that come their first, those that are kept notice nothing.
    fn change_destinations(&mut self, old: Option<&Config>, config: &Config, names: MetricNames) {
        let renamed = old.is_none() || *self.publisher.names() != names;
        let (removed, added) = match old {
            // What was wanted before may not be enabled yet.
            Some(_) => self.collectors.difference(&config.metrics),
            None => (Vec::new(), config.metrics.clone()),
        };
        let endpoints = old.map_or(&[][..], |old| &old.endpoints);
        let mode =
            GaugeMode { absolute: config.sends_values(), exclusive: config.owns_its_gauges() };
        let same = endpoints == config.endpoints
            && old.map(|old| old.period) == Some(config.period)
            && removed.is_empty()
            && added.is_empty()
            && !self.switch.is_under_way()
            && !renamed;
        if same {
            self.publisher.set_mode(mode);
            return;
        }
        // What is pending is of the old names and endpoints, and so is what
        // telemetry has to count.
        self.count_telemetry(old);
        self.publisher.flush();
        let all: Vec<_> = CollectorId::all().collect();
        for (index, endpoint) in endpoints.iter().enumerate() {
            let is_kept = !renamed && config.endpoints.contains(endpoint);
            self.publisher.publish_final(Target::One(index), if is_kept { &removed } else { &all });
        }
        self.publisher.set_destinations(&config.endpoints);
        self.report.count_from(&self.publisher.counters());
        self.publisher.set_mode(mode);
        self.check_flux_version(&added);
        if renamed {
            // They were accepted by `MetricNames::check`.
            let _ = self.publisher.rename(names);
            self.collectors.define_all(self.table.lists(), &mut self.publisher);
            self.publisher.mark_unpublished(&all);
        }
        self.switch_families(&config.metrics);
        self.publisher.flush();
        self.publisher.connect();
    }

    /// What the configuration's names come to in this broker.
    fn names_for(&mut self, config: &Config) -> MetricNames {
        let templates = || {
            let tags = config.tags.iter().map(|(_, value)| value);
            [&config.prefix].into_iter().chain(tags)
        };
        let has_placeholder = |template: &Template| template.as_str().contains('{');
        // Where nobody asks, the broker is not asked either.
        match templates().any(has_placeholder) {
            true => MetricNames::new(config, &self.broker_info(config)),
            false => MetricNames::new(config, &BrokerInfo::default()),
        }
    }

    /// What fills the placeholders. It never changes, so the broker is asked once.
    fn broker_info(&mut self, config: &Config) -> BrokerInfo {
        let flux = &self.flux;
        let broker = self.broker.get_or_insert_with(|| {
            let attribute = |name| flux.attribute(name);
            // Old brokers have no such attribute.
            let hostname = attribute(c"hostname").unwrap_or_else(hostname);
            let host = hostname.split('.').next().unwrap_or_default();
            let cluster = host.trim_end_matches(|c: char| c.is_ascii_digit() || c == '-');
            BrokerInfo {
                // A number alone is better than no name.
                cluster: if cluster.is_empty() { host } else { cluster }.to_owned(),
                rank: attribute(c"rank").unwrap_or_default(),
                // In plain letters, which every server takes: f58plain (RFC 19).
                jobid: attribute(c"jobid").map_or("top".to_owned(), |id| id.replace('ƒ', "f")),
                level: attribute(c"instance-level").unwrap_or_else(|| "0".to_owned()),
                hostname,
            }
        });
        let cluster = config.cluster.clone().unwrap_or_else(|| broker.cluster.clone());
        BrokerInfo { cluster, ..broker.clone() }
    }

    /// One line in the log for each configuration.
    fn log_config(&self) {
        let Some(config) = &self.config else { return };
        if config.endpoints.is_empty() {
            return self.warn(&format!(
                "no endpoint is set: no metrics are sent (want endpoint=HOST:PORT at load or in \
                 the broker's [state-counts], or {ENDPOINT_VARIABLE} in its environment)"
            ));
        }
        let endpoints: Vec<_> = config.endpoints.iter().map(ToString::to_string).collect();
        self.inform(&format!(
            "version {}: sends {} to {}, period {} s, resync {} s",
            env!("CARGO_PKG_VERSION"),
            if config.sends_values() { "values" } else { "increments" },
            endpoints.join(", "),
            // By serde_json, which is there: std's own writer is 20 KiB more.
            Value::from(config.period),
            Value::from(config.resync)
        ));
    }
}

pub(super) fn error(error: impl std::error::Error) -> Error {
    Error::new(error.to_string())
}
