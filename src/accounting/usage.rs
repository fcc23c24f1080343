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
        let (waits, is_new) = (state < State::Run, before.is_none());
        if waits && (is_new || changed || share.holds) {
            share.holds = false;
            share.amounts = requested(facts.jobspec).unwrap_or_else(|| {
                *outcome = Err(Unread(
                    "jobspec: resources not understood; the job counts as asking for none",
                ));
                Amounts::default()
            });
        }
        // What went past the scheduler is not the scheduler's to lend. And a job
        // that was cancelled as it waited holds nothing in CLEANUP.
        let bypass = || system().is_some_and(|system| system.member(c"alloc-bypass").is_some());
        let starts = is_new || before.is_some_and(|before| before.state < State::Run);
        match facts.r {
            Some(r) if (state == State::Run && starts || is_new && !waits) && !bypass() => {
                let amounts = allocated(r);
                if amounts.is_none() {
                    *outcome = Err(Unread("R: not understood; the job counts as holding nothing"));
                }
                share.holds = amounts.is_some();
                share.amounts = amounts.unwrap_or_default();
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
mod tests;
