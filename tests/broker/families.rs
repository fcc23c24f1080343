//! The families of metrics besides the state counts: timings and results.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::artifact::plugin;
use crate::support::broker::{Broker, Setup, ENDLESS, SIMULATED};
use crate::support::broker_totals::why_jobs_wait;
use crate::support::compiled::c_plugin;
use crate::support::gauges::gauges_named;
use crate::support::receiver::Receiver;
use crate::support::samples::{assert_same, counters, timings};
use serde_json::{json, Value};

/// When each event of a job happened, in seconds.
fn eventlog(broker: &Broker, id: &str) -> BTreeMap<String, f64> {
    let text = broker.flux(&["job", "eventlog", "--format=json", id]);
    let events = text.lines().map(|line| {
        let event: Value = serde_json::from_str(line).unwrap();
        (event["name"].as_str().unwrap().to_owned(), event["timestamp"].as_f64().unwrap())
    });
    events.collect()
}

#[test]
#[cfg_attr(not(have_flux), ignore = "needs flux on PATH")]
fn a_brokers_results_and_times_are_its_own() {
    let mut receiver = Receiver::start();
    let broker = Setup::new(receiver.endpoint()).start();
    broker.load(plugin(), &["metrics=states,timings,results"]).unwrap();
    let id = broker.submit(&["--setattr=exec.test.run_duration=300ms"]).remove(0);
    broker.drain();
    let log = eventlog(&broker, &id);
    let values = receiver.values();
    let between = |from: &str, to: &str| vec![(log[to] - log[from]) * 1000.0];
    assert_same(&timings(&values, "flux.job.time.SCHED"), between("priority", "alloc"));
    assert_same(&timings(&values, "flux.job.time.RUN"), between("alloc", "finish"));
    assert_same(&timings(&values, "flux.job.time.CLEANUP"), between("finish", "clean"));
    assert_same(&timings(&values, "flux.job.time.submit_to_run"), between("submit", "alloc"));

    broker.submit(&[SIMULATED, "--cc=1-50", "--quiet"]);
    broker.flux(&["submit", "--cc=1-3", "false"]);
    broker.flux(&["submit", "--cc=1-2", "-t0.2s", "sleep", "60"]);
    let held = broker.submit(&["--urgency=hold"]).remove(0);
    broker.flux(&["job", "raise", "--severity=7", "--type=my:type", &held]);
    broker.flux(&["cancel", &held]);
    broker.drain();
    broker.assert_true(&mut receiver);
    let mut stats = broker.stats_json();
    let number = |name: &str| stats[name].as_i64().unwrap();
    if !cfg!(flux_failed_alone) {
        // All that did not succeed is "failed" there.
        stats["failed"] = json!(number("failed") - number("canceled") - number("timeout"));
    }
    let values = receiver.values();
    let counted = counters(&values);
    for (name, key) in [
        ("completed", "successful"),
        ("failed", "failed"),
        ("canceled", "canceled"),
        ("timeout", "timeout"),
    ] {
        let counter = counted[format!("flux.job.result.{name}").as_str()];
        assert_eq!(counter, stats[key].as_i64().unwrap(), "{name}");
    }
    assert_eq!(counted["flux.job.result.submitted"], 57);
    let exceptions = |kind: &str| counted[format!("flux.job.exception.{kind}").as_str()];
    assert_eq!((exceptions("my_type"), exceptions("cancel"), exceptions("timeout")), (1, 1, 2));
    broker.end();
}

#[test]
#[cfg_attr(not(have_flux), ignore = "needs flux on PATH")]
fn a_broker_says_why_its_jobs_wait() {
    let mut receiver = Receiver::start();
    let broker = Setup::new(receiver.endpoint()).start();
    // Some are there before it is loaded.
    let running = broker.submit(&[ENDLESS, "-n64"]).remove(0);
    let held = broker.submit(&["--urgency=hold", "--cc=1-2"]).remove(0);
    broker.submit(&[&format!("--dependency=afterany:{running}"), "--cc=1-2"]);
    broker.wait_stats(|stats| stats["RUN"] == 1 && stats["DEPEND"] == 2);
    broker.load(plugin(), &["metrics=pending", "resync=1h"]).unwrap();
    let until = |receiver: &mut Receiver, wanted: &[(&str, i64)]| {
        let wanted: BTreeMap<_, _> =
            wanted.iter().map(|&(name, level)| (name.to_owned(), level)).collect();
        let end = Instant::now() + Duration::from_secs(10);
        let both = |receiver: &mut Receiver| {
            let seen = gauges_named(receiver, |_| true);
            let mut truth = why_jobs_wait(&broker);
            // The broker does not say by which schemes; the test does.
            let schemes = wanted.iter().filter(|(name, _)| name.starts_with("dependency."));
            truth.extend(schemes.map(|(name, level)| (name.clone(), *level)));
            (seen, truth)
        };
        let (mut seen, mut truth) = both(receiver);
        while (&seen, &truth) != (&wanted, &wanted) && Instant::now() < end {
            thread::sleep(Duration::from_millis(100));
            (seen, truth) = both(receiver);
        }
        assert_eq!(seen, wanted);
        assert_eq!(truth, wanted, "flux jobs (left)");
    };
    let here = [("dependency.afterany", 2), ("pending.dependency", 2), ("pending.held", 2)];
    until(&mut receiver, &here);
    broker.submit(&["--begin-time=+1h", "--cc=1-3"]);
    broker.submit(&["--cc=1-4"]);
    broker.flux(&["job", "urgency", &held, "default"]);
    let wanted = [
        ("dependency.afterany", 2),
        ("dependency.begin-time", 3),
        ("pending.dependency", 5),
        ("pending.held", 1),
        ("pending.resources", 5),
    ];
    until(&mut receiver, &wanted);
    // Some that another plugin has no priority for yet, one of them held.
    let waits = c_plugin("misbehaving", "waits.so");
    broker.load(&waits, &["wait=job.state.priority"]).unwrap();
    broker.submit(&["--cc=1-3"]);
    broker.submit(&["--urgency=hold"]);
    let wanted = [
        ("dependency.afterany", 2),
        ("dependency.begin-time", 3),
        ("pending.dependency", 5),
        ("pending.held", 2),
        ("pending.priority", 3),
        ("pending.resources", 5),
    ];
    until(&mut receiver, &wanted);
    broker.flux(&["cancel", "--all"]);
    broker.drain();
    until(&mut receiver, &[]);
    broker.end();
}
