//! The family of gauges by queue.

use std::collections::BTreeMap;

use crate::support::artifact::{plugin, NAME};
use crate::support::fake_job_manager::FakeJobManager;
use crate::support::gauges::gauges_named;
use crate::support::gauges::Gauges;
use crate::support::jobs::{live_as, COURSE, INACTIVE, NEW, PRIORITY, RUN, SCHED};
use crate::support::queues::{gauges, truth};
use crate::support::receiver::Receiver;
use crate::support::trace;
use serde_json::{json, Value};

fn conf() -> Value {
    json!({"metrics": ["states", "queues"], "resync": 3600})
}

fn job(id: i64, state: i64, previous: Option<i64>, queue: &str) -> Value {
    let jobspec = json!({"attributes": {"system": {"queue": queue}}});
    let mut job = json!({"id": id, "state": state, "jobspec": jobspec});
    if let Some(previous) = previous {
        job["prev_state"] = json!(previous);
    }
    job
}

/// A job's callbacks through the states of `path`, in one queue.
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
fn the_recorded_run_gives_the_recorded_queues() {
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
fn queues_of_a_live_instance_are_known_and_moves_followed() {
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
    // While the question travels, INACTIVE is withheld, and a job ends.
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

    // A job changes its queue while it waits; another as it goes back.
    host.call("job.update", &job(5, SCHED, None, "debug"));
    let wanted = truth(&host.queues());
    assert_eq!((wanted.get("batch.SCHED"), wanted["debug.SCHED"]), (None, 1));
    assert_eq!(gauges(&mut receiver), wanted);
    host.call("job.state.priority", &job(5, PRIORITY, Some(SCHED), "batch"));
    host.call("job.inactive-remove", &job(3, INACTIVE, None, "debug"));
    let wanted = truth(&host.queues());
    assert_eq!(gauges(&mut receiver), wanted);

    // A removal takes the active ones down.
    host.remove(NAME).unwrap();
    let left = gauges(&mut receiver);
    assert!(left.keys().all(|name| name.ends_with("INACTIVE")), "{left:?}");
    host.end();
}

#[test]
fn that_job_list_comes_later_is_worth_no_word_that_it_stays_away_is() {
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
fn a_queue_with_a_name_that_is_too_long_is_counted_as_other() {
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
fn queues_are_switched_on_and_off_at_any_time() {
    let mut receiver = Receiver::start();
    let mut host = FakeJobManager::start(Some(&receiver.endpoint()));
    host.load(plugin(), json!({})).unwrap();
    host.advance(0.1);
    let table = |metrics: Value| json!({"state-counts": {"metrics": metrics}});
    // Jobs that came before it was switched on are known at once; those that ended
    // when the broker has said how many there are.
    live(&mut host, 1, &[NEW, RUN], "batch");
    live(&mut host, 2, &COURSE, "debug");
    for _ in 0..2 {
        host.reload(&table(json!(["states", "queues"]))).unwrap();
        host.counts();
        assert_eq!(gauges(&mut receiver), [("batch.RUN".to_owned(), 1)].into());
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

/// All that is counted by a name, without INACTIVE, which keeps its last value under
/// a name that goes.
fn active(receiver: &mut Receiver) -> Gauges {
    gauges_named(receiver, |name| !name.starts_with("state.") && !name.ends_with("INACTIVE"))
}

#[test]
fn a_reload_to_dialect_pcp_replaces_dashes_and_keeps_the_counts() {
    let mut receiver = Receiver::start();
    let mut host = FakeJobManager::start(Some(&receiver.endpoint()));
    let conf = |dialect: &str| {
        let metrics = json!(["states", "queues", "banks", "pending"]);
        json!({"state-counts": {"metrics": metrics, "resync": 3600, "dialect": dialect}})
    };
    host.config(&conf("plain"));
    host.load(plugin(), json!({})).unwrap();
    host.advance(0.1);
    for (id, queue, path) in
        [(1, "gpu-a100", &COURSE[..4]), (2, "gpu-a100", &COURSE[..4]), (3, "gpu-a100", &COURSE)]
    {
        let system = json!({"queue": queue, "bank": "phys-1"});
        let job = json!({"id": id, "urgency": 16, "jobspec": {"attributes": {"system": system}}});
        live_as(&mut host, &job, path);
    }
    host.advance(1.0);
    let expected = |queue: &str, bank: &str| {
        Gauges::from([
            (format!("queue.{queue}.SCHED"), 2),
            (format!("bank.{bank}.SCHED"), 2),
            ("pending.resources".into(), 2),
        ])
    };
    for _ in 0..2 {
        host.counts();
        assert_eq!(active(&mut receiver), expected("gpu-a100", "phys-1"));
        host.reload(&conf("pcp")).unwrap();
        host.advance(1.0);
        host.counts();
        assert_eq!(active(&mut receiver), expected("gpu_a100", "phys_1"));
        assert_eq!(gauges(&mut receiver)["gpu_a100.INACTIVE"], 1);
        host.reload(&conf("plain")).unwrap();
        host.advance(1.0);
    }
    host.end();
}
