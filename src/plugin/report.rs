//! The response to `flux jobtap query`, and the counters of the plugin's own work.

use serde_json::{json, Map, Value};

use super::StateCounts;
use crate::config::KEYS;
use crate::jobs::{Anomaly, NameForm, State};
use crate::stats::errno_name;

/// Totals for reports.
#[derive(Debug, Default)]
pub(super) struct Report {
    pub(super) resyncs: u64,
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
                "dropped_timings": destination.dropped_timings(),
                "errors": errors.collect::<Map<String, Value>>(),
            })
        });
        let mut anomalies = Map::new();
        for (name, count) in Anomaly::NAMES.iter().zip(self.table.anomalies()) {
            anomalies.insert((*name).to_owned(), count.into());
        }
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "counts": counts,
            "prefix": self.publisher.names().prefix,
            "config": config,
            "endpoints": endpoints.collect::<Vec<_>>(),
            "anomalies": anomalies,
            "panics": self.flux.panics(),
            "resyncs": self.report.resyncs,
            "verify": {"checks": self.pass.completed, "repairs": self.pass.repairs},
            "last_flush": self.publisher.last_flush(),
        })
        .to_string()
    }

    /// Counts the plugin's own work since the last call, if the configuration has `telemetry`.
    pub(super) fn count_telemetry(&mut self) {
        if !self.config.as_ref().is_some_and(|config| config.telemetry) {
            return;
        }
        let counters = self.publisher.counters();
        for (name, total) in [
            ("plugin.datagrams", counters.datagrams),
            ("plugin.bytes", counters.bytes),
            ("plugin.send_errors", counters.failures()),
            ("plugin.anomalies", self.table.anomalies().iter().sum()),
            ("plugin.resyncs", self.report.resyncs),
            ("plugin.repairs", self.pass.repairs),
            ("plugin.panics", self.flux.panics()),
        ] {
            self.publisher.set_plugin_counter(name, total);
        }
        self.request_flush();
    }
}
