//! The arguments of a callback.

use std::ffi::{c_int, CStr};
use std::ptr;

use super::c_string;
use super::error::Error;
use super::json::ArgsJson;
use crate::flux_sys as sys;

const IN: c_int = sys::FLUX_PLUGIN_ARG_IN as c_int;
const OUT: c_int = sys::FLUX_PLUGIN_ARG_OUT as c_int;

/// The arguments of the running callback, or of a job that was looked up.
pub(super) struct Args(*mut sys::flux_plugin_arg_t);

impl Args {
    /// # Safety
    /// - `args` lives as long as the result.
    pub(super) unsafe fn new(args: *mut sys::flux_plugin_arg_t) -> Self {
        Args(args)
    }

    pub(super) fn as_ptr(&self) -> *mut sys::flux_plugin_arg_t {
        self.0
    }

    /// All arguments as a JSON object, read in place. Unpacking several members with a format
    /// would make jansson allocate a set of keys.
    #[inline]
    pub(super) fn object(&self) -> Option<ArgsJson<'_>> {
        let mut object = ptr::null_mut::<sys::json_t>();
        // SAFETY: the args live as long as `self`; the format takes one pointer to a value,
        // which is passed. The value belongs to the args (`o`) and does not change meanwhile.
        unsafe {
            let code = sys::flux_plugin_arg_unpack(
                self.0,
                IN,
                c"o".as_ptr(),
                &mut object as *mut *mut sys::json_t,
            );
            (code >= 0).then(|| ArgsJson::new(object)).flatten()
        }
    }

    /// The integer argument `key`, which must exist.
    ///
    /// # Errors
    /// Flux's text, which names the missing key or the type that was found.
    #[cold]
    pub(super) fn unpack_integer(&self, key: &CStr) -> Result<i64, Error> {
        let mut value = 0i64;
        // SAFETY: the args live as long as `self`; the format takes one pointer to a 64-bit
        // integer, which is passed.
        let code = unsafe {
            sys::flux_plugin_arg_unpack(
                self.0,
                IN,
                c"{s:I}".as_ptr(),
                key.as_ptr(),
                &mut value as *mut i64,
            )
        };
        self.check("unpack", code).map(|()| value)
    }

    /// All arguments as JSON text. Flux serialises them all, including the jobspec, so job
    /// callbacks must not use it.
    ///
    /// # Errors
    /// If Flux cannot serialise them.
    pub(super) fn text(&self) -> Result<String, Error> {
        let mut text = ptr::null_mut();
        // SAFETY: the args live as long as `self`.
        let code = unsafe { sys::flux_plugin_arg_get(self.0, IN, &mut text) };
        self.check("read", code)?;
        if text.is_null() {
            return Err(Error::last_os_error("flux_plugin_arg_get"));
        }
        // SAFETY: it is a C string that we have to free; it is copied before that.
        unsafe {
            let copy = CStr::from_ptr(text).to_string_lossy().into_owned();
            libc::free(text.cast());
            Ok(copy)
        }
    }

    /// Adds the members of a JSON object to the callback's result.
    ///
    /// # Errors
    /// If `json` is not a JSON object.
    pub(super) fn add_result(&self, json: &str) -> Result<(), Error> {
        let json = c_string(json);
        // SAFETY: the args live as long as `self`; Flux copies the text.
        let code = unsafe { sys::flux_plugin_arg_set(self.0, OUT, json.as_ptr()) };
        self.check("add to", code)
    }

    /// An error with Flux's own text if a function returned a negative code.
    fn check(&self, verb: &str, code: c_int) -> Result<(), Error> {
        if code >= 0 {
            return Ok(());
        }
        // SAFETY: the args live as long as `self`, and so does the text, which is copied.
        let text = unsafe { CStr::from_ptr(sys::flux_plugin_arg_strerror(self.0)) };
        Err(Error::new(format!(
            "cannot {verb} the callback's arguments: {}",
            text.to_string_lossy()
        )))
    }
}
