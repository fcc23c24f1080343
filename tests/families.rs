//! The families of metrics besides the state counts: timings and results.

mod support;

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{json, Value};
use support::artifact::{plugin, NAME};
use support::broker::{Broker, Setup, ENDLESS, SIMULATED};
use support::compiled::compiled;
use support::jobs::{live, COURSE, RUN};
use support::levels::levels;
use support::receiver::Receiver;
use support::standin::Standin;
use support::{counts, trace, STATES};

/// What each counter came to.
fn counters(values: &BTreeMap<String, Vec<String>>) -> BTreeMap<&str, i64> {
    let counted = values.iter().filter_map(|(name, values)| {
        let numbers = values.iter().map(|value| value.strip_suffix("|c")?.parse::<i64>().ok());
        Some((name.as_str(), numbers.sum::<Option<i64>>()?))
    });
    counted.collect()
}

/// The timings under a name, in milliseconds, least first.
fn timings(values: &BTreeMap<String, Vec<String>>, name: &str) -> Vec<f64> {
    let none = Vec::new();
    let values = values.get(name).unwrap_or(&none).iter();
    let mut numbers: Vec<f64> =
        values.map(|value| value.strip_suffix("|ms").unwrap().parse().unwrap()).collect();
    numbers.sort_by(f64::total_cmp);
    numbers
}

#[track_caller]
fn assert_same(got: &[f64], mut wanted: Vec<f64>) {
    wanted.sort_by(f64::total_cmp);
    assert_eq!(got.len(), wanted.len());
    for (got, wanted) in got.iter().zip(&wanted) {
        assert!((got - wanted).abs() < 1.0, "{got} ms, by the eventlog {wanted} ms");
    }
}

#[test]
fn the_recorded_run_gives_the_recorded_results_and_times() {
    let (mut host, mut receiver) =
        Standin::running(json!({"metrics": ["timings", "results"], "period": 1}));
    // By job: the state it is in and since when, as the entries say it.
    let mut since: BTreeMap<i64, (i64, f64)> = BTreeMap::new();
    let mut stays: BTreeMap<i64, Vec<f64>> = BTreeMap::new();
    let mut ways = Vec::new();
    for (number, recorded) in trace::callbacks().iter().enumerate() {
        host.call(&recorded.topic, &recorded.args);
        if number % 500 == 0 {
            host.advance(1.0);
            host.counts();
            receiver.seen();
        }
        let Some(at) = recorded.args["entry"]["timestamp"].as_f64() else { continue };
        let id = recorded.args["id"].as_i64().unwrap();
        let state = recorded.args["state"].as_i64().unwrap();
        if let Some((state, entered)) = since.insert(id, (state, at)) {
            stays.entry(state).or_default().push((at - entered) * 1000.0);
        }
        if state == RUN {
            ways.push((at - recorded.args["t_submit"].as_f64().unwrap()) * 1000.0);
        }
    }
    host.advance(1.0);
    host.counts();
    let values = receiver.values();
    for (number, name) in STATES.iter().enumerate().take(6).skip(1) {
        let wanted = stays.remove(&(1 << number)).unwrap();
        assert_same(&timings(&values, &format!("flux.job.time.{name}")), wanted);
    }
    assert_same(&timings(&values, "flux.job.time.submit_to_run"), ways);
    let wanted = [
        ("flux.job.result.canceled", 2),
        ("flux.job.result.completed", 843),
        ("flux.job.result.failed", 20),
        ("flux.job.result.submitted", 875),
        ("flux.job.result.timeout", 10),
    ];
    assert_eq!(counters(&values), wanted.into());
    assert!(receiver.seen().gauges.is_empty(), "states were not wanted");
    host.end();
}

#[test]
fn jobs_that_were_there_before_have_no_invented_times() {
    let mut receiver = Receiver::start();
    let mut host = Standin::start(Some(&receiver.endpoint()));
    live(&mut host, 1, &COURSE[..5]);
    host.load(plugin(), json!({"metrics": "timings,results"})).unwrap();
    host.advance(0.1);
    let entry = |at: f64| json!({"name": "x", "timestamp": at});
    let end = json!({"name": "finish", "context": {"status": 0}});
    let args = |state: i64, previous: i64, at: f64| {
        json!({"id": 1, "state": state, "prev_state": previous, "t_submit": 1.0,
               "entry": entry(at), "end_event": end})
    };
    host.call("job.state.cleanup", &args(32, 16, 100.0));
    host.call("job.state.inactive", &args(64, 32, 100.25));
    host.counts();
    let values = receiver.values();
    assert!(timings(&values, "flux.job.time.RUN").is_empty(), "nobody knows since when");
    assert_eq!(timings(&values, "flux.job.time.CLEANUP"), [250.0]);
    assert_eq!(counters(&values), [("flux.job.result.completed", 1)].into());
}

#[test]
fn exception_types_cannot_forge_lines_nor_grow_without_bound() {
    let (mut host, mut receiver) =
        Standin::running(json!({"metrics": "results", "dialect": "dogstatsd"}));
    let raise = |host: &mut Standin, kind: &str| {
        let entry = json!({"name": "exception", "context": {"type": kind}});
        host.call("job.event.exception", &json!({"id": 1, "entry": entry}));
    };
    raise(&mut host, "a:1|c\nflux.job.state.RUN:9|g");
    for number in 0..100 {
        raise(&mut host, &format!("type-{number}"));
        raise(&mut host, &"x".repeat(100 + number));
    }
    raise(&mut host, "type-0");
    host.counts();
    let mut tags: BTreeMap<String, u64> = BTreeMap::new();
    for datagram in receiver.others() {
        for line in datagram.lines().filter(|line| !line.contains("|g")) {
            let (_, tag) = line.split_once("flux.job.exception:1|c|#type:").expect("one line");
            *tags.entry(tag.to_owned()).or_default() += 1;
        }
    }
    assert_eq!(tags.len(), 16, "the others among them: {tags:?}");
    assert_eq!(tags["a_1_c_flux_job_state_RUN_9_g"], 1);
    assert_eq!((tags["type-0"], tags["other"]), (2, 200 - 14));
}

#[test]
fn families_are_switched_on_and_off_on_the_fly() {
    let mut receiver = Receiver::start();
    let mut host = Standin::start(Some(&receiver.endpoint()));
    host.load(plugin(), json!({})).unwrap();
    host.advance(0.1);
    live(&mut host, 1, &COURSE[..5]);
    host.counts();
    assert_eq!(receiver.others(), Vec::<String>::new(), "state counts alone are the default");
    let before = receiver.seen().datagrams;

    // With the others on, the gauges notice nothing; switched off, they go down.
    let metrics = |metrics: Value| json!({"state-counts": {"metrics": metrics}});
    host.reload(&metrics(json!(["states", "results"]))).unwrap();
    host.counts();
    assert_eq!(receiver.seen().datagrams, before);
    host.reload(&metrics(json!("results"))).unwrap();
    host.call("job.new", &json!({"id": 2, "state": 1}));
    host.advance(60.0);
    host.counts();
    assert_eq!(receiver.seen().gauges, counts(&[]));
    assert_eq!(counters(&receiver.values()), [("flux.job.result.submitted", 1)].into());
    host.reload(&metrics(json!(["states"]))).unwrap();
    let truth = host.counts();
    assert_eq!(receiver.seen().gauges, truth);
    host.remove(NAME).unwrap();
    host.end();
}

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

/// Why each job waits that waits, by the broker's own word of its state, urgency and
/// priority.
fn why_jobs_wait(broker: &Broker) -> BTreeMap<String, i64> {
    let format = "{state}|{urgency}|{priority}";
    let mut reasons = BTreeMap::new();
    for line in broker.flux(&["jobs", "-A", "-f", "pending", "-n", "-o", format]).lines() {
        let reason = match line.split('|').collect::<Vec<_>>()[..] {
            ["DEPEND", ..] => "dependency",
            ["PRIORITY" | "SCHED", "0", _] => "held",
            ["PRIORITY", ..] | ["SCHED", _, "0"] => "priority",
            ["SCHED", ..] => "resources",
            _ => panic!("{line}"),
        };
        *reasons.entry(format!("pending.{reason}")).or_default() += 1;
    }
    reasons
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
            let seen = levels(receiver, |_| true);
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
    let waits = compiled("tests/host/misbehaving.c", "waits.so", &["-shared", "-fPIC"]);
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
