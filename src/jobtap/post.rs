//! Posting events, and all that posts events.
//!
//! Each of these is made once the running callback has returned, and before the job
//! manager goes on (see the module `outbox`): the callbacks that it leads to come to
//! the plugin in their order, and none is lost. What Flux then says against it, is
//! logged, the first of each kind: most often that the job is gone. Outside callbacks,
//! in the destructor of a job's data, they wait for the next one; in the plugin's own
//! destructor they do nothing.

use std::ffi::c_int;

use super::error::Error;
use super::handle::Jobtap;
use super::job::Job;
use super::json::OwnedJson;
use super::plugin::Plugin;
use super::sys;
use super::text::c_string;

impl<P: Plugin> Jobtap<P> {
    /// Raises an exception on an active job: of severity 0 it ends the job, of 1 to 7 it
    /// is noted. `kind` is a word, `note` is for people (RFC 21).
    pub fn raise_exception(&self, id: u64, kind: &str, severity: u8, note: &str) {
        let (kind, note) = (c_string(kind), c_string(note));
        self.call_later("flux_jobtap_raise_exception", move |plugin| {
            // SAFETY: the plugin lives (`call_later`); the format is constant and names
            // the one string it gets; Flux copies the texts.
            unsafe {
                sys::flux_jobtap_raise_exception(
                    plugin,
                    id,
                    kind.as_ptr(),
                    severity.into(),
                    c"%s".as_ptr(),
                    note.as_ptr(),
                )
            }
        });
    }

    /// Posts an event to an active job, with a context, a JSON object's text, or none.
    ///
    /// # Errors
    /// If the context is not JSON.
    pub fn post_event(&self, id: u64, name: &str, context: Option<&str>) -> Result<(), Error> {
        let name = c_string(name);
        let context = context.map(|text| OwnedJson::parse("context", text)).transpose()?;
        self.call_later("flux_jobtap_event_post_pack", move |plugin| {
            // SAFETY: the plugin lives (`call_later`); the format names the one value it
            // gets, which lives, or there is no format; Flux copies the name.
            unsafe {
                match &context {
                    Some(context) => sys::flux_jobtap_event_post_pack(
                        plugin,
                        id,
                        name.as_ptr(),
                        c"O".as_ptr(),
                        context.value(),
                    ),
                    None => sys::flux_jobtap_event_post_pack(
                        plugin,
                        id,
                        name.as_ptr(),
                        std::ptr::null(),
                    ),
                }
            }
        });
        Ok(())
    }

    /// Makes a job in NEW or DEPEND wait until this dependency is removed. From a
    /// callback of [`job_dependency`](super::Callbacks::job_dependency) return
    /// [`Dependency::Waits`](super::Dependency::Waits) instead.
    pub fn add_dependency(&self, id: u64, description: &str) {
        let description = c_string(description);
        self.call_later("flux_jobtap_dependency_add", move |plugin| {
            // SAFETY: the plugin lives (`call_later`); Flux copies the text.
            unsafe { sys::flux_jobtap_dependency_add(plugin, id, description.as_ptr()) }
        });
    }

    /// Removes a dependency: without any, the job goes on.
    pub fn remove_dependency(&self, id: u64, description: &str) {
        let description = c_string(description);
        self.call_later("flux_jobtap_dependency_remove", move |plugin| {
            // SAFETY: the plugin lives (`call_later`); Flux copies the text.
            unsafe { sys::flux_jobtap_dependency_remove(plugin, id, description.as_ptr()) }
        });
    }

    /// Asks again for the priority of each job in PRIORITY and SCHED, by
    /// [`job_priority`](super::Callbacks::job_priority)'s callbacks.
    pub fn reprioritize_all(&self) {
        // SAFETY: the plugin lives (`call_later`).
        self.call_later("flux_jobtap_reprioritize_all", |plugin| unsafe {
            sys::flux_jobtap_reprioritize_all(plugin)
        });
    }

    /// Gives a job in PRIORITY or SCHED a priority; in another state that does nothing.
    pub fn reprioritize(&self, id: u64, priority: u32) {
        // SAFETY: the plugin lives (`call_later`).
        self.call_later("flux_jobtap_reprioritize_job", move |plugin| unsafe {
            sys::flux_jobtap_reprioritize_job(plugin, id, priority)
        });
    }

    /// Sets a flag of an active job: `debug`, `alloc-bypass`, and since 0.54
    /// `immutable`.
    pub fn set_flag(&self, id: u64, flag: &str) {
        let flag = c_string(flag);
        self.call_later("flux_jobtap_job_set_flag", move |plugin| {
            // SAFETY: the plugin lives (`call_later`); Flux copies the text.
            unsafe { sys::flux_jobtap_job_set_flag(plugin, id, flag.as_ptr()) }
        });
    }

    /// Changes the jobspec of the job that the running callback is about, up to SCHED:
    /// `{"attributes.system.duration": 3600}` (RFC 21, `jobspec-update`). Since Flux
    /// 0.54: a plugin that uses it cannot be loaded into an older one.
    ///
    /// # Errors
    /// If the callback is not about that job, or `updates` is not JSON.
    pub fn update_jobspec(&self, job: &Job<'_>, updates: &str) -> Result<(), Error> {
        check_current(job)?;
        let updates = OwnedJson::parse("updates", updates)?;
        self.call_later("flux_jobtap_jobspec_update_pack", move |plugin| {
            // SAFETY: the plugin lives (`call_later`); the format names the one value it
            // gets, which lives.
            unsafe { sys::flux_jobtap_jobspec_update_pack(plugin, c"O".as_ptr(), updates.value()) }
        });
        Ok(())
    }

    /// The same for another job than that. Since Flux 0.70: a plugin that uses it cannot
    /// be loaded into an older one.
    ///
    /// # Errors
    /// If `updates` is not JSON.
    pub fn update_other_jobspec(&self, id: u64, updates: &str) -> Result<(), Error> {
        let updates = OwnedJson::parse("updates", updates)?;
        self.call_later("flux_jobtap_jobspec_update_id_pack", move |plugin| {
            // SAFETY: the plugin lives (`call_later`); the format names the one value it
            // gets, which lives.
            unsafe {
                sys::flux_jobtap_jobspec_update_id_pack(plugin, id, c"O".as_ptr(), updates.value())
            }
        });
        Ok(())
    }

    /// Keeps the job that the running callback is about from starting, until
    /// [`prolog_finish`](Self::prolog_finish).
    ///
    /// # Errors
    /// If the callback is not about that job.
    pub fn prolog_start(&self, job: &Job<'_>, description: &str) -> Result<(), Error> {
        check_current(job)?;
        let description = c_string(description);
        self.call_later("flux_jobtap_prolog_start", move |plugin| {
            // SAFETY: the plugin lives (`call_later`); Flux copies the text.
            unsafe { sys::flux_jobtap_prolog_start(plugin, description.as_ptr()) }
        });
        Ok(())
    }

    /// Lets it start; `status` is noted, 0 for success.
    pub fn prolog_finish(&self, id: u64, description: &str, status: i32) {
        let description = c_string(description);
        self.call_later("flux_jobtap_prolog_finish", move |plugin| {
            // SAFETY: the plugin lives (`call_later`); Flux copies the text.
            unsafe { sys::flux_jobtap_prolog_finish(plugin, id, description.as_ptr(), status) }
        });
    }

    /// Keeps the resources of the job that the running callback is about, which is in
    /// CLEANUP, from being released, until [`epilog_finish`](Self::epilog_finish).
    ///
    /// # Errors
    /// If the callback is not about that job.
    pub fn epilog_start(&self, job: &Job<'_>, description: &str) -> Result<(), Error> {
        check_current(job)?;
        let description = c_string(description);
        self.call_later("flux_jobtap_epilog_start", move |plugin| {
            // SAFETY: the plugin lives (`call_later`); Flux copies the text.
            unsafe { sys::flux_jobtap_epilog_start(plugin, description.as_ptr()) }
        });
        Ok(())
    }

    /// Lets them be released; `status` is noted, 0 for success.
    pub fn epilog_finish(&self, id: u64, description: &str, status: i32) {
        let description = c_string(description);
        self.call_later("flux_jobtap_epilog_finish", move |plugin| {
            // SAFETY: the plugin lives (`call_later`); Flux copies the text.
            unsafe { sys::flux_jobtap_epilog_finish(plugin, id, description.as_ptr(), status) }
        });
    }

    /// Calls `call` with the plugin as C has it, once the running callback has returned
    /// and before the job manager goes on: for what this layer does not bind and what
    /// may lead to callbacks, as `flux_jobtap_call` does. `name` is what the log calls
    /// it.
    pub fn later(
        &self,
        name: &'static str,
        call: impl FnOnce(*mut sys::flux_plugin_t) -> Result<(), Error> + 'static,
    ) {
        if let Ok(instance) = self.instance() {
            instance.outbox.add(name, Box::new(call));
        }
    }

    /// The plugin as C has it, for what this layer does not bind; NULL at the plugin's
    /// end.
    ///
    /// # Safety
    /// - It is used within callbacks only, and not kept beyond the plugin's end.
    /// - What posts events is called by [`later`](Self::later) alone: it may change a
    ///   [`Job`] that the callback looks at, and the callbacks that it leads to would be
    ///   lost, for the plugin is in use.
    /// - The layer's own items, handlers and job data stay untouched.
    pub unsafe fn as_raw(&self) -> *mut sys::flux_plugin_t {
        self.instance().map_or(std::ptr::null_mut(), |instance| instance.flux_plugin)
    }

    /// Calls a function of Flux's that returns -1 and sets errno, once the running
    /// callback has returned. The plugin lives then, for it is called by a callback.
    fn call_later(
        &self,
        function: &'static str,
        call: impl FnOnce(*mut sys::flux_plugin_t) -> c_int + 'static,
    ) {
        self.later(function, move |plugin| match call(plugin) {
            0.. => Ok(()),
            _ => Err(Error::errno()),
        });
    }
}

/// Whether the running callback is about `job`, as what has no other job needs it.
fn check_current(job: &Job<'_>) -> Result<(), Error> {
    match job.is_current {
        true => Ok(()),
        false => Err(Error::new("the running callback is not about this job")),
    }
}
