//! Shared by the tests, the benchmarks and the demo: a statsd receiver, the fake job manager,
//! brokers, the recorded run.

// Each program uses a part of it.
#![allow(dead_code)]

pub mod artifact;
pub mod broker;
pub mod broker_totals;
pub mod compiled;
pub mod configurations;
pub mod costs;
pub mod fake_job_manager;
pub mod flux;
pub mod found;
pub mod gauges;
pub mod hostile;
pub mod install;
pub mod invariants;
pub mod jobs;
pub mod log;
pub mod lossy_proxy;
pub mod mapping;
pub mod names;
pub mod nodes;
pub mod queues;
pub mod random;
pub mod receiver;
pub mod samples;
pub mod servers;
pub mod trace;
pub mod unix_server;
pub mod wire;

use std::collections::BTreeMap;

use state_counts::collectors::COLLECTORS;

/// The number of jobs by state, with names in upper case.
pub type Counts = BTreeMap<String, i64>;

/// The values of the key `dialect`.
pub const DIALECTS: [&str; 5] = ["plain", "pcp", "dogstatsd", "graphite", "influxdb"];

/// The names of the states, in their order.
pub const STATES: [&str; 7] = ["NEW", "DEPEND", "PRIORITY", "SCHED", "RUN", "CLEANUP", "INACTIVE"];

/// The counts in the output of `flux job stats`, which has no NEW.
pub fn counts_of_job_stats(json: &serde_json::Value) -> Counts {
    STATES
        .iter()
        .map(|state| {
            let count = &json["job_states"][state.to_lowercase()];
            (state.to_string(), count.as_i64().unwrap_or(0))
        })
        .collect()
}

/// The names of all collectors in the key `metrics`.
pub fn all_collectors() -> Vec<&'static str> {
    let names = COLLECTORS.iter().map(|collector| collector.name);
    names.filter(|name| !name.contains('.')).collect()
}

/// These counts, and 0 for all other states.
pub fn counts(nonzero: &[(&str, i64)]) -> Counts {
    let mut counts: Counts = STATES.iter().map(|state| (state.to_string(), 0)).collect();
    counts.extend(nonzero.iter().map(|(state, count)| (state.to_string(), *count)));
    counts
}
