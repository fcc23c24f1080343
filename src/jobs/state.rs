//! The states of a job.

/// A job state (RFC 21), in the order in which a job passes through them. It is also the
/// index of the state in tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Submitted, not yet validated.
    New,
    /// Waits for dependencies.
    Depend,
    /// Waits for a priority.
    Priority,
    /// Waits for resources.
    Sched,
    /// Has resources.
    Run,
    /// Releases its resources.
    Cleanup,
    /// Has ended; stays in the KVS until it is purged.
    Inactive,
}
use State::{Cleanup, Depend, Inactive, New, Priority, Run, Sched};

/// A form of a state's name: the formats of `flux_job_statetostr` (libjob/job.h).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum NameForm {
    /// "L": `SCHED`
    #[default]
    Long,
    /// "l": `sched`
    LongLower,
    /// "S": `S`
    Short,
    /// "s": `s`
    ShortLower,
}

/// By state and [`NameForm`], as in libjob/state.c.
const NAMES: [[&str; 4]; 7] = [
    ["NEW", "new", "N", "n"],
    ["DEPEND", "depend", "D", "d"],
    ["PRIORITY", "priority", "P", "p"],
    ["SCHED", "sched", "S", "s"],
    ["RUN", "run", "R", "r"],
    ["CLEANUP", "cleanup", "C", "c"],
    ["INACTIVE", "inactive", "I", "i"],
];

impl State {
    /// All states, in order.
    pub const ALL: [State; 7] = [New, Depend, Priority, Sched, Run, Cleanup, Inactive];

    /// The state with this `flux_job_state_t` (libjob/job.h): a number with only the bit at
    /// the index of the state set. `None` for any other number, such as a state of a newer
    /// Flux.
    pub fn from_number(number: i32) -> Option<State> {
        let index = number.trailing_zeros() as usize;
        Self::ALL.get(index).copied().filter(|_| number == 1 << index)
    }

    /// The `flux_job_state_t`.
    pub const fn number(self) -> i32 {
        1 << self as i32
    }

    /// `true` for the states before RUN: NEW, and Flux's virtual state PENDING.
    pub fn is_waiting(self) -> bool {
        self < State::Run
    }

    /// The name, as `flux_job_statetostr` writes it.
    pub fn name(self, form: NameForm) -> &'static str {
        NAMES[self as usize][form as usize]
    }
}
