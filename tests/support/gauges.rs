//! Gauges of every family, as a statsd server would have them.

use std::collections::BTreeMap;

use super::receiver::Receiver;

/// Gauges by name.
pub type Gauges = BTreeMap<String, i64>;

/// The gauges whose names, without `flux.job.`, are wanted, as a statsd server
/// would have them; those at 0 are left out.
pub fn gauges_named(receiver: &mut Receiver, wanted: fn(&str) -> bool) -> Gauges {
    let mut gauges = Gauges::new();
    for datagram in receiver.others() {
        for line in datagram.lines().filter(|line| line.ends_with("|g")) {
            let Some((_, line)) = line.split_once(".job.") else { continue };
            let (name, value) = line.split_once(':').unwrap();
            if !wanted(name) {
                continue;
            }
            let value = value.strip_suffix("|g").unwrap();
            let number: i64 = value.parse().unwrap();
            let gauge = gauges.entry(name.to_owned()).or_default();
            *gauge = if value.starts_with(['+', '-']) { *gauge + number } else { number };
            assert!(*gauge >= 0, "{line} makes {name} {gauge}");
        }
    }
    gauges.retain(|_, level| *level != 0);
    gauges
}

/// Those that jobs add to, in the families resources, users and banks.
pub fn usage_gauges(receiver: &mut Receiver) -> Gauges {
    gauges_named(receiver, |name| {
        is_of_jobs(name) && !name.starts_with("state.") && !name.starts_with("queue.")
    })
}

/// Whether jobs add to a gauge, without `flux.job.`. What there is of nodes is there
/// without them, and tested in tests/machine.rs.
pub fn is_of_jobs(name: &str) -> bool {
    let of_the_machine = [".total", ".up", ".down", ".drained"];
    !(name.starts_with("resource.") && of_the_machine.iter().any(|end| name.ends_with(end)))
}
