//! The job table: the state and other properties of each active job.
//!
//! It takes events and returns changes; it does not call Flux or send metrics.
//! flux-jobtap-plugins(7) describes the callbacks; the following was observed with flux-core
//! 0.88.0:
//!
//! - `job.new` reports a job that was accepted. A job that was just submitted is in NEW
//!   (there is no `job.state.new`); a job that existed before the load may be in any active
//!   state. Events of jobs that are not accepted are not counted.
//! - `job.state.*` with a previous state is a transition. Without a previous state it repeats
//!   that a job is in DEPEND, and changes nothing.
//! - `job.update` changes the jobspec of a job, not its state.
//! - `job.inactive-add` follows each transition to INACTIVE, which was already counted. At a
//!   restart it reports an inactive job without a transition.
//! - `job.inactive-remove` reports that an inactive job was purged.
//!
//! An event replaces the properties of a job; it does not increment counts. If another plugin
//! fails, so that an event is missed, the next event of the job corrects the table. A job without
//! further events is corrected by [`reconcile`].

mod change;
pub mod cursor;
pub mod inactive;
mod job;
pub mod label_table;
pub mod reconcile;
mod state;
mod table;

pub use change::{Anomaly, Change, Event, EventKind};
pub use cursor::Cursor;
pub use inactive::{ByQueue, InactiveResponse};
pub use job::{
    Job, JobInfo, JobResult, JobSource, LabelTables, Needs, Ranks, ReadError, Timestamp,
    MAX_LABELS, MAX_QUEUES,
};
pub use label_table::{LabelId, LabelTable, OTHER};
pub use reconcile::{Comparison, Reconcile};
pub use state::{NameForm, State};
pub use table::{JobTable, QueueStatuses};

#[cfg(test)]
mod tests;
