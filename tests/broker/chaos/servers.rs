//! The three servers, and what each of them must have.

use super::step::Options;
use crate::support::gauges::Gauges;
use crate::support::wire::Wire;

/// Of 100 datagrams.
const LOSS: u64 = 5;

/// How the server is called that loses some.
pub const LOSSY: &str = "the server behind the lossy path";

/// All get the same.
pub struct Servers {
    /// It loses nothing, and is always there.
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

    /// The plugin may not know all names any more that it knew, and took leave of those:
    /// where that was lost, nobody mends it.
    pub fn plugin_began_anew(&mut self) {
        self.restarting.forget_mentions();
        self.lossy.forget_mentions();
    }

    /// Nobody took leave: each server keeps what it had, until the next broker mentions
    /// it. A queue, a user or a bank that has no job any more is not mentioned: the
    /// checkpoint may lack its last job.
    pub fn broker_was_killed(&mut self) {
        self.plugin_began_anew();
        self.calm.forget_mentions();
    }

    /// What is wrong, by server; empty if each has what the broker says.
    pub fn differences(&mut self, truth: &Gauges, options: &Options) -> Vec<String> {
        let servers = [
            ("the calm server", &mut self.calm, true),
            ("the server that was restarted", &mut self.restarting, false),
            (LOSSY, &mut self.lossy, false),
        ];
        let mut differences = Vec::new();
        for (server, wire, is_calm) in servers {
            let mut gauges = wire.gauges();
            gauges.retain(|name, _| wire.is_mentioned(name) || truth.contains_key(name));
            let mut wanted = truth.clone();
            wanted.retain(|name, _| is_on(name, options));
            // Of a family that is switched off, the jobs that are over stay; all else goes
            // to 0, where that arrives.
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

/// Whether the family is on that a gauge is of.
fn is_on(gauge: &str, options: &Options) -> bool {
    let family = match gauge.split('.').next().expect("split gives one") {
        "state" => "states",
        "queue" => "queues",
        "resource" => "resources",
        "user" | "user_cores" => "users",
        "bank" | "bank_cores" => "banks",
        "pending" | "dependency" => "pending",
        _ => panic!("{gauge} is of no family"),
    };
    options.families.contains(&family)
}
