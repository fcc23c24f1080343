//! The response to `flux jobtap query`, and the counters of the plugin's own work.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{json, Map, Value};

use super::StateCounts;
use crate::config::KEYS;
use crate::jobs::{Anomaly, NameForm, State};
use crate::stats::{errno_name, Counters};

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
    last_flush: Option<SystemTime>,
    /// The total of each counter of `TELEMETRY` that was sent so far.
    sent: [u64; TELEMETRY.len()],
}

impl Report {
    /// Records the time of a flush.
    pub(super) fn flushed(&mut self) {
        self.last_flush = Some(SystemTime::now());
    }

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
            let from = known.origin(key).name();
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
                "datagrams": counters.datagrams,
                "bytes": counters.bytes,
                "errors": errors.collect::<Map<String, Value>>(),
            })
        });
        let mut anomalies = Map::new();
        for (name, count) in Anomaly::NAMES.iter().zip(self.table.anomalies()) {
            anomalies.insert((*name).to_owned(), count.into());
        }
        let last_flush =
            self.report.last_flush.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "counts": counts,
            "prefix": self.publisher.names().prefix,
            "config": config,
            "endpoints": endpoints.collect::<Vec<_>>(),
            "anomalies": anomalies,
            "panics": self.flux.panics(),
            "resyncs": self.report.resyncs,
            "verify": {"checks": self.pass.completed, "repairs": self.pass.repairs,
                       "updates": self.pass.updates},
            "last_flush": last_flush.map(|time| time.as_secs_f64()),
        })
        .to_string()
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

/// The first three counters of `TELEMETRY`, over all destinations.
fn sums(counters: &Counters) -> [u64; 3] {
    [counters.datagrams, counters.bytes, counters.failures()]
}
