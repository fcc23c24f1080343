//! What a reload of the broker's configuration does to endpoints, names and families.

use std::collections::BTreeMap;

use crate::support::artifact::plugin;
use crate::support::fake_job_manager::FakeJobManager;
use crate::support::gauges::gauges_named;
use crate::support::jobs::{live, step, CLEANUP, COURSE, INACTIVE, RUN, SCHED};
use crate::support::receiver::Receiver;
use crate::support::{counts, Counts};
use serde_json::{json, Value};

const TABLE: &str = "state-counts";

#[test]
fn a_reload_moves_the_gauges_and_loses_nothing() {
    let [mut first, mut second] = [Receiver::start(), Receiver::start()];
    let table = |conf: Value| json!({TABLE: conf});
    let mut host = FakeJobManager::start(None);
    host.config(&table(json!({"endpoint": first.endpoint()})));
    host.load(plugin(), json!({})).unwrap();
    host.advance(0.1);
    live(&mut host, 1, &COURSE);
    live(&mut host, 2, &COURSE[..5]);

    // A second endpoint comes: it gets the values, the first notices nothing.
    host.counts();
    let before = first.seen().datagrams;
    let both = json!([first.endpoint(), second.endpoint()]);
    host.reload(&table(json!({"endpoint": both}))).unwrap();
    let truth = host.counts();
    assert_eq!((first.seen().datagrams, second.seen().gauges), (before, truth));

    // The period changes: what was pending leaves, nothing is doubled.
    host.reload(&table(json!({"endpoint": both, "period": "1s", "resync": 0}))).unwrap();
    live(&mut host, 3, &COURSE[..5]);
    host.reload(&table(json!({"endpoint": both, "resync": 0}))).unwrap();
    let truth = host.counts();
    assert_eq!((first.seen().gauges, second.seen().gauges), (truth.clone(), truth));

    // The first goes: it is taken leave of (with resync 0, of all that was
    // given), and hears no more.
    host.reload(&table(json!({"endpoint": second.endpoint()}))).unwrap();
    host.counts();
    assert_eq!(first.seen().gauges, counts(&[]));
    step(&mut host, 3, RUN, CLEANUP);
    let truth = host.counts();
    assert_eq!(first.seen().gauges, counts(&[]));
    assert_eq!(second.seen().gauges, truth);

    // Another name: the old gauges go down, new ones are there at once.
    host.reload(&table(json!({"endpoint": second.endpoint(), "states": "l"}))).unwrap();
    host.counts();
    let gauges = second.seen().gauges;
    assert_eq!((gauges["RUN"], gauges["CLEANUP"], gauges["INACTIVE"]), (0, 0, 1));
    assert_eq!((gauges["run"], gauges["cleanup"], gauges["inactive"]), (1, 1, 1));
    assert_eq!(second.seen().negative(), Counts::new());
    host.end();
}

#[test]
fn a_family_that_is_switched_leaves_the_others_alone() {
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
    assert_eq!(receiver.seen().gauges, counts(&[]), "they are taken leave of");
    host.reload(&table(json!("states"))).unwrap();
    let truth = host.counts();
    assert_eq!(receiver.seen().gauges, truth);
    host.end();
}

/// Gauges that are sums of several instances are only ever added to: once.
#[test]
fn a_family_that_is_switched_on_is_added_once_to_each_server() {
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
    // With the family comes a server.
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

/// What the families that come need to know of many jobs is asked for in slices, and
/// meanwhile jobs move and end, and the administrator thinks again.
#[test]
fn families_are_switched_on_in_slices_and_right_when_they_come() {
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
        for family in ["user.7", "bank.b"] {
            wanted.insert(format!("{family}.RUN"), 3);
            wanted.insert(format!("{family}.SCHED"), JOBS - 4);
        }
        // It asserts that none is ever negative.
        let gauges = gauges_named(&mut receiver, |name| {
            ["user.", "bank."].iter().any(|family| name.starts_with(family))
        });
        assert_eq!(gauges, wanted, "{metrics}");
        assert_eq!(receiver.seen().gauges["RUN"], 3);
        host.end();
    }
}
