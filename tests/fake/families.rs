//! The families of metrics besides the state counts: timings and results.

use std::collections::BTreeMap;

use crate::support::artifact::{plugin, NAME};
use crate::support::fake_job_manager::FakeJobManager;
use crate::support::jobs::{live, COURSE, RUN};
use crate::support::receiver::Receiver;
use crate::support::samples::{assert_same, counters, timings};
use crate::support::{counts, trace, STATES};
use serde_json::{json, Value};

/// The counters of results, of which one counted something. The others were begun at 0.
fn results(counted: (&str, i64)) -> BTreeMap<&'static str, i64> {
    let mut results = BTreeMap::from([
        ("flux.job.result.canceled", 0),
        ("flux.job.result.completed", 0),
        ("flux.job.result.failed", 0),
        ("flux.job.result.submitted", 0),
        ("flux.job.result.timeout", 0),
    ]);
    *results.get_mut(counted.0).expect("one of them") += counted.1;
    results
}

#[test]
fn the_recorded_run_gives_the_recorded_results_and_times() {
    let (mut host, mut receiver) =
        FakeJobManager::running(json!({"metrics": ["timings", "results"], "period": 1}));
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
    let mut host = FakeJobManager::start(Some(&receiver.endpoint()));
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
    assert_eq!(counters(&values), results(("flux.job.result.completed", 1)));
}

#[test]
fn exception_types_cannot_forge_lines_nor_grow_without_bound() {
    let (mut host, mut receiver) =
        FakeJobManager::running(json!({"metrics": "results", "dialect": "dogstatsd"}));
    let raise = |host: &mut FakeJobManager, kind: &str| {
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
        let is_exception = |line: &&str| !line.contains("|g") && !line.contains(".result:0|c");
        for line in datagram.lines().filter(is_exception) {
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
    let mut host = FakeJobManager::start(Some(&receiver.endpoint()));
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
    assert_eq!(counters(&receiver.values()), results(("flux.job.result.submitted", 1)));
    host.reload(&metrics(json!(["states"]))).unwrap();
    let truth = host.counts();
    assert_eq!(receiver.seen().gauges, truth);
    host.remove(NAME).unwrap();
    host.end();
}
