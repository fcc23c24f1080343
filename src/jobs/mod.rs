//! The job table: what is known of each active job, and nothing else.
//!
//! Pure: events in, what changed out; no Flux and no statsd. What flux really
//! calls, and when, is measured in flux-core 0.88.0; flux-flux-plugins(7) says
//! less.
//!
//! - `job.new` reports a job that was accepted: in NEW if it was submitted just
//!   now (there is no `job.state.new`), in any active state if it was there
//!   before the plugin. What is posted about a job before that, or about one that
//!   is never accepted, is not ours to count.
//! - `job.state.*` with a previous state moves the job. Without one it is a
//!   second announcement of a job in DEPEND, and changes nothing.
//! - `job.update` changes the job's jobspec, not its state.
//! - `job.inactive-add` follows each move to INACTIVE, and changes nothing then.
//!   Without a move before it, at a restart, it reports an inactive job.
//! - `job.inactive-remove` ends it all: the job was purged.
//!
//! An event does not move counts. It says what is known of a job now, so that
//! another plugin's failure, which keeps an event from us, is made good by the
//! job's next event; and by the [check] for a job of which no event added any
//! more.

pub mod cursor;
pub mod inactive;
mod job;
pub mod label_table;
pub mod list;
pub mod queues;
pub mod reconcile;
mod state;
mod table;

pub use job::{
    Job, JobInfo, JobSource, LabelTables, Needs, Ranks, ReadError, Timestamp, MAX_LABELS,
    MAX_QUEUES,
};
pub use state::State;
pub use table::{Anomaly, Change, Event, EventKind, JobTable};

#[cfg(test)]
mod tests;

/// A job of which only the state is known.
#[cfg(test)]
pub(crate) fn tests_job(state: Option<State>) -> Job {
    Job::new(state)
}
