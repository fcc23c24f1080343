//! The states of a job.

/// A job state, in the order in which a job passes through them (RFC 21).
///
/// The table counts by these seven: they are its indices, and need no Flux. Flux's own
/// number, which may be one unknown to this version, is
/// [`JobState`](crate::flux::JobState) in the flux layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Submitted, not yet validated.
    New,
    /// Waits for its dependencies.
    Depend,
    /// Waits for a priority.
    Priority,
    /// Waits for resources.
    Sched,
    /// Has resources.
    Run,
    /// Frees its resources.
    Cleanup,
    /// Is over, and in the KVS until it is purged.
    Inactive,
}

impl State {
    /// All states, in order.
    pub const ALL: [State; 7] = [
        State::New,
        State::Depend,
        State::Priority,
        State::Sched,
        State::Run,
        State::Cleanup,
        State::Inactive,
    ];

    /// The state behind a `flux_job_state_t`, a power of two (libjob/job.h).
    /// `None` for a number that this version does not know.
    pub fn from_number(number: i32) -> Option<State> {
        // Its index is the number of its one bit.
        let index = number.trailing_zeros() as usize;
        Self::ALL.get(index).copied().filter(|_| number == 1 << index)
    }

    /// Whether a job in this state waits for its resources. These are the states of
    /// Flux's PENDING, and NEW.
    pub fn is_waiting(self) -> bool {
        self < State::Run
    }
}
