//! The plugin's handle to the job manager.

use std::ffi::{c_int, CStr};
use std::ptr::NonNull;

use super::c_string;
use super::error::LogLevel;
use super::instance::Instance;
use super::job::{FoundJob, JobArgs};
use crate::flux_sys as sys;
use crate::os::Uncancelled;

/// The plugin's handle to the job manager, valid for as long as the plugin is loaded.
pub struct Flux {
    instance: NonNull<Instance>,
}

impl Flux {
    /// # Safety
    /// - The result is dropped before `instance`.
    pub(super) unsafe fn new(instance: &Instance) -> Flux {
        Flux { instance: NonNull::from(instance) }
    }

    pub(super) fn instance(&self) -> &Instance {
        // SAFETY: the instance outlives the handle (`new`).
        unsafe { self.instance.as_ref() }
    }

    /// Writes a line to the broker's log (`flux dmesg`), after the plugin's name.
    pub fn log(&self, level: LogLevel, message: &str) {
        log(self.instance().flux, level, message);
    }

    /// The value of a broker attribute (flux-broker-attributes(7)), `None` if it is not set.
    /// Flux may send a request and wait for the response, so job callbacks must not use it.
    pub fn attribute(&self, name: &CStr) -> Option<String> {
        // SAFETY: the handle of the job manager outlives the plugin; the text belongs to it,
        // and is copied.
        unsafe {
            let value = sys::flux_attr_get(self.instance().flux.as_ptr(), name.as_ptr());
            (!value.is_null()).then(|| CStr::from_ptr(value).to_string_lossy().into_owned())
        }
    }

    /// The time at which this loop iteration began, in seconds since the epoch.
    pub fn now(&self) -> f64 {
        // SAFETY: the handle and its reactor belong to the job manager and outlive the plugin.
        unsafe { sys::flux_reactor_now(sys::flux_get_reactor(self.instance().flux.as_ptr())) }
    }

    /// Calls `body` with the job manager's current data of an active or inactive job
    /// (flux_jobtap_job_lookup). `None` if there is no job with this id. A lookup takes some
    /// microseconds and allocates.
    pub fn with_job<R>(&self, id: u64, body: impl FnOnce(&JobArgs<'_>) -> R) -> Option<R> {
        // SAFETY: the plugin lives, and this crate posts no events.
        let found = unsafe { FoundJob::new(self.instance().flux_plugin, id) }?;
        Some(body(&found.job()))
    }

    /// The number of panics that were caught since the load.
    pub fn panics(&self) -> u64 {
        self.instance().panics.get()
    }
}

/// Logs `message` after the plugin's name.
pub(super) fn log(flux: NonNull<sys::flux_t>, level: LogLevel, message: &str) {
    let _uncancelled = Uncancelled::new();
    let message = c_string(&format!("{}: {message}", env!("CARGO_PKG_NAME")));
    // SAFETY: the handle belongs to the job manager and outlives the plugin; the format is
    // constant and takes the one string that is passed.
    unsafe {
        sys::flux_log(flux.as_ptr(), level as c_int, c"%s".as_ptr(), message.as_ptr());
    }
}
