//! The job table, compared with tables of events and with a simple model.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::{json, Value};

use super::reconcile::{Comparison, Reconcile};
use super::*;
use State::*;

const NEW: i32 = 1;
const DEPEND: i32 = 2;
const PRIORITY: i32 = 4;
const SCHED: i32 = 8;
const RUN: i32 = 16;
const CLEANUP: i32 = 32;
const INACTIVE: i32 = 64;

/// A job in these tests.
struct TestJob {
    user: u32,
    urgency: i32,
    jobspec: Value,
    r: Option<Value>,
    is_bypassed: bool,
    result: Option<JobResult>,
}

impl JobSource for TestJob {
    type Json<'a> = &'a Value;

    fn info(&self) -> Result<JobInfo<&Value>, ReadError> {
        let TestJob { user, urgency, jobspec, r, .. } = self;
        let (user, urgency, r) = (*user, *urgency, r.as_ref());
        Ok(JobInfo { user, urgency, priority: urgency.into(), jobspec, r })
    }

    fn submitted(&self) -> Result<Timestamp, ReadError> {
        Ok(Timestamp::from_seconds(1.0))
    }

    fn bypasses_scheduler(&self, has_attribute: bool) -> bool {
        has_attribute && self.is_bypassed
    }

    fn result(&self) -> Option<JobResult> {
        self.result
    }
}

/// A job that requests four cores. If `ranks` is set, it has four cores on each of them.
fn test_job(user: u32, queue: &str, bank: &str, ranks: Option<&str>) -> TestJob {
    let core = json!([{"type": "core", "count": 2}]);
    let slot = json!([{"type": "slot", "count": 2, "with": core}]);
    let system = json!({"queue": queue, "bank": bank,
                        "dependencies": [{"scheme": "afterok", "value": "f1"}]});
    TestJob {
        user,
        urgency: 16,
        is_bypassed: true,
        result: Some(JobResult::Failed),
        jobspec: json!({"attributes": {"system": system}, "resources": slot}),
        r: ranks.map(|ranks| {
            json!({"execution": {"R_lite": [{"rank": ranks, "children": {"core": "0-3"}}]}})
        }),
    }
}

fn plain() -> TestJob {
    test_job(7, "", "", None)
}

fn transition(previous: i32, state: i32) -> EventKind {
    EventKind::Transition { state, previous: Some(previous), at: None }
}

const ALL_NEEDS: Needs = Needs::QUEUE
    .union(Needs::USER)
    .union(Needs::BANK)
    .union(Needs::RESOURCES)
    .union(Needs::WAITING)
    .union(Needs::TIMES);

/// A table of an instance that had `inactive` jobs at load.
fn table(inactive: u64) -> JobTable {
    let mut table = JobTable::default();
    table.loaded();
    table.inactive_requested();
    assert!(table.inactive_response(inactive).known);
    table
}

/// The states of a change: before, after, and INACTIVE's.
fn states(change: &Change) -> (Option<State>, Option<State>, i64) {
    let state = |job: &Option<Job>| job.as_ref().and_then(|job| job.state);
    (state(&change.before), state(&change.after), change.inactive)
}

#[test]
fn each_event_has_its_effect() {
    // The events before, the event, its change and its anomaly.
    type Case<'a> =
        (&'a [EventKind], EventKind, (Option<State>, Option<State>, i64), Option<Anomaly>);
    let new = |state| EventKind::New { state };
    let reported = |state| EventKind::Transition { state, previous: None, at: None };
    let cases: &[Case] = &[
        (&[], new(NEW), (None, Some(New), 0), None),
        (&[], new(RUN), (None, Some(Run), 0), None),
        (&[new(NEW)], transition(NEW, DEPEND), (Some(New), Some(Depend), 0), None),
        (&[new(DEPEND)], reported(DEPEND), (None, None, 0), None),
        (&[new(CLEANUP)], transition(CLEANUP, INACTIVE), (Some(Cleanup), None, 1), None),
        (
            &[new(CLEANUP), transition(CLEANUP, INACTIVE)],
            EventKind::InactiveAdd,
            (None, None, 0),
            None,
        ),
        (&[], EventKind::InactiveAdd, (None, None, 1), None),
        (&[EventKind::InactiveAdd], EventKind::InactiveRemove, (None, None, -1), None),
        // An event was missed: the next one corrects the table.
        (
            &[new(NEW)],
            transition(SCHED, RUN),
            (Some(New), Some(Run), 0),
            Some(Anomaly::MissedEvent(Sched)),
        ),
        (&[], transition(SCHED, RUN), (None, Some(Run), 0), Some(Anomaly::MissedEvent(Sched))),
        (
            &[new(RUN)],
            transition(CLEANUP, INACTIVE),
            (Some(Run), None, 1),
            Some(Anomaly::MissedEvent(Cleanup)),
        ),
        (&[], transition(CLEANUP, INACTIVE), (None, None, 1), Some(Anomaly::MissedEvent(Cleanup))),
        (&[new(CLEANUP)], EventKind::InactiveAdd, (Some(Cleanup), None, 1), None),
        (
            &[new(CLEANUP), EventKind::InactiveAdd],
            EventKind::InactiveRemove,
            (None, None, -1),
            None,
        ),
        (&[], EventKind::InactiveRemove, (None, None, 0), Some(Anomaly::MissedEvent(Inactive))),
        // A job in an unknown state is not counted.
        (&[new(RUN)], transition(RUN, 128), (Some(Run), None, 0), Some(Anomaly::UnknownState(128))),
        (&[], new(3), (None, None, 0), Some(Anomaly::UnknownState(3))),
        (&[new(3)], transition(3, RUN), (None, Some(Run), 0), Some(Anomaly::UnknownState(3))),
        // An event of a job that was not accepted.
        (&[], EventKind::Updated, (None, None, 0), None),
        (&[new(RUN)], EventKind::Updated, (None, None, 0), None),
    ];
    for (before, kind, changed, anomaly) in cases {
        let mut table = table(0);
        for &kind in *before {
            table.apply(Event { id: 1, kind }, &plain());
        }
        let counted = table.anomalies().iter().sum::<u64>() + u64::from(anomaly.is_some());
        let change = table.apply(Event { id: 1, kind: *kind }, &plain());
        assert_eq!(states(&change), *changed, "{kind:?} after {before:?}");
        assert_eq!(change.anomaly, *anomaly, "{kind:?} after {before:?}");
        assert_eq!(table.anomalies().iter().sum::<u64>(), counted);
    }
}

#[test]
fn during_the_load_a_job_is_in_the_state_of_its_last_transition() {
    // The events of a job, the state that it is counted in, and the number of anomalies.
    type Case<'a> = (&'a [EventKind], Option<State>, u64);
    let new = |state| EventKind::New { state };
    let cases: &[Case] = &[
        (&[new(RUN)], Some(Run), 0),
        (&[new(DEPEND), transition(DEPEND, SCHED)], Some(Sched), 0),
        // Replayed at a restart, then reported in the earlier or in the current state.
        (&[transition(DEPEND, SCHED), new(DEPEND)], Some(Sched), 0),
        (&[transition(DEPEND, SCHED), new(SCHED)], Some(Sched), 0),
        // Ended during the replay and not reported, or canceled by another plugin.
        (&[transition(CLEANUP, INACTIVE), EventKind::InactiveAdd], Some(Inactive), 0),
        (
            &[
                transition(SCHED, CLEANUP),
                transition(CLEANUP, INACTIVE),
                EventKind::InactiveAdd,
                new(SCHED),
            ],
            Some(Inactive),
            0,
        ),
        (
            &[new(DEPEND), EventKind::Transition { state: DEPEND, previous: None, at: None }],
            Some(Depend),
            0,
        ),
        // A transition to an unknown state; reported in the earlier state.
        (&[new(RUN), transition(RUN, 128)], None, 1),
        (&[transition(SCHED, 128), new(SCHED)], None, 1),
        // Contradictions are counted; the last event is used.
        (&[new(RUN), transition(SCHED, CLEANUP)], Some(Cleanup), 1),
        (
            &[transition(CLEANUP, INACTIVE), EventKind::InactiveAdd, transition(CLEANUP, INACTIVE)],
            Some(Inactive),
            1,
        ),
    ];
    for (events, end, anomalies) in cases {
        let mut table = JobTable::default();
        for &kind in *events {
            table.apply(Event { id: 7, kind }, &plain());
        }
        for _ in 0..2 {
            for state in State::ALL.into_iter().filter(|&state| state != Inactive) {
                let expected = u64::from(*end == Some(state));
                assert_eq!(table.counts()[state as usize], Some(expected), "{state:?} {events:?}");
            }
            table.loaded();
        }
        table.inactive_requested();
        let ended = u64::from(*end == Some(Inactive));
        assert!(table.inactive_response(ended).known);
        assert_eq!(table.counts()[Inactive as usize], Some(ended));
        assert_eq!(table.anomalies().iter().sum::<u64>(), *anomalies, "{events:?}");
        // Other jobs are not affected.
        table.apply(Event { id: 8, kind: new(NEW) }, &plain());
        let change = table.apply(Event { id: 8, kind: transition(NEW, INACTIVE) }, &plain());
        assert_eq!(states(&change), (Some(New), None, 1));
    }
}

#[test]
fn labels_and_resources_of_a_job_are_read() {
    let mut table = table(0);
    table.set_needs(ALL_NEEDS);
    let waiting = test_job(7, "gpu.a100", "phys", None);
    let running = test_job(7, "gpu.a100", "phys", Some("0-1,5"));
    let at = |seconds| Some(Timestamp::from_seconds(seconds));
    let cores = |table: &JobTable| {
        let job = table.job(1).unwrap();
        (job.has_allocation, job.amounts.cores, job.ranks.ranges().collect::<Vec<_>>())
    };
    let change = table.apply(Event { id: 1, kind: EventKind::New { state: NEW } }, &waiting);
    assert_eq!(change.read_error, None);
    assert_eq!(cores(&table), (false, 4, vec![]));
    let labels = table.labels();
    let job = table.job(1).unwrap();
    assert_eq!(labels.queues.name(job.queue), Some("gpu_a100"));
    assert_eq!(labels.users.name(job.user), Some("7"));
    assert_eq!(labels.banks.name(job.bank), Some("phys"));
    assert_eq!((labels.schemes.name(1), job.schemes), (Some("afterok"), 1 << 1));
    assert_eq!(job.entered, None);

    let to = |state, previous, seconds| EventKind::Transition {
        state,
        previous: Some(previous),
        at: at(seconds),
    };
    table.apply(Event { id: 1, kind: to(SCHED, NEW, 10.0) }, &waiting);
    let change = table.apply(Event { id: 1, kind: to(RUN, SCHED, 10.25) }, &running);
    assert_eq!(cores(&table), (true, 12, vec![(0, 1), (5, 5)]));
    let entered = |job: Option<Job>| job.unwrap().entered.unwrap();
    assert_eq!(entered(change.after).since(entered(change.before)), 250.0);
    // An update of the jobspec does not change the allocation.
    table
        .apply(Event { id: 1, kind: EventKind::Updated }, &test_job(7, "debug", "chem", Some("0")));
    assert_eq!(cores(&table), (true, 12, vec![(0, 1), (5, 5)]));
    assert_eq!(table.labels().banks.name(table.job(1).unwrap().bank), Some("chem"));
    table.apply(Event { id: 1, kind: to(CLEANUP, RUN, 11.0) }, &running);
    assert_eq!(cores(&table), (true, 12, vec![(0, 1), (5, 5)]));
    table.apply(Event { id: 1, kind: to(INACTIVE, CLEANUP, 12.0) }, &running);
    assert_eq!(table.job(1), None);

    // Canceled while it waited: it has no allocation.
    table.apply(Event { id: 1, kind: EventKind::New { state: SCHED } }, &waiting);
    table.apply(Event { id: 1, kind: transition(SCHED, CLEANUP) }, &waiting);
    assert_eq!(cores(&table), (false, 0, vec![]));
    // A job with alloc-bypass: the scheduler did not allocate its R.
    let mut past = test_job(7, "", "", Some("3"));
    past.jobspec["attributes"]["system"]["alloc-bypass"] = json!({});
    table.apply(Event { id: 1, kind: EventKind::New { state: RUN } }, &past);
    assert_eq!(cores(&table), (false, 0, vec![]));
    // Without the plugin alloc-bypass.so, the attribute has no effect.
    past.is_bypassed = false;
    table.apply(Event { id: 1, kind: EventKind::New { state: RUN } }, &past);
    assert_eq!(cores(&table), (true, 4, vec![(3, 3)]));
}

#[test]
fn each_job_is_submitted_once_and_has_one_result() {
    enum Step {
        Loaded,
        Reconciled,
        Event(EventKind),
        LookUp(Option<i32>),
    }
    use Step::{Event as On, Loaded, LookUp, Reconciled};
    let new = |state| On(EventKind::New { state });
    let to = |previous, state| On(transition(previous, state));
    let (add, purge) = (|| On(EventKind::InactiveAdd), || On(EventKind::InactiveRemove));
    // The steps of a job, and the number of its submissions and of its results.
    let cases: Vec<(&str, Vec<Step>, (u32, u32))> = vec![
        (
            "all events",
            vec![Loaded, new(NEW), to(NEW, DEPEND), to(CLEANUP, INACTIVE), add(), purge()],
            (1, 1),
        ),
        ("job.new is hidden", vec![Loaded, to(NEW, DEPEND), to(DEPEND, CLEANUP)], (1, 0)),
        (
            "an old job whose job.new was hidden",
            vec![
                Loaded,
                to(PRIORITY, SCHED),
                Reconciled,
                to(SCHED, CLEANUP),
                to(CLEANUP, INACTIVE),
            ],
            (0, 1),
        ),
        (
            "an old job that the first pass finds",
            vec![Loaded, LookUp(Some(SCHED)), Reconciled, to(SCHED, CLEANUP)],
            (0, 0),
        ),
        (
            "a new job that a later pass finds",
            vec![Loaded, Reconciled, LookUp(Some(SCHED)), LookUp(Some(RUN)), to(RUN, CLEANUP)],
            (1, 0),
        ),
        ("a later event of a new job", vec![Loaded, Reconciled, to(SCHED, RUN)], (1, 0)),
        ("job.state.inactive is hidden", vec![Loaded, new(NEW), add()], (1, 1)),
        ("the end is hidden", vec![Loaded, new(NEW), LookUp(Some(INACTIVE)), purge()], (1, 1)),
        ("the end is hidden, and purged", vec![Loaded, new(NEW), LookUp(None)], (1, 0)),
        ("only the purge is seen", vec![Loaded, new(NEW), purge()], (1, 1)),
        ("only the end is seen", vec![Loaded, add()], (1, 1)),
        ("only the end is seen twice", vec![Loaded, to(CLEANUP, INACTIVE), add()], (1, 1)),
        ("job.new is repeated", vec![Loaded, new(NEW), new(NEW), new(RUN)], (1, 0)),
        (
            "it was active at load",
            vec![new(NEW), Loaded, to(NEW, DEPEND), to(DEPEND, CLEANUP), to(CLEANUP, INACTIVE)],
            (0, 1),
        ),
        ("it was inactive at load", vec![add(), Loaded, purge()], (0, 0)),
        (
            "it ended during the load",
            vec![to(CLEANUP, INACTIVE), new(CLEANUP), Loaded, Reconciled, add()],
            (0, 0),
        ),
    ];
    for (case, steps, expected) in cases {
        let mut table = JobTable::default();
        table.set_needs(Needs::RESULT);
        let (mut submissions, mut results) = (0, 0);
        for step in steps {
            let change = match step {
                Loaded => {
                    table.loaded();
                    continue;
                }
                Reconciled => {
                    table.reconciled();
                    continue;
                }
                On(kind) => table.apply(Event { id: 1, kind }, &plain()),
                LookUp(state) => {
                    let job = plain();
                    table.reconcile(1, state.map(|state| (state, &job)))
                }
            };
            submissions += u32::from(change.is_submission);
            results += u32::from(change.result == Some(JobResult::Failed));
        }
        assert_eq!((submissions, results), expected, "{case}");
        let is_unknown = case == "the end is hidden, and purged";
        let unknown = table.anomalies()[Anomaly::ResultUnknown.kind()];
        assert_eq!(unknown, u64::from(is_unknown), "{case}");
    }
}

/// A restart reports every inactive job, and the tables of users and banks have a limit.
#[test]
fn inactive_jobs_add_labels_to_queues_only() {
    let mut table = JobTable::default();
    table.set_needs(ALL_NEEDS);
    for id in 0..200 {
        let old = test_job(1000 + id as u32, "batch", &format!("old{id}"), Some("0"));
        table.apply(Event { id, kind: EventKind::InactiveAdd }, &old);
    }
    table.apply(
        Event { id: 200, kind: EventKind::New { state: SCHED } },
        &test_job(7, "batch", "phys", None),
    );
    let (job, labels) = (table.job(200).unwrap(), table.labels());
    assert_eq!(labels.users.name(job.user), Some("7"));
    assert_eq!(labels.banks.name(job.bank), Some("phys"));
    assert_eq!((labels.users.last(), labels.banks.last(), labels.queues.last()), (1, 1, 1));
}

#[test]
fn resources_are_read_after_an_unknown_state() {
    let mut table = table(0);
    table.set_needs(ALL_NEEDS);
    table
        .apply(Event { id: 1, kind: EventKind::New { state: 1 << 9 } }, &test_job(7, "", "", None));
    table.apply(Event { id: 1, kind: transition(1 << 9, RUN) }, &test_job(7, "", "", Some("0-1")));
    let job = table.job(1).unwrap();
    assert_eq!((job.has_allocation, job.amounts.cores), (true, 8));
    // A request is read again, too.
    let waiting = test_job(7, "", "", None);
    table.apply(Event { id: 2, kind: EventKind::New { state: SCHED } }, &waiting);
    table.apply(Event { id: 2, kind: transition(SCHED, 1 << 9) }, &waiting);
    table.apply(Event { id: 2, kind: transition(1 << 9, SCHED) }, &waiting);
    assert_eq!(table.job(2).unwrap().amounts.cores, 4);
}

#[test]
fn a_job_that_cannot_be_read_is_counted() {
    let mut table = table(0);
    table.set_needs(ALL_NEEDS);
    let nonsense =
        TestJob { jobspec: json!([1, "x"]), r: Some(json!("y")), ..test_job(5, "", "", None) };
    let mut read_error = |kind| table.apply(Event { id: 1, kind }, &nonsense).read_error;
    assert_eq!(
        read_error(EventKind::New { state: SCHED }),
        Some(ReadError(
            "jobspec: resources not understood; the job is counted as requesting none".into()
        ))
    );
    assert_eq!(
        read_error(transition(SCHED, RUN)),
        Some(ReadError("R: not understood; the job is counted as holding nothing".into()))
    );
    assert_eq!(read_error(transition(RUN, CLEANUP)), None);
    let long = test_job(5, &"q".repeat(300), "", None);
    let change = table.apply(Event { id: 2, kind: EventKind::New { state: NEW } }, &long);
    assert_eq!(change.read_error, None);
    assert_eq!(table.labels().queues.name(table.job(2).unwrap().queue), Some("other"));
    assert_eq!(table.counts()[New as usize], Some(1));
    assert_eq!(table.counts()[Cleanup as usize], Some(1));
}

#[test]
fn parts_that_are_no_longer_needed_are_forgotten() {
    let needs = [
        Needs::STATE,
        Needs::QUEUE,
        Needs::USER,
        Needs::BANK,
        Needs::RESOURCES,
        Needs::WAITING,
        Needs::TIMES,
        ALL_NEEDS,
    ];
    for (state, ranks) in [(SCHED, None), (RUN, Some("0-1"))] {
        let mut job = test_job(7, "batch", "phys", ranks);
        job.urgency = 0;
        for needs in needs {
            let [narrowed, narrow] = [ALL_NEEDS, needs].map(|first| {
                let mut table = table(0);
                table.set_needs(first);
                table.apply(Event { id: 1, kind: EventKind::New { state: PRIORITY } }, &job);
                let at = first.contains(Needs::TIMES).then(|| Timestamp::from_seconds(5.0));
                let kind = EventKind::Transition { state, previous: Some(PRIORITY), at };
                table.apply(Event { id: 1, kind }, &job);
                table.set_needs(needs);
                table.job(1).unwrap().clone()
            });
            assert_eq!(narrowed, narrow, "{needs:?}");
        }
    }
}

/// Each row: a jobspec with this many dependencies and resource vertices, the anomaly that is
/// found, and the cores that are counted.
#[test]
#[cfg_attr(miri, ignore = "a thousand vertices take minutes in Miri")]
fn a_jobspec_beyond_the_limits_is_read_in_part() {
    let limit = Some(Anomaly::JobspecLimit);
    let rows =
        [(64, 1024, None, 1024), (65, 1, limit, 1), (1, 1025, limit, 0), (65, 1025, limit, 0)];
    for (dependencies, vertices, anomaly, cores) in rows {
        let mut table = table(0);
        table.set_needs(ALL_NEEDS);
        let mut huge = plain();
        huge.jobspec["resources"] = vec![json!({"type": "core", "count": 1}); vertices].into();
        // Only the last one has another scheme.
        let mut schemes = vec![json!({"scheme": "afterok"}); dependencies];
        schemes[dependencies - 1] = json!({"scheme": "last"});
        huge.jobspec["attributes"]["system"]["dependencies"] = schemes.into();
        let mut apply = |kind| {
            let change = table.apply(Event { id: 1, kind }, &huge);
            assert_eq!(change.read_error, None);
            change.anomaly
        };
        assert_eq!(apply(EventKind::New { state: NEW }), anomaly);
        // It is not reported again while the job waits.
        assert_eq!(apply(transition(NEW, DEPEND)), None);
        assert_eq!(apply(transition(DEPEND, PRIORITY)), None);
        assert_eq!(apply(EventKind::Updated), None);
        assert_eq!(table.reconcile(1, Some((PRIORITY, &huge))), Change::default());
        let job = table.job(1).unwrap();
        assert_eq!(job.amounts.cores, cores, "{dependencies} {vertices}");
        assert_eq!(job.schemes >> 2 & 1 == 1, dependencies == 64);
        table.apply(Event { id: 1, kind: transition(PRIORITY, CLEANUP) }, &huge);
        assert_eq!(table.reconcile(1, Some((CLEANUP, &huge))), Change::default());
        assert_eq!(table.anomalies()[3], anomaly.map_or(0, |_| 1));
    }
}

#[test]
fn inactive_jobs_by_queue_are_known_when_job_list_agrees_about_active_jobs() {
    let mut table = table(0);
    table.set_needs(Needs::QUEUE);
    let job = test_job(7, "gpu.batch", "", None);
    table.apply(Event { id: 1, kind: EventKind::New { state: RUN } }, &job);
    table.apply(Event { id: 2, kind: EventKind::InactiveAdd }, &job);
    // A job that job-list does not report yet, and one without a queue.
    table.apply(Event { id: 3, kind: EventKind::New { state: NEW } }, &job);
    table.apply(Event { id: 4, kind: EventKind::New { state: RUN } }, &plain());
    assert_eq!(table.inactive_by_queue().inactive(1, &table.labels().queues), None);
    let respond = |table: &mut JobTable, run: u64| {
        // The first two have the same label.
        let response = vec![
            ("gpu.batch".to_owned(), [0, 0, 0, 0, run, 0, 3]),
            ("gpu_batch".to_owned(), [0, 0, 0, 0, 0, 0, 4]),
            ("debug".to_owned(), [0, 0, 0, 0, 0, 0, 9]),
        ];
        table.by_queue_response(&response)
    };
    table.by_queue_requested();
    assert!(!respond(&mut table, 0), "job-list does not have the running job");
    assert!(respond(&mut table, 1));
    assert_eq!(
        (
            table.inactive_by_queue().inactive(1, &table.labels().queues),
            table.inactive_by_queue().inactive(2, &table.labels().queues)
        ),
        (Some(7), Some(9))
    );
    table.apply(Event { id: 5, kind: EventKind::InactiveAdd }, &job);
    assert_eq!(table.inactive_by_queue().inactive(1, &table.labels().queues), Some(8));
    table.by_queue_requested();
    table.apply(Event { id: 5, kind: EventKind::InactiveRemove }, &job);
    // A number changed since the request.
    respond(&mut table, 1);
    assert_eq!(table.inactive_by_queue().inactive(1, &table.labels().queues), Some(7));
}

#[test]
fn dependencies_are_listed_while_a_job_has_none_in_its_jobspec() {
    let mut table = table(0);
    table.set_needs(ALL_NEEDS);
    let (own, mut none) = (plain(), plain());
    none.jobspec["attributes"]["system"]["dependencies"] = json!([]);
    let depend = EventKind::New { state: DEPEND };
    let names = |table: &JobTable, id| -> Vec<String> {
        let job = table.job(id).unwrap();
        let labels = (1..32).filter(|label| job.schemes >> label & 1 == 1);
        labels.map(|label| table.labels().schemes.name(label).unwrap().to_owned()).collect()
    };
    table.apply(Event { id: 1, kind: depend }, &own);
    assert!(!table.needs_dependencies());
    table.apply(Event { id: 2, kind: depend }, &none);
    assert!(table.needs_dependencies());
    // A job that is not in DEPEND, or has no listed dependency, is not changed.
    assert_eq!(table.set_dependencies(2, [].into_iter()), Change::default());
    assert_eq!(table.set_dependencies(3, ["x"].into_iter()), Change::default());
    table.set_dependencies(2, ["limit", "a.b", "limit"].into_iter());
    table.set_dependencies(1, ["limit"].into_iter());
    assert_eq!(
        (names(&table, 1), names(&table, 2)),
        (vec!["limit".into()], vec!["limit".into(), "a_b".into()])
    );
    // A satisfied dependency is no longer counted, and a reconcile pass changes nothing.
    table.set_dependencies(2, ["a.b"].into_iter());
    assert_eq!(table.reconcile(2, Some((DEPEND, &none))), Change::default());
    assert_eq!(table.reconcile(1, Some((DEPEND, &own))), Change::default());
    table.apply(Event { id: 2, kind: EventKind::Updated }, &none);
    assert_eq!(names(&table, 2), ["a_b"]);
    assert!(table.needs_dependencies());
    for id in [1, 2] {
        table.apply(Event { id, kind: transition(DEPEND, PRIORITY) }, &none);
        assert_eq!(table.set_dependencies(id, ["x"].into_iter()), Change::default());
    }
    assert!(!table.needs_dependencies());
    // It is known again after the collector was disabled.
    table.apply(Event { id: 4, kind: depend }, &none);
    table.set_needs(Needs::STATE);
    assert!(!table.needs_dependencies());
    table.set_needs(ALL_NEEDS);
    assert!(table.needs_dependencies());
}

#[test]
fn jobs_of_stopped_queues_are_marked_when_they_are_read() {
    let mut table = table(0);
    table.set_needs(ALL_NEEDS);
    let queue = test_job(7, "batch", "", None);
    let status = |name: &str, is_started| {
        (name.to_owned(), crate::flux_formats::QueueStatus { is_enabled: true, is_started })
    };
    table.apply(Event { id: 1, kind: EventKind::New { state: SCHED } }, &queue);
    assert!(!table.job(1).unwrap().is_stopped);
    assert!(!table.set_queue_status(&[status("batch", Some(true)), status("x", Some(true))]));
    for (is_started, is_stopped) in [(Some(false), true), (Some(true), false), (None, true)] {
        assert!(table.set_queue_status(&[status("batch", is_started), status("x", Some(true))]));
        assert!(!table.set_queue_status(&[status("batch", is_started), status("x", Some(true))]));
        let change = table.reconcile(1, Some((SCHED, &queue)));
        assert_eq!(change.after.unwrap().is_stopped, is_stopped, "{is_started:?}");
    }
    table.apply(Event { id: 2, kind: EventKind::New { state: PRIORITY } }, &queue);
    table.apply(Event { id: 2, kind: transition(PRIORITY, SCHED) }, &queue);
    assert!(table.job(2).unwrap().is_stopped);
    table.apply(Event { id: 2, kind: transition(SCHED, RUN) }, &queue);
    assert!(!table.job(2).unwrap().is_stopped, "it no longer waits");
    table.forget_queue_status();
    let change = table.reconcile(1, Some((SCHED, &queue)));
    assert_eq!(states(&change), (None, None, 0), "a job stays in its stopped queue");
    assert!(table.queue_status().is_empty());
    assert!(table.set_queue_status(&[]));
}

#[test]
fn states_have_the_numbers_and_names_of_flux() {
    let forms = [NameForm::Long, NameForm::LongLower, NameForm::Short, NameForm::ShortLower];
    assert_eq!(forms.map(|form| Sched.name(form)), ["SCHED", "sched", "S", "s"]);
    let short: String = State::ALL.iter().map(|state| state.name(NameForm::Short)).collect();
    assert_eq!(short, "NDPSRCI");
    for state in State::ALL {
        assert_eq!(State::from_number(state.number()), Some(state));
        let long = state.name(NameForm::Long);
        assert_eq!(long, format!("{state:?}").to_uppercase());
        assert_eq!(state.name(NameForm::LongLower), long.to_lowercase());
        assert_eq!(state.name(NameForm::ShortLower), long[..1].to_lowercase());
    }
    assert_eq!([0, 3, 128, -1, i32::MIN].map(State::from_number), [None; 5]);
}

#[test]
fn a_job_is_small_and_its_transitions_allocate_nothing() {
    assert!(std::mem::size_of::<Job>() <= 72, "{}", std::mem::size_of::<Job>());
    let mut table = table(0);
    table.set_needs(ALL_NEEDS);
    let (waiting, running) =
        (test_job(7, "batch", "phys", None), test_job(7, "batch", "phys", Some("0-3")));
    let mut live = |id| {
        table.apply(Event { id, kind: EventKind::New { state: NEW } }, &waiting);
        allocation_counter::measure(|| {
            for pair in [NEW, DEPEND, PRIORITY, SCHED, RUN, CLEANUP].windows(2) {
                let job = if pair[1] < RUN { &waiting } else { &running };
                table.apply(Event { id, kind: transition(pair[0], pair[1]) }, job);
            }
        })
        .count_total
    };
    live(1);
    assert_eq!(live(2), 0);
}

fn number() -> impl Strategy<Value = i32> {
    prop_oneof![9 => (0u32..7).prop_map(|index| 1 << index), 1 => any::<i32>()]
}

/// Any event, valid or not.
fn kind() -> impl Strategy<Value = EventKind> {
    prop_oneof![
        2 => number().prop_map(|state| EventKind::New { state }),
        6 => (number(), prop::option::weighted(0.9, number()))
            .prop_map(|(state, previous)| EventKind::Transition { state, previous, at: None }),
        1 => Just(EventKind::Updated),
        1 => Just(EventKind::InactiveAdd),
        1 => Just(EventKind::InactiveRemove),
    ]
}

/// A simple model of the table: only the last event of each job counts.
#[derive(Default)]
struct Model {
    jobs: BTreeMap<u64, i32>,
    ended: BTreeMap<u64, bool>,
    inactive: u64,
}

impl Model {
    fn apply(&mut self, id: u64, kind: EventKind) {
        match kind {
            EventKind::Transition { state: INACTIVE, previous: Some(_), .. } => {
                self.jobs.remove(&id);
                if !self.ended.insert(id, true).unwrap_or(false) {
                    self.inactive += 1;
                }
            }
            EventKind::New { state } | EventKind::Transition { state, previous: Some(_), .. } => {
                self.jobs.insert(id, state);
            }
            EventKind::Transition { state, previous: None, .. } => {
                self.jobs.entry(id).or_insert(state);
            }
            EventKind::Updated => (),
            EventKind::InactiveAdd => {
                self.jobs.remove(&id);
                if !self.ended.insert(id, false).unwrap_or(false) {
                    self.inactive += 1;
                }
            }
            EventKind::InactiveRemove => {
                self.jobs.remove(&id);
                self.ended.insert(id, false);
                self.inactive = self.inactive.saturating_sub(1);
            }
        }
        self.jobs.retain(|_, state| *state != INACTIVE);
    }

    fn count(&self, state: State) -> u64 {
        match state {
            Inactive => self.inactive,
            state => self.jobs.values().filter(|&&other| other == 1 << state as i32).count() as u64,
        }
    }
}

#[track_caller]
fn assert_counts(table: &JobTable, expected: impl Fn(State) -> u64) {
    for state in State::ALL {
        assert_eq!(table.counts()[state as usize], Some(expected(state)), "{state:?}");
    }
}

/// A job manager with valid transitions only.
#[derive(Default)]
struct JobManager {
    active: BTreeMap<u64, i32>,
    inactive: BTreeSet<u64>,
    submitted: u64,
}

impl JobManager {
    /// A transition of a job, a purge or a submission. Returns the events.
    fn step(&mut self, job: usize, way: usize) -> Vec<Event> {
        let ids: Vec<_> = self.active.keys().chain(&self.inactive).copied().collect();
        let Some(&id) = ids.get(job % 12) else {
            self.submitted += 1;
            self.active.insert(self.submitted, NEW);
            return vec![Event { id: self.submitted, kind: EventKind::New { state: NEW } }];
        };
        let Some(&state) = self.active.get(&id) else {
            self.inactive.remove(&id);
            return vec![Event { id, kind: EventKind::InactiveRemove }];
        };
        let ways: &[i32] = match state {
            NEW => &[DEPEND, CLEANUP],
            DEPEND => &[PRIORITY, CLEANUP],
            PRIORITY => &[SCHED, CLEANUP],
            SCHED => &[RUN, PRIORITY, CLEANUP],
            RUN => &[CLEANUP],
            _ => &[INACTIVE],
        };
        let to = ways[way % ways.len()];
        let mut events = vec![Event { id, kind: transition(state, to) }];
        if to == INACTIVE {
            self.active.remove(&id);
            self.inactive.insert(id);
            events.push(Event { id, kind: EventKind::InactiveAdd });
        } else {
            self.active.insert(id, to);
        }
        events
    }

    fn count(&self, state: State) -> u64 {
        match state {
            Inactive => self.inactive.len() as u64,
            state => {
                self.active.values().filter(|&&other| other == 1 << state as i32).count() as u64
            }
        }
    }

    /// A whole reconcile pass. Returns the number of corrected jobs.
    fn reconcile(&self, table: &mut JobTable) -> u64 {
        let (mut reconcile, mut repairs) = (Reconcile::default(), 0);
        let source = plain();
        let mut look_up = |table: &mut JobTable, id| {
            let change = table.reconcile(id, self.active.get(&id).map(|&state| (state, &source)));
            repairs += u64::from(change.before != change.after);
        };
        reconcile.begin();
        while let Some(id) = reconcile.cursor().next(table) {
            look_up(table, id);
        }
        let active = self.active.len() as u64;
        reconcile.requested(table);
        if reconcile.response(active, table) == Comparison::List {
            for &id in self.active.keys() {
                if table.job(id).is_none() {
                    look_up(table, id);
                }
            }
        }
        reconcile.requested(table);
        assert_eq!(reconcile.response(active, table), Comparison::Equal);
        table.inactive_requested();
        assert!(table.inactive_response(self.inactive.len() as u64).known);
        repairs
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    #[cfg_attr(miri, ignore = "random cases take hours in Miri")]
    fn any_events_leave_each_job_in_its_last_state(
        events in prop::collection::vec((0u64..5, kind()), 0..200)
    ) {
        let (mut table, mut model) = (table(0), Model::default());
        for &(id, kind) in &events {
            table.apply(Event { id, kind }, &plain());
            model.apply(id, kind);
            assert_counts(&table, |state| model.count(state));
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "random cases take hours in Miri")]
    fn a_reconcile_pass_corrects_the_table_after_any_missed_events(
        steps in prop::collection::vec((any::<usize>(), any::<usize>(), any::<u8>()), 0..200),
        more in prop::collection::vec((any::<usize>(), any::<usize>()), 0..50)
    ) {
        let (mut table, mut job_manager) = (table(0), JobManager::default());
        table.set_needs(ALL_NEEDS);
        for (job, way, delivered) in steps {
            // Each event may be missed.
            for (index, event) in job_manager.step(job, way).into_iter().enumerate() {
                if delivered >> index & 3 != 0 {
                    table.apply(event, &plain());
                }
            }
        }
        job_manager.reconcile(&mut table);
        assert_counts(&table, |state| job_manager.count(state));
        // A second pass corrects nothing, and later events cause no anomaly.
        assert_eq!(job_manager.reconcile(&mut table), 0);
        let anomalies = table.anomalies();
        for (job, way) in more {
            for event in job_manager.step(job, way) {
                table.apply(event, &plain());
            }
            assert_counts(&table, |state| job_manager.count(state));
        }
        assert_eq!(table.anomalies(), anomalies);
    }
}
