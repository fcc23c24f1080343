//! What the plugin reports of itself: to `flux flux query`, and as metrics.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{json, Map, Value};

use super::StateCounts;
use crate::config::{Config, KEYS};
use crate::flux::NameForm;
use crate::jobs::{Anomaly, State};
use crate::publish::names::flux_state;
use crate::stats::{errno_name, Counters};

/// What telemetry counts: names behind the prefix.
const TELEMETRY: [&str; 6] = [
    "plugin.datagrams",
    "plugin.bytes",
    "plugin.send_errors",
    "plugin.anomalies",
    "plugin.resyncs",
    "plugin.repairs",
];

/// What is kept for reports.
#[derive(Debug, Default)]
pub(super) struct Report {
    resyncs: u64,
    last_flush: Option<SystemTime>,
    /// What was sent so far of each of `TELEMETRY`.
    counted: [u64; TELEMETRY.len()],
}

impl Report {
    /// What was pending was sent.
    pub(super) fn note_flush(&mut self) {
        self.last_flush = Some(SystemTime::now());
    }

    /// All values were sent.
    pub(super) fn note_resync(&mut self) {
        self.resyncs += 1;
    }

    /// Endpoints came and went, and the sums over all of them moved by it.
    pub(super) fn count_from(&mut self, counters: &Counters) {
        self.counted[..3].copy_from_slice(&sums(counters));
    }
}

impl StateCounts {
    /// `flux flux query`'s answer, a JSON object.
    pub(super) fn answer_query(&self) -> String {
        let mut counts = Map::new();
        for state in State::ALL {
            let name = flux_state(state).name(NameForm::Long);
            // null while INACTIVE is not known.
            counts.insert(name, self.table.count(state).into());
        }
        let mut config = Map::new();
        for key in &KEYS {
            let Some(known) = &self.config else { break };
            let from = known.origin(key).name();
            config.insert(key.name.to_owned(), json!({"value": known.get(key), "from": from}));
        }
        let mut endpoints = Vec::new();
        for destination in self.publisher.destinations().iter() {
            let counters = destination.counters();
            endpoints.push(json!({
                "endpoint": destination.endpoint().to_string(),
                "address": destination.address().map(|address| address.to_string()),
                "state": destination.state(),
                "error": destination.error(),
                "datagrams": counters.datagrams,
                "bytes": counters.bytes,
                "errors": errors(counters),
            }));
        }
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
            "endpoints": endpoints,
            "anomalies": anomalies,
            "resyncs": self.report.resyncs,
            "verify": {"checks": self.verify.checks(), "repairs": self.verify.repairs()},
            "last_flush": last_flush.map(|time| time.as_secs_f64()),
        })
        .to_string()
    }

    /// Counts what there is since the last time, if `config` wants it.
    pub(super) fn count_telemetry(&mut self, config: Option<&Config>) {
        if !config.is_some_and(|config| config.telemetry) {
            return;
        }
        let counters = self.publisher.counters();
        let [datagrams, bytes, failures] = sums(&counters);
        let anomalies = self.table.anomalies().iter().sum();
        let repairs = self.verify.repairs();
        let now = [datagrams, bytes, failures, anomalies, self.report.resyncs, repairs];
        for ((name, now), counted) in TELEMETRY.iter().zip(now).zip(&mut self.report.counted) {
            self.publisher.count_plugin(name, (now - *counted) as i64);
            *counted = now;
        }
        self.request_flush();
    }
}

/// The first of `TELEMETRY`, over all endpoints.
fn sums(counters: &Counters) -> [u64; 3] {
    [counters.datagrams, counters.bytes, counters.failures()]
}

/// Failed sends by the errno's name.
fn errors(counters: &Counters) -> Map<String, Value> {
    let errors = counters.errors.iter();
    errors.map(|&(errno, count)| (errno_name(errno), count.into())).collect()
}
