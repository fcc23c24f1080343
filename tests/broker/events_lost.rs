//! Events that never come: other plugins fail, or change jobs that are rejected.
//! The gauges are true all the same, at once or within one check of the table.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::artifact::{plugin, NAME};
use crate::support::broker::{Broker, Setup, ENDLESS, SIMULATED};
use crate::support::broker_totals::{usage, Jobspecs};
use crate::support::compiled::c_plugin;
use crate::support::gauges::{gauges_named, is_of_jobs};
use crate::support::jobs::TOPICS;
use crate::support::receiver::Receiver;
use crate::support::{counts, Counts};
use serde_json::{json, Value};

const COLLECTORS: &str = "metrics=states,queues,users,banks,resources,timings,results";

/// What another plugin may fail in, for each job, and jobs go on all the same.
fn topics() -> impl Iterator<Item = &'static str> {
    TOPICS.into_iter().filter(|topic| !["job.event.exception", "job.update"].contains(topic))
}

/// The plugin that misbehaves, under a name of its own.
fn misbehaving(name: &str) -> PathBuf {
    c_plugin("misbehaving", name)
}

/// A broker with our plugin, whose checks come every two seconds and whose resyncs
/// never do.
fn broker() -> (Broker, Receiver) {
    let receiver = Receiver::start();
    let broker = Setup::new(receiver.endpoint()).start();
    (broker, receiver)
}

fn load(broker: &Broker) {
    broker.load(plugin(), &[COLLECTORS, "verify=2s", "resync=1h"]).unwrap();
}

/// What is received is what `flux job stats` says, within one check; and no family
/// counts a job that is gone.
#[track_caller]
fn assert_true(broker: &Broker, receiver: &mut Receiver, what: &str) {
    let end = Instant::now() + Duration::from_secs(20);
    let others = |receiver: &mut Receiver| {
        gauges_named(receiver, |name| {
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
#[ignore = "long"]
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
    let user = crate::support::flux::user();
    let wanted =
        BTreeMap::from([(format!("user.{user}.RUN"), 8), (format!("user.{user}.SCHED"), 40)]);
    let end = Instant::now() + Duration::from_secs(60);
    let users = |receiver: &mut Receiver| gauges_named(receiver, |name| name.starts_with("user."));
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
        let bank =
            |receiver: &mut Receiver| gauges_named(receiver, |name| name.starts_with("bank."));
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

/// At its load a plugin hears job.create of the jobs that are there, too. (What this one
/// posts then, 0.88 takes for the first of them alone.)
#[test]
#[cfg_attr(
    not(all(have_flux, flux_update)),
    ignore = "needs a Flux on PATH whose jobs that wait can be updated, and scripts/test"
)]
fn a_job_that_another_plugin_updates_as_it_is_loaded_is_in_its_new_bank() {
    let (broker, mut receiver) = broker();
    load(&broker);
    broker.submit(&["--urgency=hold", "--setattr=bank=phys", "--cc=1-3"]);
    broker.wait_stats(|stats| stats["SCHED"] == 3);
    broker.load(&misbehaving("updates.so"), &["update=job.create"]).unwrap();
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        let of_a_bank = |name: &str| name.starts_with("bank.");
        let mut truth = usage(&broker, 0, &mut Jobspecs::default());
        truth.retain(|name, _| of_a_bank(name));
        let seen = gauges_named(&mut receiver, of_a_bank);
        if truth.contains_key("bank.default.SCHED") && seen == truth {
            break;
        }
        assert!(Instant::now() < end, "{seen:?}, the broker has {truth:?}");
        thread::sleep(Duration::from_millis(100));
    }
    broker.flux(&["cancel", "--all"]);
    broker.drain();
    assert_true(&broker, &mut receiver, "updated");
    broker.end_with_complaints();
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
    // gauges_named() asserts that none is ever below 0.
    let queue = |receiver: &mut Receiver| gauges_named(receiver, |name| name.starts_with("queue."));
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
    let user = crate::support::flux::user();
    let wanted = BTreeMap::from([
        (format!("user.{user}.RUN"), 2),
        (format!("user_cores.{user}"), 32),
        ("resource.cores.allocated".to_owned(), 32),
        ("resource.nodes.allocated".to_owned(), 1),
    ]);
    let end = Instant::now() + Duration::from_secs(10);
    let others = |receiver: &mut Receiver| {
        gauges_named(receiver, |name| is_of_jobs(name) && !name.starts_with("state."))
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

#[test]
#[cfg_attr(not(have_flux), ignore = "needs flux on PATH")]
fn another_plugin_that_posts_from_its_callbacks_leaves_the_gauges_true() {
    let releasing = c_plugin("releasing", "releasing.so");
    for is_first in [true, false] {
        let mut receiver = Receiver::start();
        let broker = Setup::new(receiver.endpoint()).start();
        // Neither a resync nor a check puts anything right.
        let conf = ["resync=1h", "verify=0", "metrics=states,results,timings"];
        if is_first {
            broker.load(&releasing, &[]).unwrap();
        }
        broker.load(plugin(), &conf).unwrap();
        if !is_first {
            broker.load(&releasing, &[]).unwrap();
        }
        broker.submit(&[SIMULATED, "--dependency=releasing:x", "--cc=1-5"]);
        broker.wait_stats(|stats| stats["DEPEND"] == 5);
        broker.assert_true(&mut receiver);
        let last = broker.submit(&[ENDLESS]);
        broker.wait_stats(|stats| stats["INACTIVE"] == 5);
        broker.assert_true(&mut receiver);
        broker.flux(&["cancel", &last[0]]);
        broker.drain();
        broker.assert_true(&mut receiver);
        let anomalies = &broker.query()["anomalies"];
        let counts: Vec<_> = anomalies.as_object().unwrap().values().collect();
        assert!(counts.iter().all(|count| **count == 0), "first: {is_first}: {anomalies}");
        broker.remove(NAME);
        broker.end();
    }
}
