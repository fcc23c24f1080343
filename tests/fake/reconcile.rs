//! Lost events, and the reconcile pass that corrects their effects.

use serde_json::json;

use crate::support::fake_job_manager::FakeJobManager;
use crate::support::gauges::gauges_named;
use crate::support::jobs::{live, step, CLEANUP, COURSE, INACTIVE, RUN, SCHED};
use crate::support::samples::counters;
use crate::support::Counts;

/// Some callbacks are not delivered.
#[test]
fn lost_events_are_corrected_within_one_reconcile_pass() {
    let conf = json!({"verify": "2s", "resync": "1h", "metrics": ["states", "users", "resources"]});
    let (mut host, mut receiver) = FakeJobManager::running(conf);
    live(&mut host, 1, &COURSE[..5]);
    live(&mut host, 2, &COURSE[..5]);
    // The end of a job, all callbacks of another one, and the purge of two.
    host.withhold("job.state.cleanup", &json!({"id": 1, "state": CLEANUP, "prev_state": RUN}));
    host.withhold("job.state.inactive", &json!({"id": 1, "state": INACTIVE, "prev_state": 32}));
    host.withhold("job.new", &json!({"id": 3, "state": SCHED, "userid": 5}));
    for id in [4, 5] {
        live(&mut host, id, &COURSE);
        host.withhold("job.inactive-remove", &json!({"id": id, "state": INACTIVE}));
    }
    host.log();
    host.advance(2.1);
    let truth = host.counts();
    assert_eq!(receiver.seen().gauges, truth);
    assert_eq!(gauges_named(&mut receiver, |name| name.starts_with("user.5.")).len(), 1);
    let verify = host.query()["verify"].clone();
    // Corrected: jobs 1 and 3, and the number of inactive jobs.
    assert_eq!((&verify["repairs"], &verify["checks"]), (&json!(3), &json!(1)));
    let log: Vec<_> = host.log().into_iter().map(|(_, text)| text).collect();
    let text = "job ƒ2 is RUN in the table and not active in the job manager";
    let repaired = log.iter().filter(|line| line.contains(text)).count();
    assert_eq!((repaired, log.len()), (1, 2), "the first repair, and the number: {log:?}");

    // After that there is nothing to correct.
    host.advance(10.0);
    let truth = host.counts();
    assert_eq!(receiver.seen().gauges, truth);
    let verify = host.query()["verify"].clone();
    assert_eq!((&verify["repairs"], &verify["checks"]), (&json!(3), &json!(6)));
    assert_eq!(host.log(), []);
    host.end();
}

#[test]
fn a_lost_event_is_corrected_by_the_next_event_of_the_job() {
    let (mut host, mut receiver) = FakeJobManager::running(json!({"verify": 0}));
    live(&mut host, 1, &COURSE[..4]);
    host.withhold("job.state.run", &json!({"id": 1, "state": RUN, "prev_state": SCHED}));
    step(&mut host, 1, RUN, CLEANUP);
    let truth = host.counts();
    let seen = receiver.seen();
    assert_eq!((seen.gauges.clone(), seen.negative()), (truth, Counts::new()));
    assert_eq!(host.query()["anomalies"]["missed_event"], 1);
    host.end();
}

#[test]
fn the_results_of_lost_ends_are_counted() {
    let (mut host, mut receiver) =
        FakeJobManager::running(json!({"verify": "2s", "metrics": ["states", "results"]}));
    let end = |id: i64| {
        json!({"id": id, "state": INACTIVE, "prev_state": CLEANUP,
               "end_event": {"name": "exception", "context": {"type": "cancel"}}})
    };
    for id in [1, 2] {
        live(&mut host, id, &COURSE[..5]);
        host.withhold("job.state.inactive", &end(id));
    }
    // Flux no longer has the result of this job.
    host.withhold("job.inactive-remove", &end(2));
    // After the first complete pass, an unknown job is a new one.
    host.advance(2.1);
    host.withhold("job.new", &json!({"id": 3, "state": SCHED}));
    host.advance(2.0);
    host.withhold("job.state.inactive", &end(3));
    host.advance(2.0);
    host.counts();
    let values = receiver.values();
    let counted = counters(&values);
    let results =
        ["submitted", "canceled"].map(|name| counted[&*format!("flux.job.result.{name}")]);
    assert_eq!(results, [3, 2]);
    let query = host.query();
    assert_eq!(query["anomalies"]["result_unknown"], 1, "{query}");
    // Four jobs, and the number of inactive ones twice.
    assert_eq!(query["verify"], json!({"checks": 3, "repairs": 6, "updates": 0}), "{query}");
    host.end();
}

#[test]
fn missing_jobs_are_found_though_job_list_lags_or_fails() {
    for mode in ["answer", "lag", "fail"] {
        let (mut host, mut receiver) = FakeJobManager::running(json!({"verify": "2s"}));
        host.job_list_mode(mode);
        for id in 1..=3 {
            host.withhold("job.new", &json!({"id": id, "state": SCHED}));
        }
        host.advance(2.1);
        let truth = host.counts();
        assert_eq!((truth["SCHED"], receiver.seen().gauges), (3, truth), "{mode}");
        host.end();
    }
}

#[test]
fn a_priority_that_changes_without_an_event_is_an_update_not_a_repair() {
    let (mut host, mut receiver) =
        FakeJobManager::running(json!({"metrics": ["states", "pending"]}));
    let job = |priority: i64| json!({"id": 1, "state": SCHED, "priority": priority});
    host.call("job.new", &job(0));
    host.log();
    host.withhold("job.update", &job(7));
    // Not only after `verify`.
    host.advance(5.0);
    host.counts();
    let pending = gauges_named(&mut receiver, |name| name.starts_with("pending."));
    assert_eq!(pending, [("pending.resources".to_owned(), 1)].into());
    let verify = host.query()["verify"].clone();
    assert_eq!(verify, json!({"checks": 1, "repairs": 0, "updates": 1}));
    let log = host.log();
    assert!(log.len() == 1 && log[0].0 == 6 && log[0].1.contains("job ƒ2: changed"), "{log:?}");
    host.end();
}
