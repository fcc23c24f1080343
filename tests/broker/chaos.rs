//! Random faults of an instance, from one seed: jobs, cancels, purges, stopped queues, other
//! configurations, reloads of modules, other plugins that fail, restarted and moved servers, lost
//! datagrams, full and replaced Unix sockets, nodes that are drained, and brokers that are
//! stopped, killed and started again. Between the rounds nothing happens for a while, and then
//! all gauges of all collectors equal the broker's own numbers.
//!
//! A run prints its seed, and its steps if it fails. The same seed gives the same steps, with
//! another timing. To repeat a run:
//!
//! ```sh
//! STATE_COUNTS_CHAOS_SEED=7 STATE_COUNTS_CHAOS_SECONDS=60 \
//!     cargo test --test broker chaos::full_ -- --ignored --nocapture
//! ```
//!
//! A seed that failed is added to `SEEDS` with the number of rounds, and the fault gets a test
//! of its own.

use std::time::{Duration, Instant};
use std::{env, thread};

use instance::Instance;
use serde_json::Value;
use servers::LOSSY;
use step::{Rounds, Step};

use crate::support::broker_totals::{self, Jobspecs};

mod instance;
mod servers;
mod step;

/// The seeds of the short test and their numbers of rounds: one seed, and those that failed
/// once.
const SEEDS: [(u64, usize); 1] = [(204, 3)];

/// Reconcile passes and resyncs, of which at least one begins and ends in the quiet time.
const CHECKS: u64 = 3;
const RESYNCS: u64 = 3;
/// Resyncs for the server behind the lossy path.
const LOSSY_RESYNCS: u64 = 10;
/// The limit if there are no reconcile passes or resyncs.
const FOREVER: Duration = Duration::from_secs(120);
/// The commands for the broker's numbers take some time, and job-list may be behind the job
/// manager.
const PATIENCE: Duration = Duration::from_secs(10);

#[test]
#[ignore = "long"]
fn full_ten_minutes_of_chaos_end_with_correct_gauges() {
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
fn a_short_chaos_run_ends_with_correct_gauges() {
    for (seed, rounds) in SEEDS {
        run(seed, |round| round < rounds);
    }
}

/// Runs the rounds of a seed while `more` of the number of rounds so far.
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

/// The time until all gauges were correct in a quiet time.
#[derive(Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Healed {
    /// Comparisons with differences, before the one without.
    wrong: u32,
    after: Duration,
    checks: u64,
    resyncs: u64,
    /// The last differences.
    last: Vec<String>,
}

/// In a quiet time, all gauges equal the broker's numbers within some reconcile passes and
/// resyncs.
fn assert_true(instance: &mut Instance) -> Healed {
    instance.servers.open();
    instance.broker().wait_quiet();
    let start = Instant::now();
    let done = |instance: &Instance| {
        let query = instance.broker().query();
        let number = |what: &Value| what.as_u64().expect("a number");
        (number(&query["verify"]["checks"]), number(&query["resyncs"]))
    };
    let begun = done(instance);
    let (mut wrong, mut last) = (0, Vec::new());
    // Jobspecs do not change in a quiet time.
    let mut jobspecs = Jobspecs::default();
    loop {
        let mut truth = broker_totals::all(instance.broker(), &mut jobspecs);
        if !cfg!(flux_r) {
            // This Flux does not pass R to plugins.
            truth.retain(|name, _| !name.ends_with(".allocated"));
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

/// The steps so far, which are printed if the test fails.
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
