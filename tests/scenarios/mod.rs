//! Scenarios: tests that run against the fake job manager and against real brokers alike.
//!
//! Each scenario is a function of any [`Host`]. Both test programs list it under the module
//! of its feature, with their macro `scenarios!`.

pub mod configuration;
pub mod destinations;
pub mod load;
pub mod lookup;
pub mod other_plugins;
pub mod publisher;
pub mod queues;
pub mod resource_status;
pub mod restart;
pub mod results;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{json, Value};

use crate::support::artifact::{plugin, NAME};
use crate::support::gauges::Gauges;
use crate::support::names::Names;
use crate::support::receiver::{Receiver, Seen};
use crate::support::{counts_of_job_stats, Counts};

/// The course of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Job {
    /// Ends at once, with success.
    Short,
    /// Ends at once, without success.
    Failing,
    /// Runs until its time limit.
    Limited,
    /// Runs until it is canceled.
    Endless,
    /// Waits in SCHED, with urgency 0.
    Held,
    /// Waits in DEPEND for an hour.
    Later,
}

/// `FLUX_FRIPP_STATSD` in the environment of a host.
#[derive(Clone, Copy, Default)]
pub enum Environment<'a> {
    /// The endpoint of the host's receiver.
    #[default]
    Receiver,
    Unset,
    Endpoint(&'a str),
}

/// The settings of a host.
#[derive(Clone, Copy, Default)]
pub struct HostSetup<'a> {
    pub environment: Environment<'a>,
    /// The name service, instead of the system's.
    pub names: Option<&'a Names>,
    /// The queues of the configuration.
    pub queues: &'a [&'a str],
    /// Six nodes of 64 cores, instead of one. Those of rank 1 and 2 have two GPUs, and the
    /// last one is excluded.
    pub six_nodes: bool,
}

/// A job manager, the jobs in it, and the receiver of the plugin's metrics.
pub trait Host: Sized {
    /// How long datagrams and the host's own counts may take, in seconds. 0: everything is
    /// done when a call returns, and time stands still but in [`Host::pass`].
    const SLACK: f64;

    fn start(setup: HostSetup) -> Self;

    /// Ends the host, and asserts that the plugin logged no warning and no error.
    fn end(self);
    /// The log may have warnings and errors of the plugin from now on.
    fn expect_complaints(&mut self);

    fn receiver(&mut self) -> &mut Receiver;
    /// All that was logged so far.
    fn log(&mut self) -> String;

    /// Loads a plugin; the error is the text that Flux shows.
    fn load_plugin(&mut self, plugin: &Path, conf: &Value) -> Result<(), String>;
    /// Loads our plugin, which is loaded already; the error text of Flux.
    fn load_again(&mut self) -> String;
    fn remove_plugin(&mut self, name: &str);
    /// Returns `true` if the file of this name is mapped into the process of the job manager.
    fn is_mapped(&mut self, name: &str) -> bool;
    fn query(&mut self) -> Value;
    /// Sets the table `[state-counts]` and reloads the configuration; the error is the text
    /// that Flux shows.
    fn reload(&mut self, table: &Value) -> Result<(), String>;
    /// Restarts the job manager, with our plugin in its configuration and this table
    /// `[state-counts]`.
    fn restart(&mut self, table: &Value);

    /// Submits jobs to a queue, with a bank of the same name, or to none; their ids.
    fn submit(&mut self, job: Job, queue: &str, count: usize) -> Vec<String>;
    /// Submits jobs until `each` are in every state in which a job of this host can stay.
    fn populate(&mut self, each: usize) -> Counts;
    fn cancel(&mut self, job: &str);
    fn cancel_all(&mut self);
    /// Waits until no job is active.
    fn drain(&mut self);
    fn move_to_queue(&mut self, job: &str, queue: &str);
    /// Raises an exception of severity 7, which does not end the job.
    fn raise(&mut self, job: &str, kind: &str);
    /// `flux queue ACTION QUEUE`; no queue: the anonymous one.
    fn change_queue(&mut self, action: &str, queue: &str);
    /// Loads or removes the scheduler.
    fn set_scheduler(&mut self, is_loaded: bool);
    /// Purges inactive jobs until `keep` are left.
    fn purge(&mut self, keep: usize);
    /// When each event of a job happened, in seconds.
    fn events(&mut self, job: &str) -> BTreeMap<String, f64>;
    /// The user that submits the jobs.
    fn user(&self) -> u32;
    /// The output of `flux job stats`.
    fn stats(&mut self) -> Value;

    /// Runs a job on all cores of one node; the node's rank.
    fn occupy_node(&mut self) -> String;
    fn drain_nodes(&mut self, ranks: &[&str]);
    fn undrain_node(&mut self, rank: &str);
    fn lose_node(&mut self, rank: &str);
    fn reload_resource_module(&mut self);
    /// The gauges of nodes, cores and GPUs, from the host's own resource status.
    fn resource_status(&mut self) -> Gauges;

    /// Lets so many seconds pass: in the fake job manager, no others do.
    fn pass(&mut self, seconds: f64);

    fn load(&mut self, conf: Value) -> Result<(), String> {
        self.load_plugin(plugin(), &conf)
    }

    fn remove(&mut self) {
        self.remove_plugin(NAME);
    }

    fn counts(&mut self) -> Counts {
        counts_of_job_stats(&self.stats())
    }

    /// Waits until the host counts this.
    #[track_caller]
    fn wait_for(&mut self, counts: &Counts) {
        self.assert_same(60.0, |host| (host.counts(), counts.clone()));
    }

    /// Lets time pass until `reached`, at most 20 s of real time.
    #[track_caller]
    fn pass_until(&mut self, mut reached: impl FnMut(&mut Self) -> bool) {
        let end = Instant::now() + Duration::from_secs(20);
        while !reached(self) {
            assert!(Instant::now() < end, "{}\n{}", self.query(), self.log());
            self.pass(0.1);
        }
    }

    /// Both values are the same, now or when so many seconds have passed.
    #[track_caller]
    fn assert_same<T: PartialEq + Debug>(
        &mut self,
        seconds: f64,
        mut both: impl FnMut(&mut Self) -> (T, T),
    ) {
        let mut tenths = ((seconds + Self::SLACK) * 10.0).ceil() as u32;
        loop {
            let (actual, expected) = both(self);
            if actual == expected || tenths == 0 {
                assert_eq!(actual, expected, "actual (left), expected (right)");
                return;
            }
            self.pass(0.1);
            tenths -= 1;
        }
    }

    /// The receiver has the counts of `flux job stats`, and no gauge was ever negative.
    #[track_caller]
    fn assert_true(&mut self) -> Seen {
        self.assert_same(0.0, |host| (host.receiver().seen().gauges, host.counts()));
        let seen = self.receiver().seen();
        assert_eq!(seen.negative(), Counts::new());
        seen
    }
}

/// A configuration whose resyncs are too late to correct anything.
pub fn without_resyncs() -> Value {
    json!({"resync": "1h"})
}
