//! A job's state, as Flux numbers it.

use std::ffi::CStr;

use super::sys;

/// A `flux_job_state_t` as it came from Flux: one of the constants below, or,
/// from a newer Flux, one that this crate does not know.
///
/// A number and no enum, because Flux may add states, and any plugin may name them. The
/// job table has an enum of its own, [`State`](crate::jobs::State): what it counts by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobState(pub i32);

impl JobState {
    /// Submitted, not yet validated.
    pub const NEW: JobState = JobState(sys::FLUX_JOB_STATE_NEW as i32);
    /// Waits for its dependencies.
    pub const DEPEND: JobState = JobState(sys::FLUX_JOB_STATE_DEPEND as i32);
    /// Waits for a priority.
    pub const PRIORITY: JobState = JobState(sys::FLUX_JOB_STATE_PRIORITY as i32);
    /// Waits for resources.
    pub const SCHED: JobState = JobState(sys::FLUX_JOB_STATE_SCHED as i32);
    /// Has resources.
    pub const RUN: JobState = JobState(sys::FLUX_JOB_STATE_RUN as i32);
    /// Gives its resources back.
    pub const CLEANUP: JobState = JobState(sys::FLUX_JOB_STATE_CLEANUP as i32);
    /// Is over.
    pub const INACTIVE: JobState = JobState(sys::FLUX_JOB_STATE_INACTIVE as i32);

    /// The states that RFC 21 defines, in the order a job passes them.
    pub const ALL: [JobState; 7] = [
        JobState::NEW,
        JobState::DEPEND,
        JobState::PRIORITY,
        JobState::SCHED,
        JobState::RUN,
        JobState::CLEANUP,
        JobState::INACTIVE,
    ];

    /// The name as `flux_job_statetostr` writes it in this form.
    ///
    /// A state that Flux does not know yields a placeholder, `(unknown)`.
    pub fn name(self, form: NameForm) -> String {
        let format = match form {
            NameForm::Long => c"L",
            NameForm::LongLower => c"l",
            NameForm::Short => c"S",
            NameForm::ShortLower => c"s",
        };
        // SAFETY: the function takes any number, and always returns a string
        // (job.h: "always returns a valid string"); the format is a C string.
        let name = unsafe {
            let state = self.0 as sys::flux_job_state_t;
            CStr::from_ptr(sys::flux_job_statetostr(state, format.as_ptr()))
        };
        name.to_string_lossy().into_owned()
    }
}

pub use crate::jobs::NameForm;
