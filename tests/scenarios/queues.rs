//! Jobs by queue and by bank.

use serde_json::json;

use super::{Host, HostSetup, Job};
use crate::support::counts;
use crate::support::gauges::{gauges_named, is_of_jobs, Gauges};
use crate::support::queues::{is_of_states, truth};
use crate::support::samples::{assert_same, counters, timings};

const QUEUES: &[&str] = &["batch", "debug", "long"];

/// The jobs by queue and state, without `flux.job.queue.`.
fn gauges(host: &mut impl Host) -> Gauges {
    let gauges =
        gauges_named(host.receiver(), |name| name.starts_with("queue.") && is_of_states(name));
    let name = |name: String| name["queue.".len()..].to_owned();
    gauges.into_iter().map(|(queue, level)| (name(queue), level)).collect()
}

/// The gauges by queue are what `flux job stats` prints, now or within a second: the number
/// of inactive jobs comes in a response of the broker.
#[track_caller]
pub fn assert_queues(host: &mut impl Host) {
    host.assert_same(1.0, |host| (gauges(host), truth(&host.stats())));
}

fn gauges_of(list: &[(&str, i64)]) -> Gauges {
    list.iter().map(|&(name, level)| (name.to_owned(), level)).collect()
}

pub fn jobs_are_counted_by_queue<H: Host>() {
    let mut host = H::start(HostSetup { queues: QUEUES, ..HostSetup::default() });
    for queue in QUEUES {
        host.submit(Job::Short, queue, 20);
    }
    host.drain();
    host.submit(Job::Held, "long", 3);
    host.load(json!({"metrics": ["states", "queues"], "resync": "1h"})).unwrap();
    assert_queues(&mut host);
    host.submit(Job::Endless, "batch", 2);
    host.submit(Job::Short, "debug", 50);
    host.wait_for(&counts(&[("RUN", 2), ("SCHED", 3), ("INACTIVE", 110)]));
    assert_queues(&mut host);
    host.purge(30);
    host.cancel_all();
    host.drain();
    assert_queues(&mut host);
    host.submit(Job::Held, "debug", 2);
    assert_queues(&mut host);
    host.remove();
    let left = gauges(&mut host);
    assert!(left.keys().all(|name| name.ends_with(".INACTIVE")), "{left:?}");
    host.end();
}

pub fn a_job_that_moves_to_another_queue_is_counted_there<H: Host>() {
    let mut host = H::start(HostSetup { queues: QUEUES, ..HostSetup::default() });
    let held = host.submit(Job::Held, "long", 3);
    host.load(json!({"metrics": ["states", "queues"], "resync": "1h"})).unwrap();
    assert_queues(&mut host);
    host.move_to_queue(&held[0], "debug");
    assert_queues(&mut host);
    assert_eq!(gauges(&mut host), gauges_of(&[("debug.SCHED", 1), ("long.SCHED", 2)]));
    host.cancel_all();
    host.drain();
    assert_queues(&mut host);
    host.end();
}

/// The gauges by queue and by bank.
#[track_caller]
fn assert_gauges(host: &mut impl Host, expected: &[(&str, i64)]) {
    host.assert_same(1.0, |host| {
        // Fails if a gauge is ever negative.
        let gauges = gauges_named(host.receiver(), |name| {
            is_of_states(name) && (name.starts_with("queue.") || name.starts_with("bank."))
        });
        (gauges, gauges_of(expected))
    });
}

pub fn resources_are_counted_by_label<H: Host>() {
    let mut host = H::start(HostSetup { queues: QUEUES, ..HostSetup::default() });
    host.submit(Job::Held, "batch", 3);
    host.load(json!({"metrics": ["queues", "users", "banks"], "resync": "1h"})).unwrap();
    host.submit(Job::Endless, "batch", 2);
    host.submit(Job::Endless, "debug", 1);
    host.submit(Job::Held, "debug", 1);
    // Each job has one core of the same node, and requests no number of nodes.
    let user = format!("user.{}", host.user());
    let mut expected = Gauges::new();
    for (label, running, waiting) in [
        ("queue.batch", 2, 3),
        ("queue.debug", 1, 1),
        ("bank.batch", 2, 3),
        ("bank.debug", 1, 1),
        (&user, 3, 4),
    ] {
        for (used, level) in [
            ("cores.allocated", running),
            ("nodes.allocated", running),
            ("cores.requested", waiting),
        ] {
            expected.insert(format!("{label}.resource.{used}"), level);
        }
    }
    let resources = |host: &mut H| {
        gauges_named(host.receiver(), |it| it.contains(".resource.") && is_of_jobs(it))
    };
    host.assert_same(1.0, |host| (resources(host), expected.clone()));
    host.cancel_all();
    host.drain();
    host.assert_same(1.0, |host| (resources(host), Gauges::new()));
    host.end();
}

pub fn pending_timings_and_results_are_also_counted_by_queue<H: Host>() {
    let mut host = H::start(HostSetup { queues: QUEUES, ..HostSetup::default() });
    host.submit(Job::Held, "batch", 1);
    let table = |metrics: &[&str]| json!({"metrics": metrics, "resync": "1h"});
    host.reload(&table(&["queues", "pending", "timings", "results"])).unwrap();
    host.load(json!({})).unwrap();
    host.submit(Job::Later, "debug", 2);
    let held = host.submit(Job::Held, "debug", 2);
    host.submit(Job::Short, "batch", 3);
    let failing = host.submit(Job::Failing, "debug", 1).remove(0);
    host.submit(Job::Limited, "long", 1);
    host.cancel(&held[0]);
    host.wait_for(&counts(&[("DEPEND", 2), ("SCHED", 2), ("INACTIVE", 6)]));
    let pending = |host: &mut H| gauges_named(host.receiver(), |it| it.contains(".pending."));
    let waiting = [
        ("queue.batch.pending.held", 1),
        ("queue.debug.pending.dependency", 2),
        ("queue.debug.pending.held", 1),
    ];
    host.assert_same(1.0, |host| (pending(host), gauges_of(&waiting)));
    let values = host.receiver().values();
    let counted = counters(&values);
    let results = |queue: &str| {
        ["completed", "failed", "canceled", "timeout"]
            .map(|it| counted[format!("flux.job.queue.{queue}.result.{it}").as_str()])
    };
    assert_eq!(["batch", "debug", "long"].map(results), [[3, 0, 0, 0], [0, 1, 1, 0], [0, 0, 0, 1]]);
    let events = host.events(&failing);
    let expected = vec![(events["alloc"] - events["submit"]) * 1000.0];
    assert_same(&timings(&values, "flux.job.queue.debug.time.submit_to_run"), expected);

    // The collector queues enables all metrics by queue.
    host.reload(&table(&["pending", "results"])).unwrap();
    host.pass(0.1);
    host.assert_same(1.0, |host| (pending(host), Gauges::new()));
    host.receiver().forget();
    host.cancel_all();
    host.drain();
    host.assert_same(1.0, |host| {
        let values = host.receiver().values();
        let canceled = counters(&values).get("flux.job.result.canceled").copied();
        (canceled, Some(4))
    });
    assert!(!host.receiver().values().keys().any(|name| name.contains(".queue.")));
    host.end();
}

pub fn two_queues_with_the_same_cleaned_name_share_a_gauge<H: Host>() {
    let queues = &["gpu.a100", "gpu_a100"];
    let mut host = H::start(HostSetup { queues, ..HostSetup::default() });
    host.load(json!({"metrics": ["states", "queues", "banks"], "resync": "1h"})).unwrap();
    for queue in queues {
        host.submit(Job::Held, queue, 2);
    }
    assert_gauges(&mut host, &[("bank.gpu_a100.SCHED", 4), ("queue.gpu_a100.SCHED", 4)]);
    host.cancel_all();
    host.drain();
    assert_gauges(&mut host, &[("queue.gpu_a100.INACTIVE", 4)]);
    host.end();
}

pub fn a_reload_to_dialect_pcp_replaces_dashes_and_keeps_the_counts<H: Host>() {
    let mut host = H::start(HostSetup { queues: &["gpu-a100"], ..HostSetup::default() });
    let table = |dialect: &str| {
        let metrics = ["states", "queues", "banks"];
        json!({"metrics": metrics, "resync": "1h", "dialect": dialect})
    };
    host.reload(&table("plain")).unwrap();
    host.submit(Job::Short, "gpu-a100", 3);
    host.submit(Job::Held, "gpu-a100", 2);
    host.wait_for(&counts(&[("SCHED", 2), ("INACTIVE", 3)]));
    host.load(json!({})).unwrap();
    let inactive = ("queue.gpu-a100.INACTIVE", 3);
    let plain = [("bank.gpu-a100.SCHED", 2), inactive, ("queue.gpu-a100.SCHED", 2)];
    assert_gauges(&mut host, &plain);
    host.reload(&table("pcp")).unwrap();
    // A gauge of inactive jobs keeps its last value when its name is no longer used.
    let (kept, pcp) = (("queue.gpu_a100.INACTIVE", 3), ("queue.gpu_a100.SCHED", 2));
    assert_gauges(&mut host, &[("bank.gpu_a100.SCHED", 2), inactive, kept, pcp]);
    host.reload(&table("plain")).unwrap();
    assert_gauges(&mut host, &[plain[0], plain[1], plain[2], kept]);
    host.cancel_all();
    host.drain();
    host.end();
}

/// The gauges of the status of queues, and of the reasons why jobs wait.
#[track_caller]
fn assert_status(host: &mut impl Host, expected: &[(&str, i64)]) {
    host.assert_same(11.0, |host| {
        let gauges = gauges_named(host.receiver(), |name| {
            let is_status = name.ends_with("enabled") || name.ends_with("started");
            let is_reason = name.contains("pending.") && !name.ends_with("oldest_seconds");
            is_status || is_reason || name.starts_with("scheduler.")
        });
        (gauges, gauges_of(expected))
    });
}

pub fn jobs_of_a_stopped_queue_do_not_wait_for_resources<H: Host>() {
    let mut host = H::start(HostSetup { queues: &["batch", "debug"], ..HostSetup::default() });
    host.change_queue("stop", "batch");
    host.submit(Job::Endless, "batch", 3);
    host.submit(Job::Held, "batch", 1);
    host.load(json!({"metrics": ["states", "queues", "pending"], "resync": "1h"})).unwrap();
    let ready = ("scheduler.ready", 1);
    let [batch, debug] = ["queue.batch.enabled", "queue.debug.enabled"].map(|it| (it, 1));
    let [batch_started, debug_started] =
        ["queue.batch.started", "queue.debug.started"].map(|it| (it, 1));
    let held = [("pending.held", 1), ("queue.batch.pending.held", 1)];
    let stopped = |jobs| [("pending.stopped", jobs), ("queue.batch.pending.stopped", jobs)];
    let expect = |host: &mut H, status: &[(&str, i64)], jobs| {
        let stopped = stopped(jobs);
        let stopped = if jobs == 0 { &[] } else { &stopped[..] };
        assert_status(host, &[status, &held, stopped].concat());
    };
    expect(&mut host, &[ready, debug, debug_started, batch], 3);
    // A job that is submitted to a stopped queue is counted at once.
    host.submit(Job::Endless, "batch", 1);
    let gauges = gauges_named(host.receiver(), |name| name.contains("pending."));
    let expected = gauges_of(&[held, stopped(4)].concat());
    assert!(H::SLACK > 0.0 || gauges == expected, "{gauges:?}");
    host.change_queue("disable", "debug");
    expect(&mut host, &[ready, debug_started, batch], 4);
    // All jobs run.
    host.change_queue("start", "batch");
    expect(&mut host, &[ready, debug_started, batch, batch_started], 0);
    // Without a scheduler, `started` keeps its value on the server: it is not sent.
    host.set_scheduler(false);
    host.submit(Job::Endless, "batch", 2);
    expect(&mut host, &[debug_started, batch, batch_started], 2);
    host.set_scheduler(true);
    expect(&mut host, &[ready, debug_started, batch, batch_started], 0);
    host.cancel_all();
    host.drain();
    host.remove();
    assert_status(&mut host, &[]);
    host.end();
}

pub fn an_instance_without_queues_has_the_anonymous_queue<H: Host>() {
    let mut host = H::start(HostSetup::default());
    host.load(json!({"metrics": ["states", "queues", "pending"], "resync": "1h"})).unwrap();
    let [ready, enabled, started] =
        ["scheduler.ready", "queue.anonymous.enabled", "queue.anonymous.started"].map(|it| (it, 1));
    assert_status(&mut host, &[ready, enabled, started]);
    host.change_queue("stop", "");
    host.submit(Job::Endless, "", 2);
    assert_status(&mut host, &[ready, enabled, ("pending.stopped", 2)]);
    host.cancel_all();
    host.drain();
    host.end();
}
