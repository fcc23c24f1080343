//! Lost events, and the reconcile pass that corrects their effects.

use serde_json::json;

use crate::support::fake_job_manager::FakeJobManager;
use crate::support::gauges::gauges_named;
use crate::support::jobs::{live, step, CLEANUP, COURSE, INACTIVE, RUN, SCHED};
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
