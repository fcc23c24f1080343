//! The job that a callback is about. Unpacks only what is asked for: a plugin
//! pays for what it uses.

use std::ffi::{c_char, c_int, CStr};
use std::num::NonZeroI64;
use std::ptr;

use super::args::Args;
use super::error::Error;
use super::json::Json;
use super::state::JobState;
use super::sys;

/// FLUX_JOBTAP_CURRENT_JOB, a macro over a macro (wrapper.h asserts it).
const CURRENT_JOB: sys::flux_jobid_t = u64::MAX;

/// FLUX_JOB_URGENCY_DEFAULT (job.h), and the priority that added of it.
const DEFAULT_URGENCY: i32 = 16;

/// The job that a callback is about, or one that was looked up.
pub struct Job<'a> {
    plugin: *mut sys::flux_plugin_t,
    args: &'a Args,
    /// Whether it is what a callback that runs is about.
    pub(super) is_current: bool,
}

/// The arguments of a job that was looked up.
pub(super) struct FoundJob {
    plugin: *mut sys::flux_plugin_t,
    args: Args,
}

impl FoundJob {
    /// # Safety
    /// - `plugin` lives, and for as long as the result; meanwhile no event is posted,
    ///   for that may change the job's arguments in place.
    pub(super) unsafe fn new(plugin: *mut sys::flux_plugin_t, id: u64) -> Option<FoundJob> {
        // SAFETY: the caller's promise; the result is ours, or NULL.
        unsafe {
            let args = sys::flux_jobtap_job_lookup(plugin, id);
            (!args.is_null()).then(|| FoundJob { plugin, args: Args::new(args) })
        }
    }

    pub(super) fn job(&self) -> Job<'_> {
        Job { plugin: self.plugin, args: &self.args, is_current: false }
    }
}

impl Drop for FoundJob {
    fn drop(&mut self) {
        // SAFETY: the arguments are ours (`new`), and are destroyed once.
        unsafe { sys::flux_plugin_arg_destroy(self.args.raw()) };
    }
}

/// The times of a job's events.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Times {
    /// Its submission, in seconds since the epoch.
    pub submitted: f64,
    /// The event that made this callback, in seconds since the epoch, from the
    /// job's eventlog. Some callbacks are made by no event.
    pub event: Option<f64>,
}

/// Whose a job is, how urgent, what it asks for and what it got.
#[derive(Clone, Copy)]
pub struct JobInfo<'a> {
    /// Its owner's user id.
    pub user: u32,
    /// What the user asked for: 0 is held, 16 the default, 31 expedited.
    pub urgency: i32,
    /// What a priority plugin made of it: 0 is held.
    pub priority: i64,
    /// Its jobspec (RFC 14), less its environment.
    pub jobspec: Json<'a>,
    /// Its R (RFC 20), less what is the scheduler's own.
    pub r: Option<Json<'a>>,
}

/// What became of a job (`flux_job_result_t`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobResult {
    /// Its tasks ended with 0.
    Completed,
    /// Its tasks ended with something else, or it got an exception.
    Failed,
    /// Somebody canceled it.
    Canceled,
    /// Its time was up.
    Timeout,
}

impl<'a> Job<'a> {
    /// What the callback with these arguments is about.
    #[inline]
    pub(super) fn current(plugin: *mut sys::flux_plugin_t, args: &'a Args) -> Self {
        Job { plugin, args, is_current: true }
    }

    /// `{s:i}`: its state.
    ///
    /// # Errors
    /// If Flux did not say.
    pub fn state(&self) -> Result<JobState, Error> {
        self.args.state()
    }

    /// `{s:I}`: the job's id.
    ///
    /// # Errors
    /// If Flux did not say.
    pub fn id(&self) -> Result<u64, Error> {
        let mut id = 0i64;
        // SAFETY: the args live while the callback runs; the format names one
        // 64-bit integer, and gets a pointer to such.
        let code = unsafe {
            sys::flux_plugin_arg_unpack(
                self.args.raw(),
                sys::FLUX_PLUGIN_ARG_IN as c_int,
                c"{s:I}".as_ptr(),
                c"id".as_ptr(),
                &mut id as *mut i64,
            )
        };
        self.args.check("unpack", code).map(|()| id as u64)
    }

    /// When the job was submitted, and the time of the event that made the callback.
    /// Looked at where it lies: no unpack format, for which jansson allocates.
    ///
    /// # Errors
    /// If Flux did not say.
    pub fn times(&self) -> Result<Times, Error> {
        let items = self.args.items();
        let submitted = required(items, c"t_submit")?.number();
        let entry = items.and_then(|items| items.member(c"entry"));
        let event = entry.and_then(|entry| entry.member(c"timestamp")).map(Json::number);
        Ok(Times { submitted, event })
    }

    /// Whose the job is, how urgent, its jobspec, and its R, if it got one. An urgency
    /// that is not there is the default.
    ///
    /// # Errors
    /// If Flux did not say.
    pub fn info(&self) -> Result<JobInfo<'_>, Error> {
        let items = self.args.items();
        // 0 is what jansson says of 0, too.
        let integer = |item: Json<'_>| item.integer().map_or(0, NonZeroI64::get);
        let optional = |key| items.and_then(|items| items.member(key));
        Ok(JobInfo {
            user: integer(required(items, c"userid")?) as u32,
            urgency: optional(c"urgency").map_or(DEFAULT_URGENCY, |it| integer(it) as i32),
            priority: optional(c"priority").map_or(DEFAULT_URGENCY.into(), integer),
            jobspec: required(items, c"jobspec")?,
            r: optional(c"R"),
        })
    }

    /// What became of a job in CLEANUP or INACTIVE.
    ///
    /// # Errors
    /// If it has not come to its end.
    pub fn result(&self) -> Result<JobResult, Error> {
        let id = if self.is_current { CURRENT_JOB } else { self.id()? };
        let mut result = 0;
        // SAFETY: the plugin lives, and the current job is the callback's own.
        let code = unsafe { sys::flux_jobtap_get_job_result(self.plugin, id, &mut result) };
        match result {
            _ if code < 0 => Err(Error::last_os_error("flux_jobtap_get_job_result")),
            sys::FLUX_JOB_RESULT_COMPLETED => Ok(JobResult::Completed),
            sys::FLUX_JOB_RESULT_CANCELED => Ok(JobResult::Canceled),
            sys::FLUX_JOB_RESULT_TIMEOUT => Ok(JobResult::Timeout),
            _ => Ok(JobResult::Failed),
        }
    }
}

/// The item of this key, among a callback's arguments.
fn required<'a>(items: Option<Json<'a>>, key: &CStr) -> Result<Json<'a>, Error> {
    items.and_then(|items| items.member(key)).ok_or_else(|| {
        let key = key.to_string_lossy();
        Error::new(format!("the callback's arguments have no \"{key}\""))
    })
}

/// An event that was posted to a job.
pub struct JobEvent<'a> {
    args: &'a Args,
}

impl<'a> JobEvent<'a> {
    pub(super) fn new(args: &'a Args) -> Self {
        JobEvent { args }
    }

    /// Its entry in the job's eventlog (RFC 18), as much as there is of it.
    fn entry(&self) -> Option<Json<'a>> {
        self.args.items()?.member(c"entry")
    }

    /// Its name.
    ///
    /// # Errors
    /// If Flux did not say.
    pub fn name(&self) -> Result<&'a str, Error> {
        let name = self.entry().and_then(|entry| entry.member(c"name")?.text());
        name.ok_or_else(|| Error::new("an event without a name"))
    }

    /// Its context, if it has one.
    pub fn context(&self) -> Option<Json<'a>> {
        self.entry()?.member(c"context")
    }

    /// `{s:{s:{s:s}}}`: the type of an exception.
    ///
    /// # Errors
    /// If Flux did not say, or it is none.
    pub fn exception_type(&self) -> Result<String, Error> {
        let mut kind: *const c_char = ptr::null();
        // SAFETY: the args live while the callback runs; the format names one
        // string, and gets a pointer to a pointer. The string is the args' own,
        // and is copied.
        unsafe {
            let code = sys::flux_plugin_arg_unpack(
                self.args.raw(),
                sys::FLUX_PLUGIN_ARG_IN as c_int,
                c"{s:{s:{s:s}}}".as_ptr(),
                c"entry".as_ptr(),
                c"context".as_ptr(),
                c"type".as_ptr(),
                &mut kind as *mut *const c_char,
            );
            self.args.check("unpack", code)?;
            Ok(CStr::from_ptr(kind).to_string_lossy().into_owned())
        }
    }
}
