//! Who has which jobs, what those that wait ask for, and what those that run
//! hold.

use super::amounts::{allocated, ranks, requested, Amounts, Json};
use super::State;

/// The users, and the banks, that are counted each by itself. Each is seven
/// gauges: with a hundred of each, a resync is about thirty datagrams.
pub const MOST_NAMES: usize = 100;

/// What the others are counted as.
pub const OTHER: &str = "other";

/// The longest bank that is counted by itself, in bytes.
const LONGEST_BANK: usize = 32;

/// The gauges of a block.
pub const BLOCK: usize = 7;

/// What a block of gauges is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Resources: nodes, cores and GPUs allocated, then requested. The seventh
    /// place is empty.
    Resources,
    /// A user: jobs in each active state, then cores held.
    User,
    /// A bank: the same.
    Bank,
}

/// A gauge: its block and its place in it.
pub type Gauge = (usize, usize);

/// The books.
#[derive(Debug)]
pub struct Usage {
    blocks: Vec<Block>,
    /// How many jobs hold a part of each node, by its rank.
    ranks: Vec<u32>,
    /// What the last event did.
    moves: Vec<(Gauge, i64)>,
}

#[derive(Debug)]
struct Block {
    kind: Kind,
    name: String,
    levels: [i64; BLOCK],
}

/// What an active job is counted with. 20 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    state: State,
    /// Its block; a bank's is 0 if it has none.
    user: u16,
    bank: u16,
    /// Whether its amounts are what it holds, else what it asks for.
    holds: bool,
    amounts: Amounts,
}

/// What Flux says of a job.
#[derive(Clone, Copy)]
pub struct Job<J> {
    /// Whose it is.
    pub user: u32,
    /// What was submitted.
    pub jobspec: J,
    /// What it got; jobs that wait have none.
    pub r: Option<J>,
}

/// What could not be read of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unread(pub &'static str);

impl Default for Usage {
    fn default() -> Self {
        let resources = Block { kind: Kind::Resources, name: String::new(), levels: [0; BLOCK] };
        Usage { blocks: vec![resources], ranks: Vec::new(), moves: Vec::new() }
    }
}

impl Usage {
    /// What each block is about, and its name, in the order they were first met.
    pub fn blocks(&self) -> impl ExactSizeIterator<Item = (Kind, &str)> {
        self.blocks.iter().map(|block| (block.kind, block.name.as_str()))
    }

    /// What a block is about.
    pub fn kind(&self, block: usize) -> Kind {
        self.blocks[block].kind
    }

    /// Where a gauge stands.
    pub fn level(&self, (block, place): Gauge) -> i64 {
        self.blocks[block].levels[place]
    }

    /// The gauges that the last event moved, and by how much.
    pub fn moves(&self) -> &[(Gauge, i64)] {
        &self.moves
    }

    /// A job is in `state` now: announced, moved, or `changed` by an update of
    /// its jobspec. `None` is a state that is not known here, and ends it as
    /// INACTIVE does. `known` is what it is counted with, and is kept by the
    /// caller as long as the job is active.
    ///
    /// # Errors
    /// If its jobspec or its R is not understood. It is counted all the same,
    /// but for what it asks for or holds.
    pub fn job<J: Json>(
        &mut self,
        known: &mut Option<Share>,
        state: Option<State>,
        facts: &Job<J>,
        changed: bool,
    ) -> Result<(), Unread> {
        self.moves.clear();
        let mut outcome = Ok(());
        let before = *known;
        let after = match state {
            None | Some(State::Inactive) => None,
            Some(state) => Some(self.share(state, before, facts, changed, &mut outcome)),
        };
        *known = after;
        self.count(after, 1);
        self.count(before, -1);
        let held = |share: Option<Share>| share.is_some_and(|share| share.holds);
        if held(before) != held(after) {
            self.count_nodes(facts.r, if held(after) { 1 } else { -1 });
        }
        self.moves.retain(|&(_, by)| by != 0);
        outcome
    }

    /// What is known of a job from now on.
    fn share<J: Json>(
        &mut self,
        state: State,
        before: Option<Share>,
        facts: &Job<J>,
        changed: bool,
        outcome: &mut Result<(), Unread>,
    ) -> Share {
        let system = || facts.jobspec.member(c"attributes")?.member(c"system");
        let mut share = match before {
            Some(share) if !changed => Share { state, ..share },
            _ => Share {
                state,
                user: before.map_or_else(|| self.user(facts.user), |before| before.user),
                bank: system()
                    .and_then(|system| system.member(c"bank"))
                    .map_or(0, |bank| self.bank(bank.text().unwrap_or_default())),
                holds: before.is_some_and(|before| before.holds),
                amounts: before.map_or_else(Amounts::default, |before| before.amounts),
            },
        };
        let has_resources = matches!(state, State::Run | State::Cleanup);
        let newly = before.is_none_or(|before| before.state < State::Run);
        // What went past the scheduler is not the scheduler's to lend.
        let bypass = || system().is_some_and(|system| system.member(c"alloc-bypass").is_some());
        match facts.r {
            // A job that never ran has no R in CLEANUP.
            Some(r) if has_resources && newly && (before.is_none() || state == State::Run) => {
                let amounts = if bypass() { None } else { allocated(r) };
                if amounts.is_none() && !bypass() {
                    *outcome = Err(Unread("R: not understood; the job counts as holding nothing"));
                }
                share.holds = amounts.is_some();
                share.amounts = amounts.unwrap_or_default();
            }
            _ if !has_resources && (newly && changed || before.is_none()) => {
                share.amounts = requested(facts.jobspec).unwrap_or_else(|| {
                    *outcome = Err(Unread(
                        "jobspec: resources not understood; the job counts as asking for none",
                    ));
                    Amounts::default()
                });
            }
            _ => (),
        }
        share
    }

    /// Adds what a job counts for, or takes it away.
    fn count(&mut self, share: Option<Share>, by: i64) {
        let Some(Share { state, user, bank, holds, amounts }) = share else { return };
        let Amounts { nodes, cores, gpus } = amounts;
        let (nodes, cores, gpus) = (i64::from(nodes), i64::from(cores), i64::from(gpus));
        if holds {
            self.add((0, 1), by * cores);
            self.add((0, 2), by * gpus);
        } else if state < State::Run {
            self.add((0, 3), by * nodes);
            self.add((0, 4), by * cores);
            self.add((0, 5), by * gpus);
        }
        for block in [usize::from(user), usize::from(bank)] {
            if block > 0 {
                self.add((block, state as usize), by);
                if holds {
                    self.add((block, BLOCK - 1), by * cores);
                }
            }
        }
    }

    /// A job got the nodes of R, or gave them back. Several jobs may share one.
    fn count_nodes<J: Json>(&mut self, r: Option<J>, by: i64) {
        let Some(r) = r else { return };
        let mut nodes = 0;
        ranks(r, &mut |rank| {
            let rank = rank as usize;
            if self.ranks.len() <= rank {
                self.ranks.resize(rank + 1, 0);
            }
            let jobs = &mut self.ranks[rank];
            let before = *jobs;
            *jobs = if by > 0 { before + 1 } else { before.saturating_sub(1) };
            nodes += i64::from(*jobs > 0) - i64::from(before > 0);
        });
        self.add((0, 0), nodes);
    }

    fn add(&mut self, gauge: Gauge, by: i64) {
        if by == 0 {
            return;
        }
        self.blocks[gauge.0].levels[gauge.1] += by;
        match self.moves.iter_mut().find(|(other, _)| *other == gauge) {
            Some((_, sum)) => *sum += by,
            None => self.moves.push((gauge, by)),
        }
    }

    fn user(&mut self, user: u32) -> u16 {
        self.block(Kind::User, itoa::Buffer::new().format(user))
    }

    /// A bank is a user's text.
    fn bank(&mut self, name: &str) -> u16 {
        match name.len() {
            0 => 0,
            1..=LONGEST_BANK => self.block(Kind::Bank, name),
            _ => self.block(Kind::Bank, OTHER),
        }
    }

    fn block(&mut self, kind: Kind, name: &str) -> u16 {
        let (mut named, mut place) = (0, self.blocks.len());
        for (number, block) in self.blocks.iter().enumerate() {
            if block.kind == kind {
                if block.name.bytes().eq(name.bytes().map(cleaned)) {
                    return number as u16;
                }
                match block.name == OTHER {
                    true => place = number,
                    false => named += 1,
                }
            }
        }
        if named < MOST_NAMES || place == self.blocks.len() {
            let name = if named < MOST_NAMES { name } else { OTHER };
            // Only ASCII is cleaned: it stays UTF-8.
            let name = String::from_utf8(name.bytes().map(cleaned).collect()).unwrap_or_default();
            place = self.blocks.len();
            self.blocks.push(Block { kind, name, levels: [0; BLOCK] });
        }
        place as u16
    }
}

/// What differs after this differs in every dialect, and has no dot, which would
/// divide a name in two.
fn cleaned(byte: u8) -> u8 {
    match byte.is_ascii_alphanumeric() || matches!(byte, b'-' | 0x80..) {
        true => byte,
        false => b'_',
    }
}

#[cfg(test)]
mod tests {
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
        assert_eq!(
            moved(&mut usage, &mut known[4], Depend, 8, ""),
            moves(&[(".4", 4), ("8.1", 1)])
        );
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
        assert_eq!(
            job(Some(Run)),
            Err(Unread("R: not understood; the job counts as holding nothing"))
        );
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
}
