//! The four servers, and the gauges that each of them must have.

use std::path::PathBuf;
use std::time::{Duration, Instant};
use std::{mem, thread};

use tempfile::TempDir;

use super::step::{Options, UnixServerStep};
use crate::support::gauges::Gauges;
use crate::support::unix_server::UnixServer;
use crate::support::wire::Wire;

/// Lost datagrams of 100.
const LOSS: u64 = 5;

/// The name of the third server.
pub const LOSSY: &str = "the server behind the lossy path";

/// Four servers that are sent the same metrics.
pub struct Servers {
    /// Never restarted, and without losses.
    pub calm: Wire,
    pub restarting: Wire,
    pub lossy: Wire,
    /// Its socket holds fewer datagrams than a resync has.
    unix: UnixServer,
    /// The server that had the path before, and still reads.
    old_unix: Option<UnixServer>,
    folder: TempDir,
}

impl Servers {
    pub fn start(seed: u64) -> Servers {
        let (calm, restarting) = (Wire::start(), Wire::start());
        let folder = tempfile::tempdir().unwrap();
        Servers {
            calm,
            restarting,
            lossy: Wire::lossy(LOSS, seed),
            unix: UnixServer::start(&path(&folder)),
            old_unix: None,
            folder,
        }
    }

    pub fn endpoints(&self) -> Vec<String> {
        let wires = [&self.calm, &self.restarting, &self.lossy].map(Wire::endpoint);
        wires.into_iter().chain([self.unix.endpoint()]).collect()
    }

    /// Starts a server at another address, to which `configure` moves the plugin. Returns when
    /// the old one has the final values.
    pub fn move_calm(&mut self, configure: impl FnOnce(&Self)) {
        let mut old = mem::replace(&mut self.calm, Wire::start());
        configure(self);
        let end = Instant::now() + Duration::from_secs(2);
        loop {
            let mut left = old.gauges();
            left.retain(|name, _| !name.ends_with(".INACTIVE"));
            if left.is_empty() {
                break;
            }
            assert!(Instant::now() < end, "the server that was left has {left:?}");
            thread::sleep(Duration::from_millis(10));
        }
        assert!(old.negative().is_empty(), "below 0: {:?}", old.negative());
    }

    pub fn disturb_unix(&mut self, step: UnixServerStep) {
        match step {
            UnixServerStep::Stop => self.unix.set_reading(false),
            UnixServerStep::Continue => self.unix.set_reading(true),
            // A server at a new path: the plugin finds the old one gone.
            UnixServerStep::Restart => {
                let new = UnixServer::start(&path(&self.folder));
                drop(mem::replace(&mut self.unix, new));
            }
            UnixServerStep::TakeOver => {
                let new = UnixServer::start(&path(&self.folder));
                self.old_unix = Some(mem::replace(&mut self.unix, new));
            }
        }
    }

    /// From now on all servers read.
    pub fn open(&mut self) {
        self.restarting.open();
        self.unix.set_reading(true);
    }

    /// A reloaded plugin may not use all names of the previous one. If the final values of
    /// these were lost, nothing corrects them.
    pub fn plugin_began_anew(&mut self) {
        self.restarting.forget_mentions();
        self.lossy.forget_mentions();
        self.unix.forget_mentions();
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
        // A plugin that was switched off before it sent a gauge does not correct the value of a
        // killed broker.
        let is_due = |name: &str| truth.contains_key(name) && is_on(name, options);
        let of_wire = |wire: &mut Wire| {
            let mut gauges = wire.gauges();
            gauges.retain(|name, _| wire.is_mentioned(name) || is_due(name));
            gauges
        };
        let mut at_path = self.unix.gauges();
        at_path.retain(|name, _| self.unix.is_mentioned(name) || is_due(name));
        let servers = [
            ("the calm server", of_wire(&mut self.calm), true),
            ("the server that was restarted", of_wire(&mut self.restarting), false),
            (LOSSY, of_wire(&mut self.lossy), false),
            ("the server at a Unix path", at_path, false),
        ];
        let mut differences = Vec::new();
        for (server, mut gauges, is_calm) in servers {
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

fn path(folder: &TempDir) -> PathBuf {
    folder.path().join("statsd.sock")
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
