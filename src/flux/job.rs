//! The job that a callback is about. Each method reads only the data that it returns.

use std::ffi::CStr;

use super::args::Args;
use super::error::Error;
use super::json::ArgsJson;
use crate::flux_formats::Json;
use crate::flux_sys as sys;
use crate::jobs::{JobInfo, JobResult, JobSource, ReadError, State, Timestamp};

/// FLUX_JOBTAP_CURRENT_JOB, a macro that bindgen does not translate (wrapper.h asserts it).
const CURRENT_JOB: sys::flux_jobid_t = u64::MAX;

/// FLUX_JOB_URGENCY_DEFAULT (job.h), and the priority that results from it.
const DEFAULT_URGENCY: i32 = 16;

// The job table derives a state from the position of its bit (`State::from_number`).
const _: () = {
    let numbers = [
        sys::FLUX_JOB_STATE_NEW,
        sys::FLUX_JOB_STATE_DEPEND,
        sys::FLUX_JOB_STATE_PRIORITY,
        sys::FLUX_JOB_STATE_SCHED,
        sys::FLUX_JOB_STATE_RUN,
        sys::FLUX_JOB_STATE_CLEANUP,
        sys::FLUX_JOB_STATE_INACTIVE,
    ];
    let mut index = 0;
    while index < numbers.len() {
        assert!(numbers[index] == 1 << State::ALL[index] as u32);
        index += 1;
    }
};

/// The arguments of `job.state.*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// The job's id.
    pub id: u64,
    /// The state entered, a `flux_job_state_t`.
    pub state: i32,
    /// The state left. `None` if the callback repeats the current state: `job.state.depend`,
    /// for a plugin that was loaded while the job is in DEPEND.
    pub previous: Option<i32>,
}

/// The job that a callback is about, or one that was looked up.
pub struct JobArgs<'a> {
    plugin: *mut sys::flux_plugin_t,
    args: &'a Args,
    /// The arguments, unpacked once.
    object: Option<ArgsJson<'a>>,
    /// `true` for the job of the running callback.
    is_current: bool,
}

/// A job that was looked up: owns its arguments.
pub(super) struct FoundJob {
    plugin: *mut sys::flux_plugin_t,
    args: Args,
}

impl FoundJob {
    /// `None` if the job manager has no active or inactive job with this id.
    ///
    /// # Safety
    /// - `plugin` lives for as long as the result; meanwhile no event is posted, which could
    ///   change the job's arguments in place.
    pub(super) unsafe fn new(plugin: *mut sys::flux_plugin_t, id: u64) -> Option<FoundJob> {
        // SAFETY: the caller's promise; the result is NULL, or belongs to us until `drop`.
        unsafe {
            let args = sys::flux_jobtap_job_lookup(plugin, id);
            (!args.is_null()).then(|| FoundJob { plugin, args: Args::new(args) })
        }
    }

    pub(super) fn job(&self) -> JobArgs<'_> {
        JobArgs {
            plugin: self.plugin,
            args: &self.args,
            object: self.args.object(),
            is_current: false,
        }
    }
}

impl Drop for FoundJob {
    fn drop(&mut self) {
        // SAFETY: the arguments belong to us (`new`), and are destroyed once.
        unsafe { sys::flux_plugin_arg_destroy(self.args.as_ptr()) };
    }
}

impl<'a> JobArgs<'a> {
    /// The job of the callback with these arguments.
    pub(super) fn current(plugin: *mut sys::flux_plugin_t, args: &'a Args) -> Self {
        JobArgs { plugin, args, object: args.object(), is_current: true }
    }

    /// The job's current state, a `flux_job_state_t`.
    ///
    /// # Errors
    /// If the argument is missing.
    pub fn state(&self) -> Result<i32, Error> {
        self.integer(c"state").map(|state| state as i32)
    }

    /// The job's id.
    ///
    /// # Errors
    /// If the argument is missing.
    pub fn id(&self) -> Result<u64, Error> {
        self.integer(c"id").map(|id| id as u64)
    }

    /// The arguments of `job.state.*`. On the path of every transition.
    ///
    /// # Errors
    /// If `id` or `state` is missing.
    #[inline(always)]
    pub(super) fn transition(&self) -> Result<Transition, Error> {
        Ok(Transition {
            id: self.id()?,
            state: self.state()?,
            previous: match self.member(c"prev_state") {
                None => None,
                Some(state) => Some(self.or_unpacked(state.integer(), c"prev_state")? as i32),
            },
        })
    }

    /// The time of the event that caused the callback, from the job's eventlog, in seconds
    /// since the epoch. `None` for callbacks without an event.
    pub fn event_time(&self) -> Option<f64> {
        self.member(c"entry")?.member(c"timestamp").map(ArgsJson::number)
    }

    /// The type of the exception that caused the callback. `None` if another event caused it.
    pub fn exception_type(&self) -> Option<&'a str> {
        self.event_context("exception")?.member(c"type")?.string()
    }

    /// The context of the event that caused the callback, if it has this name.
    fn event_context(&self, name: &str) -> Option<ArgsJson<'a>> {
        let entry = self.member(c"entry")?;
        entry.member(c"name")?.string().filter(|it| *it == name)?;
        entry.member(c"context")
    }

    /// The id of the job for functions of Flux.
    fn id_or_current(&self) -> Option<sys::flux_jobid_t> {
        if self.is_current {
            Some(CURRENT_JOB)
        } else {
            self.id().ok()
        }
    }

    #[inline(always)]
    fn member(&self, key: &CStr) -> Option<ArgsJson<'a>> {
        self.object?.member(key)
    }

    fn required(&self, key: &CStr) -> Result<ArgsJson<'a>, Error> {
        self.member(key).ok_or_else(|| {
            let key = key.to_string_lossy();
            Error::new(format!("the callback's arguments have no \"{key}\""))
        })
    }

    #[inline(always)]
    fn integer(&self, key: &CStr) -> Result<i64, Error> {
        self.or_unpacked(self.member(key).map_or(0, ArgsJson::integer), key)
    }

    /// The integer argument `key`, which was read in place as `integer`. 0 may mean another
    /// type: the argument is then unpacked, and the error names the type.
    #[inline(always)]
    fn or_unpacked(&self, integer: i64, key: &CStr) -> Result<i64, Error> {
        match integer {
            0 => self.args.unpack_integer(key),
            integer => Ok(integer),
        }
    }
}

impl JobSource for JobArgs<'_> {
    type Json<'a>
        = ArgsJson<'a>
    where
        Self: 'a;

    fn info(&self) -> Result<JobInfo<ArgsJson<'_>>, ReadError> {
        let required = |key| self.required(key).map_err(|error| ReadError(error.to_string()));
        Ok(JobInfo {
            user: required(c"userid")?.integer() as u32,
            urgency: self.member(c"urgency").map_or(DEFAULT_URGENCY, |it| it.integer() as i32),
            priority: self.member(c"priority").map_or(DEFAULT_URGENCY.into(), ArgsJson::integer),
            jobspec: required(c"jobspec")?,
            r: self.member(c"R"),
        })
    }

    fn submitted(&self) -> Result<Timestamp, ReadError> {
        let time = self.required(c"t_submit").map_err(|error| ReadError(error.to_string()))?;
        Ok(Timestamp::from_seconds(time.number()))
    }

    /// The event `alloc` that the plugin alloc-bypass.so posts has a member `bypass`. Without
    /// this event: the plugin sets a flag at `job.new`.
    fn bypasses_scheduler(&self, has_attribute: bool) -> bool {
        if let Some(context) = self.event_context("alloc") {
            return context.member(c"bypass").is_some();
        }
        let id = self.id_or_current().filter(|_| has_attribute);
        // SAFETY: the plugin lives, and so does the job of the callback or of the arguments.
        id.is_some_and(|id| unsafe {
            sys::flux_jobtap_job_event_posted(self.plugin, id, c"set-flags".as_ptr()) > 0
        })
    }

    fn result(&self) -> Option<JobResult> {
        let (id, mut result) = (self.id_or_current()?, 0);
        // SAFETY: the plugin lives, and the result is written to a local variable.
        let code = unsafe { sys::flux_jobtap_get_job_result(self.plugin, id, &mut result) };
        match result {
            _ if code < 0 => None,
            sys::FLUX_JOB_RESULT_COMPLETED => Some(JobResult::Completed),
            sys::FLUX_JOB_RESULT_CANCELED => Some(JobResult::Canceled),
            sys::FLUX_JOB_RESULT_TIMEOUT => Some(JobResult::Timeout),
            _ => Some(JobResult::Failed),
        }
    }
}
