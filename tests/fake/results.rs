//! The results of jobs, how long they were in each state, and their exceptions.

use std::collections::BTreeMap;

use serde_json::json;

use crate::support::artifact::plugin;
use crate::support::fake_job_manager::FakeJobManager;
use crate::support::jobs::{live, COURSE, NEW, RUN};
use crate::support::receiver::Receiver;
use crate::support::samples::{assert_same, counters, results, timings};
use crate::support::{trace, Counts, STATES};

scenarios!(results:
    another_subscriber_keeps_its_exceptions,
    results_and_times_are_those_of_the_host,
);

#[test]
fn the_recorded_run_has_the_results_and_times_of_its_broker() {
    let (mut host, mut receiver) =
        FakeJobManager::running(json!({"metrics": ["timings", "results"], "period": 1}));
    // By job: its state, and the time of the event that led to it. It is in NEW since its
    // submission.
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
        let submitted = recorded.args["t_submit"].as_f64().unwrap();
        let (left, entered) = since.insert(id, (state, at)).unwrap_or((NEW, submitted));
        stays.entry(left).or_default().push((at - entered) * 1000.0);
        if state == RUN {
            ways.push((at - submitted) * 1000.0);
        }
    }
    host.advance(1.0);
    host.counts();
    let values = receiver.values();
    for (number, name) in STATES.iter().enumerate().take(6) {
        let wanted = stays.remove(&(1 << number)).unwrap();
        assert_same(&timings(&values, &format!("flux.job.time.{name}")), wanted);
    }
    assert_same(&timings(&values, "flux.job.time.submit_to_run"), ways);
    let stats = trace::stats("before-purge");
    let number = |key: &str| stats[key].as_i64().unwrap();
    // Fatal exceptions, of the transitions to CLEANUP.
    let results = [
        ("flux.job.exception.cancel", number("canceled")),
        ("flux.job.exception.timeout", number("timeout")),
        ("flux.job.result.canceled", number("canceled")),
        ("flux.job.result.completed", number("successful")),
        ("flux.job.result.failed", number("failed")),
        ("flux.job.result.submitted", 875),
        ("flux.job.result.timeout", number("timeout")),
    ];
    assert_eq!(counters(&values), results.into());
    assert!(receiver.seen().gauges.is_empty(), "the collector states is not enabled");
    host.end();
}

#[test]
fn jobs_from_before_the_load_have_no_time_in_their_first_state() {
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
    assert!(timings(&values, "flux.job.time.RUN").is_empty(), "the time of its start is unknown");
    assert_eq!(timings(&values, "flux.job.time.CLEANUP"), [250.0]);
    assert_eq!(counters(&values), results(("flux.job.result.completed", 1)));
}

#[test]
fn exception_types_are_cleaned_and_bounded() {
    let (mut host, mut receiver) =
        FakeJobManager::running(json!({"metrics": "results", "dialect": "dogstatsd"}));
    live(&mut host, 1, &COURSE[..1]);
    host.raise(1, "a:1|c\nflux.job.state.RUN:9|g");
    for number in 0..100 {
        host.raise(1, &format!("type-{number}"));
        host.raise(1, &"x".repeat(100 + number));
    }
    host.raise(1, "type-0");
    host.counts();
    let mut tags: BTreeMap<String, u64> = BTreeMap::new();
    for datagram in receiver.others() {
        let is_exception = |line: &&str| !line.contains("|g") && !line.contains(".result:");
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
fn times_are_not_negative_when_the_clock_goes_back() {
    let (mut host, mut receiver) =
        FakeJobManager::running(json!({"metrics": ["states", "timings"], "resync": "10s"}));
    let mut at = 1_000_000.0;
    for (place, pair) in COURSE.windows(2).enumerate() {
        let topic = format!("job.state.{}", STATES[place + 1].to_lowercase());
        if place == 0 {
            host.call("job.new", &json!({"id": 1, "state": pair[0], "t_submit": at}));
        }
        // Each event is an hour before the previous one.
        at -= 3600.0;
        let args = json!({"id": 1, "state": pair[1], "prev_state": pair[0], "t_submit": 1_000_000.0,
                          "entry": {"name": "x", "timestamp": at}});
        host.call(&topic, &args);
    }
    host.call("job.inactive-add", &json!({"id": 1, "state": 64}));
    let truth = host.counts();
    let seen = receiver.seen();
    assert_eq!((seen.negative(), truth["INACTIVE"]), (Counts::new(), 1));
    let times: Vec<_> = receiver.values().into_values().flatten().collect();
    let times: Vec<_> = times.iter().filter(|value| value.ends_with("|ms")).collect();
    // The times in NEW to CLEANUP, and from submit to run.
    assert_eq!(times, ["0|ms"; 7]);
    host.end();
}

#[test]
fn exception_types_of_flux_have_a_place_and_others_share_the_rest() {
    let (mut host, mut receiver) =
        FakeJobManager::running(json!({"metrics": "results", "verify": "2s"}));
    live(&mut host, 1, &COURSE[..1]);
    for number in 0..20 {
        host.raise(1, &format!("note{number}"));
    }
    for kind in ["cancel", "timeout", "exec"] {
        host.raise(1, kind);
    }
    // A reconcile pass: a type that was not raised since then gives its place to a new one.
    host.advance(2.1);
    host.raise(1, "note0");
    host.raise(1, "note99");
    host.counts();
    let values = receiver.values();
    let counted = counters(&values);
    let count = |kind: &str| counted.get(&*format!("flux.job.exception.{kind}")).copied();
    let kinds = ["cancel", "timeout", "exec", "note0", "note1", "note14", "note15", "note99"];
    let ones = [1, 1, 1, 2, 1, 1].map(Some);
    assert_eq!(kinds.map(count), [&ones[..], &[None, Some(1)]].concat()[..]);
    assert_eq!(count("other"), Some(5));
    host.end();
}

#[test]
fn a_second_fatal_exception_of_a_job_is_not_counted() {
    let (mut host, mut receiver) = FakeJobManager::running(json!({"metrics": "results"}));
    live(&mut host, 1, &COURSE[..5]);
    let exception = json!({"id": 1, "type": "cancel", "severity": 0});
    host.publish("job-exception", &exception);
    let args = json!({"id": 1, "state": 32, "prev_state": RUN,
                      "entry": {"name": "exception", "timestamp": 1.0, "context": exception}});
    host.call("job.state.cleanup", &args);
    host.publish("job-exception", &json!({"id": 1, "type": "node-failure", "severity": 0}));
    host.counts();
    let values = receiver.values();
    let counted = counters(&values);
    assert_eq!(counted["flux.job.exception.cancel"], 1);
    assert!(!counted.contains_key("flux.job.exception.node-failure"), "{counted:?}");
    host.end();
}

/// As with `--dependency=after:` of another user's job.
#[test]
fn an_exception_of_a_rejected_job_is_not_counted() {
    let (mut host, mut receiver) = FakeJobManager::running(json!({"metrics": "results"}));
    host.raise(1, "dependency");
    live(&mut host, 2, &COURSE);
    host.raise(2, "note");
    host.counts();
    let values = receiver.values();
    let counted = counters(&values);
    assert!(!counted.contains_key("flux.job.exception.dependency"), "{counted:?}");
    assert_eq!(counted["flux.job.exception.note"], 1);
    host.end();
}
