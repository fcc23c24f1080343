//! The number of jobs in each state.

use serde_json::json;

use crate::support::artifact::plugin;
use crate::support::fake_job_manager::FakeJobManager;
use crate::support::jobs::{live, step, COURSE, INACTIVE, RUN, SCHED};
use crate::support::receiver::Receiver;
use crate::support::{counts, trace, Counts};

#[track_caller]
fn assert_true(host: &mut FakeJobManager, receiver: &mut Receiver) {
    let truth = host.counts();
    let seen = receiver.seen();
    assert_eq!(seen.gauges, truth, "received (left), recounted (right)");
    assert_eq!(seen.negative(), Counts::new());
}

#[test]
fn the_recorded_run_ends_with_the_counts_of_its_broker() {
    let (mut host, mut receiver) = FakeJobManager::running(json!({}));
    let before = receiver.seen().datagrams;
    let mut changes = 0;
    let mut purging = false;
    for (number, recorded) in trace::callbacks().iter().enumerate() {
        if recorded.topic == "job.inactive-remove" && !purging {
            purging = true;
            host.counts();
            assert_eq!(receiver.seen().gauges, trace::truth("before-purge"));
        }
        host.call(&recorded.topic, &recorded.args);
        changes += match recorded.topic.as_str() {
            "job.new" | "job.inactive-remove" => 1,
            "job.state.depend" => u64::from(recorded.args["prev_state"].is_i64()),
            topic => u64::from(topic.starts_with("job.state.")),
        };
        if number % 200 == 0 {
            // The receiver reads all datagrams, so that the kernel drops none.
            assert_true(&mut host, &mut receiver);
        }
    }
    assert_true(&mut host, &mut receiver);
    let seen = receiver.seen();
    assert_eq!(seen.gauges, trace::truth("after-purge"));
    assert_eq!(seen.datagrams - before, changes, "one datagram for each event that counts");
    host.end();
}

#[test]
fn events_that_contradict_the_job_table_are_logged_once_and_make_no_gauge_negative() {
    let (mut host, mut receiver) = FakeJobManager::running(json!({}));
    host.log();
    for id in 0..3 {
        step(&mut host, id, SCHED, RUN);
        host.call("job.state.new-in-2031", &json!({"id": id, "state": 128, "prev_state": RUN}));
        host.call("job.new", &json!({"id": id + 100, "state": 0}));
    }
    let log: Vec<_> = host.log().into_iter().map(|(_, text)| text).collect();
    assert_eq!(
        log,
        [
            "state-counts: missed an event for a job entering or leaving SCHED (did another \
             plugin fail?); counts corrected (further ones are counted, and not logged)",
            "state-counts: job state 128 is unknown to this version of the plugin and not \
             counted (further ones are counted, and not logged)",
        ]
    );
    let seen = receiver.seen();
    assert_eq!(seen.gauges, Counts::from(counts(&[])));
    assert_eq!(seen.negative(), Counts::new());
    assert_eq!(host.silenced(), 0);
}

#[test]
fn the_number_of_inactive_jobs_is_correct_whenever_the_response_comes() {
    let mut receiver = Receiver::start();
    let mut host = FakeJobManager::start(Some(&receiver.endpoint()));
    for id in 0..5 {
        live(&mut host, id, &COURSE);
    }
    host.rpc_mode("hold");
    host.load(plugin(), json!({})).unwrap();
    host.advance(0.1);
    live(&mut host, 5, &COURSE);
    host.rpc_take();
    live(&mut host, 6, &COURSE);
    host.call("job.inactive-remove", &json!({"id": 0, "state": INACTIVE}));
    host.rpc_deliver();
    host.counts();
    // One job ended before the broker counted and one after it: the number is ambiguous.
    assert!(!receiver.seen().gauges.contains_key("INACTIVE"));
    host.rpc_mode("answer");
    host.advance(0.2);
    let truth = host.counts();
    assert_eq!(truth["INACTIVE"], 6);
    let seen = receiver.seen();
    assert_eq!(seen.gauges, truth);
    assert_eq!(seen.texts.iter().filter(|text| text.contains("INACTIVE")).count(), 1);
}

#[test]
fn the_number_of_inactive_jobs_is_not_sent_without_a_response() {
    let mut receiver = Receiver::start();
    let mut host = FakeJobManager::start(Some(&receiver.endpoint()));
    live(&mut host, 1, &COURSE);
    host.rpc_mode("fail");
    host.load(plugin(), json!({})).unwrap();
    live(&mut host, 2, &COURSE);
    host.advance(60.0);
    let log: Vec<_> = host.log().into_iter().filter(|(level, _)| *level < 6).collect();
    assert_eq!(log.len(), 1, "{log:?}");
    assert!(log[0].1.contains("job-manager.stats-get: "), "{log:?}");
    assert!(!receiver.seen().gauges.contains_key("INACTIVE"));
    host.rpc_mode("answer");
    host.advance(10.1);
    let truth = host.counts();
    assert_eq!(receiver.seen().gauges, truth);
}
