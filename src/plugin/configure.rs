//! Applies a configuration, at load and while the plugin is loaded.
//!
//! It has two steps: [`prepare`](StateCounts::prepare) does everything that can fail and
//! changes nothing; [`commit`](StateCounts::commit) applies the differences from the old
//! configuration, and cannot fail.

use std::env;

use super::{StateCounts, Timer};
use crate::collectors::CollectorId;
use crate::config::{self, BrokerInfo, Config};
use crate::flux::{Error, LogLevel};
use crate::jobs::Needs;
use crate::os::hostname;
use crate::publish::{GaugeMode, MetricNames, Target, CHECK_INTERVAL};
use crate::stats::ENDPOINT_VARIABLE;

/// The interval of a timer in seconds, 0 for no timer, and the function that it calls.
type Interval = (fn(&Config) -> f64, fn(&mut StateCounts));

/// The timers of a configuration.
pub(super) const INTERVALS: [Interval; 5] = [
    (|config| config.period, StateCounts::flush),
    (|config| config.resync, StateCounts::resync),
    (|config| config.verify, StateCounts::verify),
    (
        |config| match config.endpoints.iter().any(|endpoint| endpoint.name().is_some()) {
            true => config.lookup,
            false => 0.0,
        },
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
    start: Option<Timer>,
    /// By the index in [`INTERVALS`].
    intervals: Vec<(usize, Option<Timer>)>,
}

impl StateCounts {
    /// `conf.update`: applies the plugin's own conf and the broker's configuration, both JSON.
    ///
    /// # Errors
    /// If they cannot be used. Then nothing has changed.
    pub fn conf_update(&mut self, plugin: Option<&str>, broker: &str) -> Result<(), Error> {
        if let Some(prepared) = self.prepare(plugin, broker)? {
            self.commit(prepared);
        }
        let queues = config::queues(broker);
        self.table.labels_mut().queues.reserve(queues.iter().map(String::as_str));
        Ok(())
    }

    /// `None` if the configuration did not change.
    fn prepare(&self, plugin: Option<&str>, broker: &str) -> Result<Option<Prepared>, Error> {
        let environment = env::var_os(ENDPOINT_VARIABLE);
        let environment = environment.as_ref().map(|text| text.to_string_lossy());
        let config = Config::new(plugin, broker, environment.as_deref())
            .map_err(|error| Error::new(error.to_string()))?;
        if self.is_configured && self.config.as_ref() == Some(&config) {
            return Ok(None);
        }
        let names = MetricNames::new(&config, &self.broker_info(&config));
        names.check(&config).map_err(Error::new)?;
        let mut intervals = Vec::new();
        for (index, (interval, callback)) in INTERVALS.into_iter().enumerate() {
            let seconds = interval(&config);
            if !self.is_configured || self.config.as_ref().map(interval) != Some(seconds) {
                let timer = (seconds > 0.0)
                    .then(|| Timer::start(&self.flux, seconds, seconds, callback))
                    .transpose()?;
                intervals.push((index, timer));
            }
        }
        let start = match self.config {
            // In the next loop iteration, when the load is complete.
            None => Some(Timer::start(&self.flux, 0.0, 0.0, Self::start)?),
            Some(_) => None,
        };
        Ok(Some(Prepared { config, names, start, intervals }))
    }

    fn commit(&mut self, prepared: Prepared) {
        let Prepared { config, names, start, intervals } = prepared;
        let was_configured = std::mem::replace(&mut self.is_configured, false);
        for (index, timer) in intervals {
            self.intervals[index] = timer;
        }
        self.timers.start = start.or(self.timers.start.take());
        let was_exclusive = self.config.as_ref().is_some_and(Config::owns_its_gauges);
        let is_exclusive = config.owns_its_gauges();
        let mode = GaugeMode { absolute: config.sends_values(), exclusive: is_exclusive };
        let renamed = !was_configured || *self.publisher.names() != names;
        let is_same = |old: &Config| {
            old.endpoints == config.endpoints
                && old.period == config.period
                && old.metrics == config.metrics
        };
        match !renamed && self.config.as_ref().is_some_and(is_same) {
            true => self.publisher.set_mode(mode),
            false => self.change_metrics(&config, mode, renamed.then_some(names)),
        }
        self.config = Some(config);
        if !was_exclusive && is_exclusive {
            self.resync();
        }
        if self.publisher.is_running() {
            // Collectors may need it now, or no longer need it.
            self.request_resource_status();
        }
        self.request_flush();
        self.log_config();
        self.look_up_hosts();
        self.is_configured = true;
    }

    /// Changes destinations, collectors and, if there are new ones, names. Sends final values
    /// for removed ones, and first values for new ones.
    fn change_metrics(&mut self, config: &Config, mode: GaugeMode, names: Option<MetricNames>) {
        // This flush has the old names and the old destinations.
        self.count_telemetry();
        self.publisher.flush();
        let all: Vec<_> = CollectorId::all().collect();
        let (removed, _) = self.collectors.difference(&config.metrics);
        let destinations = self.publisher.destinations().iter();
        let kept: Vec<_> = destinations
            .map(|it| names.is_none() && config.endpoints.contains(it.endpoint()))
            .collect();
        for (index, is_kept) in kept.into_iter().enumerate() {
            let last = if is_kept { &removed } else { &all };
            self.publisher.publish_final(Target::One(index), last);
        }
        self.publisher.set_destinations(&config.endpoints);
        self.report.destinations_changed(&self.publisher.counters());
        self.publisher.set_mode(mode);
        self.check_flux_version(config);
        if let Some(names) = names {
            // `MetricNames::check` accepted them.
            let _ = self.publisher.rename(names);
            self.collectors.define_all(self.table.labels(), &mut self.publisher);
            self.publisher.mark_unpublished(&all);
        }
        self.enable_collectors(&config.metrics);
        self.publisher.flush();
        self.publisher.connect();
    }

    /// The values of the names' placeholders. The broker's attributes are read once, and only
    /// if a name has a placeholder.
    fn broker_info(&self, config: &Config) -> BrokerInfo {
        if !config.has_placeholders() {
            return BrokerInfo::default();
        }
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
            self.publisher.set_knows_allocations(false);
            let (major, minor) = FIRST_WITH_R;
            self.warn(&format!(
                "Flux {version} does not pass R to plugins (Flux {major}.{minor} and later do): \
                 resource.*.allocated, user_cores and bank_cores are not sent"
            ));
        }
    }

    /// Logs one line for each configuration.
    fn log_config(&self) {
        let Some(config) = &self.config else { return };
        if config.endpoints.is_empty() {
            return self.warn(&format!(
                "no endpoint is set: no metrics are sent (expected endpoint=HOST:PORT at load or \
                 in the broker's [state-counts], or {ENDPOINT_VARIABLE} in its environment)"
            ));
        }
        let endpoints: Vec<_> = config.endpoints.iter().map(ToString::to_string).collect();
        self.flux.log(
            LogLevel::Info,
            &format!(
                "version {}: sends {} to {}, period {} s, resync {} s",
                env!("CARGO_PKG_VERSION"),
                if config.sends_values() { "values" } else { "increments" },
                endpoints.join(", "),
                config.period,
                config.resync,
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
