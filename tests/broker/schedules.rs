//! Random sequences of an administrator's actions, in brokers.

use std::cell::Cell;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{json, Value};
use tempfile::TempDir;

use crate::support::artifact::{plugin, NAME};
use crate::support::broker::{Broker, Setup, ENDLESS, SIMULATED};
use crate::support::counts;
use crate::support::receiver::Receiver;

#[derive(Clone, Debug)]
enum Action {
    /// A number of jobs, at least 2: that end, that run on, that are held.
    Submit(u8),
    SubmitEndless(u8),
    SubmitHeld(u8),
    /// Cancels running, or pending jobs.
    CancelRunning,
    CancelPending,
    /// Purges inactive jobs; keeps so many.
    Purge(u8),
    Load(Options),
    Remove,
    /// `flux config reload` with other values in `[state-counts]`, which apply if the plugin
    /// was loaded without a conf.
    Configure(Options),
    /// Restarts the broker, with or without the plugin in its configuration.
    Restart(Option<Options>),
    /// Kills the broker when it is quiet, and starts it again: no final values are sent.
    /// (flux-core 0.88.0 that is killed while a job is in CLEANUP may fail to replay that job,
    /// with or without this plugin, and is then never idle again.)
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
    // A resync after a minute is too late to hide a difference.
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
fn ten_random_schedules_end_with_correct_gauges() {
    run(10);
}

#[test]
#[ignore = "long"]
fn full_a_hundred_random_schedules_end_with_correct_gauges() {
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

/// One instance, through several brokers.
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
            // For a broker that is killed and started again.
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
                let active = left.iter().filter(|(name, &count)| *name != "INACTIVE" && count != 0);
                assert_eq!(active.count(), 0, "{left:?} after a removal");
            }
            Action::Remove => (),
            Action::Configure(options) => broker.configure(&options.table()).unwrap(),
            Action::Kill(options) => {
                broker.wait_quiet();
                self.broker.take().expect("a broker runs").kill();
                // Increments cannot correct values that a server keeps.
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
            // Without the plugin the gauges are not compared. With increments only, gauges
            // that stay 0 are not sent.
            self.receiver.begin(counts(&[]));
        }
    }
}
