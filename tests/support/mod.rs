//! What the tests and the demo share: a statsd receiver, the fake job manager, real
//! brokers, the recorded trace.

// Each test binary uses a part of it.
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
pub mod names;
pub mod nodes;
pub mod queues;
pub mod random;
pub mod receiver;
pub mod samples;
pub mod servers;
pub mod statsd;
pub mod tagged;
pub mod trace;
pub mod wire;

use std::collections::BTreeMap;

/// Jobs by state name in upper case, as the gauges are named.
pub type Counts = BTreeMap<String, i64>;

/// The states' names, in the order a job passes through them.
pub const STATES: [&str; 7] = ["NEW", "DEPEND", "PRIORITY", "SCHED", "RUN", "CLEANUP", "INACTIVE"];

/// The counts that `flux job stats` printed. It knows no job in NEW.
pub fn counts_of_job_stats(json: &serde_json::Value) -> Counts {
    STATES
        .iter()
        .map(|state| {
            let count = &json["job_states"][state.to_lowercase()];
            (state.to_string(), count.as_i64().unwrap_or(0))
        })
        .collect()
}

/// Counts with these jobs, and 0 in the other states.
pub fn counts(nonzero: &[(&str, i64)]) -> Counts {
    let mut counts: Counts = STATES.iter().map(|state| (state.to_string(), 0)).collect();
    counts.extend(nonzero.iter().map(|(state, count)| (state.to_string(), *count)));
    counts
}
