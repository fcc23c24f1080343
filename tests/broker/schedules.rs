//! Random schedules of what an administrator may do, in real brokers.

use std::cell::Cell;

use crate::support::artifact::{plugin, NAME};
use crate::support::broker::{Broker, Setup, ENDLESS, SIMULATED};
use crate::support::counts;
use crate::support::receiver::Receiver;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{json, Value};
use tempfile::TempDir;

#[derive(Clone, Debug)]
enum Action {
    /// Jobs that end, that run on, that are held; how many (at least 2).
    Submit(u8),
    SubmitEndless(u8),
    SubmitHeld(u8),
    /// Cancels what runs, or what waits.
    CancelRunning,
    CancelPending,
    /// Keeps so many inactive jobs.
    Purge(u8),
    Load(Options),
    Remove,
    /// `flux config reload` with other values in [state-counts], which count
    /// where the plugin was loaded without any of its own.
    Configure(Options),
    /// Shuts the broker down and starts it again, with the plugin in its
    /// configuration or without.
    Restart(Option<Options>),
    /// The same, but it is killed when it is quiet: nobody takes leave. (Killed
    /// while a job was in CLEANUP, flux-core 0.88.0 may fail to replay it, with
    /// or without this plugin, and is then never idle again.)
    Kill(Options),
}

#[derive(Clone, Copy, Debug)]
struct Options {
    period: u8,
    resync: u8,
    values: bool,
}

impl Options {
    fn table(self) -> Value {
        let send = if self.values { "values" } else { "increments" };
        let table = json!({"period": self.period, "resync": self.resync, "send": send});
        json!({"state-counts": table})
    }

    fn toml(self) -> String {
        let send = if self.values { "values" } else { "increments" };
        format!("period = {}, resync = {}, send = \"{send}\"", self.period, self.resync)
    }
}

fn options() -> impl Strategy<Value = Options> {
    // A resync after a minute comes too late to hide a difference.
    (0u8..2, prop_oneof![Just(0u8), Just(1), Just(60)], any::<bool>())
        .prop_map(|(period, resync, values)| Options { period, resync, values })
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        3 => (2u8..40).prop_map(Action::Submit),
        1 => (2u8..8).prop_map(Action::SubmitEndless),
        1 => (2u8..8).prop_map(Action::SubmitHeld),
        1 => Just(Action::CancelRunning),
        1 => Just(Action::CancelPending),
        2 => (0u8..40).prop_map(Action::Purge),
        3 => options().prop_map(Action::Load),
        2 => Just(Action::Remove),
        2 => options().prop_map(Action::Configure),
        2 => prop::option::of(options()).prop_map(Action::Restart),
        1 => options().prop_map(Action::Kill),
    ]
}

#[test]
#[cfg_attr(not(have_flux), ignore = "needs flux on PATH")]
fn ten_random_schedules_end_in_no_difference() {
    run(10);
}

#[test]
#[ignore = "long"]
fn full_a_hundred_random_schedules_end_in_no_difference() {
    run(100);
}

fn run(schedules: u32) {
    let config = Config {
        cases: schedules,
        max_shrink_iters: 0,
        failure_persistence: None,
        ..Config::default()
    };
    let random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let compared = Cell::new(0);
    TestRunner::new_with_rng(config, random)
        .run(&prop::collection::vec(action(), 8..16), |actions| {
            let mut schedule = Schedule::new();
            for action in &actions {
                schedule.act(action);
            }
            compared.set(compared.get() + schedule.compared);
            Ok(())
        })
        .unwrap();
    let compared = compared.get();
    println!("{schedules} schedules, {compared} comparisons with flux job stats: 0 differences");
}

/// One instance's life, through several brokers.
struct Schedule {
    state: TempDir,
    receiver: Receiver,
    broker: Option<Broker>,
    loaded: Option<Options>,
    compared: u32,
}

impl Schedule {
    fn new() -> Schedule {
        let mut receiver = Receiver::start();
        receiver.begin(counts(&[]));
        let mut schedule = Schedule {
            state: tempfile::tempdir().unwrap(),
            receiver,
            broker: None,
            loaded: None,
            compared: 0,
        };
        schedule.start(None);
        schedule
    }

    fn start(&mut self, plugin_options: Option<Options>) {
        let mut setup = Setup::new(self.receiver.endpoint())
            .state(self.state.path())
            // For who is killed and started again.
            .config("[kvs]\ncheckpoint-period = \"100ms\"\n");
        if let Some(options) = plugin_options {
            setup = setup.plugin(plugin(), &options.toml());
        }
        self.broker = Some(setup.start());
        self.loaded = plugin_options;
    }

    fn act(&mut self, action: &Action) {
        let broker = self.broker.as_ref().expect("a broker runs");
        match action {
            Action::Submit(jobs) => {
                broker.submit(&[SIMULATED, &format!("--cc=1-{jobs}")]);
            }
            Action::SubmitEndless(jobs) => {
                broker.submit(&[ENDLESS, "-n16", &format!("--cc=1-{jobs}")]);
            }
            Action::SubmitHeld(jobs) => {
                broker.submit(&["--urgency=hold", &format!("--cc=1-{jobs}")]);
            }
            Action::CancelRunning => {
                broker.flux(&["cancel", "--all", "--states=RUN"]);
            }
            Action::CancelPending => {
                broker.flux(&["cancel", "--all", "--states=PENDING"]);
            }
            Action::Purge(keep) => {
                broker.flux(&["job", "purge", "--force", &format!("--num-limit={keep}")]);
            }
            Action::Load(options) if self.loaded.is_none() => {
                broker.configure(&options.table()).unwrap();
                broker.load(plugin(), &[]).unwrap();
                self.loaded = Some(*options);
            }
            Action::Load(_) => {
                let refused = broker.load_again(plugin());
                assert!(refused.contains("already loaded"), "{refused}");
            }
            Action::Remove if self.loaded.is_some() => {
                broker.remove(NAME);
                self.loaded = None;
                let left = self.receiver.seen().gauges;
                let ghosts = left.iter().filter(|(name, &count)| *name != "INACTIVE" && count != 0);
                assert_eq!(ghosts.count(), 0, "{left:?} after a removal");
            }
            Action::Remove => (),
            Action::Configure(options) => broker.configure(&options.table()).unwrap(),
            Action::Kill(options) => {
                broker.wait_quiet();
                self.broker.take().expect("a broker runs").kill();
                // Who never sets a value cannot mend what a server remembers.
                if !options.values && options.resync == 0 {
                    self.receiver.begin(counts(&[]));
                }
                self.start(Some(*options));
            }
            Action::Restart(options) => {
                self.broker.take().expect("a broker runs").end();
                self.receiver.begin(counts(&[]));
                self.start(*options);
            }
        }
        if self.loaded.is_some() {
            let broker = self.broker.as_ref().expect("a broker runs");
            broker.assert_true(&mut self.receiver);
            self.compared += 1;
        } else {
            // What an unload leaves is no truth any more. From 0, so that a
            // plugin that only adds need not say that it adds nothing.
            self.receiver.begin(counts(&[]));
        }
    }
}
