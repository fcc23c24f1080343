//! All that may happen to an instance, at random, from one seed: jobs, cancels, purges,
//! queues that stop, other configurations, reloads of modules, other plugins that fail,
//! servers that go and come, lost datagrams, brokers that are stopped, killed and
//! started again, nodes that are drained. Now and then nothing happens for a while: then
//! every gauge of every family is what the broker says.
//!
//! A run prints its seed at the start, and if it fails each step so far. The same seed
//! makes the same steps, though not the same timing. To run one again:
//!
//! ```sh
//! STATE_COUNTS_CHAOS_SEED=7 STATE_COUNTS_CHAOS_SECONDS=60 \
//!     cargo test --test broker chaos::full_ -- --ignored --nocapture
//! ```
//!
//! A seed that failed becomes a row of `SEEDS`, with the round in which it did, and what
//! was wrong becomes a small test where the fault was.

mod instance;
mod servers;
mod step;

use std::env;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::broker_totals::{self, Jobspecs};
use instance::Instance;
use serde_json::Value;
use servers::LOSSY;
use step::{Rounds, Step};

/// The seeds that run each time, and how many rounds of them: a short one, and those that
/// failed once.
const SEEDS: [(u64, usize); 1] = [(204, 3)];

/// Checks of the table, and resyncs, of which one at least begins and ends when all is
/// quiet.
const CHECKS: u64 = 3;
const RESYNCS: u64 = 3;
/// Resyncs for the server that one in twenty datagrams does not reach.
const LOSSY_RESYNCS: u64 = 10;
/// Where there are no checks or resyncs at all.
const FOREVER: Duration = Duration::from_secs(120);
/// The commands that ask the broker are slower than that, all together; and its job-list
/// module may be behind.
const PATIENCE: Duration = Duration::from_secs(10);

#[test]
#[ignore = "long"]
fn full_ten_minutes_of_chaos_leave_every_gauge_true() {
    let number = |name, default| match env::var(name) {
        Ok(text) => text.parse().expect(name),
        Err(_) => default,
    };
    let seconds = number("STATE_COUNTS_CHAOS_SECONDS", 600);
    let end = Instant::now() + Duration::from_secs(seconds);
    run(number("STATE_COUNTS_CHAOS_SEED", 1), |_| Instant::now() < end);
}

#[test]
#[cfg_attr(not(have_flux), ignore = "needs flux on PATH")]
fn a_little_chaos_leaves_every_gauge_true() {
    for (seed, rounds) in SEEDS {
        run(seed, |round| round < rounds);
    }
}

/// Runs the rounds of a seed while `more` of how many there were.
fn run(seed: u64, more: impl Fn(usize) -> bool) {
    println!("chaos: seed {seed}");
    let mut instance = Instance::start(seed);
    let mut steps = Steps { seed, rounds: Vec::new() };
    let mut slowest = Healed::default();
    for round in Rounds::new(seed) {
        if !more(steps.rounds.len()) {
            break;
        }
        steps.rounds.push(Vec::new());
        for step in round {
            steps.rounds.last_mut().expect("one was pushed").push(step.clone());
            instance.act(&step);
        }
        slowest = slowest.max(assert_true(&mut instance));
    }
    let (lost, rounds) = (instance.servers.lossy.dropped(), steps.rounds.len());
    let count: usize = steps.rounds.iter().map(Vec::len).sum();
    let tally = instance.end();
    println!("chaos: seed {seed}: {rounds} rounds, {count} steps, {lost} datagrams lost, 0 gauges");
    println!("wrong; the last to come right, when all was quiet: {slowest:?}");
    tally.iter().for_each(|(what, number)| println!("  {number:6} {what}"));
}

/// When all gauges were true at a quiet point.
#[derive(Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Healed {
    /// Comparisons that found something wrong, before the one that did not.
    wrong: u32,
    after: Duration,
    checks: u64,
    resyncs: u64,
    /// The last differences before that.
    last: Vec<String>,
}

/// Nothing happens any more: within some checks and resyncs each gauge is what the broker
/// says.
fn assert_true(instance: &mut Instance) -> Healed {
    instance.servers.restarting.open();
    instance.broker().wait_quiet();
    let start = Instant::now();
    let done = |instance: &Instance| {
        let query = instance.broker().query();
        let number = |what: &Value| what.as_u64().expect("a number");
        (number(&query["verify"]["checks"]), number(&query["resyncs"]))
    };
    let begun = done(instance);
    let (mut wrong, mut last) = (0, Vec::new());
    // They change no more.
    let mut jobspecs = Jobspecs::default();
    loop {
        let mut truth = broker_totals::all(instance.broker(), &mut jobspecs);
        if !cfg!(flux_r) {
            // Such a Flux does not show it to plugins.
            truth.retain(|name, _| !name.ends_with(".allocated") && !name.contains("_cores."));
        }
        let differences = instance.servers.differences(&truth, &instance.options);
        let now = done(instance);
        let (checks, resyncs) = (now.0 - begun.0, now.1 - begun.1);
        let after = start.elapsed();
        if differences.is_empty() {
            instance.count("gauges above 0 that were compared", truth.len() as u64);
            return Healed { wrong, after, checks, resyncs, last };
        }
        let only_lossy = differences.iter().all(|it| it.starts_with(LOSSY));
        let enough = if only_lossy { LOSSY_RESYNCS } else { RESYNCS };
        let is_due = checks >= CHECKS && resyncs >= enough && after > PATIENCE;
        if is_due || after > FOREVER {
            let (log, query) = (instance.broker().log().join("\n"), instance.broker().query());
            let differences = differences.join("\n");
            panic!("{differences}\n{:?}\n{query}\n{log}\nthe broker: {truth:?}", instance.options);
        }
        wrong += 1;
        last = differences;
        thread::sleep(Duration::from_millis(200));
    }
}

/// What happened so far. If the test fails it is printed.
struct Steps {
    seed: u64,
    rounds: Vec<Vec<Step>>,
}

impl Drop for Steps {
    fn drop(&mut self) {
        if !thread::panicking() {
            return;
        }
        for (number, round) in self.rounds.iter().enumerate() {
            println!("round {}:", number + 1);
            round.iter().for_each(|step| println!("  {step:?}"));
        }
        println!("chaos: seed {} failed in round {}", self.seed, self.rounds.len());
    }
}
