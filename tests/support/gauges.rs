//! Gauges of all collectors, as a statsd server has them.

use std::collections::BTreeMap;

use super::receiver::Receiver;

/// Gauges by name.
pub type Gauges = BTreeMap<String, i64>;

/// The name after `PREFIX.job.` and the value of a line, if it is a gauge of the plugin.
pub fn gauge_of(line: &str) -> Option<(&str, &str)> {
    let (_, line) = line.strip_suffix("|g")?.split_once(".job.")?;
    line.split_once(':')
}

/// Applies a value to a gauge as a statsd server does; the new value of the gauge.
pub fn fold(gauges: &mut Gauges, name: &str, value: &str) -> i64 {
    let number: i64 = value.parse().expect("a gauge is a number");
    let gauge = gauges.entry(name.to_owned()).or_default();
    *gauge = if value.starts_with(['+', '-']) { *gauge + number } else { number };
    *gauge
}

/// The gauges with the wanted names, without `flux.job.` and without those that are 0. Fails
/// if a gauge is ever negative.
pub fn gauges_named(receiver: &mut Receiver, wanted: impl Fn(&str) -> bool) -> Gauges {
    let mut gauges = Gauges::new();
    let datagrams = receiver.others();
    for line in datagrams.iter().flat_map(|datagram| datagram.lines()) {
        let Some((name, value)) = gauge_of(line).filter(|(name, _)| wanted(name)) else { continue };
        let level = fold(&mut gauges, name, value);
        assert!(level >= 0, "{line} makes {name} {level}");
    }
    gauges.retain(|_, level| *level != 0);
    gauges
}

/// The gauges of jobs in the collectors resources, users and banks, and the resources of queues.
pub fn usage_gauges(receiver: &mut Receiver) -> Gauges {
    gauges_named(receiver, |name| {
        let is_of_states = name.starts_with("state.")
            || name.starts_with("queue.") && !name.contains(".resource.");
        is_of_jobs(name) && !is_of_states
    })
}

/// Returns `true` if jobs contribute to the gauge, unlike to those of the resource status.
pub fn is_of_jobs(name: &str) -> bool {
    let uses =
        ["total", "up", "down", "drained", "draining", "offline", "excluded", "housekeeping"];
    let last = name.rsplit('.').next().unwrap_or(name);
    let of_the_broker = ["enabled", "started", "ready", "oldest_seconds"];
    !(name.contains("resource.") && uses.contains(&last) || of_the_broker.contains(&last))
}
