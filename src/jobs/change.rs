//! Events of jobs, and the changes of the job table that they cause.

use super::job::{Job, JobResult, ReadError, Timestamp};
use super::label_table::LabelId;
use super::state::State;

/// An event of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// The job id.
    pub id: u64,
    /// The kind of event.
    pub kind: EventKind,
}

/// The kind of an event, by the topic of the callback. States are `flux_job_state_t` numbers,
/// as received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// `job.new`
    New {
        /// The current state of the job.
        state: i32,
    },
    /// `job.state.*`
    Transition {
        /// The new state.
        state: i32,
        /// The state before. `None` if the callback repeats the current state.
        previous: Option<i32>,
        /// The time. `None` if it is not known or not needed.
        at: Option<Timestamp>,
    },
    /// `job.update`
    Updated,
    /// `job.inactive-add`
    InactiveAdd,
    /// `job.inactive-remove`
    InactiveRemove,
}

/// The effect of an event, or of a reconcile pass, on the table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// The job before the change. `None` if it was not in the table.
    pub before: Option<Job>,
    /// The job after the change. `None` if it is not in the table. If the job is unchanged,
    /// `before` and `after` may both be `None`.
    pub after: Option<Job>,
    /// The change of the number of inactive jobs: -1, 0 or 1.
    pub inactive: i64,
    /// The queue of that inactive job, if queues are needed.
    pub queue: LabelId,
    /// `true` if a job was submitted. Jobs that existed before the load, or that the first complete
    /// reconcile pass found, are not counted as submitted.
    pub is_submission: bool,
    /// The result, if an active job ended after the load, and results are needed.
    pub result: Option<JobResult>,
    /// A contradiction or a limit that was found.
    pub anomaly: Option<Anomaly>,
    /// The reason why a part of the job could not be read.
    pub read_error: Option<ReadError>,
}

/// An unexpected event or job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anomaly {
    /// An event of a job that entered or left this state was missed.
    MissedEvent(State),
    /// A `flux_job_state_t` that this version does not support. Such jobs are not counted.
    UnknownState(i32),
    /// The job manager's numbers of inactive jobs contradict each other, or the events. The
    /// newest number is used.
    InactiveContradicted,
    /// A jobspec exceeds a limit: see [`Job::exceeds_limit`].
    JobspecLimit,
    /// A job has ended, but Flux does not have its result.
    ResultUnknown,
    /// A label table is full, and each of its labels has active jobs: further labels are
    /// counted as [`OTHER`](super::OTHER). Counted once.
    LabelLimit,
}

impl Anomaly {
    /// The number of kinds.
    pub const KINDS: usize = 6;

    /// The names of the kinds, by [`Anomaly::kind`].
    pub const NAMES: [&'static str; Self::KINDS] = [
        "missed_event",
        "unknown_state",
        "inactive_contradicted",
        "jobspec_limit",
        "result_unknown",
        "label_limit",
    ];

    /// The index of the kind, less than [`Anomaly::KINDS`].
    pub fn kind(self) -> usize {
        match self {
            Anomaly::MissedEvent(_) => 0,
            Anomaly::UnknownState(_) => 1,
            Anomaly::InactiveContradicted => 2,
            Anomaly::JobspecLimit => 3,
            Anomaly::ResultUnknown => 4,
            Anomaly::LabelLimit => 5,
        }
    }
}
