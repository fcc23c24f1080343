//! Restarts of the job manager, with the plugin in its configuration.

use serde_json::json;

use crate::support::artifact::plugin;
use crate::support::fake_job_manager::FakeJobManager;
use crate::support::jobs::{live, step, CLEANUP, COURSE, DEPEND, INACTIVE, PRIORITY, RUN, SCHED};
use crate::support::receiver::Receiver;
use crate::support::{counts, Counts};

scenarios!(restart: a_restart_counts_the_inactive_and_the_active_jobs);

#[test]
fn inactive_jobs_announced_twice_at_a_restart_are_counted_once() {
    for announce in ["restart", "restart-doubled"] {
        let mut receiver = Receiver::start();
        let mut host = FakeJobManager::start(Some(&receiver.endpoint()));
        for id in 0..20 {
            live(&mut host, id, &COURSE);
        }
        live(&mut host, 20, &COURSE[..4]);
        host.load_as(plugin(), json!({}), announce).unwrap();
        host.advance(0.1);
        host.counts();
        let seen = receiver.seen();
        assert_eq!(seen.gauges, counts(&[("SCHED", 1), ("INACTIVE", 20)]), "{announce}");
        let wrong = |text: &String| text.contains("INACTIVE") && !text.contains("INACTIVE:20|g");
        assert!(!seen.texts.iter().any(wrong), "{:?}", seen.texts);
    }
}

/// Before flux-core 0.87.0, job.inactive-add is also called for active jobs at a restart.
#[test]
fn active_jobs_in_inactive_add_callbacks_of_a_restart_stay_active() {
    let mut receiver = Receiver::start();
    let mut host = FakeJobManager::start(Some(&receiver.endpoint()));
    live(&mut host, 1, &COURSE);
    for (id, last) in [(2, 4), (3, 5)] {
        live(&mut host, id, &COURSE[..last]);
    }
    host.load_as(plugin(), json!({"verify": 0}), "restart-doubled").unwrap();
    for (id, state) in [(2, SCHED), (3, RUN)] {
        host.call("job.inactive-add", &json!({"id": id, "state": state}));
    }
    host.advance(0.1);
    let truth = counts(&[("SCHED", 1), ("RUN", 1), ("INACTIVE", 1)]);
    assert_eq!(host.counts(), truth);
    assert_eq!(receiver.seen().gauges, truth);
    assert_eq!(host.query()["anomalies"]["missed_event"], 0);
    host.end();
}

#[test]
fn events_replayed_before_job_new_are_counted_once() {
    let mut receiver = Receiver::start();
    let mut host = FakeJobManager::start(Some(&receiver.endpoint()));
    live(&mut host, 1, &COURSE);
    host.load_as(plugin(), json!({}), "restart").unwrap();
    // flux-core first replays unfinished transitions (restart.c). One job ends then, without a
    // job.new; another one changes its state before its job.new.
    step(&mut host, 2, CLEANUP, INACTIVE);
    step(&mut host, 3, DEPEND, PRIORITY);
    host.call("job.new", &json!({"id": 3, "state": PRIORITY}));
    host.advance(10.5);
    assert_eq!(host.counts(), counts(&[("INACTIVE", 2), ("PRIORITY", 1)]));
    live(&mut host, 4, &COURSE);
    step(&mut host, 3, PRIORITY, SCHED);
    let truth = host.counts();
    let seen = receiver.seen();
    assert_eq!((seen.gauges.clone(), seen.negative()), (truth, Counts::new()));
    let anomalies = host.query()["anomalies"].clone();
    assert!(anomalies.as_object().unwrap().values().all(|count| count == 0), "{anomalies}");
    host.end();
}
