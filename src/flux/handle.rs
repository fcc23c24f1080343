//! A plugin's handle to the job manager.

use std::ffi::CStr;
use std::ptr::NonNull;
use std::rc::{Rc, Weak};

use super::error::{Error, LogLevel};
use super::instance::{log, Instance};
use super::job::{FoundJob, Job};
use super::plugin::Plugin;
use super::prepare_watcher::PrepareWatcher;
use super::rpc::{Response, Rpc};
use super::sys;
use super::text::{c_string, c_text};
use super::timer::Timer;

/// A plugin's handle to the job manager: log, timers, requests. It is of use from
/// `init` to the plugin's end; in the plugin's own destructor only the log is.
pub struct Jobtap<P: Plugin> {
    /// The job manager's own handle, which outlives every plugin.
    pub(super) flux: NonNull<sys::flux_t>,
    pub(super) instance: Weak<Instance<P>>,
}

impl<P: Plugin> Clone for Jobtap<P> {
    fn clone(&self) -> Self {
        Jobtap { flux: self.flux, instance: self.instance.clone() }
    }
}

impl<P: Plugin> Jobtap<P> {
    /// Writes one line to the broker's log (`flux dmesg`), behind the plugin's name.
    pub fn log(&self, level: LogLevel, message: &str) {
        log(P::NAME, self.flux, level, message);
    }

    /// The broker's attribute of this name, if it has it (flux-broker-attributes(7)).
    /// Flux may ask the broker for it and wait: not for the path of a job.
    pub fn attribute(&self, name: &CStr) -> Option<String> {
        // SAFETY: the handle outlives the plugin; the text is the handle's own,
        // and copied.
        unsafe { c_text(sys::flux_attr_get(self.flux.as_ptr(), name.as_ptr())) }
    }

    /// Calls `callback` after `after` seconds, and then every `repeat` seconds
    /// unless that is 0. With `after` 0 it is called when the reactor is free
    /// again, which is after the whole of a load.
    ///
    /// # Errors
    /// If Flux has no memory for it.
    pub fn timer(
        &self,
        after: f64,
        repeat: f64,
        callback: impl FnMut(&mut P) + 'static,
    ) -> Result<Timer, Error> {
        Timer::start(&self.instance()?, after, repeat, Box::new(callback))
    }

    /// Makes a callback at the end of those turns of the reactor in which it is
    /// [requested](PrepareWatcher::request).
    ///
    /// # Errors
    /// If Flux has no memory for it.
    pub fn turn_end(
        &self,
        callback: impl FnMut(&mut P) + 'static,
    ) -> Result<PrepareWatcher, Error> {
        PrepareWatcher::new(&self.instance()?, Box::new(callback))
    }

    /// Calls `body` with what the job manager knows of a job, active or inactive, at this
    /// moment (flux_jobtap_job_lookup). `None` if it knows none of this id, or if no
    /// callback runs. It takes some microseconds, and allocates: not for the path of a
    /// job.
    pub fn with_job<R>(&self, id: u64, body: impl FnOnce(&Job<'_>) -> R) -> Option<R> {
        let instance = self.running().ok()?;
        // SAFETY: a callback runs, so the plugin lives; what the callback posts waits
        // until it has returned.
        let found = unsafe { FoundJob::new(instance.flux_plugin, id) }?;
        Some(body(&found.job()))
    }

    /// Asks for `job.event.*` of an active job from now on.
    ///
    /// # Errors
    /// If there is no such job.
    pub fn subscribe(&self, id: u64) -> Result<(), Error> {
        let instance = self.running()?;
        // SAFETY: a callback runs, so the plugin lives.
        match unsafe { sys::flux_jobtap_job_subscribe(instance.flux_plugin, id) } {
            0.. => Ok(()),
            _ => Err(Error::last_os_error("flux_jobtap_job_subscribe")),
        }
    }

    /// Sends a request to `topic`, with a JSON payload or without one, and calls
    /// `callback` with the response, or with an error after `timeout` seconds.
    ///
    /// # Errors
    /// If the request cannot be sent.
    pub fn rpc(
        &self,
        topic: &CStr,
        payload: Option<&CStr>,
        timeout: f64,
        callback: impl FnOnce(&mut P, Response<'_>) + 'static,
    ) -> Result<Rpc, Error> {
        Rpc::send(&self.instance()?, topic, payload, timeout, Box::new(callback))
    }

    /// Asks for no more of them.
    pub fn unsubscribe(&self, id: u64) {
        if let Ok(instance) = self.running() {
            // SAFETY: a callback runs, so the plugin lives.
            unsafe { sys::flux_jobtap_job_unsubscribe(instance.flux_plugin, id) };
        }
    }

    /// The instance. Weak in `self`, for the instance owns the plugin, which may own
    /// this handle.
    ///
    /// # Errors
    /// If the plugin is at its end.
    pub(super) fn instance(&self) -> Result<Rc<Instance<P>>, Error> {
        self.instance.upgrade().ok_or_else(|| Error::new("the plugin is at its end"))
    }

    /// The instance, of which a callback runs: then Flux is not at its end, either,
    /// where what its functions reach is gone.
    ///
    /// # Errors
    /// If none runs: in the destructors of the plugin and of a job's data.
    pub(super) fn running(&self) -> Result<Rc<Instance<P>>, Error> {
        self.instance()
            .ok()
            .filter(|instance| instance.is_running())
            .ok_or_else(|| Error::new("no callback of the plugin runs"))
    }
}
