//! The response to `flux jobtap query`, and the counters of the plugin's own work.

use serde_json::{json, Map, Value};

use super::StateCounts;
use crate::collectors::Enabled;
use crate::config::{SendAs, KEYS};
use crate::jobs::{Anomaly, NameForm, State};
use crate::stats::{errno_name, Value as Sample};

impl StateCounts {
    /// The response to `flux jobtap query`, a JSON object.
    pub fn query(&mut self) -> String {
        let mut counts = Map::new();
        for (state, count) in State::ALL.into_iter().zip(self.table.counts()) {
            // null while INACTIVE is not known.
            counts.insert(state.name(NameForm::Long).to_owned(), count.into());
        }
        let mut config = Map::new();
        if let Some(known) = &self.config {
            for key in &KEYS {
                let from = known.origin(key.name).name();
                config.insert(key.name.to_owned(), json!({"value": known.get(key), "from": from}));
            }
        }
        let endpoints = self.publisher.destinations().iter().map(|destination| {
            let counters = destination.counters();
            let [last_success, last_failure] = destination.last_times();
            let errors = counters.errors.iter();
            let errors = errors.map(|&(errno, count)| (errno_name(errno), count.into()));
            json!({
                "endpoint": destination.endpoint().to_string(),
                "address": destination.address().map(|address| address.to_string()),
                "state": destination.state(),
                "error": destination.error(),
                "last_success": last_success,
                "last_failure": last_failure,
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
        let collectors = self.collectors.iter().map(|Enabled { id, collector, .. }| {
            let gauges =
                |it| collector.metrics(it).iter().filter(|it| it.kind.name() == "gauge").count();
            let labels = collector.labels(self.table.labels());
            let labelled = labels.map_or(0, |labels| usize::from(labels.last()) * gauges(Some("")));
            let labels = labels.map(|it| json!({"used": it.used(), "max": it.max}));
            let sizes = json!({"gauges": gauges(None) + labelled, "labels": labels});
            (id.spec().name.to_owned(), sizes)
        });
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
            "resyncs": self.resyncs,
            "verify": {"checks": self.pass.completed, "repairs": self.pass.repairs,
                        "updates": self.pass.updates},
        })
        .to_string()
    }

    /// The line of the first gauge as it is sent, with the value 1.
    fn sample(&self) -> Option<String> {
        let collectors = self.collectors.iter().map(|enabled| &enabled.collector);
        let metrics = collectors.flat_map(|it| [it.metrics(None), it.metrics(Some("LABEL"))]);
        let gauge = metrics.flatten().find(|spec| spec.kind.name() == "gauge")?;
        let value = match self.config.as_ref()?.send == SendAs::Values {
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
            return self.publisher.remove_plugin_counters();
        }
        let counters = self.publisher.counters();
        for (name, total) in [
            ("plugin.datagrams", counters.datagrams),
            ("plugin.bytes", counters.bytes),
            ("plugin.send_errors", counters.failures()),
            ("plugin.anomalies", self.table.anomalies().iter().sum()),
            ("plugin.resyncs", self.resyncs),
            ("plugin.repairs", self.pass.repairs),
            ("plugin.panics", self.flux.panics()),
        ] {
            self.publisher.set_plugin_counter(name, total);
        }
    }
}
