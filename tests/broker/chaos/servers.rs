//! The three servers, and the gauges that each of them must have.

use super::step::Options;
use crate::support::gauges::Gauges;
use crate::support::wire::Wire;

/// Lost datagrams of 100.
const LOSS: u64 = 5;

/// The name of the third server.
pub const LOSSY: &str = "the server behind the lossy path";

/// Three servers that are sent the same metrics.
pub struct Servers {
    /// Never restarted, and without losses.
    pub calm: Wire,
    pub restarting: Wire,
    pub lossy: Wire,
}

impl Servers {
    pub fn start(seed: u64) -> Servers {
        let (calm, restarting) = (Wire::start(), Wire::start());
        Servers { calm, restarting, lossy: Wire::lossy(LOSS, seed) }
    }

    pub fn endpoints(&self) -> String {
        [&self.calm, &self.restarting, &self.lossy].map(Wire::endpoint).join(",")
    }

    /// A reloaded plugin may not use all names of the previous one. If the final values of
    /// these were lost, nothing corrects them.
    pub fn plugin_began_anew(&mut self) {
        self.restarting.forget_mentions();
        self.lossy.forget_mentions();
    }

    /// No final values were sent: each server keeps its gauges until the next broker sends
    /// them. The checkpoint may lack the last job of a queue, a user or a bank, whose gauges
    /// are then not sent.
    pub fn broker_was_killed(&mut self) {
        self.plugin_began_anew();
        self.calm.forget_mentions();
    }

    /// The differences between the servers and the broker's numbers.
    pub fn differences(&mut self, truth: &Gauges, options: &Options) -> Vec<String> {
        let servers = [
            ("the calm server", &mut self.calm, true),
            ("the server that was restarted", &mut self.restarting, false),
            (LOSSY, &mut self.lossy, false),
        ];
        let mut differences = Vec::new();
        for (server, wire, is_calm) in servers {
            let mut gauges = wire.gauges();
            // A plugin that was switched off before it sent a gauge does not correct the value of
            // a killed broker.
            let is_due = |name: &str| truth.contains_key(name) && is_on(name, options);
            gauges.retain(|name, _| wire.is_mentioned(name) || is_due(name));
            // No command prints ages. Tests of queues compare their resources.
            let of_queues = |it: &str| {
                it.starts_with("queue.") && (it.ends_with(".total") || it.ends_with(".up"))
            };
            gauges.retain(|name, _| !name.contains(".oldest_") && !of_queues(name));
            let mut wanted = truth.clone();
            wanted.retain(|name, _| is_on(name, options));
            // When a collector is switched off, its numbers of inactive jobs keep their
            // values; the others go to 0, if the datagram arrives.
            gauges
                .retain(|name, _| is_on(name, options) || is_calm && !name.ends_with(".INACTIVE"));
            let names = gauges.keys().chain(wanted.keys().filter(|it| !gauges.contains_key(*it)));
            for name in names {
                let (has, is) = (gauges.get(name).unwrap_or(&0), wanted.get(name).unwrap_or(&0));
                if has != is {
                    differences.push(format!("{server} has {name} {has}, the broker {is}"));
                }
            }
        }
        let negative = self.calm.negative();
        differences.extend(negative.iter().map(|name| format!("{name} was below 0")));
        differences
    }
}

/// Returns `true` if the collector of a gauge is enabled.
fn is_on(gauge: &str, options: &Options) -> bool {
    if gauge.starts_with("queue.") && gauge.contains(".pending.") {
        return ["queues", "pending"].iter().all(|it| options.collectors.contains(it));
    }
    let collector = match gauge.split('.').next().expect("split gives one") {
        "state" => "states",
        "queue" | "scheduler" => "queues",
        "resource" | "housekeeping" => "resources",
        "user" => "users",
        "bank" => "banks",
        "pending" | "dependency" => "pending",
        _ => panic!("{gauge} is of no collector"),
    };
    options.collectors.contains(&collector)
}
