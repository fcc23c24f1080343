//! Applies a configuration, at load and while the plugin is loaded.
//!
//! It has two steps: [`prepare`](StateCounts::prepare) does everything that can fail and
//! changes nothing; [`commit`](StateCounts::commit) applies the differences from the old
//! configuration, and cannot fail.

use std::env;

use super::StateCounts;
use crate::collectors::CollectorId;
use crate::config::{self, BrokerInfo, Config, ConfigError, Key, SendAs, KEYS};
use crate::flux::{Error, LogLevel, Watcher};
use crate::jobs::Needs;
use crate::os::hostname;
use crate::publish::{GaugeMode, MetricNames, CHECK_INTERVAL};
use crate::stats::ENDPOINT_VARIABLE;

/// The interval of a timer in seconds, 0 for no timer, and the function that it calls.
type Interval = (fn(&Config) -> f64, fn(&mut StateCounts));

/// The timers of a configuration.
pub(super) const INTERVALS: [Interval; 5] = [
    (|config| config.period, StateCounts::flush),
    (|config| config.resync, StateCounts::resync),
    (|config| config.verify, StateCounts::verify),
    (
        |config| if config.endpoints.is_empty() { 0.0 } else { config.lookup },
        StateCounts::look_up_hosts,
    ),
    (
        |config| if config.endpoints.is_empty() { 0.0 } else { CHECK_INTERVAL.into() },
        StateCounts::check_destinations,
    ),
];

/// The first version of flux-core that passes R to callbacks (commit 4158ae21d).
const FIRST_WITH_R: (u32, u32) = (0, 56);

/// A configuration that was accepted, and the timers that it changes.
struct Prepared {
    config: Config,
    names: MetricNames,
    start: Option<Watcher>,
    /// By the index in [`INTERVALS`].
    intervals: Vec<(usize, Option<Watcher>)>,
}

impl StateCounts {
    /// `conf.update`: applies the plugin's own conf and the broker's configuration, both JSON.
    ///
    /// # Errors
    /// If they cannot be used. Then nothing has changed. During the load only a mistake in the
    /// plugin's own conf is an error; with any other mistake nothing is sent until a reload
    /// corrects it. Otherwise an instance with the plugin in its configuration would not start.
    pub fn conf_update(&mut self, plugin: Option<&str>, broker: &str) -> Result<(), Error> {
        if let Some(prepared) = self.prepare(plugin, broker)? {
            self.commit(prepared);
        }
        let shows_jobs = |config: &Config| {
            ["users", "banks"]
                .iter()
                .any(|name| config.metrics.iter().any(|id| id.spec().name == *name))
        };
        let is_shown = self.config.as_ref().is_some_and(shows_jobs) && config::is_private(broker);
        if is_shown && !std::mem::replace(&mut self.is_private_logged, true) {
            self.warn(
                "access.private-mode is set, but the collectors users and banks show the jobs of \
                 each user or bank to all who can read the server",
            );
        }
        self.queue_requirements = config::queues(broker);
        let names = self.queue_requirements.iter().map(|(name, _)| name.as_str());
        self.table.labels_mut().queues.reserve(names);
        Ok(())
    }

    /// `None` if the configuration did not change.
    fn prepare(&self, plugin: Option<&str>, broker: &str) -> Result<Option<Prepared>, Error> {
        let environment = env::var_os(ENDPOINT_VARIABLE);
        let environment = environment.as_ref().map(|text| text.to_string_lossy());
        let new = Config::new(plugin, broker, environment.as_deref());
        let is_read = new.is_ok();
        let config = match new.and_then(|config| self.checked(config)) {
            Err(error) if !self.publisher.is_running() => {
                let mut own = Config::new(plugin, "{}", None).map_err(Error::new)?;
                if is_read {
                    // Valid values exclude each other.
                    own = self.checked(own).map_err(Error::new)?;
                }
                own.silence(format!(
                    "{error}; no metrics are sent until a valid [state-counts] is loaded with flux \
                     config reload"
                ));
                own
            }
            config => config.map_err(Error::new)?,
        };
        if self.is_configured && self.config.as_ref() == Some(&config) {
            return Ok(None);
        }
        let names = MetricNames::new(&config, &self.broker_info(&config));
        let mut intervals = Vec::new();
        for (index, (interval, callback)) in INTERVALS.into_iter().enumerate() {
            let seconds = interval(&config);
            if !self.is_configured || self.config.as_ref().map(interval) != Some(seconds) {
                let timer = (seconds > 0.0)
                    .then(|| Watcher::timer(&self.flux, seconds, seconds, callback))
                    .transpose()?;
                intervals.push((index, timer));
            }
        }
        let start = match self.config {
            // In the next loop iteration, when the load is complete.
            None => Some(Watcher::timer(&self.flux, 0.0, 0.0, Self::start)?),
            Some(_) => None,
        };
        Ok(Some(Prepared { config, names, start, intervals }))
    }

    /// Checks what depends on several keys and on the broker.
    fn checked(&self, mut config: Config) -> Result<Config, ConfigError> {
        let broker = self.broker_info(&config);
        MetricNames::new(&config, &broker).check(&config)?;
        config.check(&broker.level)?;
        Ok(config)
    }

    fn commit(&mut self, prepared: Prepared) {
        let Prepared { config, names, start, intervals } = prepared;
        let was_configured = std::mem::replace(&mut self.is_configured, false);
        for (index, timer) in intervals {
            self.intervals[index] = timer;
        }
        self.timers.start = start.or(self.timers.start.take());
        let mode = match config.send {
            SendAs::Values => GaugeMode::Values,
            SendAs::Increments if config.shares_gauges() => GaugeMode::Shared,
            SendAs::Increments => GaugeMode::Increments,
        };
        let was_shared = self.config.as_ref().is_some_and(Config::shares_gauges);
        let is_renamed = !was_configured || *self.publisher.names() != names;
        // Removed destinations get final values in the old mode and with the old names.
        self.publisher.set_destinations(&config.endpoints, self.flux.now());
        self.publisher.set_max_datagram(config.datagram);
        self.publisher.set_mode(mode);
        self.check_flux_version(&config);
        if is_renamed {
            self.publisher.rename(names);
            self.collectors.define_all(self.table.labels(), &mut self.publisher);
        }
        self.enable_collectors(&config.metrics);
        if was_shared && mode != GaugeMode::Shared {
            self.publisher.resync();
        }
        let (period, send) = (config.period, config.send);
        let old = self.config.replace(config);
        self.count_telemetry();
        if self.publisher.is_running() {
            // Collectors may need other ones.
            self.start_polls();
        }
        self.log_config(old.as_ref());
        self.publisher.look_up(true, self.flux.now());
        let is_same = old.is_some_and(|old| (old.period, old.send) == (period, send));
        // Other keys do not end a period early.
        if self.publisher.is_flush_due() || !is_same {
            self.publisher.flush(self.flux.now());
        }
        self.service_destinations();
        self.is_configured = true;
    }

    /// The values of the names' placeholders. The broker's attributes are read once.
    fn broker_info(&self, config: &Config) -> BrokerInfo {
        let broker = self.broker.get_or_init(|| {
            let attribute = |name| self.flux.attribute(name);
            // Old brokers have no attribute "hostname".
            let hostname = attribute(c"hostname").unwrap_or_else(hostname);
            let host = hostname.split('.').next().unwrap_or_default();
            let cluster = host.trim_end_matches(|c: char| c.is_ascii_digit() || c == '-');
            BrokerInfo {
                // A host name may consist of digits only.
                cluster: if cluster.is_empty() { host } else { cluster }.to_owned(),
                rank: attribute(c"rank").unwrap_or_default(),
                // f58plain (RFC 19), which each server accepts.
                jobid: attribute(c"jobid").map_or("top".to_owned(), |id| id.replace('ƒ', "f")),
                level: attribute(c"instance-level").unwrap_or_else(|| "0".to_owned()),
                hostname,
            }
        });
        let cluster = config.cluster.clone().unwrap_or_else(|| broker.cluster.clone());
        BrokerInfo { cluster, ..broker.clone() }
    }

    /// To be called before collectors that need R are enabled. If Flux does not pass R to
    /// callbacks, logs this and disables the gauges of allocated resources.
    fn check_flux_version(&mut self, config: &Config) {
        let needs = CollectorId::needs(&config.metrics);
        if self.table.needs().contains(Needs::RESOURCES) || !needs.contains(Needs::RESOURCES) {
            return;
        }
        let version = self.flux.attribute(c"version");
        if let Some(version) = version.filter(|version| !passes_r(version)) {
            self.publisher.without_allocations();
            let (major, minor) = FIRST_WITH_R;
            self.warn(&format!(
                "Flux {version} does not pass R to plugins (Flux {major}.{minor} and later do): \
                 resource.*.allocated is not sent"
            ));
        }
    }

    /// Logs a line for each configuration, with the keys that differ from an `old` one, and a
    /// warning if a part of the broker's configuration is ignored.
    fn log_config(&self, old: Option<&Config>) {
        let Some(config) = &self.config else { return };
        if let Some(misplaced) = &config.misplaced {
            self.warn(misplaced);
        }
        if let Some(reason) = &config.silent {
            return self.warn(reason);
        }
        let is_changed = |key: &&Key| old.is_some_and(|old| old.get(key) != config.get(key));
        let changes = KEYS.iter().filter(is_changed);
        let changes = changes.map(|key| format!("; {} is now {}", key.name, config.get(key)));
        let endpoints: Vec<_> = config.endpoints.iter().map(ToString::to_string).collect();
        self.flux.log(
            LogLevel::Info,
            &format!(
                "version {}: sends {} to {}, period {} s, resync {} s{}",
                env!("CARGO_PKG_VERSION"),
                if config.send == SendAs::Values { "values" } else { "increments" },
                endpoints.join(", "),
                config.period,
                config.resync,
                changes.collect::<String>(),
            ),
        );
    }
}

/// `true` if a broker of this version passes R to callbacks, or if the version cannot be
/// read.
fn passes_r(version: &str) -> bool {
    let mut numbers = version.split('.').map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= FIRST_WITH_R,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flux_passes_r_since_0_56() {
        let table = [
            ("0.49.0", false),
            ("0.55.0", false),
            ("0.55.0-17-g0123456", false),
            ("0.56.0", true),
            ("0.88.0", true),
            ("0.100.0", true),
            ("1.0.0", true),
            ("1", true),
            ("", true),
            ("unknown", true),
        ];
        for (version, expected) in table {
            assert_eq!(passes_r(version), expected, "{version:?}");
        }
    }
}
