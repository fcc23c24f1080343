//! The collectors, as tables of jobs and of what they add to which gauge.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{json, Value};

use super::*;
use crate::flux_formats::resources::Amounts;
use crate::flux_formats::status::ResourceStatus;
use crate::jobs::cursor::Cursor;
use crate::jobs::{Event, JobInfo, JobSource, Ranks, ReadError};
use State::*;

/// Where gauges stand, if that is known; counters and timings as they came.
#[derive(Default)]
struct Levels {
    defined: BTreeMap<(CollectorId, LabelId), Vec<MetricSpec>>,
    gauges: BTreeMap<(CollectorId, MetricId), i64>,
    others: Vec<String>,
}

impl Recorder for Levels {
    fn is_defined(&self, collector: CollectorId, name: LabelId) -> bool {
        self.defined.contains_key(&(collector, name))
    }
    fn define(&mut self, collector: CollectorId, name: LabelId, metrics: Vec<MetricSpec>) {
        self.defined.insert((collector, name), metrics);
    }
    fn add(&mut self, collector: CollectorId, gauge: MetricId, by: i64) {
        let metrics = &self.defined[&(collector, gauge.name)];
        assert!(metrics[usize::from(gauge.metric)].kind.is_sum());
        let level = self.gauges.entry((collector, gauge)).or_default();
        *level += by;
    }
    fn set(&mut self, collector: CollectorId, gauge: MetricId, level: Option<i64>) {
        let metrics = &self.defined[&(collector, gauge.name)];
        let kind = metrics[usize::from(gauge.metric)].kind;
        assert!(matches!(kind, MetricKind::TableCount | MetricKind::BrokerStatus), "{kind:?}");
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
        self.gauges.retain(|(other, _), _| *other != collector);
    }

    fn remove(&mut self, collector: CollectorId) {
        self.defined.retain(|(other, _), _| *other != collector);
        self.gauges.retain(|(other, _), _| *other != collector);
    }
}

impl Levels {
    fn name(&self, collector: CollectorId, series: MetricId) -> String {
        let spec = &self.defined[&(collector, series.name)][usize::from(series.metric)];
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

    /// The gauges that are not 0, by their names.
    fn levels(&self) -> BTreeMap<String, i64> {
        let gauges = self.gauges.iter().filter(|(_, &level)| level != 0);
        gauges.map(|(&(collector, series), &level)| (self.name(collector, series), level)).collect()
    }
}

/// A job in a state, of queue, user and bank 1.
fn job(state: State) -> Job {
    let mut job = crate::jobs::tests_job(Some(state));
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
    let lists = table.lists_mut();
    lists.queues.index("batch");
    lists.users.index("7");
    lists.banks.index("phys");
    lists.schemes.index("afterok");
    lists.schemes.index("begin-time");
    table
}

fn change(before: Option<&Job>, after: Option<&Job>) -> Change {
    Change { before: before.cloned(), after: after.cloned(), ..Change::default() }
}

#[test]
fn each_family_has_a_name_of_its_own_and_its_tags_are_declared() {
    // PCP throws away what has a dash.
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
fn a_job_adds_to_what_it_should() {
    // A collector, a job, the gauges that it adds to.
    let at_three = Ranks::Many(vec![(0, 1), (4, 4)].into());
    type Case<'a> = (&'a str, Job, &'a [(&'a str, i64)]);
    let table: &[Case] = &[
        ("states", job(Sched), &[("state.Sched", 1)]),
        ("queues", job(Sched), &[("queue.batch.Sched", 1)]),
        ("queues", Job { queue: 0, ..job(Sched) }, &[]),
        ("users", job(Cleanup), &[("user.7.Cleanup", 1)]),
        ("users", running(Ranks::One(0, 1)), &[("user.7.Run", 1), ("user_cores.7", 8)]),
        ("banks", running(Ranks::One(0, 1)), &[("bank.phys.Run", 1), ("bank_cores.phys", 8)]),
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
        ("pending", job(New), &[]),
        ("pending", job(Run), &[]),
        ("timings", job(Run), &[]),
        ("results", job(Run), &[]),
    ];
    for (name, job, wanted) in table {
        let (mut collectors, mut levels, table) =
            (Collectors::default(), Levels::default(), self::table());
        collectors.switch(&[CollectorId::named(name).unwrap()], &mut levels);
        collectors.changed(&change(None, Some(job)), None, &table, &mut levels);
        let wanted: BTreeMap<_, _> =
            wanted.iter().map(|&(name, by)| (name.to_owned(), by)).collect();
        assert_eq!(levels.levels(), wanted, "{name} {job:?}");
        // A state that is not known here counts nowhere, but for what it holds.
        collectors.changed(&change(Some(job), None), None, &table, &mut levels);
        assert_eq!(levels.levels(), BTreeMap::new(), "{name}: it subtracts what it added");
    }
}

#[test]
fn a_transition_that_uses_as_much_as_before_moves_no_resource() {
    let held = || running(Ranks::One(0, 1));
    let larger = Job { amounts: Amounts { nodes: 3, cores: 12, gpus: 1 }, ..job(Sched) };
    // Before, after, how many times a gauge is moved.
    let table = [
        (job(Depend), job(Priority), 0),
        (job(Priority), job(Sched), 0),
        (held(), Job { state: Some(Cleanup), ..held() }, 0),
        (job(New), job(New), 0),
        (job(Sched), larger, 6),
        (job(Sched), held(), 6),
        (held(), running(Ranks::One(1, 3)), 1),
    ];
    for (before, after, wanted) in table {
        let mut resources = (CollectorId::named("resources").unwrap().spec().make)();
        let mut moves = 0;
        resources.moves(&change(Some(&before), Some(&after)), &mut |_, _| moves += 1);
        assert_eq!(moves, wanted, "{before:?} {after:?}");
    }
}

#[test]
fn a_node_that_several_jobs_share_is_one_node() {
    let (mut collectors, mut levels, table) = (Collectors::default(), Levels::default(), table());
    collectors.switch(&[CollectorId::named("resources").unwrap()], &mut levels);
    let (one, other) = (running(Ranks::One(0, 1)), running(Ranks::One(1, 2)));
    let mut nodes = |before, after| {
        collectors.changed(&change(before, after), None, &table, &mut levels);
        levels.levels().get("resource.nodes.allocated").copied().unwrap_or(0)
    };
    assert_eq!(nodes(None, Some(&one)), 2);
    assert_eq!(nodes(None, Some(&other)), 3);
    assert_eq!(nodes(Some(&one), None), 2);
    assert_eq!(nodes(Some(&other), None), 0);
}

/// Collectors that counted the jobs of a table.
fn counted(ids: &[CollectorId], table: &JobTable) -> (Collectors, Levels) {
    let (mut collectors, mut levels) = (Collectors::default(), Levels::default());
    let mut counting = BackfillSums::new(ids);
    table.jobs().for_each(|(_, job)| counting.count(job, table));
    collectors.take_over(counting, table, &mut levels);
    (collectors, levels)
}

/// What a job says of itself in these tests.
#[derive(Clone, Debug)]
struct Known {
    user: u32,
    urgency: i32,
    jobspec: Value,
    r: Value,
}

impl JobSource for Known {
    type Json<'a> = &'a Value;

    fn info(&self) -> Result<JobInfo<&Value>, ReadError> {
        let Known { user, urgency, jobspec, r } = self;
        let (user, urgency) = (*user, *urgency);
        Ok(JobInfo { user, urgency, priority: urgency.into(), jobspec, r: Some(r) })
    }
}

fn known() -> impl Strategy<Value = Known> {
    let name = prop::sample::select(vec!["", "a.b", "a_b", "c"]);
    let ranks = prop::sample::select(vec!["0", "0-3", "2,5-6", "x"]);
    (0u32..3, prop::sample::select(vec![0, 16]), name.clone(), name, ranks, 0..3).prop_map(
        |(user, urgency, queue, bank, ranks, count)| {
            let dependencies = json!([{"scheme": if count > 1 { "afterok" } else { "x.y" }}]);
            let system = json!({"queue": queue, "bank": bank, "dependencies": dependencies});
            let resources = json!([{"type": "core", "count": count}]);
            let jobspec = json!({"attributes": {"system": system}, "resources": resources});
            let held = json!([{"rank": ranks, "children": {"core": "0-1", "gpu": "0"}}]);
            Known { user, urgency, jobspec, r: json!({"execution": {"R_lite": held}}) }
        },
    )
}

/// Any event, legal or not; or what the job manager answers in a check.
fn event() -> impl Strategy<Value = (u64, Option<EventKind>, i32)> {
    let number = || prop_oneof![9 => (0u32..7).prop_map(|index| 1 << index), 1 => Just(128)];
    let what = prop_oneof![
        2 => number().prop_map(|state| Some(EventKind::New { state })),
        6 => (number(), prop::option::weighted(0.9, number()))
            .prop_map(|(state, previous)| Some(EventKind::Moved { state, previous, at: None })),
        1 => Just(Some(EventKind::Updated)),
        1 => Just(Some(EventKind::InactiveAdd)),
        1 => Just(Some(EventKind::InactiveRemove)),
        2 => Just(None),
    ];
    (0u64..5, what, number())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// All collectors, moved by each change, stand where they would if they were
    /// made to count the jobs that there are; and no sum is negative.
    #[test]
    fn gauges_are_sums_over_the_table_whatever_happens(
        events in prop::collection::vec((event(), known()), 0..60)
    ) {
        let mut table = JobTable::default();
        table.set_needs(CollectorId::needs(&all()));
        table.loaded();
        table.inactive_asked();
        table.inactive_answered(3);
        let (mut collectors, mut levels) = counted(&all(), &table);
        for ((id, what, state), known) in events {
            let change = match what {
                Some(what) => table.apply(Event { id, what }, &known),
                None => table.reconcile(id, (state != 64).then_some((state, &known))),
            };
            collectors.changed(&change, None, &table, &mut levels);
            let (_, wanted) = counted(&all(), &table);
            prop_assert_eq!(levels.levels(), wanted.levels());
            prop_assert!(levels.levels().values().all(|&level| level > 0));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Jobs that come, change and go while collectors count are counted once, as they are.
    #[test]
    fn families_that_count_while_jobs_move_stand_where_they_should(
        before in prop::collection::vec((event(), known()), 0..30),
        meanwhile in prop::collection::vec((event(), known(), 0usize..3), 0..40),
    ) {
        // A cursor removed through a shard of the table at a time: these are all in one, so that
        // jobs change that are still to come in it.
        let same = same_shard();
        let mut table = JobTable::default();
        table.set_needs(CollectorId::needs(&all()));
        table.loaded();
        let apply = |table: &mut JobTable, (id, what, state): (u64, Option<EventKind>, i32), known: &Known| match what {
            Some(what) => table.apply(Event { id, what }, known),
            None => table.reconcile(id, (state != 64).then_some((state, known))),
        };
        for ((id, what, state), known) in before {
            apply(&mut table, (same[id as usize], what, state), &known);
        }
        let (mut counting, mut cursor) = (BackfillSums::new(&all()), Cursor::default());
        for ((id, what, state), known, steps) in meanwhile {
            let id = same[id as usize];
            let change = apply(&mut table, (id, what, state), &known);
            if cursor.is_past(id) {
                counting.changed(&change, &table);
            }
            for _ in 0..steps {
                let job = cursor.next(&table).and_then(|id| table.job(id));
                job.into_iter().for_each(|job| counting.count(job, &table));
            }
        }
        while let Some(id) = cursor.next(&table) {
            table.job(id).into_iter().for_each(|job| counting.count(job, &table));
        }
        let (mut collectors, mut levels) = (Collectors::default(), Levels::default());
        collectors.take_over(counting, &table, &mut levels);
        prop_assert_eq!(levels.levels(), counted(&all(), &table).1.levels());
    }
}

/// Ids of jobs that are in one shard of a table.
fn same_shard() -> Vec<u64> {
    let mut table = JobTable::default();
    for id in 0..4000 {
        table.apply(Event { id, what: EventKind::New { state: 8 } }, &Nobody);
    }
    let ids: Vec<_> = table.ids(0).collect();
    assert!(ids.len() >= 5, "{ids:?}");
    ids
}

struct Nobody;

impl JobSource for Nobody {
    type Json<'a> = &'a Value;

    fn info(&self) -> Result<JobInfo<&Value>, ReadError> {
        Err(ReadError(String::new()))
    }
}

#[test]
fn a_family_that_is_switched_on_late_knows_all_jobs() {
    let mut table = table();
    for (id, state) in [(1, 8), (2, 8), (3, 16)] {
        table.apply(Event { id, what: EventKind::New { state } }, &Nobody);
    }
    let states = CollectorId::named("states").unwrap();
    let (mut collectors, mut levels) = counted(&[states], &table);
    let wanted = [("state.Run", 1), ("state.Sched", 2)];
    assert_eq!(levels.levels(), wanted.map(|(name, level)| (name.to_owned(), level)).into());
    collectors.switch(&[], &mut levels);
    assert_eq!(levels.levels(), BTreeMap::new());
}

#[test]
fn what_the_broker_said_of_its_machine_is_known_while_it_says_it() {
    let mut table = table();
    let resources = CollectorId::named("resources").unwrap();
    table.set_needs(CollectorId::needs(&[resources]));
    let (mut collectors, mut levels) = counted(&[resources], &table);
    assert_eq!(levels.gauges, BTreeMap::new(), "nobody said it yet");
    let resource_status = ResourceStatus {
        nodes: 9,
        nodes_down: 3,
        nodes_drained: 2,
        cores: 36,
        cores_down: 12,
        gpus: 5,
    };
    table.set_resource_status(Some(resource_status));
    collectors.numbers_changed(&table, &mut levels);
    let wanted = [
        ("resource.cores.down", 12),
        ("resource.cores.total", 36),
        ("resource.gpus.total", 5),
        ("resource.nodes.down", 3),
        ("resource.nodes.drained", 2),
        ("resource.nodes.total", 9),
        ("resource.nodes.up", 6),
    ];
    assert_eq!(levels.levels(), wanted.map(|(name, level)| (name.to_owned(), level)).into());
    table.set_resource_status(None);
    collectors.numbers_changed(&table, &mut levels);
    assert_eq!(levels.gauges, BTreeMap::new());
}

#[test]
fn times_and_results_are_sent_when_they_are_known() {
    let (mut collectors, mut levels, table) = (Collectors::default(), Levels::default(), table());
    let wanted = ["timings", "results"].map(|name| CollectorId::named(name).unwrap());
    collectors.switch(&wanted, &mut levels);
    let at = |seconds| Some(Timestamp::from_seconds(seconds));
    let entered = |state, seconds| Job { entered: at(seconds), ..job(state) };
    let moved = |state, previous, seconds| EventKind::Moved {
        state,
        previous: Some(previous),
        at: at(seconds),
    };
    let mut sent = |change: Change, what, is_new, result| {
        let context = EventContext { what, is_new, submitted: at(1.0), result };
        collectors.changed(&change, Some(&context), &table, &mut levels);
        std::mem::take(&mut levels.others)
    };
    let none: [&str; 0] = [];
    let new = EventKind::New { state: 1 };
    assert_eq!(sent(change(None, Some(&job(New))), new, true, None), ["result.submitted +1"]);
    assert_eq!(sent(change(None, Some(&job(New))), new, false, None), none, "it was there before");
    let (sched, run) = (entered(Sched, 10.0), entered(Run, 10.5));
    assert_eq!(
        sent(change(Some(&sched), Some(&run)), moved(16, 8, 10.5), true, None),
        ["time.Sched 500", "time.submit_to_run 9500"]
    );
    // An event was missed, or its beginning: no time is better than a wrong one.
    let lost = moved(32, 16, 11.0);
    assert_eq!(sent(change(Some(&sched), Some(&job(Cleanup))), lost, true, None), none);
    assert_eq!(sent(change(Some(&job(Run)), Some(&job(Cleanup))), lost, true, None), none);
    // A clock that was set back.
    assert_eq!(sent(change(Some(&run), None), moved(32, 16, 9.0), true, None), ["time.Run 0"]);
    assert_eq!(
        sent(change(Some(&job(Cleanup)), None), moved(64, 32, 12.0), true, Some(Ending::Timeout)),
        ["result.timeout +1"]
    );
}
