//! The arguments of a callback, unpacked into types.

use std::ffi::CStr;
use std::os::raw::c_int;
use std::ptr;

use super::error::Error;
use super::json::{json_t, Json};
use super::state::JobState;
use super::sys;

/// What `job.state.*` says: the job entered `state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transition {
    /// The job's id.
    pub id: u64,
    /// The state entered.
    pub state: JobState,
    /// The state left. `None` where the call reports a job rather than moving
    /// it: `job.state.depend`, for a plugin loaded while the job is in DEPEND.
    pub previous: Option<JobState>,
}

/// No state has this number, so it marks an optional item that was not there.
const UNSET: c_int = 0;

/// The arguments of the running callback. They are void when it returns.
pub(super) struct Args(*mut sys::flux_plugin_arg_t);

impl Args {
    /// # Safety
    /// - `args` is what Flux passed to the callback that is running.
    pub(super) unsafe fn new(args: *mut sys::flux_plugin_arg_t) -> Self {
        Args(args)
    }

    pub(super) fn raw(&self) -> *mut sys::flux_plugin_arg_t {
        self.0
    }

    /// `{s:i}`: the job's current state.
    pub(super) fn state(&self) -> Result<JobState, Error> {
        let mut state = UNSET;
        // SAFETY: the args live while the callback runs; the format names one
        // int, and gets a pointer to one.
        let code = unsafe {
            sys::flux_plugin_arg_unpack(
                self.0,
                sys::FLUX_PLUGIN_ARG_IN as c_int,
                c"{s:i}".as_ptr(),
                c"state".as_ptr(),
                &mut state as *mut c_int,
            )
        };
        self.check("unpack", code).map(|()| JobState(state))
    }

    /// The state entered, the state left, if there is one, and the job's id.
    ///
    /// On the path of every transition, hence inlined, and hence read in place: an
    /// unpack format with these three makes jansson allocate four times, for the set of
    /// the keys that it has seen. That format is used only where refresh in place
    /// fails: then the error is in Flux's own words.
    #[inline(always)]
    pub(super) fn transition(&self) -> Result<Transition, Error> {
        let integer = |key| Some(self.items()?.member(key)?.integer()?.get());
        match (integer(c"state"), integer(c"prev_state"), integer(c"id")) {
            (Some(state), Some(previous), Some(id)) => Ok(Transition {
                id: id as u64,
                state: JobState(state as i32),
                previous: Some(JobState(previous as i32)),
            }),
            _ => self.unpack_transition(),
        }
    }

    /// All items, looked at where they lie: a JSON object.
    #[inline]
    pub(super) fn items(&self) -> Option<Json<'_>> {
        let mut items = ptr::null_mut::<json_t>();
        // SAFETY: the args live as long as `self`; the format names one value, and
        // gets a pointer to such. It stays the args' own (`o`), lives as long, and
        // is not changed meanwhile.
        unsafe {
            let code = sys::flux_plugin_arg_unpack(
                self.0,
                sys::FLUX_PLUGIN_ARG_IN as c_int,
                c"o".as_ptr(),
                &mut items as *mut *mut json_t,
            );
            if code < 0 {
                return None;
            }
            Json::new(items)
        }
    }

    /// `{s:i s?i s:I}`: the same as [`transition`](Self::transition), slowly.
    #[cold]
    fn unpack_transition(&self) -> Result<Transition, Error> {
        let (mut state, mut previous, mut id) = (UNSET, UNSET, 0i64);
        // SAFETY: as above, with two ints and a 64-bit integer. The optional one
        // keeps its value where the item is missing, hence its initialisation.
        let code = unsafe {
            sys::flux_plugin_arg_unpack(
                self.0,
                sys::FLUX_PLUGIN_ARG_IN as c_int,
                c"{s:i s?i s:I}".as_ptr(),
                c"state".as_ptr(),
                &mut state as *mut c_int,
                c"prev_state".as_ptr(),
                &mut previous as *mut c_int,
                c"id".as_ptr(),
                &mut id as *mut i64,
            )
        };
        self.check("unpack", code).map(|()| Transition {
            id: id as u64,
            state: JobState(state),
            previous: (previous != UNSET).then_some(JobState(previous)),
        })
    }

    /// All of it, as JSON text. Flux writes it for this call: not for the path
    /// of a job, whose jobspec it would write each time.
    pub(super) fn json(&self) -> Result<String, Error> {
        let mut text = ptr::null_mut();
        // SAFETY: the args live while the callback runs.
        let code = unsafe {
            sys::flux_plugin_arg_get(self.0, sys::FLUX_PLUGIN_ARG_IN as c_int, &mut text)
        };
        self.check("read", code)?;
        if text.is_null() {
            return Err(Error::last_os_error("flux_plugin_arg_get"));
        }
        // SAFETY: it is a C string, ours to free, and copied before that.
        unsafe {
            let copy = CStr::from_ptr(text).to_string_lossy().into_owned();
            libc::free(text.cast());
            Ok(copy)
        }
    }

    /// Adds a JSON object's items to the callback's answer.
    pub(super) fn answer(&self, json: &CStr) -> Result<(), Error> {
        // SAFETY: the args live while the callback runs; Flux copies the text.
        let code = unsafe {
            sys::flux_plugin_arg_set(self.0, sys::FLUX_PLUGIN_ARG_OUT as c_int, json.as_ptr())
        };
        self.check("add to", code)
    }

    /// `{s:I}`: adds an integer to the callback's answer.
    pub(super) fn answer_integer(&self, key: &CStr, value: i64) -> Result<(), Error> {
        // SAFETY: the args live while the callback runs; the format names one 64-bit
        // integer, and gets one.
        let code = unsafe {
            sys::flux_plugin_arg_pack(
                self.0,
                sys::FLUX_PLUGIN_ARG_OUT as c_int,
                c"{s:I}".as_ptr(),
                key.as_ptr(),
                value,
            )
        };
        self.check("add to", code)
    }

    /// Turns a return code into a `Result` with Flux's own words; `what` was to
    /// be done. Inlined: where the code is 0, nothing is called.
    #[inline(always)]
    pub(super) fn check(&self, what: &str, code: c_int) -> Result<(), Error> {
        match code {
            0.. => Ok(()),
            _ => Err(self.error(what)),
        }
    }

    #[cold]
    fn error(&self, what: &str) -> Error {
        // SAFETY: the args live while the callback runs, and so does the text,
        // which is their own; it is copied here.
        let text = unsafe { CStr::from_ptr(sys::flux_plugin_arg_strerror(self.0)) };
        Error::new(format!("cannot {what} the callback's arguments: {}", text.to_string_lossy()))
    }
}
