//! The books of users, banks and resources, as tables.

use super::*;
use serde_json::{json, Value};
use State::*;

/// Moves a job that asks for four cores, and gets them on rank 0. Returns the
/// moves, by the block's name.
fn moved(
    usage: &mut Usage,
    known: &mut Option<Share>,
    state: State,
    user: u32,
    bank: &str,
) -> Vec<(String, i64)> {
    let system = if bank.is_empty() { json!({}) } else { json!({ "bank": bank }) };
    let core = json!([{"type": "core", "count": 2}]);
    let slot = json!([{"type": "slot", "count": 2, "with": core}]);
    let jobspec = json!({"attributes": {"system": system}, "resources": slot});
    let r = json!({"execution": {"R_lite": [{"rank": "0", "children": {"core": "0-3"}}]}});
    let r = (state as u8 >= Run as u8).then_some(&r);
    usage.job(known, Some(state), &Job { user, jobspec: &jobspec, r }, false).unwrap();
    let name = |&((block, place), by): &(Gauge, i64)| {
        (format!("{}.{place}", usage.blocks[block].name), by)
    };
    usage.moves().iter().map(name).collect()
}

fn moves(wanted: &[(&str, i64)]) -> Vec<(String, i64)> {
    wanted.iter().map(|&(name, by)| (name.to_owned(), by)).collect()
}

#[test]
fn a_job_is_counted_with_what_it_asks_for_and_holds() {
    let (mut usage, mut known) = (Usage::default(), [None; 5]);
    // The job, its state, what moves.
    type Case<'a> = (usize, State, &'a [(&'a str, i64)]);
    let table: [Case; 10] = [
        (1, New, &[(".4", 4), ("7.0", 1), ("phys.0", 1)]),
        (1, New, &[]),
        (1, Sched, &[("7.3", 1), ("phys.3", 1), ("7.0", -1), ("phys.0", -1)]),
        (
            1,
            Run,
            &[
                (".1", 4),
                ("7.4", 1),
                ("7.6", 4),
                ("phys.4", 1),
                ("phys.6", 4),
                (".4", -4),
                ("7.3", -1),
                ("phys.3", -1),
                (".0", 1),
            ],
        ),
        // Another on the same node, already there.
        (2, Run, &[(".1", 4), ("7.4", 1), ("7.6", 4), ("phys.4", 1), ("phys.6", 4)]),
        (1, Cleanup, &[("7.5", 1), ("phys.5", 1), ("7.4", -1), ("phys.4", -1)]),
        (1, Inactive, &[(".1", -4), ("7.5", -1), ("7.6", -4), ("phys.5", -1), ("phys.6", -4)]),
        (
            2,
            Inactive,
            &[(".1", -4), ("7.4", -1), ("7.6", -4), ("phys.4", -1), ("phys.6", -4), (".0", -1)],
        ),
        (2, Inactive, &[]),
        (3, Depend, &[(".4", 4), ("7.1", 1), ("phys.1", 1)]),
    ];
    for (id, state, wanted) in table {
        assert_eq!(
            moved(&mut usage, &mut known[id], state, 7, "phys"),
            moves(wanted),
            "{id} {state:?}"
        );
    }
    assert_eq!(known[1], None, "it goes with the job");
    assert_eq!(usage.level((0, 4)), 4);
    assert_eq!(moved(&mut usage, &mut known[4], Depend, 8, ""), moves(&[(".4", 4), ("8.1", 1)]));
    // Cancelled: it never held anything.
    let wanted = [("8.5", 1), (".4", -4), ("8.1", -1)];
    let jobspec = json!({});
    let facts = Job { user: 8, jobspec: &jobspec, r: None::<&Value> };
    usage.job(&mut known[4], Some(Cleanup), &facts, false).unwrap();
    assert_eq!(usage.moves().len(), wanted.len());
    assert_eq!(usage.level((0, 1)), 0);
    assert!(std::mem::size_of::<Share>() <= 20);
}

#[test]
fn an_update_changes_what_a_waiting_job_asks_for_and_its_bank() {
    let (mut usage, mut known) = (Usage::default(), None);
    let jobspec = |bank: &str, cores: i64| {
        json!({"attributes": {"system": {"bank": bank}},
               "resources": [{"type": "core", "count": cores}]})
    };
    let mut update = |state, jobspec: Value, r: Option<&Value>, changed| {
        usage
            .job(&mut known, Some(state), &Job { user: 0, jobspec: &jobspec, r }, changed)
            .unwrap();
        let levels = usage.blocks.iter().skip(2).map(|block| block.levels.iter().sum::<i64>());
        (usage.level((0, 4)), usage.level((0, 1)), levels.collect::<Vec<_>>())
    };
    let r = json!({"execution": {"R_lite": [{"rank": "3", "children": {"core": "1-9"}}]}});
    assert_eq!(update(Sched, jobspec("a", 2), None, false), (2, 0, vec![1]));
    assert_eq!(update(Sched, jobspec("b", 5), None, false), (2, 0, vec![1]), "not looked at");
    assert_eq!(update(Sched, jobspec("b", 5), None, true), (5, 0, vec![0, 1]));
    assert_eq!(update(Run, jobspec("b", 5), Some(&r), false), (0, 9, vec![0, 10]));
    assert_eq!(update(Run, jobspec("b", 7), Some(&r), true), (0, 9, vec![0, 10]));
    assert_eq!(update(Inactive, jobspec("b", 7), Some(&r), false), (0, 0, vec![0, 0]));
    // Its R is not the scheduler's.
    let mut past = jobspec("b", 5);
    past["attributes"]["system"]["alloc-bypass"] = json!({});
    assert_eq!(update(Run, past, Some(&r), false), (0, 0, vec![0, 1]));
}

#[test]
fn what_is_not_understood_is_said_and_counts_as_nothing() {
    let (mut usage, mut known) = (Usage::default(), None);
    let nonsense = json!([1, "x"]);
    let facts = Job { user: 5, jobspec: &nonsense, r: Some(&nonsense) };
    let mut job = |state| usage.job(&mut known, state, &facts, false);
    assert_eq!(
        job(Some(Sched)),
        Err(Unread("jobspec: resources not understood; the job counts as asking for none"))
    );
    assert_eq!(job(Some(Run)), Err(Unread("R: not understood; the job counts as holding nothing")));
    assert_eq!(job(Some(Cleanup)), Ok(()));
    assert_eq!(usage.level((1, 5)), 1, "the user's job is counted all the same");
    assert_eq!(usage.job(&mut known, None, &facts, false), Ok(()));
    assert!(usage.blocks.iter().all(|block| block.levels == [0; BLOCK]));
}

#[test]
fn names_do_not_grow_without_bound_and_differ_on_the_wire() {
    let mut usage = Usage::default();
    for id in 0..1000 {
        moved(&mut usage, &mut None, Sched, id as u32, &format!("bank-{id}"));
    }
    let of = |kind| usage.blocks.iter().filter(move |block| block.kind == kind);
    for kind in [Kind::User, Kind::Bank] {
        assert_eq!(of(kind).count(), MOST_NAMES + 1);
        let other = of(kind).find(|block| block.name == OTHER).unwrap();
        assert_eq!(other.levels[Sched as usize], 1000 - MOST_NAMES as i64);
    }
    let mut usage = Usage::default();
    for (bank, name) in [
        ("a.b", "a_b"),
        ("a b", "a_b"),
        ("x:1|g\ny", "x_1_g_y"),
        ("é-1", "é-1"),
        ("other", "other"),
        (&"long".repeat(9), "other"),
    ] {
        let block = usage.bank(bank);
        assert_eq!(usage.blocks[usize::from(block)].name, name);
    }
    assert_eq!(usage.bank(""), 0);
    assert_eq!(usage.blocks.len(), 1 + 4);
}

#[test]
fn a_job_of_a_known_user_allocates_nothing() {
    let jobspec = json!({"attributes": {"system": {"bank": "phys"}},
                         "resources": [{"type": "core", "count": 4}]});
    let r = json!({"execution": {"R_lite": [{"rank": "0-3", "children": {"core": "0"}}]}});
    let mut usage = Usage::default();
    let mut live = || {
        let mut known = None;
        for state in State::ALL {
            let r = (state >= Run).then_some(&r);
            let facts = Job { user: 7, jobspec: &jobspec, r };
            usage.job(&mut known, Some(state), &facts, false).unwrap();
        }
    };
    live();
    assert_eq!(allocation_counter::measure(live).count_total, 0);
}
