//! The response to `flux jobtap query`, and the counters of the plugin's own work.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{json, Map, Value};

use super::StateCounts;
use crate::config::KEYS;
use crate::jobs::{Anomaly, NameForm, State};
use crate::stats::{errno_name, Counters, Value as Sample};

/// The counters of the key `telemetry`, after the prefix.
const TELEMETRY: [&str; 7] = [
    "plugin.datagrams",
    "plugin.bytes",
    "plugin.send_errors",
    "plugin.anomalies",
    "plugin.resyncs",
    "plugin.repairs",
    "plugin.panics",
];

/// Totals for reports.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) resyncs: u64,
    /// The total of each counter of `TELEMETRY` that was sent so far.
    sent: [u64; TELEMETRY.len()],
}

impl Report {
    /// Excludes the change of the sums from telemetry, after destinations were added or removed.
    pub(super) fn destinations_changed(&mut self, counters: &Counters) {
        self.sent[..3].copy_from_slice(&sums(counters));
    }
}

impl StateCounts {
    /// The response to `flux jobtap query`, a JSON object.
    pub fn query(&mut self) -> String {
        let mut counts = Map::new();
        for (state, count) in State::ALL.into_iter().zip(self.table.counts()) {
            // null while INACTIVE is not known.
            counts.insert(state.name(NameForm::Long).to_owned(), count.into());
        }
        let mut config = Map::new();
        for (key, known) in KEYS.iter().zip(std::iter::repeat(&self.config)) {
            let Some(known) = known else { break };
            let from = known.origin(key.name).name();
            config.insert(key.name.to_owned(), json!({"value": known.get(key), "from": from}));
        }
        let endpoints = self.publisher.destinations().iter().map(|destination| {
            let counters = destination.counters();
            let errors = counters.errors.iter();
            let errors = errors.map(|&(errno, count)| (errno_name(errno), count.into()));
            json!({
                "endpoint": destination.endpoint().to_string(),
                "address": destination.address().map(|address| address.to_string()),
                "state": destination.state(),
                "error": destination.error(),
                "last_success": seconds(destination.health.last_success),
                "last_failure": seconds(destination.health.last_failure),
                "datagrams": counters.datagrams,
                "bytes": counters.bytes,
                "errors": errors.collect::<Map<String, Value>>(),
            })
        });
        let mut anomalies = Map::new();
        for (name, count) in Anomaly::NAMES.iter().zip(self.table.anomalies()) {
            anomalies.insert((*name).to_owned(), count.into());
        }
        let collectors = self.collectors.iter().map(|(id, collector)| {
            let gauges =
                |it| collector.metrics(it).iter().filter(|it| it.kind.name() == "gauge").count();
            let labels = collector.labels(self.table.labels());
            let labelled = labels.map_or(0, |labels| usize::from(labels.last()) * gauges(Some("")));
            let labels = labels.map(|it| json!({"used": it.used(), "max": it.max}));
            let sizes = json!({"gauges": gauges(None) + labelled, "labels": labels});
            (id.spec().name.to_owned(), sizes)
        });
        let last_flush = self.publisher.destinations().iter();
        let last_flush = last_flush.map(|it| it.health.last_success).max().flatten();
        let config_error = self.config.as_ref().and_then(|config| config.silent.as_ref());
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "counts": counts,
            "prefix": self.publisher.names().prefix,
            "sample": self.sample(),
            "config": config,
            "config_error": config_error,
            "collectors": collectors.collect::<Map<String, Value>>(),
            "endpoints": endpoints.collect::<Vec<_>>(),
            "anomalies": anomalies,
            "panics": self.flux.panics(),
            "resyncs": self.report.resyncs,
            "verify": {"checks": self.pass.completed, "repairs": self.pass.repairs},
            "last_flush": seconds(last_flush),
        })
        .to_string()
    }

    /// The line of the first gauge as it is sent, with the value 1.
    fn sample(&self) -> Option<String> {
        let collectors = self.collectors.iter().map(|(_, collector)| collector);
        let metrics = collectors.flat_map(|it| [it.metrics(None), it.metrics(Some("LABEL"))]);
        let gauge = metrics.flatten().find(|spec| spec.kind.name() == "gauge")?;
        let value = match self.config.as_ref()?.sends_values() {
            true => Sample::GaugeSet(1),
            false => Sample::GaugeAdd(1),
        };
        let mut line = Vec::new();
        self.publisher.names().template(&gauge).ok()?.append(value, &mut line);
        Some(String::from_utf8_lossy(line.trim_ascii_end()).into_owned())
    }

    /// Counts the plugin's own work since the last call, if the configuration has `telemetry`.
    pub(super) fn count_telemetry(&mut self) {
        if !self.config.as_ref().is_some_and(|config| config.telemetry) {
            return;
        }
        let [datagrams, bytes, failures] = sums(&self.publisher.counters());
        let anomalies = self.table.anomalies().iter().sum();
        let (resyncs, repairs) = (self.report.resyncs, self.pass.repairs);
        let totals = [datagrams, bytes, failures, anomalies, resyncs, repairs, self.flux.panics()];
        for ((name, total), sent) in TELEMETRY.iter().zip(totals).zip(&mut self.report.sent) {
            self.publisher.count_plugin(name, (total - *sent) as i64);
            *sent = total;
        }
        self.request_flush();
    }
}

/// Seconds since the epoch.
fn seconds(time: Option<SystemTime>) -> Option<f64> {
    time?.duration_since(UNIX_EPOCH).ok().map(|time| time.as_secs_f64())
}

/// The first three counters of `TELEMETRY`, over all destinations.
fn sums(counters: &Counters) -> [u64; 3] {
    [counters.datagrams, counters.bytes, counters.failures()]
}
