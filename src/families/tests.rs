//! The families, as tables of jobs and of what they add to which gauge.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{json, Value};

use super::*;
use crate::jobs::walk::Walk;
use crate::jobs::{Event, Facts, Ranks, ReadError, Source};
use crate::rfc::resources::Amounts;
use crate::rfc::status::Machine;
use State::*;

/// Where gauges stand, if that is known; counters and timings as they came.
#[derive(Default)]
struct Levels {
    defined: BTreeMap<(FamilyId, NameIndex), Vec<MetricSpec>>,
    gauges: BTreeMap<(FamilyId, Series), i64>,
    others: Vec<String>,
}

impl Sink for Levels {
    fn is_defined(&self, family: FamilyId, name: NameIndex) -> bool {
        self.defined.contains_key(&(family, name))
    }
    fn define(&mut self, family: FamilyId, name: NameIndex, metrics: Vec<MetricSpec>) {
        self.defined.insert((family, name), metrics);
    }
    fn add(&mut self, family: FamilyId, gauge: Series, by: i64) {
        let metrics = &self.defined[&(family, gauge.name)];
        assert!(metrics[usize::from(gauge.metric)].kind.is_sum());
        let level = self.gauges.entry((family, gauge)).or_default();
        *level += by;
    }
    fn set(&mut self, family: FamilyId, gauge: Series, level: Option<i64>) {
        let metrics = &self.defined[&(family, gauge.name)];
        let kind = metrics[usize::from(gauge.metric)].kind;
        assert!(matches!(kind, Kind::Number | Kind::Asked), "{kind:?}");
        match level {
            Some(level) => self.gauges.insert((family, gauge), level),
            None => self.gauges.remove(&(family, gauge)),
        };
    }
    fn count(&mut self, family: FamilyId, counter: Series, by: i64) {
        self.others.push(format!("{} +{by}", self.name(family, counter)));
    }
    fn timing(&mut self, family: FamilyId, timing: Series, milliseconds: f64) {
        self.others.push(format!("{} {milliseconds}", self.name(family, timing)));
    }
    fn forget(&mut self, family: FamilyId) {
        self.defined.retain(|(other, _), _| *other != family);
        self.gauges.retain(|(other, _), _| *other != family);
    }
}

impl Levels {
    fn name(&self, family: FamilyId, series: Series) -> String {
        let spec = &self.defined[&(family, series.name)][usize::from(series.metric)];
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
        gauges.map(|(&(family, series), &level)| (self.name(family, series), level)).collect()
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

fn all() -> Vec<FamilyId> {
    FamilyId::all().collect()
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
    let mut names: Vec<_> = FAMILIES.iter().map(|family| family.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), FAMILIES.len());
    for id in all() {
        assert_eq!(FamilyId::named(id.spec().name), Some(id));
        let family = (id.spec().make)();
        for metric in family.metrics(None).iter().chain(&family.metrics(Some("x"))) {
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
    // A family, a job, the gauges that it adds to.
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
        let (mut families, mut levels, table) =
            (Families::default(), Levels::default(), self::table());
        families.switch(&[FamilyId::named(name).unwrap()], &mut levels);
        families.changed(&change(None, Some(job)), None, &table, &mut levels);
        let wanted: BTreeMap<_, _> =
            wanted.iter().map(|&(name, by)| (name.to_owned(), by)).collect();
        assert_eq!(levels.levels(), wanted, "{name} {job:?}");
        // A state that is not known here counts nowhere, but for what it holds.
        families.changed(&change(Some(job), None), None, &table, &mut levels);
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
        let mut resources = (FamilyId::named("resources").unwrap().spec().make)();
        let mut moves = 0;
        resources.moves(&change(Some(&before), Some(&after)), &mut |_, _| moves += 1);
        assert_eq!(moves, wanted, "{before:?} {after:?}");
    }
}

#[test]
fn a_node_that_several_jobs_share_is_one_node() {
    let (mut families, mut levels, table) = (Families::default(), Levels::default(), table());
    families.switch(&[FamilyId::named("resources").unwrap()], &mut levels);
    let (one, other) = (running(Ranks::One(0, 1)), running(Ranks::One(1, 2)));
    let mut nodes = |before, after| {
        families.changed(&change(before, after), None, &table, &mut levels);
        levels.levels().get("resource.nodes.allocated").copied().unwrap_or(0)
    };
    assert_eq!(nodes(None, Some(&one)), 2);
    assert_eq!(nodes(None, Some(&other)), 3);
    assert_eq!(nodes(Some(&one), None), 2);
    assert_eq!(nodes(Some(&other), None), 0);
}

/// Families that counted the jobs of a table.
fn counted(ids: &[FamilyId], table: &JobTable) -> (Families, Levels) {
    let (mut families, mut levels) = (Families::default(), Levels::default());
    let mut counting = Counting::new(ids);
    table.jobs().for_each(|(_, job)| counting.count(job, table));
    families.take_over(counting, table, &mut levels);
    (families, levels)
}

/// What a job says of itself in these tests.
#[derive(Clone, Debug)]
struct Known {
    user: u32,
    urgency: i32,
    jobspec: Value,
    r: Value,
}

impl Source for Known {
    type Json<'a> = &'a Value;

    fn facts(&self) -> Result<Facts<&Value>, ReadError> {
        let Known { user, urgency, jobspec, r } = self;
        let (user, urgency) = (*user, *urgency);
        Ok(Facts { user, urgency, priority: urgency.into(), jobspec, r: Some(r) })
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

    /// All families, moved by each change, stand where they would if they were
    /// made to count the jobs that there are; and no sum is negative.
    #[test]
    fn gauges_are_sums_over_the_table_whatever_happens(
        events in prop::collection::vec((event(), known()), 0..60)
    ) {
        let mut table = JobTable::default();
        table.set_needs(FamilyId::needs(&all()));
        table.loaded();
        table.inactive_asked();
        table.inactive_answered(3);
        let (mut families, mut levels) = counted(&all(), &table);
        for ((id, what, state), known) in events {
            let change = match what {
                Some(what) => table.apply(Event { id, what }, &known),
                None => table.reconcile(id, (state != 64).then_some((state, &known))),
            };
            families.changed(&change, None, &table, &mut levels);
            let (_, wanted) = counted(&all(), &table);
            prop_assert_eq!(levels.levels(), wanted.levels());
            prop_assert!(levels.levels().values().all(|&level| level > 0));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Jobs that come, change and go while families count are counted once, as they are.
    #[test]
    fn families_that_count_while_jobs_move_stand_where_they_should(
        before in prop::collection::vec((event(), known()), 0..30),
        meanwhile in prop::collection::vec((event(), known(), 0usize..3), 0..40),
    ) {
        // A walk goes through a shard of the table at a time: these are all in one, so that
        // jobs change that are still to come in it.
        let same = same_shard();
        let mut table = JobTable::default();
        table.set_needs(FamilyId::needs(&all()));
        table.loaded();
        let apply = |table: &mut JobTable, (id, what, state): (u64, Option<EventKind>, i32), known: &Known| match what {
            Some(what) => table.apply(Event { id, what }, known),
            None => table.reconcile(id, (state != 64).then_some((state, known))),
        };
        for ((id, what, state), known) in before {
            apply(&mut table, (same[id as usize], what, state), &known);
        }
        let (mut counting, mut walk) = (Counting::new(&all()), Walk::default());
        for ((id, what, state), known, steps) in meanwhile {
            let id = same[id as usize];
            let change = apply(&mut table, (id, what, state), &known);
            if walk.has_passed(id) {
                counting.changed(&change, &table);
            }
            for _ in 0..steps {
                let job = walk.next(&table).and_then(|id| table.job(id));
                job.into_iter().for_each(|job| counting.count(job, &table));
            }
        }
        while let Some(id) = walk.next(&table) {
            table.job(id).into_iter().for_each(|job| counting.count(job, &table));
        }
        let (mut families, mut levels) = (Families::default(), Levels::default());
        families.take_over(counting, &table, &mut levels);
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

impl Source for Nobody {
    type Json<'a> = &'a Value;

    fn facts(&self) -> Result<Facts<&Value>, ReadError> {
        Err(ReadError(String::new()))
    }
}

#[test]
fn a_family_that_is_switched_on_late_knows_all_jobs() {
    let mut table = table();
    for (id, state) in [(1, 8), (2, 8), (3, 16)] {
        table.apply(Event { id, what: EventKind::New { state } }, &Nobody);
    }
    let states = FamilyId::named("states").unwrap();
    let (mut families, mut levels) = counted(&[states], &table);
    let wanted = [("state.Run", 1), ("state.Sched", 2)];
    assert_eq!(levels.levels(), wanted.map(|(name, level)| (name.to_owned(), level)).into());
    families.switch(&[], &mut levels);
    assert_eq!(levels.levels(), BTreeMap::new());
}

#[test]
fn what_the_broker_said_of_its_machine_is_known_while_it_says_it() {
    let mut table = table();
    let resources = FamilyId::named("resources").unwrap();
    table.set_needs(FamilyId::needs(&[resources]));
    let (mut families, mut levels) = counted(&[resources], &table);
    assert_eq!(levels.gauges, BTreeMap::new(), "nobody said it yet");
    let machine =
        Machine { nodes: 9, nodes_down: 3, nodes_drained: 2, cores: 36, cores_down: 12, gpus: 5 };
    table.set_machine(Some(machine));
    families.numbers_changed(&table, &mut levels);
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
    table.set_machine(None);
    families.numbers_changed(&table, &mut levels);
    assert_eq!(levels.gauges, BTreeMap::new());
}

#[test]
fn times_and_results_are_sent_when_they_are_known() {
    let (mut families, mut levels, table) = (Families::default(), Levels::default(), table());
    let wanted = ["timings", "results"].map(|name| FamilyId::named(name).unwrap());
    families.switch(&wanted, &mut levels);
    let at = |seconds| Some(Moment::from_seconds(seconds));
    let entered = |state, seconds| Job { entered: at(seconds), ..job(state) };
    let moved = |state, previous, seconds| EventKind::Moved {
        state,
        previous: Some(previous),
        at: at(seconds),
    };
    let mut sent = |change: Change, what, is_new, result| {
        let occasion = Occasion { what, is_new, submitted: at(1.0), result };
        families.changed(&change, Some(&occasion), &table, &mut levels);
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
