//! The job that a callback is about. Unpacks only what is asked for: a plugin
//! pays for what it uses.

use std::ffi::{c_char, c_int, CStr};
use std::ptr;

use super::args::Args;
use super::jobtap::Error;
use super::sys;

/// FLUX_JOBTAP_CURRENT_JOB, a macro over a macro (wrapper.h asserts it).
const CURRENT_JOB: sys::flux_jobid_t = u64::MAX;

/// The job that a callback is about.
pub struct Job<'a> {
    pub(super) plugin: *mut sys::flux_plugin_t,
    pub(super) args: &'a Args,
}

/// When what happened to a job.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Times {
    /// The job's id.
    pub id: u64,
    /// Its submission, in seconds since the epoch.
    pub submitted: f64,
    /// The event that made this callback, in seconds since the epoch, from the
    /// job's eventlog. Some callbacks are made by no event.
    pub event: Option<f64>,
}

/// What became of a job (`flux_job_result_t`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobResult {
    /// Its tasks ended with 0.
    Completed,
    /// Its tasks ended with something else, or it met with an exception.
    Failed,
    /// Somebody cancelled it.
    Canceled,
    /// Its time was up.
    Timeout,
}

impl Job<'_> {
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

    /// `{s:I s:f s?{s:f}}`: the job's id, and when it was submitted and met
    /// with the event.
    ///
    /// # Errors
    /// If Flux did not say.
    pub fn times(&self) -> Result<Times, Error> {
        let (mut id, mut submitted, mut event) = (0i64, 0f64, f64::NAN);
        // SAFETY: the args live while the callback runs; the format names one
        // 64-bit integer and two doubles, and gets pointers to such. The
        // optional one keeps its value where it is missing.
        let code = unsafe {
            sys::flux_plugin_arg_unpack(
                self.args.raw(),
                sys::FLUX_PLUGIN_ARG_IN as c_int,
                c"{s:I s:F s?{s:F}}".as_ptr(),
                c"id".as_ptr(),
                &mut id as *mut i64,
                c"t_submit".as_ptr(),
                &mut submitted as *mut f64,
                c"entry".as_ptr(),
                c"timestamp".as_ptr(),
                &mut event as *mut f64,
            )
        };
        let event = Some(event).filter(|event| !event.is_nan());
        self.args.check("unpack", code).map(|()| Times { id: id as u64, submitted, event })
    }

    /// `{s:I s:{s?{s?{s?s}}}}`: the job's id, and its queue, if it has one.
    ///
    /// # Errors
    /// If Flux did not say.
    pub fn queue(&self) -> Result<(u64, Option<&str>), Error> {
        let mut id = 0i64;
        let mut queue: *const c_char = ptr::null();
        // SAFETY: the args live while the callback runs; the format names one
        // 64-bit integer and one string, and gets pointers to such. The string
        // is the args' own, and lives as long.
        unsafe {
            let code = sys::flux_plugin_arg_unpack(
                self.args.raw(),
                sys::FLUX_PLUGIN_ARG_IN as c_int,
                c"{s:I s:{s?{s?{s?s}}}}".as_ptr(),
                c"id".as_ptr(),
                &mut id as *mut i64,
                c"jobspec".as_ptr(),
                c"attributes".as_ptr(),
                c"system".as_ptr(),
                c"queue".as_ptr(),
                &mut queue as *mut *const c_char,
            );
            self.args.check("unpack", code)?;
            // What is not UTF-8 is not JSON, and never got here.
            let queue = (!queue.is_null()).then(|| CStr::from_ptr(queue).to_str().ok()).flatten();
            Ok((id as u64, queue))
        }
    }

    /// What became of a job in CLEANUP or INACTIVE.
    ///
    /// # Errors
    /// If it has not come to its end.
    pub fn result(&self) -> Result<JobResult, Error> {
        let mut result = 0;
        // SAFETY: the plugin lives, and the current job is the callback's own.
        let code =
            unsafe { sys::flux_jobtap_get_job_result(self.plugin, CURRENT_JOB, &mut result) };
        match result {
            _ if code < 0 => Err(Error::last_os_error("flux_jobtap_get_job_result")),
            sys::FLUX_JOB_RESULT_COMPLETED => Ok(JobResult::Completed),
            sys::FLUX_JOB_RESULT_CANCELED => Ok(JobResult::Canceled),
            sys::FLUX_JOB_RESULT_TIMEOUT => Ok(JobResult::Timeout),
            _ => Ok(JobResult::Failed),
        }
    }

    /// Asks for `job.event.*` of this job from now on.
    ///
    /// # Errors
    /// If Flux has no memory for it.
    pub fn subscribe(&self) -> Result<(), Error> {
        // SAFETY: the plugin lives, and the current job is the callback's own.
        let code = unsafe { sys::flux_jobtap_job_subscribe(self.plugin, CURRENT_JOB) };
        match code {
            0.. => Ok(()),
            _ => Err(Error::last_os_error("flux_jobtap_job_subscribe")),
        }
    }

    /// `{s:{s:{s:s}}}`: the type of the exception that made this callback.
    pub(super) fn exception(&self) -> Result<String, Error> {
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
