//! The plugin trait, and the one shim between it and the job manager.

use std::ffi::CStr;
use std::os::raw::{c_char, c_int, c_void};

use super::args::{Args, Transition};
use super::error::Error;
use super::handle::Jobtap;
use super::instance::Handler;
use super::job::Job;
use super::state::JobState;
use super::sys;
use super::text::{c_string, c_text};

/// A jobtap plugin. One value lives for each load, and is dropped at removal.
///
/// Each method is the callback of that name in flux-jobtap-plugins(7), and is
/// called only if it is among [`CALLBACKS`](Plugin::CALLBACKS). A job callback
/// has nothing to return: -1 would silence the plugins loaded behind this one.
pub trait Plugin: Sized + 'static {
    /// What its log lines begin with.
    const NAME: &'static str;

    /// What the job manager should call. Each costs it a call a job, so name
    /// what you use and no more.
    const CALLBACKS: &'static [Callback];

    /// Makes the plugin, in `flux_plugin_init`. Flux may still refuse the load
    /// afterwards ("already loaded"), so do nothing here that others can see.
    ///
    /// # Errors
    /// Fail the load. Flux says only "flux_plugin_init failed", with this error
    /// in its log; refuse a bad configuration in `conf_update`.
    fn init(jobtap: Jobtap<Self>) -> Result<Self, Error>;

    /// `conf.update`: once at load, after `init`, and at each change of the
    /// broker's configuration (twice at start-up).
    ///
    /// # Errors
    /// At load, fail the load; later, the reload: the text goes to whoever
    /// asked for it. Flux cuts it at 159 bytes.
    fn conf_update(&mut self, conf: Conf<'_>) -> Result<(), Error> {
        let _ = conf;
        Ok(())
    }

    /// `plugin.query`: what `flux jobtap query` prints, as a JSON object's text.
    fn query(&mut self) -> String {
        "{}".to_owned()
    }

    /// `job.new`: a job was accepted, or was active when the plugin was loaded.
    ///
    /// # Errors
    /// Of this and the other job callbacks are logged, the first of each.
    fn job_new(&mut self, state: JobState, job: &Job<'_>) -> Result<(), Error> {
        let _ = (state, job);
        Ok(())
    }

    /// `job.state.*`: a job entered a state.
    ///
    /// # Errors
    /// As [`job_new`](Self::job_new).
    fn job_state(&mut self, transition: Transition, job: &Job<'_>) -> Result<(), Error> {
        let _ = (transition, job);
        Ok(())
    }

    /// `job.event.exception`, of jobs that were [subscribed](Jobtap::subscribe) to:
    /// an exception of this type was raised.
    ///
    /// # Errors
    /// As [`job_new`](Self::job_new).
    fn job_exception(&mut self, kind: &str) -> Result<(), Error> {
        let _ = kind;
        Ok(())
    }

    /// `job.update`: a job's jobspec was changed.
    ///
    /// # Errors
    /// As [`job_new`](Self::job_new).
    fn job_update(&mut self, state: JobState, job: &Job<'_>) -> Result<(), Error> {
        let _ = (state, job);
        Ok(())
    }

    /// `job.inactive-add`: a job joined the inactive jobs, at its end or read
    /// back from the KVS at a restart. Before 0.87.0 a restart calls it for active
    /// jobs, too, whose `state` says so: restart.c goes through the inactive jobs
    /// with the cursor of the active ones (flux-core #7690).
    ///
    /// # Errors
    /// As [`job_new`](Self::job_new).
    fn job_inactive_add(&mut self, state: JobState, job: &Job<'_>) -> Result<(), Error> {
        let _ = (state, job);
        Ok(())
    }

    /// `job.inactive-remove`: an inactive job was purged.
    ///
    /// # Errors
    /// As [`job_new`](Self::job_new).
    fn job_inactive_remove(&mut self, job: &Job<'_>) -> Result<(), Error> {
        let _ = job;
        Ok(())
    }
}

/// What configures a plugin, each a JSON object's text.
#[derive(Clone, Copy, Debug)]
pub struct Conf<'a> {
    /// Given at load: `flux jobtap load`'s KEY=VALUE words, or `conf` in the
    /// broker's `[[job-manager.plugins]]`. It never changes.
    pub plugin: Option<&'a str>,
    /// `{"conf": …}` with all of the broker's configuration.
    pub broker: &'a str,
}

/// A callback that a plugin can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Callback {
    /// [`Plugin::conf_update`]
    ConfUpdate,
    /// [`Plugin::job_new`]
    JobNew,
    /// [`Plugin::job_state`]
    JobState,
    /// [`Plugin::job_exception`]
    JobException,
    /// [`Plugin::job_update`]
    JobUpdate,
    /// [`Plugin::job_inactive_add`]
    JobInactiveAdd,
    /// [`Plugin::job_inactive_remove`]
    JobInactiveRemove,
    /// [`Plugin::query`]
    Query,
}

impl Callback {
    pub(super) fn topic(self) -> &'static CStr {
        match self {
            Callback::ConfUpdate => c"conf.update",
            Callback::JobNew => c"job.new",
            Callback::JobState => c"job.state.*",
            Callback::JobException => c"job.event.exception",
            Callback::JobUpdate => c"job.update",
            Callback::JobInactiveAdd => c"job.inactive-add",
            Callback::JobInactiveRemove => c"job.inactive-remove",
            Callback::Query => c"plugin.query",
        }
    }
}

/// The one function that the job manager calls, whatever the callback.
///
/// # Safety
/// - `plugin` and `args` are Flux's, for the callback that is running.
/// - `data` points to a `Handler<P>` of a living instance.
pub(super) unsafe extern "C" fn shim<P: Plugin>(
    plugin: *mut sys::flux_plugin_t,
    _topic: *const c_char,
    args: *mut sys::flux_plugin_arg_t,
    data: *mut c_void,
) -> c_int {
    // SAFETY: `register` passed the handler, which lives as long as its instance.
    let handler = unsafe { &*(data as *const Handler<P>) };
    // SAFETY: set in `register`, before the handler could be called; Flux
    // destroys the instance after the handlers.
    let instance = unsafe { &*handler.instance.get() };
    // SAFETY: Flux passed them, for the time of this call.
    let arguments = unsafe { Args::new(args) };
    let job = Job { plugin, args: &arguments };
    match handler.callback {
        Callback::ConfUpdate => {
            // SAFETY: the plugin lives; the conf is its own copy and does not
            // change while this call runs.
            let conf = unsafe { c_text(sys::flux_plugin_get_conf(plugin)) };
            if let Err(error) = instance.try_dispatch(|plugin| {
                let broker = arguments.json()?;
                plugin.conf_update(Conf { plugin: conf.as_deref(), broker: &broker })
            }) {
                let text = c_string(&error.to_string());
                // SAFETY: the format is constant and names the one string it
                // gets; Flux copies the text into the arguments.
                return unsafe {
                    sys::flux_jobtap_error(plugin, args, c"%s".as_ptr(), text.as_ptr())
                };
            }
        }
        Callback::JobNew => {
            instance.dispatch("job.new", |plugin| plugin.job_new(arguments.state()?, &job))
        }
        Callback::JobState => {
            instance.dispatch("job.state", |plugin| plugin.job_state(arguments.transition()?, &job))
        }
        Callback::JobException => instance
            .dispatch("job.event.exception", |plugin| plugin.job_exception(&job.exception()?)),
        Callback::JobUpdate => {
            instance.dispatch("job.update", |plugin| plugin.job_update(arguments.state()?, &job))
        }
        Callback::JobInactiveAdd => instance.dispatch("job.inactive-add", |plugin| {
            plugin.job_inactive_add(arguments.state()?, &job)
        }),
        Callback::JobInactiveRemove => {
            instance.dispatch("job.inactive-remove", |plugin| plugin.job_inactive_remove(&job))
        }
        Callback::Query => {
            instance.dispatch("plugin.query", |plugin| arguments.answer(&c_string(&plugin.query())))
        }
    }
    0
}
