//! Jobs by queue.

use std::collections::BTreeMap;
use std::time::UNIX_EPOCH;

use serde_json::{json, Value};

use crate::support::artifact::{plugin, NAME};
use crate::support::fake_job_manager::FakeJobManager;
use crate::support::gauges::{gauges_named, Gauges};
use crate::support::jobs::{COURSE, INACTIVE, NEW, PRIORITY, RUN, SCHED};
use crate::support::queues::{gauges, truth};
use crate::support::receiver::Receiver;
use crate::support::trace;

scenarios!(queues:
    a_job_that_moves_to_another_queue_is_counted_there,
    a_reload_to_dialect_pcp_replaces_dashes_and_keeps_the_counts,
    an_instance_without_queues_has_the_anonymous_queue,
    jobs_are_counted_by_queue,
    jobs_of_a_stopped_queue_do_not_wait_for_resources,
    pending_timings_and_results_are_also_counted_by_queue,
    resources_are_counted_by_label,
    two_queues_with_the_same_cleaned_name_share_a_gauge,
);

fn conf() -> Value {
    json!({"metrics": ["states", "queues"], "resync": 3600})
}

fn job(id: i64, state: i64, previous: Option<i64>, queue: &str) -> Value {
    let jobspec = json!({"attributes": {"system": {"queue": queue}}, "resources": [{"type": "core", "count": 1}]});
    let mut job = json!({"id": id, "state": state, "jobspec": jobspec});
    if let Some(previous) = previous {
        job["prev_state"] = json!(previous);
    }
    job
}

/// The callbacks of a job in one queue that enters the states of `path`.
fn live(host: &mut FakeJobManager, id: i64, path: &[i64], queue: &str) {
    host.call("job.new", &job(id, path[0], None, queue));
    for pair in path.windows(2) {
        host.call("job.state.any", &job(id, pair[1], Some(pair[0]), queue));
        if pair[1] == INACTIVE {
            host.call("job.inactive-add", &job(id, INACTIVE, None, queue));
        }
    }
}

#[test]
fn the_recorded_run_ends_with_the_queues_of_its_broker() {
    let (mut host, mut receiver) = FakeJobManager::running(conf());
    let mut purged = false;
    for (number, recorded) in trace::callbacks().iter().enumerate() {
        if recorded.topic == "job.inactive-remove" && !purged {
            purged = true;
            host.counts();
            let before = gauges(&mut receiver);
            assert_eq!(before, truth(&trace::stats("before-purge")));
            assert_eq!((before["batch.INACTIVE"], before["debug.INACTIVE"]), (674, 201));
        }
        host.call(&recorded.topic, &recorded.args);
        if number % 500 == 0 {
            let wanted = truth(&host.queues());
            assert_eq!(gauges(&mut receiver), wanted);
        }
    }
    assert!(purged);
    host.counts();
    let after: BTreeMap<_, _> = gauges(&mut receiver);
    assert_eq!(after, truth(&trace::stats("after-purge")));
    let log = host.log().into_iter().filter(|(level, _)| *level < 6).count();
    assert_eq!(log, 0);
    host.end();
}

#[test]
fn inactive_jobs_by_queue_are_not_sent_before_the_response() {
    let mut receiver = Receiver::start();
    let mut host = FakeJobManager::start(Some(&receiver.endpoint()));
    for id in 0..5 {
        live(&mut host, id, &COURSE, if id < 3 { "batch" } else { "debug" });
    }
    live(&mut host, 5, &COURSE[..4], "batch");
    live(&mut host, 6, &COURSE[..5], "debug");
    host.rpc_mode("hold");
    host.load(plugin(), conf()).unwrap();
    host.advance(0.1);
    // A job ends while the request is under way.
    live(&mut host, 7, &COURSE, "debug");
    host.counts();
    assert!(!gauges(&mut receiver).keys().any(|name| name.ends_with("INACTIVE")));
    host.rpc_mode("answer");
    host.rpc_take();
    host.rpc_deliver();
    host.advance(1.0);
    let wanted = truth(&host.queues());
    assert_eq!(wanted["debug.INACTIVE"], 3);
    assert_eq!(gauges(&mut receiver), wanted);

    // A job changes its queue as it goes back to PRIORITY.
    host.call("job.update", &job(5, SCHED, None, "debug"));
    let wanted = truth(&host.queues());
    assert_eq!((wanted.get("batch.SCHED"), wanted["debug.SCHED"]), (None, 1));
    assert_eq!(gauges(&mut receiver), wanted);
    host.call("job.state.priority", &job(5, PRIORITY, Some(SCHED), "batch"));
    host.call("job.inactive-remove", &job(3, INACTIVE, None, "debug"));
    let wanted = truth(&host.queues());
    assert_eq!(gauges(&mut receiver), wanted);

    // A removal subtracts the active jobs.
    host.remove(NAME).unwrap();
    let left = gauges(&mut receiver);
    assert!(left.keys().all(|name| name.ends_with("INACTIVE")), "{left:?}");
    host.end();
}

#[test]
fn a_late_job_list_module_is_not_logged_and_a_missing_one_is_logged_once() {
    let mut host = FakeJobManager::start(None);
    host.rpc_mode("fail");
    host.load(plugin(), conf()).unwrap();
    let said = |host: &mut FakeJobManager, seconds: f64| {
        host.advance(seconds);
        host.log().iter().filter(|(_, text)| text.contains("job-list.job-stats: ")).count()
    };
    assert_eq!((said(&mut host, 5.0), said(&mut host, 60.0), said(&mut host, 60.0)), (0, 1, 0));
    host.end();
}

#[test]
fn a_queue_with_too_long_a_name_is_counted_as_other() {
    let (mut host, mut receiver) = FakeJobManager::running(conf());
    host.log();
    let long = "q".repeat(300);
    live(&mut host, 1, &COURSE[..5], &long);
    live(&mut host, 2, &COURSE[..5], "batch");
    live(&mut host, 3, &COURSE[..5], &long);
    host.counts();
    let expected = [("batch.RUN".into(), 1), ("other.RUN".into(), 2)];
    assert_eq!(gauges(&mut receiver), Gauges::from(expected));
    assert_eq!(host.log(), []);
    host.end();
}

#[test]
fn a_queue_without_jobs_gives_its_place_to_another_one() {
    let (mut host, mut receiver) = FakeJobManager::running(conf());
    host.reload(&json!({"queues": {"configured": {}}})).unwrap();
    host.log();
    let mut run = |host: &mut FakeJobManager, id: i64, queue: &str| {
        live(host, id, &COURSE[..5], queue);
        host.counts();
        receiver.seen();
    };
    for id in 0..256 {
        run(&mut host, id, &format!("q{id}"));
    }
    run(&mut host, 256, "configured");
    assert_eq!(host.log(), []);
    run(&mut host, 257, "late");
    run(&mut host, 258, "later");
    let log = host.log();
    assert!(log.len() == 1 && log[0].1.contains("more than 256 queues"), "{log:?}");
    // Neither the configured queue nor one with a job loses its place.
    for id in [256, 7] {
        host.call("job.inactive-add", &json!({"id": id, "state": 64}));
    }
    run(&mut host, 259, "next");
    let gauges = gauges(&mut receiver);
    let of = |queue: &str| gauges.get(&format!("{queue}.RUN")).copied();
    assert_eq!(
        ["next", "other", "q6", "q7", "q8"].map(of),
        [1, 2, 1, 0, 1].map(|it| (it > 0).then_some(it))
    );
    assert_eq!(host.log(), []);
    assert_eq!(host.query()["anomalies"]["label_limit"], 1);
    host.end();
}

#[test]
fn queues_are_switched_on_and_off_at_any_time() {
    let mut receiver = Receiver::start();
    let mut host = FakeJobManager::start(Some(&receiver.endpoint()));
    host.load(plugin(), json!({})).unwrap();
    host.advance(0.1);
    let table = |metrics: Value| json!({"state-counts": {"metrics": metrics}});
    // Active jobs from before the reload are counted at once; inactive jobs after a response
    // of the broker.
    live(&mut host, 1, &[NEW, RUN], "batch");
    live(&mut host, 2, &COURSE, "debug");
    for _ in 0..2 {
        host.rpc_mode("hold");
        host.reload(&table(json!(["states", "queues"]))).unwrap();
        // A pass over two jobs: on a slow machine several slices.
        host.advance(0.1);
        host.counts();
        assert_eq!(gauges(&mut receiver), [("batch.RUN".to_owned(), 1)].into());
        host.rpc_mode("answer");
        host.advance(1.0);
        let wanted = truth(&host.queues());
        assert_eq!(wanted["debug.INACTIVE"], 1);
        assert_eq!(gauges(&mut receiver), wanted);
        let switched_off = host.reload(&table(json!(["states"])));
        assert_eq!(switched_off, Ok(()));
        host.counts();
        let left = gauges(&mut receiver);
        assert!(left.keys().all(|name| name.ends_with("INACTIVE")), "{left:?}");
        receiver.forget();
        host.advance(10.0);
        let wanted = host.counts();
        assert_eq!(receiver.seen().gauges, wanted);
        assert_eq!(gauges(&mut receiver), Gauges::new());
    }
    host.end();
}

#[test]
fn ages_are_sent_every_ten_seconds_but_not_where_instances_share_gauges() {
    let (mut host, mut receiver) =
        FakeJobManager::running(json!({"metrics": "queues,pending", "resync": 3600}));
    let now = UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
    for (id, queue, age) in [(1, "a", 1005.0), (2, "b", 2005.0)] {
        let mut job = job(id, SCHED, None, queue);
        job["t_submit"] = json!(now - age);
        host.call("job.new", &job);
    }
    host.advance(9.0);
    let is_age = |name: &str| name.contains("oldest_");
    assert_eq!(gauges_named(&mut receiver, is_age), Gauges::new());
    let mut ages = |host: &mut FakeJobManager, seconds: f64| {
        host.advance(seconds);
        host.counts();
        let ages = gauges_named(&mut receiver, is_age).into_iter();
        // The clock of the host begins with the real one.
        ages.map(|(name, age)| (name, age / 10 * 10)).collect::<Vec<_>>()
    };
    let expected = |levels: [i64; 3]| -> Vec<(String, i64)> {
        let names = ["", "queue.a.", "queue.b."].map(|of| format!("{of}pending.oldest_seconds"));
        names.into_iter().zip(levels).collect()
    };
    assert_eq!(ages(&mut host, 2.0), expected([2010, 1010, 2010]));
    assert_eq!(ages(&mut host, 10.0), expected([2020, 1020, 2020]));
    host.call("job.state.run", &job(2, RUN, Some(SCHED), "b"));
    assert_eq!(ages(&mut host, 10.0), expected([1030, 1030, 0])[..2]);
    host.remove(NAME).unwrap();
    assert_eq!(ages(&mut host, 10.0), []);
    host.load(plugin(), json!({"metrics": "queues,pending", "resync": 0})).unwrap();
    assert_eq!(ages(&mut host, 25.0), []);
    host.remove(NAME).unwrap();
    host.end();
}
