//! Gauges by queue.

use serde_json::Value;

use super::gauges::Gauges;
use super::receiver::Receiver;
use super::STATES;

/// Returns `true` if the gauge of a queue is a number of jobs in a state.
pub fn is_of_states(name: &str) -> bool {
    STATES.iter().any(|state| name.ends_with(state))
}

/// The jobs by queue and state, as a statsd server has them, without those that are 0.
pub fn gauges(receiver: &mut Receiver) -> Gauges {
    let mut gauges = Gauges::new();
    for datagram in receiver.others() {
        for line in datagram.lines() {
            let Some(line) = line.strip_prefix("flux.job.queue.") else { continue };
            let (name, value) = line.split_once(':').unwrap();
            if !is_of_states(name) {
                continue;
            }
            let value = value.strip_suffix("|g").unwrap();
            let number: i64 = value.parse().unwrap();
            let gauge = gauges.entry(name.to_owned()).or_default();
            *gauge = if value.starts_with(['+', '-']) { *gauge + number } else { number };
            assert!(*gauge >= 0, "{line} makes {name} {gauge}");
        }
    }
    gauges.retain(|_, count| *count != 0);
    gauges
}

/// The counts by queue in the output of `flux job stats`, without those that are 0.
pub fn truth(stats: &Value) -> Gauges {
    let mut truth = Gauges::new();
    for queue in stats["queues"].as_array().unwrap() {
        for state in STATES {
            let count = queue["job_states"][state.to_lowercase()].as_i64().unwrap_or(0);
            truth.insert(format!("{}.{state}", queue["name"].as_str().unwrap()), count);
        }
    }
    truth.retain(|_, count| *count != 0);
    truth
}
