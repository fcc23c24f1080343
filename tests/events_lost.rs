//! Events that never come: other plugins fail, or change jobs that are rejected.
//! The gauges are true all the same, at once or within one check of the table.

mod support;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{json, Value};
use support::artifact::{plugin, NAME};
use support::broker::{Broker, Setup, ENDLESS, SIMULATED};
use support::compiled::compiled;
use support::jobs::{live, live_as, step, CLEANUP, COURSE, INACTIVE, NEW, RUN, SCHED, TOPICS};
use support::levels::{is_of_jobs, levels};
use support::receiver::Receiver;
use support::standin::Standin;
use support::{counts, Counts};

const FAMILIES: &str = "metrics=states,queues,users,banks,resources,timings,results";

/// What another plugin may fail in, for each job, and jobs go on all the same.
fn topics() -> impl Iterator<Item = &'static str> {
    TOPICS.into_iter().filter(|topic| !["job.event.exception", "job.update"].contains(topic))
}

/// The plugin that misbehaves, under a name of its own.
fn misbehaving(name: &str) -> PathBuf {
    compiled("tests/host/misbehaving.c", name, &["-shared", "-fPIC"])
}

/// A broker with our plugin, whose checks come every two seconds and whose resyncs
/// never do.
fn broker() -> (Broker, Receiver) {
    let receiver = Receiver::start();
    let broker = Setup::new(receiver.endpoint()).start();
    (broker, receiver)
}

fn load(broker: &Broker) {
    broker.load(plugin(), &[FAMILIES, "verify=2s", "resync=1h"]).unwrap();
}

/// What is received is what `flux job stats` says, within one check; and no family
/// counts a job that is gone.
#[track_caller]
fn assert_true(broker: &Broker, receiver: &mut Receiver, what: &str) {
    let end = Instant::now() + Duration::from_secs(20);
    let others = |receiver: &mut Receiver| {
        levels(receiver, |name| {
            is_of_jobs(name) && !name.starts_with("queue.") && !name.starts_with("state.")
        })
    };
    loop {
        let (truth, seen) = (broker.stats(), receiver.seen());
        let others = others(receiver);
        if seen.gauges == truth && others.is_empty() {
            assert_eq!(seen.negative(), Counts::new(), "{what}");
            return;
        }
        assert!(Instant::now() < end, "{what}: {:?}, not {truth:?}; {others:?}", seen.gauges);
        thread::sleep(Duration::from_millis(100));
    }
}

#[test]
#[cfg_attr(not(have_flux), ignore = "needs flux on PATH")]
fn another_plugin_that_fails_leaves_no_gauge_wrong() {
    for before in [true, false] {
        let (broker, mut receiver) = broker();
        for topic in topics() {
            let name = if before { "fails-before.so" } else { "fails-after.so" };
            let fail = format!("fail={topic}");
            if before {
                broker.load(&misbehaving(name), &[&fail]).unwrap();
            }
            load(&broker);
            if !before {
                broker.load(&misbehaving(name), &[&fail]).unwrap();
            }
            broker.submit(&[SIMULATED, "--cc=1-3"]);
            broker.drain();
            broker.flux(&["job", "purge", "--force", "--num-limit=2"]);
            assert_true(&broker, &mut receiver, &format!("{topic}, before ours: {before}"));
            if !before {
                assert_eq!(broker.query()["verify"]["repairs"], 0, "{topic}: nothing was missed");
            }
            broker.remove(NAME);
            broker.remove(name);
        }
        broker.end_with_complaints();
    }
}

#[test]
#[cfg_attr(not(have_flux), ignore = "needs flux on PATH")]
fn five_of_a_hundred_callbacks_that_never_come_are_put_right() {
    lose_callbacks(400);
}

#[test]
#[ignore = "long, and needs flux on PATH: scripts/test --full"]
fn full_five_of_a_hundred_callbacks_of_20_000_jobs_are_put_right() {
    lose_callbacks(20_000);
}

/// Another plugin keeps every twentieth callback from ours, while jobs run, wait and
/// are held, and when all is over.
fn lose_callbacks(jobs: usize) {
    let (broker, mut receiver) = broker();
    broker.load(&misbehaving("loses.so"), &["lose=5"]).unwrap();
    load(&broker);
    let others = [
        ("RUN", broker.submit(&[ENDLESS, "--cc=1-8"])),
        ("SCHED", broker.submit(&["--urgency=hold", "--cc=1-40"])),
    ];
    broker.submit(&[SIMULATED, &format!("--cc=1-{jobs}"), "--quiet"]);
    let quiet = |stats: &Counts| {
        stats["INACTIVE"] as usize == jobs && stats["RUN"] == 8 && stats["SCHED"] == 40
    };
    while !quiet(&broker.stats()) {
        thread::sleep(Duration::from_millis(500));
    }
    let user = support::flux::user();
    let wanted =
        BTreeMap::from([(format!("user.{user}.RUN"), 8), (format!("user.{user}.SCHED"), 40)]);
    let end = Instant::now() + Duration::from_secs(60);
    let users = |receiver: &mut Receiver| levels(receiver, |name| name.starts_with("user."));
    while receiver.seen().gauges != broker.stats() || users(&mut receiver) != wanted {
        let (seen, query) = (receiver.seen(), broker.query());
        assert!(Instant::now() < end, "{:?}, {:?}, {query}", seen.gauges, users(&mut receiver));
        thread::sleep(Duration::from_millis(100));
    }
    for id in others.into_iter().flat_map(|(_, ids)| ids) {
        broker.flux(&["cancel", &id]);
    }
    broker.drain();
    broker.flux(&["job", "purge", "--force", &format!("--num-limit={}", jobs / 2)]);
    assert_true(&broker, &mut receiver, "after a purge");
    let query = broker.query();
    println!("{jobs} jobs: {}, {}", query["anomalies"], query["verify"]);
    assert!(query["verify"]["repairs"].as_u64() > Some(0), "{query}");
    assert!(query["anomalies"]["missed_event"].as_u64() > Some(jobs as u64 / 10), "{query}");
    broker.end_with_complaints();
}

#[test]
#[cfg_attr(not(have_flux), ignore = "needs flux on PATH")]
fn jobs_without_system_attributes_are_counted_right() {
    // Flux's own .dependency-singleton fails their job.new and job.state.inactive.
    let (broker, mut receiver) = broker();
    broker.flux(&["module", "reload", "-f", "job-ingest", "disable-validator"]);
    load(&broker);
    let jobspec = broker.flux(&["submit", "--dry-run", "true"]);
    let mut jobspec: Value = serde_json::from_str(&jobspec).unwrap();
    jobspec["attributes"].as_object_mut().unwrap().remove("system");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), jobspec.to_string()).unwrap();
    for _ in 0..3 {
        broker.flux(&["job", "submit", file.path().to_str().unwrap()]);
    }
    broker.drain();
    assert_true(&broker, &mut receiver, "no attributes.system");
    broker.end_with_complaints();
}

#[test]
#[cfg_attr(
    not(all(have_flux, flux_update)),
    ignore = "needs a Flux on PATH whose jobs that wait can be updated, and scripts/test"
)]
fn jobs_that_are_rejected_are_in_no_gauge() {
    for topic in ["job.create", "job.validate"] {
        let (broker, mut receiver) = broker();
        let updates = misbehaving("updates.so");
        broker.load(&updates, &[&format!("update={topic}")]).unwrap();
        load(&broker);
        for _ in 0..3 {
            let rejected = broker.try_flux(&["submit", "--dependency=nosuch:1", "true"]);
            assert!(!rejected.status.success());
        }
        // One that is accepted has the bank that it was given.
        let held = broker.submit(&["--urgency=hold"]).remove(0);
        broker.wait_stats(|stats| stats["SCHED"] == 1);
        let end = Instant::now() + Duration::from_secs(10);
        let bank = |receiver: &mut Receiver| levels(receiver, |name| name.starts_with("bank."));
        let wanted = BTreeMap::from([("bank.default.SCHED".to_owned(), 1)]);
        while bank(&mut receiver) != wanted {
            assert!(Instant::now() < end, "{topic}: {:?}", bank(&mut receiver));
            thread::sleep(Duration::from_millis(100));
        }
        broker.flux(&["cancel", &held]);
        broker.drain();
        assert_true(&broker, &mut receiver, topic);
        broker.end_with_complaints();
    }
}

#[test]
#[cfg_attr(not(have_flux), ignore = "needs flux on PATH")]
fn two_queues_that_come_to_one_name_are_one_gauge() {
    let mut receiver = Receiver::start();
    let queues = "[queues.\"gpu.a100\"]\n[queues.gpu_a100]\n";
    let broker = Setup::new(receiver.endpoint()).config(queues).start();
    broker.flux(&["queue", "start", "--all"]);
    load(&broker);
    for queue in ["gpu.a100", "gpu_a100"] {
        broker.submit(&["--urgency=hold", "-q", queue, "--cc=1-2"]);
    }
    broker.wait_stats(|stats| stats["SCHED"] == 4);
    // levels() asserts that none is ever below 0.
    let queue = |receiver: &mut Receiver| levels(receiver, |name| name.starts_with("queue."));
    let until = |receiver: &mut Receiver, wanted: &[(&str, i64)]| {
        let wanted: BTreeMap<_, _> = wanted.iter().map(|&(name, n)| (name.to_owned(), n)).collect();
        let end = Instant::now() + Duration::from_secs(10);
        while queue(receiver) != wanted {
            assert!(Instant::now() < end, "{:?}", queue(receiver));
            thread::sleep(Duration::from_millis(100));
        }
    };
    until(&mut receiver, &[("queue.gpu_a100.SCHED", 4)]);
    broker.flux(&["cancel", "--all"]);
    broker.drain();
    until(&mut receiver, &[("queue.gpu_a100.INACTIVE", 4)]);
    broker.end_with_complaints(); // Of an old Flux that shows no R.
}

#[test]
#[cfg_attr(
    not(all(have_flux, flux_r)),
    ignore = "needs a Flux that shows R to plugins (asked by scripts/test)"
)]
fn families_are_switched_under_load_and_right_at_once() {
    let mut receiver = Receiver::start();
    let broker = Setup::new(receiver.endpoint()).start();
    broker.load(plugin(), &[]).unwrap();
    let table = json!({"state-counts": {"verify": 0, "resync": 3600}});
    broker.configure(&table).unwrap();
    let running = broker.submit(&[ENDLESS, "-n16", "--cc=1-2"]);
    broker.submit(&[SIMULATED, "--cc=1-1000", "--quiet"]);
    for metrics in ["states,users", "states,resources,banks", "states", "states,users,resources"] {
        let table = json!({"state-counts": {"metrics": metrics, "verify": 0, "resync": 3600}});
        broker.configure(&table).unwrap();
    }
    broker.wait_stats(|stats| stats["RUN"] == 2 && stats["SCHED"] == 0 && stats["CLEANUP"] == 0);
    let user = support::flux::user();
    let wanted = BTreeMap::from([
        (format!("user.{user}.RUN"), 2),
        (format!("user_cores.{user}"), 32),
        ("resource.cores.allocated".to_owned(), 32),
        ("resource.nodes.allocated".to_owned(), 1),
    ]);
    let end = Instant::now() + Duration::from_secs(10);
    let others = |receiver: &mut Receiver| {
        levels(receiver, |name| is_of_jobs(name) && !name.starts_with("state."))
    };
    while others(&mut receiver) != wanted {
        assert!(Instant::now() < end, "{:?}", others(&mut receiver));
        thread::sleep(Duration::from_millis(100));
    }
    for id in running {
        broker.flux(&["cancel", &id]);
    }
    broker.drain();
    broker.assert_true(&mut receiver);
    broker.end();
}

/// Issue 13's measurement: a burst of submissions is some datagrams a job, and
/// nobody hears of the states that jobs pass through within a turn.
#[test]
#[cfg_attr(not(have_flux), ignore = "needs flux on PATH")]
fn a_burst_of_two_thousand_jobs_is_a_datagram_a_turn() {
    const JOBS: i64 = 2000;
    let (broker, mut receiver) = broker();
    receiver.begin(counts(&[]));
    broker.load(plugin(), &["resync=0", "verify=0"]).unwrap();
    broker.submit(&[SIMULATED, &format!("--cc=1-{JOBS}"), "--quiet"]);
    broker.drain();
    let seen = broker.assert_true(&mut receiver);
    let each = seen.datagrams as f64 / JOBS as f64;
    println!("{} datagrams, {each:.2} a job; highest {:?}", seen.datagrams, seen.highest);
    assert!(seen.datagrams < 4 * JOBS as u64, "{} datagrams", seen.datagrams);
    for state in ["DEPEND", "PRIORITY"] {
        assert_eq!(seen.highest.get(state).copied().unwrap_or(0), 0, "{state}");
    }
    broker.end();
}

/// In the stand-in host: what is withheld is right after one check.
#[test]
fn whatever_is_withheld_is_put_right_within_one_check() {
    let conf = json!({"verify": "2s", "resync": "1h", "metrics": ["states", "users", "resources"]});
    let (mut host, mut receiver) = Standin::running(conf);
    live(&mut host, 1, &COURSE[..5]);
    live(&mut host, 2, &COURSE[..5]);
    // A job's end, a job's whole life until now, the purge of two.
    host.withhold("job.state.cleanup", &json!({"id": 1, "state": CLEANUP, "prev_state": RUN}));
    host.withhold("job.state.inactive", &json!({"id": 1, "state": INACTIVE, "prev_state": 32}));
    host.withhold("job.new", &json!({"id": 3, "state": SCHED, "userid": 5}));
    for id in [4, 5] {
        live(&mut host, id, &COURSE);
        host.withhold("job.inactive-remove", &json!({"id": id, "state": INACTIVE}));
    }
    host.log();
    host.advance(2.1);
    let truth = host.counts();
    assert_eq!(receiver.seen().gauges, truth);
    assert_eq!(levels(&mut receiver, |name| name.starts_with("user.5.")).len(), 1);
    let verify = host.query()["verify"].clone();
    // Jobs 1 and 3, and the number of inactive jobs.
    assert_eq!((&verify["repairs"], &verify["checks"]), (&json!(3), &json!(1)));
    let log: Vec<_> = host.log().into_iter().map(|(_, text)| text).collect();
    let repaired = log.iter().filter(|text| text.contains("job 1 is no active job")).count();
    assert_eq!((repaired, log.len()), (1, 2), "the first repair, and the number: {log:?}");

    // Then there is nothing to repair.
    host.advance(10.0);
    let truth = host.counts();
    assert_eq!(receiver.seen().gauges, truth);
    let verify = host.query()["verify"].clone();
    assert_eq!((&verify["repairs"], &verify["checks"]), (&json!(3), &json!(6)));
    assert_eq!(host.log(), []);
    host.end();
}

/// 2,000 jobs go some way, and of their 12,000 callbacks every twentieth is
/// withheld, wherever that falls.
#[test]
fn five_of_a_hundred_callbacks_withheld_are_put_right_within_one_check() {
    let conf = json!({"verify": "2s", "resync": "1h", "period": "1s", "metrics": "states,users"});
    let (mut host, mut receiver) = Standin::running(conf);
    let mut withheld = 0;
    // Knuth's MMIX generator: numbers that seem random, and are the same each time.
    let mut number: u64 = 0x5deece66d;
    let mut random = |below: u64| {
        number = number.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (number >> 33) % below
    };
    for id in 0..2000 {
        let path = &COURSE[..1 + random(7) as usize];
        let mut calls = vec![("job.new", json!({"id": id, "state": NEW, "userid": 7}))];
        for pair in path.windows(2) {
            let (state, previous) = (pair[1], pair[0]);
            let args = json!({"id": id, "state": state, "prev_state": previous, "userid": 7});
            calls.push(("job.state.any", args));
            if state == INACTIVE {
                let args = json!({"id": id, "state": INACTIVE, "userid": 7});
                calls.push(("job.inactive-add", args.clone()));
                if random(2) == 0 {
                    calls.push(("job.inactive-remove", args));
                }
            }
        }
        for (topic, args) in calls {
            match random(20) {
                0 => {
                    withheld += 1;
                    host.withhold(topic, &args);
                }
                _ => host.call(topic, &args),
            }
        }
    }
    assert!(withheld > 300, "{withheld}");
    host.advance(4.0);
    let truth = host.counts();
    let seen = receiver.seen();
    assert_eq!((&seen.gauges, seen.negative()), (&truth, Counts::new()));
    let users = levels(&mut receiver, |name| name.starts_with("user."));
    let mut wanted: BTreeMap<_, _> =
        truth.iter().map(|(state, &count)| (format!("user.7.{state}"), count)).collect();
    wanted.retain(|name, count| !name.ends_with("INACTIVE") && *count > 0);
    assert_eq!(users, wanted);
    assert!(host.query()["verify"]["repairs"].as_u64() > Some(50), "{}", host.query());
    host.end();
}

#[test]
fn a_job_whose_event_was_withheld_is_right_at_its_next() {
    let (mut host, mut receiver) = Standin::running(json!({"verify": 0}));
    live(&mut host, 1, &COURSE[..4]);
    host.withhold("job.state.run", &json!({"id": 1, "state": RUN, "prev_state": SCHED}));
    step(&mut host, 1, RUN, CLEANUP);
    let truth = host.counts();
    let seen = receiver.seen();
    assert_eq!((seen.gauges.clone(), seen.negative()), (truth, Counts::new()));
    assert_eq!(host.query()["anomalies"]["missed_event"], 1);
    host.end();
}

/// Several callbacks in one turn of the reactor leave in one datagram; and what
/// rises and falls within it never leaves.
#[test]
fn what_happens_in_one_turn_is_one_datagram() {
    let (mut host, mut receiver) = Standin::running(json!({}));
    receiver.forget();
    let moved = |id: i64, state: i64, previous: i64| {
        ("job.state.any", json!({"id": id, "state": state, "prev_state": previous}))
    };
    let mut calls: Vec<_> =
        (0..60).map(|id| ("job.new", json!({"id": id, "state": NEW}))).collect();
    for id in 0..60 {
        calls.extend([moved(id, 2, NEW), moved(id, 4, 2), moved(id, SCHED, 4)]);
    }
    host.turn(&calls);
    host.counts();
    assert_eq!(receiver.seen().texts, ["flux.job.state.SCHED:+60|g"]);
    receiver.forget();
    host.turn(&[moved(0, RUN, SCHED), moved(1, RUN, SCHED), moved(2, CLEANUP, SCHED)]);
    host.counts();
    let wanted = "flux.job.state.RUN:+2|g\nflux.job.state.CLEANUP:+1|g\nflux.job.state.SCHED:-3|g";
    assert_eq!(receiver.seen().texts, [wanted], "what rose before what fell");
    host.end();
}

#[test]
fn names_that_clean_to_one_are_one_in_every_dialect() {
    for dialect in ["plain", "dogstatsd", "graphite", "influxdb"] {
        let conf = json!({"metrics": "queues,banks", "dialect": dialect, "resync": 3600});
        let (mut host, mut receiver) = Standin::running(conf);
        for (id, name) in ["gpu.a100", "gpu_a100", "gpu/a100", "gpu a100"].into_iter().enumerate() {
            let system = json!({"queue": name, "bank": name});
            let job = json!({"id": id, "jobspec": {"attributes": {"system": system}}});
            live_as(&mut host, &job, &[NEW, SCHED]);
        }
        host.counts();
        // Each line's name, tags included, and the sum of its values.
        let mut sums: BTreeMap<String, i64> = BTreeMap::new();
        for (name, values) in receiver.values() {
            for value in values {
                let (number, tags) = value.split_once("|g").unwrap();
                *sums.entry(format!("{name}{tags}")).or_default() += number.parse::<i64>().unwrap();
            }
        }
        sums.retain(|_, sum| *sum != 0);
        assert_eq!(sums.len(), 2, "{dialect}: {sums:?}");
        assert!(sums.iter().all(|(name, &sum)| sum == 4 && name.contains("gpu_a100")), "{sums:?}");
        host.end();
    }
}
