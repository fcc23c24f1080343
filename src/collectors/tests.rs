//! The collectors: tables of jobs and of their contributions.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{json, Value};

use super::*;
use crate::flux_formats::{Amounts, Housekeeping, QueueResources, QueueStatus, ResourceStatus};
use crate::jobs::{Cursor, Event, JobInfo, JobResult, JobSource, Ranks, ReadError};
use State::*;

/// The levels of gauges, if known; counters and timings in the order of their arrival.
#[derive(Default)]
struct Levels {
    defined: BTreeMap<(CollectorId, LabelId), Vec<MetricSpec>>,
    gauges: BTreeMap<(CollectorId, MetricId), i64>,
    others: Vec<String>,
    additions: usize,
}

impl Recorder for Levels {
    fn define(&mut self, collector: CollectorId, label: LabelId, metrics: Vec<MetricSpec>) {
        self.defined.insert((collector, label), metrics);
    }
    fn add(&mut self, collector: CollectorId, gauge: MetricId, by: i64) {
        let metrics = &self.defined[&(collector, gauge.label)];
        assert!(metrics[usize::from(gauge.metric)].kind.is_sum());
        let level = self.gauges.entry((collector, gauge)).or_default();
        *level += by;
        self.additions += 1;
    }
    fn set(&mut self, collector: CollectorId, gauge: MetricId, level: Option<i64>) {
        let metrics = &self.defined[&(collector, gauge.label)];
        let kind = metrics[usize::from(gauge.metric)].kind;
        assert!(!matches!(kind, MetricKind::JobSum | MetricKind::Counter), "{kind:?}");
        match level {
            Some(level) => self.gauges.insert((collector, gauge), level),
            None => self.gauges.remove(&(collector, gauge)),
        };
    }
    fn count(&mut self, collector: CollectorId, counter: MetricId, by: i64) {
        self.others.push(format!("{} +{by}", self.name(collector, counter)));
    }
    fn timing(&mut self, collector: CollectorId, timing: MetricId, milliseconds: f64) {
        self.others.push(format!("{} {milliseconds}", self.name(collector, timing)));
    }
    fn reset_sums(&mut self, collector: CollectorId) {
        let Levels { defined, gauges, .. } = self;
        gauges.retain(|(other, gauge), _| {
            let spec = &defined[&(*other, gauge.label)][usize::from(gauge.metric)];
            *other != collector || !spec.kind.is_sum()
        });
    }
    fn retire(&mut self, collector: CollectorId, label: LabelId) {
        self.gauges.retain(|&(other, gauge), &mut level| {
            let is_retired = (other, gauge.label) == (collector, label);
            let spec = &self.defined[&(other, gauge.label)][usize::from(gauge.metric)];
            assert!(!is_retired || !spec.kind.is_sum() || level == 0, "{spec:?} is {level}");
            !is_retired
        });
    }
    fn remove(&mut self, collector: CollectorId) {
        self.defined.retain(|(other, _), _| *other != collector);
        self.gauges.retain(|(other, _), _| *other != collector);
    }
}

impl Levels {
    fn name(&self, collector: CollectorId, metric: MetricId) -> String {
        let spec = &self.defined[&(collector, metric.label)][usize::from(metric.metric)];
        let values = spec.tags.iter().map(|(_, value)| match value {
            TagValue::State(state) => format!("{state:?}"),
            TagValue::Text(text) => text.clone(),
        });
        [spec.name.unwrap_or("state").to_owned()]
            .into_iter()
            .chain(values)
            .collect::<Vec<_>>()
            .join(".")
    }

    /// The gauges other than 0, by name.
    fn levels(&self) -> BTreeMap<String, i64> {
        let gauges = self.gauges.iter().filter(|(_, &level)| level != 0);
        gauges.map(|(&(collector, metric), &level)| (self.name(collector, metric), level)).collect()
    }
}

/// A job in a state, with queue, user and bank 1.
fn job(state: State) -> Job {
    let mut job = Job::new(Some(state));
    (job.queue, job.user, job.bank) = (1, 1, 1);
    job.amounts = Amounts { nodes: 2, cores: 8, gpus: 1 };
    job
}

fn running(ranks: Ranks) -> Job {
    Job { has_allocation: true, ranks, ..job(Run) }
}

fn all() -> Vec<CollectorId> {
    CollectorId::all().collect()
}

fn table() -> JobTable {
    let mut table = JobTable::default();
    let labels = table.labels_mut();
    labels.queues.id("batch");
    labels.users.id("7");
    labels.banks.id("phys");
    labels.schemes.id("afterok");
    labels.schemes.id("begin-time");
    table
}

fn change(before: Option<&Job>, after: Option<&Job>) -> Change {
    Change { before: before.cloned(), after: after.cloned(), ..Change::default() }
}

#[test]
fn each_collector_has_a_unique_name_and_declares_its_tags() {
    // PCP rejects names with a dash.
    let has_no_dash = |text: &str| assert!(!text.contains('-'), "{text}");
    let mut names: Vec<_> = COLLECTORS.iter().map(|collector| collector.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), COLLECTORS.len());
    for id in all() {
        assert_eq!(CollectorId::named(id.spec().name), Some(id));
        let collector = (id.spec().make)();
        for metric in collector.metrics(None).iter().chain(&collector.metrics(Some("x"))) {
            has_no_dash(metric.name.unwrap_or_default());
            for (key, value) in &metric.tags {
                assert!(id.spec().tags.contains(key), "{} {key}", id.spec().name);
                has_no_dash(key);
                if let TagValue::Text(text) = value {
                    has_no_dash(text);
                }
            }
        }
    }
}

#[test]
fn each_job_has_its_contributions() {
    // A collector, a job and its contributions.
    let at_three = Ranks::Many(vec![(0, 1), (4, 4)].into());
    type Case<'a> = (&'a str, Job, &'a [(&'a str, i64)]);
    let table: &[Case] = &[
        ("states", job(Sched), &[("state.Sched", 1)]),
        (
            "queues",
            job(Sched),
            &[
                ("queue.batch.Sched", 1),
                ("queue.resource.batch.nodes.requested", 2),
                ("queue.resource.batch.cores.requested", 8),
                ("queue.resource.batch.gpus.requested", 1),
            ],
        ),
        ("queues", Job { queue: 0, ..job(Sched) }, &[]),
        ("users", job(Cleanup), &[("user.7.Cleanup", 1)]),
        (
            "users",
            running(Ranks::One(0, 1)),
            &[
                ("user.7.Run", 1),
                ("user.resource.7.nodes.allocated", 2),
                ("user.resource.7.cores.allocated", 8),
                ("user.resource.7.gpus.allocated", 1),
            ],
        ),
        (
            "banks",
            Job { amounts: Amounts { nodes: 1, cores: 4, gpus: 0 }, ..running(Ranks::One(0, 0)) },
            &[
                ("bank.phys.Run", 1),
                ("bank.resource.phys.nodes.allocated", 1),
                ("bank.resource.phys.cores.allocated", 4),
            ],
        ),
        ("banks", Job { bank: 0, ..running(Ranks::None) }, &[]),
        (
            "resources",
            job(Depend),
            &[
                ("resource.nodes.requested", 2),
                ("resource.cores.requested", 8),
                ("resource.gpus.requested", 1),
            ],
        ),
        ("resources", job(Cleanup), &[]),
        (
            "resources",
            running(at_three),
            &[
                ("resource.nodes.allocated", 3),
                ("resource.cores.allocated", 8),
                ("resource.gpus.allocated", 1),
            ],
        ),
        ("pending", job(Depend), &[("pending.dependency", 1)]),
        (
            "pending",
            Job { schemes: 0b110, is_held: true, ..job(Depend) },
            &[("pending.dependency", 1), ("dependency.afterok", 1), ("dependency.begin-time", 1)],
        ),
        ("pending", job(Priority), &[("pending.priority", 1)]),
        ("pending", Job { is_held: true, ..job(Priority) }, &[("pending.held", 1)]),
        ("pending", job(Sched), &[("pending.resources", 1)]),
        ("pending", Job { schemes: 0b110, ..job(Sched) }, &[("pending.resources", 1)]),
        ("pending", Job { is_held: true, ..job(Sched) }, &[("pending.held", 1)]),
        ("pending", Job { has_no_priority: true, ..job(Sched) }, &[("pending.priority", 1)]),
        ("pending", Job { is_stopped: true, ..job(Sched) }, &[("pending.stopped", 1)]),
        ("pending", Job { is_stopped: true, is_held: true, ..job(Sched) }, &[("pending.held", 1)]),
        ("pending", Job { is_stopped: true, ..job(Priority) }, &[("pending.priority", 1)]),
        ("queues.pending", job(Depend), &[("queue.pending.batch.dependency", 1)]),
        ("queues.pending", Job { is_held: true, ..job(Sched) }, &[("queue.pending.batch.held", 1)]),
        ("queues.pending", job(Sched), &[("queue.pending.batch.resources", 1)]),
        ("queues.pending", Job { queue: 0, ..job(Sched) }, &[]),
        (
            "queues.pending",
            Job { is_stopped: true, ..job(Sched) },
            &[("queue.pending.batch.stopped", 1)],
        ),
        ("queues.pending", job(Run), &[]),
        ("pending", job(New), &[]),
        ("pending", job(Run), &[]),
        ("timings", job(Run), &[]),
        ("results", job(Run), &[]),
    ];
    for (name, job, expected) in table {
        let (mut collectors, mut levels, table) =
            (Collectors::default(), Levels::default(), self::table());
        let ids = [CollectorId::named(name).unwrap()];
        collectors.install(Backfill::new(&ids), &table, &mut levels);
        collectors.on_change(&change(None, Some(job)), None, &table, &mut levels);
        let expected: BTreeMap<_, _> =
            expected.iter().map(|&(name, by)| (name.to_owned(), by)).collect();
        assert_eq!(levels.levels(), expected, "{name} {job:?}");
        collectors.on_change(&change(Some(job), None), None, &table, &mut levels);
        assert_eq!(levels.levels(), BTreeMap::new(), "{name}: contributions are subtracted");
    }
}

#[test]
fn a_transition_that_changes_no_resources_records_nothing() {
    let held = || running(Ranks::One(0, 1));
    let larger = Job { amounts: Amounts { nodes: 3, cores: 12, gpus: 1 }, ..job(Sched) };
    // Before, after, and the number of additions.
    let table = [
        (job(Depend), job(Priority), 0),
        (job(Priority), job(Sched), 0),
        (held(), Job { state: Some(Cleanup), ..held() }, 0),
        (job(New), job(New), 0),
        (job(Sched), larger, 6),
        (job(Sched), held(), 6),
        (held(), running(Ranks::One(1, 3)), 1),
    ];
    for (before, after, expected) in table {
        let id = CollectorId::named("resources").unwrap();
        let mut resources = (id.spec().make)();
        let mut levels = Levels::default();
        levels.define(id, 0, resources.metrics(None));
        let mut out = CollectorRecorder::new(id, &mut levels);
        resources.delta(&change(Some(&before), Some(&after)), &mut out);
        assert_eq!(levels.additions, expected, "{before:?} {after:?}");
    }
}

#[test]
fn a_shared_node_is_counted_once() {
    let (mut collectors, mut levels, table) = (Collectors::default(), Levels::default(), table());
    let ids = [CollectorId::named("resources").unwrap()];
    collectors.install(Backfill::new(&ids), &table, &mut levels);
    let (one, other) = (running(Ranks::One(0, 1)), running(Ranks::One(1, 2)));
    let mut nodes = |before, after| {
        collectors.on_change(&change(before, after), None, &table, &mut levels);
        levels.levels().get("resource.nodes.allocated").copied().unwrap_or(0)
    };
    assert_eq!(nodes(None, Some(&one)), 2);
    assert_eq!(nodes(None, Some(&other)), 3);
    assert_eq!(nodes(Some(&one), None), 2);
    assert_eq!(nodes(Some(&other), None), 0);
}

fn backfill(ids: &[CollectorId], table: &JobTable) -> Backfill {
    let mut backfill = Backfill::new(ids);
    table.jobs().for_each(|(_, job)| backfill.add(job));
    backfill
}

/// Collectors that are filled with the jobs of a table.
fn filled(ids: &[CollectorId], table: &JobTable) -> (Collectors, Levels) {
    let (mut collectors, mut levels) = (Collectors::default(), Levels::default());
    collectors.install(backfill(ids, table), table, &mut levels);
    (collectors, levels)
}

/// A job in these tests.
#[derive(Clone, Debug)]
struct TestJob {
    user: u32,
    urgency: i32,
    jobspec: Value,
    r: Value,
    submitted: f64,
}

impl JobSource for TestJob {
    type Json<'a> = &'a Value;

    fn info(&self) -> Result<JobInfo<&Value>, ReadError> {
        let TestJob { user, urgency, jobspec, r, .. } = self;
        let (user, urgency) = (*user, *urgency);
        Ok(JobInfo { user, urgency, priority: urgency.into(), jobspec, r: Some(r) })
    }

    fn submitted(&self) -> Result<Timestamp, ReadError> {
        Ok(Timestamp::from_seconds(self.submitted))
    }

    fn bypasses_scheduler(&self, _: bool) -> bool {
        false
    }

    fn result(&self) -> Option<JobResult> {
        None
    }
}

fn test_job() -> impl Strategy<Value = TestJob> {
    let name = prop::sample::select(vec!["", "a.b", "a-b", "c"]);
    let ranks = prop::sample::select(vec!["0", "0-3", "2,5-6", "x"]);
    (0u32..3, prop::sample::select(vec![0, 16]), name.clone(), name, ranks, 0..3).prop_map(
        |(user, urgency, queue, bank, ranks, count)| {
            let dependencies = json!([{"scheme": if count > 1 { "afterok" } else { "x.y" }}]);
            let system = json!({"queue": queue, "bank": bank, "dependencies": dependencies});
            let resources = json!([{"type": "core", "count": count}]);
            let jobspec = json!({"attributes": {"system": system}, "resources": resources});
            let held = json!([{"rank": ranks, "children": {"core": "0-1", "gpu": "0"}}]);
            let r = json!({"execution": {"R_lite": held}});
            TestJob { user, urgency, jobspec, r, submitted: (10 + user).into() }
        },
    )
}

/// Any event, valid or not; `None`: a reconcile of the job.
fn event() -> impl Strategy<Value = (u64, Option<EventKind>, i32)> {
    let number = || prop_oneof![9 => (0u32..7).prop_map(|index| 1 << index), 1 => Just(128)];
    let kind = prop_oneof![
        2 => number().prop_map(|state| Some(EventKind::New { state })),
        6 => (number(), prop::option::weighted(0.9, number()))
            .prop_map(|(state, previous)| Some(EventKind::Transition { state, previous, at: None })),
        1 => Just(Some(EventKind::Updated)),
        1 => Just(Some(EventKind::InactiveAdd)),
        1 => Just(Some(EventKind::InactiveRemove)),
        2 => Just(None),
    ];
    (0u64..5, kind, number())
}

fn apply(
    table: &mut JobTable,
    (id, kind, state): (u64, Option<EventKind>, i32),
    job: &TestJob,
) -> Change {
    match kind {
        Some(kind) => table.apply(Event { id, kind }, job),
        None => table.reconcile(id, (state != State::Inactive.number()).then_some((state, job))),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// After any changes, all gauges are equal to those of newly filled collectors, and no
    /// sum is negative.
    #[test]
    #[cfg_attr(miri, ignore = "random cases take hours in Miri")]
    fn gauges_are_sums_over_the_table_after_any_events(
        events in prop::collection::vec((event(), test_job()), 0..60)
    ) {
        let mut table = JobTable::default();
        table.set_needs(CollectorId::needs(&all()));
        table.loaded();
        table.inactive_requested();
        table.inactive_response(3);
        let (mut collectors, mut levels) = filled(&all(), &table);
        for ((id, kind, state), job) in events {
            let change = apply(&mut table, (id, kind, state), &job);
            collectors.on_change(&change, None, &table, &mut levels);
            let (_, expected) = filled(&all(), &table);
            prop_assert_eq!(levels.levels(), expected.levels());
            prop_assert!(levels.levels().values().all(|&level| level > 0));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Jobs that are added, change and end during a backfill are counted once, as they are
    /// at its end.
    #[test]
    #[cfg_attr(miri, ignore = "random cases take hours in Miri")]
    fn a_backfill_is_correct_while_jobs_change(
        before in prop::collection::vec((event(), test_job()), 0..30),
        meanwhile in prop::collection::vec((event(), test_job(), 0usize..3), 0..40),
    ) {
        // A cursor reads one shard of the table at a time. All jobs are in one shard, so that
        // jobs also change after the cursor has read them and before it returns them.
        let same = same_shard();
        let mut table = JobTable::default();
        table.set_needs(CollectorId::needs(&all()));
        table.loaded();
        for ((id, kind, state), job) in before {
            apply(&mut table, (same[id as usize], kind, state), &job);
        }
        let (mut backfill, mut cursor) = (Backfill::new(&all()), Cursor::default());
        for ((id, kind, state), job, steps) in meanwhile {
            let id = same[id as usize];
            let change = apply(&mut table, (id, kind, state), &job);
            if cursor.is_past(id) {
                backfill.on_change(&change);
            }
            for _ in 0..steps {
                let job = cursor.next(&table).and_then(|id| table.job(id));
                job.into_iter().for_each(|job| backfill.add(job));
            }
        }
        while let Some(id) = cursor.next(&table) {
            table.job(id).into_iter().for_each(|job| backfill.add(job));
        }
        let (mut collectors, mut levels) = (Collectors::default(), Levels::default());
        collectors.install(backfill, &table, &mut levels);
        prop_assert_eq!(levels.levels(), filled(&all(), &table).1.levels());
    }
}

/// Ids of jobs in one shard of the table.
fn same_shard() -> Vec<u64> {
    let mut table = JobTable::default();
    for id in 0..4000 {
        table.apply(Event { id, kind: EventKind::New { state: 8 } }, &Unreadable);
    }
    let ids: Vec<_> = table.ids(0).collect();
    assert!(ids.len() >= 5, "{ids:?}");
    ids
}

struct Unreadable;

impl JobSource for Unreadable {
    type Json<'a> = &'a Value;

    fn info(&self) -> Result<JobInfo<&Value>, ReadError> {
        Err(ReadError(String::new()))
    }

    fn submitted(&self) -> Result<Timestamp, ReadError> {
        Err(ReadError(String::new()))
    }

    fn bypasses_scheduler(&self, _: bool) -> bool {
        false
    }

    fn result(&self) -> Option<JobResult> {
        None
    }
}

#[test]
fn a_collector_that_is_enabled_late_counts_all_jobs() {
    let mut table = table();
    for (id, state) in [(1, 8), (2, 8), (3, 16)] {
        table.apply(Event { id, kind: EventKind::New { state } }, &Unreadable);
    }
    let states = CollectorId::named("states").unwrap();
    let (mut collectors, mut levels) = filled(&[states], &table);
    let expected = [("state.Run", 1), ("state.Sched", 2)];
    assert_eq!(levels.levels(), expected.map(|(name, level)| (name.to_owned(), level)).into());
    collectors.retain(&[], &mut levels);
    assert_eq!(levels.levels(), BTreeMap::new());
}

#[test]
fn a_backfill_replaces_enabled_collectors() {
    let mut table = table();
    table.set_needs(CollectorId::needs(&all()));
    table.inactive_requested();
    table.inactive_response(3);
    for (id, state) in [(1, 8), (2, 8), (3, 16)] {
        table.apply(Event { id, kind: EventKind::New { state } }, &Unreadable);
    }
    let (mut collectors, mut levels) = filled(&all(), &table);
    let expected = levels.levels();
    // A panic left the collectors with other sums than the table.
    let lost = Job { queue: 1, ..running(Ranks::One(0, 1)) };
    collectors.on_change(&change(None, Some(&lost)), None, &table, &mut levels);
    assert_ne!(levels.levels(), expected);
    let mut filled = backfill(&all(), &table);
    while let Some(one) = filled.take_one() {
        assert_eq!(one.collectors().len(), 1);
        collectors.install(one, &table, &mut levels);
    }
    assert_eq!(levels.levels(), expected);
    assert_eq!(collectors.ids().collect::<Vec<_>>(), all());
    assert_eq!(collectors.ids().collect::<Vec<_>>(), all());
}

#[test]
fn resource_status_is_recorded_while_it_is_known() {
    let mut table = table();
    let resources = CollectorId::named("resources").unwrap();
    table.set_needs(CollectorId::needs(&[resources]));
    let (mut collectors, mut levels) = filled(&[resources], &table);
    assert_eq!(levels.gauges, BTreeMap::new(), "not known yet");
    let resource_status = ResourceStatus {
        nodes: 9,
        nodes_down: 3,
        nodes_offline: 4,
        nodes_excluded: 1,
        drained: vec![1, 2, 4, 5],
        drain_oldest_seconds: 70,
        cores: 36,
        cores_down: 12,
        gpus: 5,
        queues: Vec::new(),
    };
    table.set_resource_status(Some(resource_status));
    // Nodes with jobs, and nodes in housekeeping, are draining.
    let housekeeping = Housekeeping { ranks: vec![3, 4], oldest_seconds: 80 };
    table.set_housekeeping(Some(housekeeping));
    let holding = running(Ranks::One(2, 3));
    collectors.on_change(&change(None, Some(&holding)), None, &table, &mut levels);
    collectors.table_gauges_changed(&table, &mut levels);
    let expected = [
        ("housekeeping.oldest_seconds", 80),
        ("resource.cores.allocated", 8),
        ("resource.cores.down", 12),
        ("resource.cores.total", 36),
        ("resource.drain.oldest_seconds", 70),
        ("resource.gpus.allocated", 1),
        ("resource.gpus.total", 5),
        ("resource.nodes.allocated", 2),
        ("resource.nodes.down", 3),
        ("resource.nodes.drained", 2),
        ("resource.nodes.draining", 2),
        ("resource.nodes.excluded", 1),
        ("resource.nodes.housekeeping", 2),
        ("resource.nodes.offline", 4),
        ("resource.nodes.total", 9),
        ("resource.nodes.up", 6),
    ];
    assert_eq!(levels.levels(), expected.map(|(name, level)| (name.to_owned(), level)).into());
    table.set_resource_status(None);
    table.set_housekeeping(None);
    collectors.on_change(&change(Some(&holding), None), None, &table, &mut levels);
    collectors.table_gauges_changed(&table, &mut levels);
    assert_eq!(levels.levels(), BTreeMap::new());
}

#[test]
fn the_status_and_the_resources_of_queues_are_recorded_while_they_are_known() {
    let mut table = table();
    let queues = CollectorId::named("queues").unwrap();
    table.set_needs(CollectorId::needs(&[queues]));
    let (mut collectors, mut levels) = filled(&[queues], &table);
    let mut recorded = |table: &JobTable| {
        collectors.table_gauges_changed(table, &mut levels);
        let known = levels.gauges.iter().filter(|(_, level)| **level != 0);
        known.map(|(&(id, metric), level)| (levels.name(id, metric), *level)).collect::<Vec<_>>()
    };
    let status = |is_enabled, is_started| QueueStatus { is_enabled, is_started };
    let named = |list: &[(&str, i64)]| -> Vec<_> {
        list.iter().map(|&(name, level)| (name.to_owned(), level)).collect()
    };
    assert_eq!(recorded(&table), []);
    table.set_queue_status(&[(String::new(), status(true, Some(true)))]);
    let anonymous = ["scheduler.ready", "queue.enabled.anonymous", "queue.started.anonymous"];
    assert_eq!(recorded(&table), named(&anonymous.map(|name| (name, 1))));
    // Without a scheduler, `started` is not known.
    table.set_queue_status(&[("batch".to_owned(), status(true, None))]);
    assert_eq!(recorded(&table), named(&[("queue.enabled.batch", 1)]));
    table.set_queue_status(&[]);
    let up = Amounts { nodes: 2, cores: 4, gpus: 1 };
    let resources = QueueResources { total: Amounts { nodes: 3, ..up }, up };
    // Two queues with one label are one.
    let queues = ["a.b", "a_b"].map(|name| (name.to_owned(), resources)).into();
    table.set_resource_status(Some(ResourceStatus { queues, ..ResourceStatus::default() }));
    let expected = [
        ("queue.resource.a_b.nodes.total", 6),
        ("queue.resource.a_b.nodes.up", 4),
        ("queue.resource.a_b.cores.total", 8),
        ("queue.resource.a_b.cores.up", 8),
        ("queue.resource.a_b.gpus.total", 2),
        ("queue.resource.a_b.gpus.up", 2),
    ];
    assert_eq!(recorded(&table), named(&expected));
    table.set_resource_status(None);
    assert_eq!(recorded(&table), []);
}

#[test]
fn times_and_results_are_recorded_if_known() {
    let (mut collectors, mut levels, table) = (Collectors::default(), Levels::default(), table());
    let ids = ["timings", "results", "queues.timings", "queues.results"];
    let ids = ids.map(|name| CollectorId::named(name).unwrap());
    collectors.install(Backfill::new(&ids), &table, &mut levels);
    let at = |seconds| Some(Timestamp::from_seconds(seconds));
    let job = |state| Job { submitted: at(1.0), ..job(state) };
    let entered = |state, seconds| Job { entered: at(seconds), ..job(state) };
    let transition = |state, previous, seconds| EventKind::Transition {
        state,
        previous: Some(previous),
        at: at(seconds),
    };
    let mut sent = |change: Change, kind: Option<EventKind>| {
        collectors.on_change(&change, kind, &table, &mut levels);
        std::mem::take(&mut levels.others)
    };
    let none: [&str; 0] = [];
    let new = || change(None, Some(&job(New)));
    assert_eq!(sent(new(), Some(EventKind::New { state: 1 })), none);
    assert_eq!(sent(Change { is_submission: true, ..new() }, None), ["result.submitted +1"]);
    let (sched, run) = (entered(Sched, 10.0), entered(Run, 10.5));
    assert_eq!(
        sent(change(Some(&sched), Some(&run)), Some(transition(16, 8, 10.5))),
        ["time.Sched 500", "time.submit_to_run 9500", "queue.time.batch.submit_to_run 9500"]
    );
    let left_new = Some(transition(2, 1, 1.5));
    assert_eq!(sent(change(Some(&job(New)), Some(&job(Depend))), left_new), ["time.New 500"]);
    // An event was missed, or the start of the state is not known: no time is recorded.
    let missed = Some(transition(32, 16, 11.0));
    assert_eq!(sent(change(Some(&sched), Some(&job(Cleanup))), missed), none);
    assert_eq!(sent(change(Some(&job(Run)), Some(&job(Cleanup))), missed), none);
    // The clock was set back.
    assert_eq!(sent(change(Some(&run), None), Some(transition(32, 16, 9.0))), ["time.Run 0"]);
    let ended = Change { result: Some(JobResult::Timeout), ..change(Some(&job(Cleanup)), None) };
    let counted = ["result.timeout +1", "queue.result.batch.timeout +1"];
    assert_eq!(sent(ended.clone(), Some(transition(64, 32, 12.0))), counted);
    assert_eq!(sent(ended.clone(), None), counted, "found by a reconcile pass");
    // The transition was hidden, and the job is not in the table.
    let ended = Change { before: None, queue: 1, ..ended };
    assert_eq!(sent(ended, Some(EventKind::InactiveAdd)), counted);
}

#[test]
fn the_oldest_job_that_waits_and_is_not_held_determines_the_age() {
    let ids = ["pending", "queues.pending"].map(|name| CollectorId::named(name).unwrap());
    let mut table = JobTable::default();
    table.set_needs(CollectorId::needs(&ids));
    table.loaded();
    let (mut collectors, mut levels) = filled(&ids, &table);
    let job = |queue: &str, urgency, submitted| {
        let jobspec = json!({"attributes": {"system": {"queue": queue}}});
        TestJob { user: 1, urgency, jobspec, r: json!(null), submitted }
    };
    let new = |state| Some(EventKind::New { state });
    let to =
        |state, previous| Some(EventKind::Transition { state, previous: Some(previous), at: None });
    // An event of a job, and the ages at 100 s: of all jobs, and in the queues a and b. Numbers
    // of states: DEPEND 2, PRIORITY 4, SCHED 8, RUN 16, CLEANUP 32.
    let steps = [
        (1, new(2), job("a", 16, 10.0), [0, 0, 0]),
        (2, new(8), job("a", 16, 40.5), [59, 59, 0]),
        (3, new(4), job("b", 16, 30.0), [70, 59, 70]),
        (4, new(8), job("b", 0, 20.0), [70, 59, 70]),
        (5, new(8), job("", 16, 25.0), [75, 59, 70]),
        (6, new(8), job("b", 16, 30.0), [75, 59, 70]),
        (1, to(4, 2), job("a", 16, 10.0), [90, 90, 70]),
        (3, to(8, 4), job("b", 16, 30.0), [90, 90, 70]),
        (3, to(16, 8), job("b", 16, 30.0), [90, 90, 70]),
        (6, to(32, 8), job("b", 16, 30.0), [90, 90, 0]),
        // It is released, and later moves to another queue.
        (4, None, job("b", 16, 20.0), [90, 90, 80]),
        (1, Some(EventKind::Updated), job("b", 16, 10.0), [90, 59, 90]),
        (1, Some(EventKind::InactiveAdd), job("b", 16, 10.0), [80, 59, 80]),
        // The clock was set back.
        (7, new(8), job("b", 16, 200.0), [80, 59, 80]),
    ];
    let ages = |table: &JobTable, collectors: &mut Collectors, levels: &mut Levels, now| {
        collectors.set_ages(now, table, levels);
        let gauges = levels.gauges.iter().map(|(&(id, gauge), age)| (levels.name(id, gauge), *age));
        gauges.filter(|(name, _)| name.contains("oldest")).collect::<BTreeMap<_, _>>()
    };
    let now = Some(Timestamp::from_seconds(100.0));
    for (id, kind, job, expected) in steps {
        let change = apply(&mut table, (id, kind, 8), &job);
        collectors.on_change(&change, None, &table, &mut levels);
        for _ in 0..2 {
            let ages = ages(&table, &mut collectors, &mut levels, now);
            let age = |of: &str| ages.get(&format!("{of}.oldest_seconds")).copied();
            let queue = |name| ages.get(&format!("queue.pending.oldest_seconds.{name}")).copied();
            let actual = [age("pending"), queue("a"), queue("b")].map(Option::unwrap_or_default);
            assert_eq!(actual, expected, "after {kind:?} of {id}");
            table.recount();
        }
    }
    assert_eq!(ages(&table, &mut collectors, &mut levels, None), BTreeMap::new());
    // Without the time of submission, nothing is left.
    table.set_needs(Needs::QUEUE);
    assert_eq!((0..3).find_map(|queue| table.oldest_pending(queue)), None);
}

#[test]
fn a_label_without_jobs_gives_its_place_to_a_new_one() {
    let ids = ["banks", "queues"].map(|name| CollectorId::named(name).unwrap());
    let mut table = JobTable::default();
    table.set_needs(CollectorId::needs(&ids));
    table.loaded();
    let (mut collectors, mut levels) = filled(&ids, &table);
    let named = |number: u64| {
        let system = json!({"bank": format!("b{number}"), "queue": format!("q{number}")});
        let jobspec = json!({"attributes": {"system": system}});
        TestJob { user: 1, urgency: 16, jobspec, r: json!(null), submitted: 1.0 }
    };
    for number in 0u64..600 {
        // A hundred jobs are active. Each ends as the next one of another label begins.
        let ended = number.checked_sub(100).map(|id| (id, Some(EventKind::InactiveAdd), 0));
        for event in ended.into_iter().chain([(number, Some(EventKind::New { state: 8 }), 8)]) {
            let change = apply(&mut table, event, &named(event.0));
            collectors.on_change(&change, None, &table, &mut levels);
        }
    }
    let (_, fresh) = filled(&ids, &table);
    assert_eq!(levels.levels(), fresh.levels());
    let active =
        (500..600).flat_map(|id| [format!("bank.b{id}.Sched"), format!("queue.q{id}.Sched")]);
    let expected: BTreeMap<_, _> = active.map(|name| (name, 1)).collect();
    assert_eq!(levels.levels(), expected);
    assert_eq!((table.labels().banks.last(), table.labels().queues.last()), (100, 256));
    assert_eq!(table.anomalies(), [0; 6]);
}
