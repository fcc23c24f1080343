//! Reloads of the configuration: endpoints, names and collectors.

use std::collections::BTreeMap;

use serde_json::{json, Value};

use crate::support::artifact::{plugin, NAME};
use crate::support::fake_job_manager::FakeJobManager;
use crate::support::gauges::gauges_named;
use crate::support::jobs::{live, step, CLEANUP, COURSE, INACTIVE, RUN, SCHED};
use crate::support::receiver::Receiver;
use crate::support::samples::{counters, results};
use crate::support::{counts, Counts};

const TABLE: &str = "state-counts";

#[test]
fn a_reload_of_endpoints_periods_and_names_loses_no_count() {
    let [mut first, mut second] = [Receiver::start(), Receiver::start()];
    let table = |conf: Value| json!({TABLE: conf});
    let mut host = FakeJobManager::start(None);
    host.config(&table(json!({"endpoint": first.endpoint()})));
    host.load(plugin(), json!({})).unwrap();
    host.advance(0.1);
    live(&mut host, 1, &COURSE);
    live(&mut host, 2, &COURSE[..5]);

    // A second endpoint gets all values, and the first one gets nothing.
    host.counts();
    let before = first.seen().datagrams;
    let both = json!([first.endpoint(), second.endpoint()]);
    host.reload(&table(json!({"endpoint": both}))).unwrap();
    let truth = host.counts();
    assert_eq!((first.seen().datagrams, second.seen().gauges), (before, truth));

    // When the period changes, pending changes are sent once.
    host.reload(&table(json!({"endpoint": both, "period": "1s", "resync": 0}))).unwrap();
    live(&mut host, 3, &COURSE[..5]);
    host.reload(&table(json!({"endpoint": both, "resync": 0}))).unwrap();
    let truth = host.counts();
    assert_eq!((first.seen().gauges, second.seen().gauges), (truth.clone(), truth));

    // A removed endpoint gets final values, with resync 0 including INACTIVE, and nothing
    // more.
    host.reload(&table(json!({"endpoint": second.endpoint()}))).unwrap();
    host.counts();
    assert_eq!(first.seen().gauges, counts(&[]));
    step(&mut host, 3, RUN, CLEANUP);
    let truth = host.counts();
    assert_eq!(first.seen().gauges, counts(&[]));
    assert_eq!(second.seen().gauges, truth);

    // With other names, the old gauges go to 0, and the new ones are sent at once.
    host.reload(&table(json!({"endpoint": second.endpoint(), "states": "l"}))).unwrap();
    host.counts();
    let gauges = second.seen().gauges;
    assert_eq!((gauges["RUN"], gauges["CLEANUP"], gauges["INACTIVE"]), (0, 0, 1));
    assert_eq!((gauges["run"], gauges["cleanup"], gauges["inactive"]), (1, 1, 1));
    assert_eq!(second.seen().negative(), Counts::new());
    host.end();
}

#[test]
fn a_collector_that_is_switched_does_not_affect_the_others() {
    let mut receiver = Receiver::start();
    let mut host = FakeJobManager::start(Some(&receiver.endpoint()));
    let table = |metrics: Value| json!({TABLE: {"metrics": metrics, "resync": 3600}});
    host.config(&table(json!(["states", "queues"])));
    host.load(plugin(), json!({})).unwrap();
    host.advance(0.1);
    let jobspec = json!({"attributes": {"system": {"queue": "batch"}}});
    host.call("job.new", &json!({"id": 1, "state": RUN, "jobspec": jobspec}));
    host.counts();
    receiver.forget();
    host.reload(&table(json!(["states", "results"]))).unwrap();
    host.counts();
    let seen = receiver.seen();
    assert_eq!((seen.datagrams, seen.gauges), (0, Counts::new()), "nothing about the states");
    assert_eq!(receiver.values()["flux.job.queue.batch.RUN"], ["0|g"]);
    receiver.forget();
    host.reload(&table(json!("results"))).unwrap();
    host.counts();
    assert_eq!(receiver.seen().gauges, counts(&[]), "these are the final values");
    host.reload(&table(json!("states"))).unwrap();
    // A pass takes several slices on a slow machine.
    host.advance(0.1);
    let truth = host.counts();
    assert_eq!(receiver.seen().gauges, truth);
    host.end();
}

/// Gauges that several instances share get the jobs of a new collector as one increment.
#[test]
fn a_new_collector_is_added_once_on_each_server() {
    let mut receivers = [Receiver::start(), Receiver::start()];
    let mut host = FakeJobManager::start(None);
    let endpoints = receivers.each_ref().map(Receiver::endpoint);
    let table = |metrics: Value, endpoint: &[String]| json!({TABLE: {"metrics": metrics, "resync": 0, "endpoint": endpoint}});
    host.config(&table(json!("states"), &endpoints[..1]));
    host.load(plugin(), json!({})).unwrap();
    host.advance(0.1);
    let jobspec = json!({"attributes": {"system": {"queue": "batch"}}});
    for id in 1..4 {
        host.call("job.new", &json!({"id": id, "state": RUN, "jobspec": jobspec}));
    }
    // The reload adds a collector and an endpoint.
    host.reload(&table(json!(["states", "queues"]), &endpoints)).unwrap();
    host.advance(0.1);
    host.counts();
    let added = |receiver: &mut Receiver| {
        let values = receiver.values();
        let values = values.get("flux.job.queue.batch.RUN").into_iter().flatten();
        let numbers = values.map(|value| value.strip_suffix("|g").unwrap().parse::<i64>().unwrap());
        (receiver.seen().gauges["RUN"], numbers.sum::<i64>())
    };
    for receiver in &mut receivers {
        assert_eq!(added(receiver), (3, 3));
    }
    host.end();
}

/// Many jobs are looked up in slices for new collectors. Meanwhile jobs change and end, and
/// the collectors are switched again.
#[test]
fn new_collectors_are_filled_in_slices_and_then_correct() {
    const JOBS: i64 = 3000;
    for (resync, metrics) in [(3600, "states,users,banks"), (0, "states,banks,users")] {
        let (mut host, mut receiver) =
            FakeJobManager::running(json!({"resync": resync, "verify": 0}));
        let job = |id: i64, state: i64, previous: Option<i64>| {
            let mut args = json!({"id": id, "state": state, "userid": 7});
            args["jobspec"] = json!({"attributes": {"system": {"bank": "b"}}});
            if let Some(previous) = previous {
                args["prev_state"] = previous.into();
            }
            args
        };
        (0..JOBS).for_each(|id| host.call("job.new", &job(id, SCHED, None)));
        let switch = |host: &mut FakeJobManager, metrics: &str| {
            host.reload(&json!({TABLE: {"metrics": metrics}})).unwrap();
        };
        switch(&mut host, "states,users");
        host.call("job.state.run", &job(1, RUN, Some(SCHED)));
        switch(&mut host, "states");
        switch(&mut host, metrics);
        host.call("job.state.run", &job(2, RUN, Some(SCHED)));
        host.call("job.state.cleanup", &job(JOBS - 1, CLEANUP, Some(SCHED)));
        host.call("job.state.inactive", &job(JOBS - 1, INACTIVE, Some(CLEANUP)));
        host.call("job.inactive-add", &job(JOBS - 1, INACTIVE, None));
        host.advance(60.0);
        host.call("job.state.run", &job(3, RUN, Some(SCHED)));
        let truth = host.counts();
        assert_eq!(truth["RUN"], 3);
        let mut wanted = BTreeMap::new();
        for label in ["user.7", "bank.b"] {
            wanted.insert(format!("{label}.RUN"), 3);
            wanted.insert(format!("{label}.SCHED"), JOBS - 4);
        }
        // Fails if a gauge is ever negative.
        let gauges = gauges_named(&mut receiver, |name| {
            ["user.", "bank."].iter().any(|label| name.starts_with(label))
        });
        assert_eq!(gauges, wanted, "{metrics}");
        assert_eq!(receiver.seen().gauges["RUN"], 3);
        host.end();
    }
}

#[test]
fn collectors_are_switched_on_and_off() {
    let mut receiver = Receiver::start();
    let mut host = FakeJobManager::start(Some(&receiver.endpoint()));
    host.load(plugin(), json!({})).unwrap();
    host.advance(0.1);
    live(&mut host, 1, &COURSE[..5]);
    host.counts();
    assert_eq!(receiver.others(), Vec::<String>::new(), "state counts alone are the default");
    let before = receiver.seen().datagrams;

    // A new collector does not change the state counts; switched off, they go to 0.
    let metrics = |metrics: Value| json!({"state-counts": {"metrics": metrics}});
    host.reload(&metrics(json!(["states", "results"]))).unwrap();
    host.counts();
    assert_eq!(receiver.seen().datagrams, before);
    host.reload(&metrics(json!("results"))).unwrap();
    host.advance(0.1);
    host.call("job.new", &json!({"id": 2, "state": 1}));
    host.advance(60.0);
    host.counts();
    assert_eq!(receiver.seen().gauges, counts(&[]));
    assert_eq!(counters(&receiver.values()), results(("flux.job.result.submitted", 1)));
    host.reload(&metrics(json!(["states"]))).unwrap();
    host.advance(0.1);
    let truth = host.counts();
    assert_eq!(receiver.seen().gauges, truth);
    host.remove(NAME).unwrap();
    host.end();
}
