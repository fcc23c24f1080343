//! Callbacks whose arguments are missing, have the wrong type or are absurd: each returns 0,
//! a few lines are logged, and nothing else happens.

use std::collections::BTreeSet;

use serde_json::{json, Value};

use crate::support::artifact::plugin;
use crate::support::compiled::c_plugin;
use crate::support::fake_job_manager::FakeJobManager;
use crate::support::jobs::{live, COURSE, RUN, TOPICS};
use crate::support::receiver::Receiver;
use crate::support::{all_collectors, counts, Counts};

/// Values of all JSON types, and extreme ones.
fn values() -> Vec<Value> {
    let mut nested = json!(1);
    for _ in 0..100 {
        nested = json!([nested]);
    }
    vec![
        Value::Null,
        json!(true),
        json!(0),
        json!(-1),
        json!(3),
        json!(128),
        json!(1i64 << 31),
        json!(1i64 << 32),
        json!(i64::MIN),
        json!(i64::MAX),
        json!(1.5),
        json!(-1e308),
        json!(1e308),
        json!(""),
        json!("RUN"),
        json!("a:1|g\nflux.job.state.RUN:987654|g"),
        json!("x".repeat(5_000)),
        json!("\u{1F980}\u{202E}\u{7f}"),
        json!([]),
        json!({}),
        nested,
    ]
}

/// Valid arguments of a callback, and copies in which one item is missing or has another
/// value.
fn arguments() -> Vec<Value> {
    let good = json!({
        "id": 7, "state": 16, "prev_state": 8, "t_submit": 10.0,
        "entry": {"name": "exception", "timestamp": 11.0, "context": {"type": "x"}},
        "end_event": {"name": "finish", "context": {"status": 0}},
        "userid": 100,
        "jobspec": {
            "attributes": {"system": {"queue": "batch", "bank": "physics"}},
            "resources": [{"type": "slot", "count": 2, "with": [{"type": "core", "count": 1}]}],
        },
        "R": {"version": 1, "execution": {"R_lite": [{"rank": "0", "children": {"core": "0-1"}}]}},
    });
    let pointers = [
        "/id",
        "/state",
        "/prev_state",
        "/t_submit",
        "/entry",
        "/entry/timestamp",
        "/entry/context",
        "/entry/context/type",
        "/end_event",
        "/end_event/context",
        "/jobspec",
        "/jobspec/attributes",
        "/jobspec/attributes/system",
        "/jobspec/attributes/system/queue",
        "/jobspec/attributes/system/bank",
        "/jobspec/resources",
        "/jobspec/resources/0/count",
        "/jobspec/resources/0/with",
        "/userid",
        "/R",
        "/R/execution",
        "/R/execution/R_lite/0/rank",
        "/R/execution/R_lite/0/children",
        "/R/execution/R_lite/0/children/core",
    ];
    let mut all = vec![json!({}), good.clone()];
    for pointer in pointers {
        for value in values() {
            let mut arguments = good.clone();
            *arguments.pointer_mut(pointer).expect("it is in the good one") = value;
            all.push(arguments);
        }
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        let mut arguments = good.clone();
        arguments.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(name);
        all.push(arguments);
    }
    all
}

#[test]
fn absurd_arguments_of_each_callback_are_logged_a_few_times_and_change_nothing() {
    absurd_arguments(json!("states"), 0);
}

#[test]
fn absurd_arguments_affect_no_collector() {
    absurd_arguments(json!(all_collectors()), 1);
}

fn absurd_arguments(metrics: Value, period: i64) {
    let conf = json!({"metrics": metrics.clone(), "period": period});
    let mut receiver = Receiver::start();
    let mut host = FakeJobManager::start(Some(&receiver.endpoint()));
    host.load(plugin(), conf).unwrap();
    host.load(&c_plugin("second", "second.so"), json!({})).unwrap();
    host.log();
    // Before the first iteration of the reactor loop, and after it.
    for _ in 0..2 {
        for arguments in arguments() {
            for topic in TOPICS {
                host.call(topic, &arguments);
            }
            host.publish("job-exception", &arguments);
        }
        host.advance(1.0);
        host.counts();
        receiver.seen();
    }
    assert_eq!(host.silenced(), 0, "every callback returned 0");
    assert_eq!(receiver.seen().negative(), Counts::new());
    let forged = receiver.others().into_iter().filter(|text| text.contains(":987654"));
    assert_eq!(forged.collect::<Vec<_>>(), Vec::<String>::new());

    let log: Vec<_> = host.log().into_iter().map(|(_, text)| text).collect();
    let ours: Vec<_> = log.iter().filter(|line| line.starts_with("state-counts: ")).collect();
    let places: BTreeSet<_> = ours.iter().filter_map(|line| line.split(": ").nth(1)).collect();
    for place in ["job.new", "job.state"] {
        assert!(places.contains(place), "{ours:?}");
    }
    // One line for each callback, and one for each kind of anomaly.
    assert!(ours.len() <= 9, "{ours:?}");
    assert!(ours.iter().all(|line| line.contains("further")), "{ours:?}");

    // Valid callbacks are counted as usual.
    let before = receiver.seen().gauges;
    live(&mut host, 1_000_000, &COURSE[..5]);
    host.advance(1.0);
    let truth = &host.query()["counts"];
    assert_eq!(host.log().last().unwrap().1, "second: a job runs");
    let after = receiver.seen().gauges;
    // The receiver does not read datagrams that also have metrics of other collectors.
    if metrics == "states" {
        assert_eq!(after["RUN"], before["RUN"] + 1);
    }
    for (state, count) in after.into_iter().filter(|_| metrics == "states") {
        assert_eq!(truth[&state], count, "{state}");
    }
    host.end();
}

#[test]
fn an_absurd_configuration_of_the_broker_is_refused_and_changes_nothing() {
    let (mut host, _receiver) = FakeJobManager::running(json!({}));
    let before = host.query();
    host.log();
    for value in values().into_iter().filter(|value| *value != json!({})) {
        let refused = host.reload(&json!({"state-counts": value}));
        // A null value can only be in the conf object: TOML has none.
        let text = refused.expect_err(&value.to_string());
        assert!(text.starts_with("state-counts: ") && !text.contains('\n'), "{text}");
    }
    for conf in values().into_iter().filter(|value| !value.is_object()) {
        host.reload(&conf).expect("the broker's tables that are not ours are not our business");
    }
    assert!(host.log().is_empty());
    host.reload(&json!({})).unwrap();
    assert_eq!(host.query()["config"], before["config"]);
    host.end();
}

#[test]
fn invalid_arguments_are_logged_once_for_each_callback() {
    let (mut host, mut receiver) = FakeJobManager::running(json!({}));
    host.load(&c_plugin("second", "second.so"), json!({})).unwrap();
    host.log();
    for args in
        [json!({}), json!({"state": "RUN"}), json!({"id": 9, "state": RUN, "prev_state": "x"})]
    {
        for topic in ["job.new", "job.state.run"] {
            host.call(topic, &args);
        }
    }
    live(&mut host, 1, &COURSE);
    let log: Vec<_> = host.log().into_iter().map(|(_, text)| text).collect();
    assert_eq!(
        log,
        [
            "state-counts: job.new: cannot unpack the callback's arguments: Object item not \
             found: id (further ones are not logged)",
            "state-counts: job.state: cannot unpack the callback's arguments: Object item not \
             found: id (further ones are not logged)",
            "second: a job runs",
        ]
    );
    assert_eq!(host.silenced(), 0);
    // The third arguments have all that job.new requires.
    assert_eq!(receiver.seen().gauges, counts(&[("RUN", 1), ("INACTIVE", 1)]));
    host.end();
}
