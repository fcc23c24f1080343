//! The table, against tables of events and a naive fold.

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

/// Who answers for a job in these tests.
struct Known {
    user: u32,
    urgency: i32,
    jobspec: Value,
    r: Option<Value>,
}

impl JobSource for Known {
    type Json<'a> = &'a Value;

    fn info(&self) -> Result<JobInfo<&Value>, ReadError> {
        let Known { user, urgency, jobspec, r } = self;
        let (user, urgency, r) = (*user, *urgency, r.as_ref());
        Ok(JobInfo { user, urgency, priority: urgency.into(), jobspec, r })
    }
}

/// A job that asks for four cores, and gets them on these ranks.
fn known(user: u32, queue: &str, bank: &str, ranks: Option<&str>) -> Known {
    let core = json!([{"type": "core", "count": 2}]);
    let slot = json!([{"type": "slot", "count": 2, "with": core}]);
    let system = json!({"queue": queue, "bank": bank,
                        "dependencies": [{"scheme": "afterok", "value": "f1"}]});
    Known {
        user,
        urgency: 16,
        jobspec: json!({"attributes": {"system": system}, "resources": slot}),
        r: ranks.map(|ranks| {
            json!({"execution": {"R_lite": [{"rank": ranks, "children": {"core": "0-3"}}]}})
        }),
    }
}

fn plain() -> Known {
    known(7, "", "", None)
}

fn moved(previous: i32, state: i32) -> EventKind {
    EventKind::Moved { state, previous: Some(previous), at: None }
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
    table.inactive_asked();
    assert!(table.inactive_answered(inactive).known);
    table
}

/// The states of a change: before, after, and INACTIVE's.
fn states(change: &Change) -> (Option<State>, Option<State>, i64) {
    let state = |job: &Option<Job>| job.as_ref().and_then(|job| job.state);
    (state(&change.before), state(&change.after), change.inactive)
}

#[test]
fn each_event_changes_what_it_should() {
    // What came before, the event, what changed, its anomaly.
    type Case<'a> =
        (&'a [EventKind], EventKind, (Option<State>, Option<State>, i64), Option<Anomaly>);
    let new = |state| EventKind::New { state };
    let reported = |state| EventKind::Moved { state, previous: None, at: None };
    let cases: &[Case] = &[
        (&[], new(NEW), (None, Some(New), 0), None),
        (&[], new(RUN), (None, Some(Run), 0), None),
        (&[new(NEW)], moved(NEW, DEPEND), (Some(New), Some(Depend), 0), None),
        (&[new(DEPEND)], reported(DEPEND), (None, None, 0), None),
        (&[new(CLEANUP)], moved(CLEANUP, INACTIVE), (Some(Cleanup), None, 1), None),
        (&[new(CLEANUP), moved(CLEANUP, INACTIVE)], EventKind::InactiveAdd, (None, None, 0), None),
        (&[], EventKind::InactiveAdd, (None, None, 1), None),
        (&[EventKind::InactiveAdd], EventKind::InactiveRemove, (None, None, -1), None),
        // An event never came: the next one says where the job is.
        (
            &[new(NEW)],
            moved(SCHED, RUN),
            (Some(New), Some(Run), 0),
            Some(Anomaly::MissedEvent(Sched)),
        ),
        (&[], moved(SCHED, RUN), (None, Some(Run), 0), Some(Anomaly::MissedEvent(Sched))),
        (
            &[new(RUN)],
            moved(CLEANUP, INACTIVE),
            (Some(Run), None, 1),
            Some(Anomaly::MissedEvent(Cleanup)),
        ),
        (&[], moved(CLEANUP, INACTIVE), (None, None, 1), Some(Anomaly::MissedEvent(Cleanup))),
        (&[new(CLEANUP)], EventKind::InactiveAdd, (Some(Cleanup), None, 1), None),
        (
            &[new(CLEANUP), EventKind::InactiveAdd],
            EventKind::InactiveRemove,
            (None, None, -1),
            None,
        ),
        (&[], EventKind::InactiveRemove, (None, None, 0), Some(Anomaly::MissedEvent(Inactive))),
        // A state that is not known here is in no count.
        (&[new(RUN)], moved(RUN, 128), (Some(Run), None, 0), Some(Anomaly::UnknownState(128))),
        (&[], new(3), (None, None, 0), Some(Anomaly::UnknownState(3))),
        (&[new(3)], moved(3, RUN), (None, Some(Run), 0), Some(Anomaly::UnknownState(3))),
        // What is posted about a job that was not accepted.
        (&[], EventKind::Updated, (None, None, 0), None),
        (&[new(RUN)], EventKind::Updated, (None, None, 0), None),
    ];
    for (before, what, changed, anomaly) in cases {
        let mut table = table(0);
        for &what in *before {
            table.apply(Event { id: 1, what }, &plain());
        }
        let counted = table.anomalies().iter().sum::<u64>() + u64::from(anomaly.is_some());
        let change = table.apply(Event { id: 1, what: *what }, &plain());
        assert_eq!(states(&change), *changed, "{what:?} after {before:?}");
        assert_eq!(change.anomaly, *anomaly, "{what:?} after {before:?}");
        assert_eq!(table.anomalies().iter().sum::<u64>(), counted);
    }
}

#[test]
fn until_the_load_is_over_a_job_is_where_it_moved_last() {
    // A job's events, the state that it is counted in, and how many of them were
    // anomalies.
    type Case<'a> = (&'a [EventKind], Option<State>, u64);
    let new = |state| EventKind::New { state };
    let cases: &[Case] = &[
        (&[new(RUN)], Some(Run), 0),
        (&[new(DEPEND), moved(DEPEND, SCHED)], Some(Sched), 0),
        // Replayed at a restart, then reported where it was, or where it is.
        (&[moved(DEPEND, SCHED), new(DEPEND)], Some(Sched), 0),
        (&[moved(DEPEND, SCHED), new(SCHED)], Some(Sched), 0),
        // Ended there, and never reported; or canceled by another plugin.
        (&[moved(CLEANUP, INACTIVE), EventKind::InactiveAdd], Some(Inactive), 0),
        (
            &[moved(SCHED, CLEANUP), moved(CLEANUP, INACTIVE), EventKind::InactiveAdd, new(SCHED)],
            Some(Inactive),
            0,
        ),
        (
            &[new(DEPEND), EventKind::Moved { state: DEPEND, previous: None, at: None }],
            Some(Depend),
            0,
        ),
        // Into a state that is not known here, and reported where it was.
        (&[new(RUN), moved(RUN, 128)], None, 1),
        (&[moved(SCHED, 128), new(SCHED)], None, 1),
        // Contradictions: counted, and the last one is believed.
        (&[new(RUN), moved(SCHED, CLEANUP)], Some(Cleanup), 1),
        (
            &[moved(CLEANUP, INACTIVE), EventKind::InactiveAdd, moved(CLEANUP, INACTIVE)],
            Some(Inactive),
            1,
        ),
    ];
    for (events, end, anomalies) in cases {
        let mut table = JobTable::default();
        for &what in *events {
            table.apply(Event { id: 7, what }, &plain());
        }
        for _ in 0..2 {
            for state in State::ALL.into_iter().filter(|&state| state != Inactive) {
                let want = u64::from(*end == Some(state));
                assert_eq!(table.count(state), Some(want), "{state:?} {events:?}");
            }
            table.loaded();
        }
        table.inactive_asked();
        let ended = u64::from(*end == Some(Inactive));
        assert!(table.inactive_answered(ended).known);
        assert_eq!(table.count(Inactive), Some(ended));
        assert_eq!(table.anomalies().iter().sum::<u64>(), *anomalies, "{events:?}");
        // The next job is an ordinary one.
        table.apply(Event { id: 8, what: new(NEW) }, &plain());
        let change = table.apply(Event { id: 8, what: moved(NEW, INACTIVE) }, &plain());
        assert_eq!(states(&change), (Some(New), None, 1));
    }
}

#[test]
fn a_job_is_known_with_what_it_asks_for_and_holds() {
    let mut table = table(0);
    table.set_needs(ALL_NEEDS);
    let waiting = known(7, "gpu.a100", "phys", None);
    let running = known(7, "gpu.a100", "phys", Some("0-1,5"));
    let at = |seconds| Some(Timestamp::from_seconds(seconds));
    let cores = |table: &JobTable| {
        let job = table.job(1).unwrap();
        (job.has_allocation, job.amounts.cores, job.ranks.ranges().collect::<Vec<_>>())
    };
    let change = table.apply(Event { id: 1, what: EventKind::New { state: NEW } }, &waiting);
    assert_eq!(change.unread, None);
    assert_eq!(cores(&table), (false, 4, vec![]));
    let lists = table.lists();
    let job = table.job(1).unwrap();
    assert_eq!(lists.queues.name(job.queue), Some("gpu_a100"));
    assert_eq!(lists.users.name(job.user), Some("7"));
    assert_eq!(lists.banks.name(job.bank), Some("phys"));
    assert_eq!((lists.schemes.name(1), job.schemes), (Some("afterok"), 1 << 1));
    assert_eq!(job.entered, None);

    let to = |state, previous, seconds| EventKind::Moved {
        state,
        previous: Some(previous),
        at: at(seconds),
    };
    table.apply(Event { id: 1, what: to(SCHED, NEW, 10.0) }, &waiting);
    let change = table.apply(Event { id: 1, what: to(RUN, SCHED, 10.25) }, &running);
    assert_eq!(cores(&table), (true, 12, vec![(0, 1), (5, 5)]));
    let entered = |job: Option<Job>| job.unwrap().entered.unwrap();
    assert_eq!(entered(change.after).since(entered(change.before)), 250.0);
    // What a job holds does not change with its jobspec.
    table.apply(Event { id: 1, what: EventKind::Updated }, &known(7, "debug", "chem", Some("0")));
    assert_eq!(cores(&table), (true, 12, vec![(0, 1), (5, 5)]));
    assert_eq!(table.lists().banks.name(table.job(1).unwrap().bank), Some("chem"));
    table.apply(Event { id: 1, what: to(CLEANUP, RUN, 11.0) }, &running);
    assert_eq!(cores(&table), (true, 12, vec![(0, 1), (5, 5)]));
    table.apply(Event { id: 1, what: to(INACTIVE, CLEANUP, 12.0) }, &running);
    assert_eq!(table.job(1), None);

    // Canceled as it waited: it never held anything.
    table.apply(Event { id: 1, what: EventKind::New { state: SCHED } }, &waiting);
    table.apply(Event { id: 1, what: moved(SCHED, CLEANUP) }, &waiting);
    assert_eq!(cores(&table), (false, 0, vec![]));
    // Its R is not the scheduler's.
    let mut past = known(7, "", "", Some("3"));
    past.jobspec["attributes"]["system"]["alloc-bypass"] = json!({});
    table.apply(Event { id: 1, what: EventKind::New { state: RUN } }, &past);
    assert_eq!(cores(&table), (false, 0, vec![]));
}

/// A restart reports every inactive job there is: the lists of users and banks have ends.
#[test]
fn inactive_jobs_take_no_place_in_the_lists_but_the_queues() {
    let mut table = JobTable::default();
    table.set_needs(ALL_NEEDS);
    for id in 0..200 {
        let old = known(1000 + id as u32, "batch", &format!("old{id}"), Some("0"));
        table.apply(Event { id, what: EventKind::InactiveAdd }, &old);
    }
    table.apply(
        Event { id: 200, what: EventKind::New { state: SCHED } },
        &known(7, "batch", "phys", None),
    );
    let (job, lists) = (table.job(200).unwrap(), table.lists());
    assert_eq!(lists.users.name(job.user), Some("7"));
    assert_eq!(lists.banks.name(job.bank), Some("phys"));
    assert_eq!((lists.users.last(), lists.banks.last(), lists.queues.last()), (1, 1, 1));
}

#[test]
fn a_job_that_waits_in_an_unknown_state_has_what_it_asks_for_and_gets() {
    let mut table = table(0);
    table.set_needs(ALL_NEEDS);
    table.apply(Event { id: 1, what: EventKind::New { state: 1 << 9 } }, &known(7, "", "", None));
    table.apply(Event { id: 1, what: moved(1 << 9, RUN) }, &known(7, "", "", Some("0-1")));
    let job = table.job(1).unwrap();
    assert_eq!((job.has_allocation, job.amounts.cores), (true, 8));
    // And so does one that removed on waiting.
    let waiting = known(7, "", "", None);
    table.apply(Event { id: 2, what: EventKind::New { state: SCHED } }, &waiting);
    table.apply(Event { id: 2, what: moved(SCHED, 1 << 9) }, &waiting);
    table.apply(Event { id: 2, what: moved(1 << 9, SCHED) }, &waiting);
    assert_eq!(table.job(2).unwrap().amounts.cores, 4);
}

#[test]
fn what_cannot_be_read_is_said_and_the_job_counts_all_the_same() {
    let mut table = table(0);
    table.set_needs(ALL_NEEDS);
    let nonsense = Known { user: 5, urgency: 16, jobspec: json!([1, "x"]), r: Some(json!("y")) };
    let mut unread = |what| table.apply(Event { id: 1, what }, &nonsense).unread;
    assert_eq!(
        unread(EventKind::New { state: SCHED }),
        Some(ReadError(
            "jobspec: resources not understood; the job counts as asking for none".into()
        ))
    );
    assert_eq!(
        unread(moved(SCHED, RUN)),
        Some(ReadError("R: not understood; the job counts as holding nothing".into()))
    );
    assert_eq!(unread(moved(RUN, CLEANUP)), None);
    let long = known(5, &"q".repeat(300), "", None);
    let change = table.apply(Event { id: 2, what: EventKind::New { state: NEW } }, &long);
    assert!(change.unread.unwrap().0.contains("300 bytes"));
    assert_eq!(table.job(2).unwrap().queue, 0);
    assert_eq!(table.count(New), Some(1));
    assert_eq!(table.count(Cleanup), Some(1));
}

#[test]
fn a_record_is_small_and_a_known_job_allocates_nothing() {
    assert!(std::mem::size_of::<Job>() <= 72, "{}", std::mem::size_of::<Job>());
    let mut table = table(0);
    table.set_needs(ALL_NEEDS);
    let (waiting, running) =
        (known(7, "batch", "phys", None), known(7, "batch", "phys", Some("0-3")));
    let mut live = |id| {
        table.apply(Event { id, what: EventKind::New { state: NEW } }, &waiting);
        allocation_counter::measure(|| {
            for pair in [NEW, DEPEND, PRIORITY, SCHED, RUN, CLEANUP].windows(2) {
                let known = if pair[1] < RUN { &waiting } else { &running };
                table.apply(Event { id, what: moved(pair[0], pair[1]) }, known);
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

/// Any event, legal or not.
fn what() -> impl Strategy<Value = EventKind> {
    prop_oneof![
        2 => number().prop_map(|state| EventKind::New { state }),
        6 => (number(), prop::option::weighted(0.9, number()))
            .prop_map(|(state, previous)| EventKind::Moved { state, previous, at: None }),
        1 => Just(EventKind::Updated),
        1 => Just(EventKind::InactiveAdd),
        1 => Just(EventKind::InactiveRemove),
    ]
}

/// What is known of the jobs by the last event of each, and nothing else.
#[derive(Default)]
struct Fold {
    jobs: BTreeMap<u64, i32>,
    ended: BTreeMap<u64, bool>,
    inactive: u64,
}

impl Fold {
    fn hear(&mut self, id: u64, what: EventKind) {
        match what {
            EventKind::Moved { state: INACTIVE, previous: Some(_), .. } => {
                self.jobs.remove(&id);
                if !self.ended.insert(id, true).unwrap_or(false) {
                    self.inactive += 1;
                }
            }
            EventKind::New { state } | EventKind::Moved { state, previous: Some(_), .. } => {
                self.jobs.insert(id, state);
            }
            EventKind::Moved { state, previous: None, .. } => {
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
fn assert_counts(table: &JobTable, wanted: impl Fn(State) -> u64) {
    let mut sums = [0; 7];
    table.jobs().filter_map(|(_, job)| job.state).for_each(|state| sums[state as usize] += 1);
    for state in State::ALL {
        assert_eq!(table.count(state), Some(wanted(state)), "{state:?}");
        assert!(state == Inactive || sums[state as usize] == wanted(state), "{state:?}");
    }
}

/// A job manager whose jobs go their legal ways.
#[derive(Default)]
struct JobManager {
    active: BTreeMap<u64, i32>,
    inactive: BTreeSet<u64>,
    submitted: u64,
}

impl JobManager {
    /// One of the jobs removed on, or another one is submitted. Returns the events.
    fn go_on(&mut self, job: usize, way: usize) -> Vec<Event> {
        let ids: Vec<_> = self.active.keys().chain(&self.inactive).copied().collect();
        let Some(&id) = ids.get(job % 12) else {
            self.submitted += 1;
            self.active.insert(self.submitted, NEW);
            return vec![Event { id: self.submitted, what: EventKind::New { state: NEW } }];
        };
        let Some(&state) = self.active.get(&id) else {
            self.inactive.remove(&id);
            return vec![Event { id, what: EventKind::InactiveRemove }];
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
        let mut events = vec![Event { id, what: moved(state, to) }];
        if to == INACTIVE {
            self.active.remove(&id);
            self.inactive.insert(id);
            events.push(Event { id, what: EventKind::InactiveAdd });
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

    /// A whole check of the table. Returns how many jobs were put right.
    fn check(&self, table: &mut JobTable) -> u64 {
        let (mut check, mut repairs) = (Reconcile::default(), 0);
        let known = plain();
        let mut look_up = |table: &mut JobTable, id| {
            let change = table.reconcile(id, self.active.get(&id).map(|&state| (state, &known)));
            repairs += u64::from(change.before != change.after);
        };
        check.begin();
        while let Some(id) = check.cursor().next(table) {
            look_up(table, id);
        }
        let active = self.active.len() as u64;
        check.asked(table);
        if check.answered(active, table) == Comparison::List {
            for &id in self.active.keys() {
                if table.job(id).is_none() {
                    look_up(table, id);
                }
            }
        }
        check.asked(table);
        assert_eq!(check.answered(active, table), Comparison::Agrees);
        table.inactive_asked();
        assert!(table.inactive_answered(self.inactive.len() as u64).known);
        repairs
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_events_are_the_last_that_was_heard_of_each_job(
        events in prop::collection::vec((0u64..5, what()), 0..200)
    ) {
        let (mut table, mut fold) = (table(0), Fold::default());
        for &(id, what) in &events {
            table.apply(Event { id, what }, &plain());
            fold.hear(id, what);
            assert_counts(&table, |state| fold.count(state));
        }
    }

    #[test]
    fn after_a_check_all_is_true_whatever_was_withheld(
        steps in prop::collection::vec((any::<usize>(), any::<usize>(), any::<u8>()), 0..200),
        more in prop::collection::vec((any::<usize>(), any::<usize>()), 0..50)
    ) {
        let (mut table, mut job_manager) = (table(0), JobManager::default());
        table.set_needs(ALL_NEEDS);
        for (job, way, delivered) in steps {
            // Each event has a chance of its own to be withheld.
            for (index, event) in job_manager.go_on(job, way).into_iter().enumerate() {
                if delivered >> index & 3 != 0 {
                    table.apply(event, &plain());
                }
            }
        }
        job_manager.check(&mut table);
        assert_counts(&table, |state| job_manager.count(state));
        // Then there is nothing to repair, and nothing contradicts it any more.
        assert_eq!(job_manager.check(&mut table), 0);
        let anomalies = table.anomalies();
        for (job, way) in more {
            for event in job_manager.go_on(job, way) {
                table.apply(event, &plain());
            }
            assert_counts(&table, |state| job_manager.count(state));
        }
        assert_eq!(table.anomalies(), anomalies);
    }
}
