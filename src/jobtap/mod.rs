//! A safe layer over jobtap, Flux's interface for plugins of the job manager
//! (flux-jobtap-plugins(7)).
//!
//! It knows nothing of metrics: any jobtap plugin can stand on it. Implement
//! [`Plugin`], name the [`Callbacks`] wanted, and
//! [`export_plugin!`](crate::export_plugin) the type:
//!
//! ```no_run
//! use state_counts::jobtap::{Callbacks, Error, Job, Jobtap, LogLevel, NameForm, Plugin};
//!
//! struct Watch {
//!     jobtap: Jobtap<Self>,
//! }
//!
//! impl Plugin for Watch {
//!     const NAME: &'static str = "watch";
//!
//!     fn init(jobtap: Jobtap<Self>, callbacks: &mut Callbacks<Self>) -> Result<Self, Error> {
//!         callbacks.job_new(Self::job_new);
//!         Ok(Watch { jobtap })
//!     }
//! }
//!
//! impl Watch {
//!     fn job_new(&mut self, job: &Job<'_>) -> Result<(), Error> {
//!         let state = job.state()?.name(NameForm::Long);
//!         self.jobtap.log(LogLevel::Info, &format!("a job in {state}"));
//!         Ok(())
//!     }
//! }
//!
//! // With `default-features = false`; else this crate exports its own already.
//! // state_counts::export_plugin!(Watch);
//! ```
//!
//! # Examples
//!
//! Each is a plugin of its own in a file of some fifty lines, with a test in a real
//! broker (tests/broker/examples.rs). The links lead to their text.
//!
//! | file in `examples/` | shows |
//! |---|---|
//! | [`hold_by_hour.rs`](examples::hold_by_hour) | a dependency, a timer that owns data, a job's own data |
//! | [`limit_cores.rs`](examples::limit_cores) | the plugin's configuration, and jobs rejected with a text |
//! | [`fair_priority.rs`](examples::fair_priority) | priorities, and what posts events from within callbacks |
//! | [`count_results.rs`](examples::count_results) | one state's callback, and [`stats`](crate::stats) |
//!
//! # What holds it together
//!
//! All `unsafe` code of the crate is in this module.
//!
//! - The job manager calls a plugin from one thread only, its reactor's.
//! - A plugin's state, its *instance*, is an aux item of the plugin. Flux destroys it
//!   after the handlers and before `dlclose` (flux-core, plugin.c). So no callback finds
//!   it gone, and its destructor's code is still mapped.
//! - The instance owns watchers and futures. [`Timer`], [`TurnEnd`] and [`Rpc`] are keys
//!   to them. Dropping a key releases what it opens. Forgetting one leaves that to the
//!   plugin's end. (A [`Payload`] is no key: forgotten, it is never released.)
//! - Callbacks take `&mut self`, and none is called while another runs. The job manager
//!   calls one plugin after another. It calls a plugin in the middle of a callback only
//!   if that callback posts an event (flux-core, event.c: `event_job_post_entry` runs
//!   all that follows before it returns, unless the job is in the middle of an event
//!   already). So posts wait until the callback has returned, and are made before the
//!   job manager goes on. The callbacks that follow are called as for a plugin in C: in
//!   order, and before the next post of the same callback. A post cannot return an error
//!   to its callback: the error is logged.
//! - A panic stops at the edge to C: since Rust 1.81 one that reached it would abort the
//!   broker.
//!
//! # What is bound of jobtap.h
//!
//! All functions that are not deprecated but these:
//!
//! | function | why not |
//! |---|---|
//! | `flux_jobtap_call` | plugins agree on its topics and on arguments in C: [`Jobtap::later`] calls it |
//! | `flux_jobtap_job_aux_delete_value` | not in old Fluxes: [`Jobtap::remove_job_data`] does without |
//!
//! Of what callbacks can answer, annotations and an R for jobs in SCHED are not bound.

#![allow(unsafe_code)]

mod args;
mod callbacks;
mod decide;
mod error;
#[cfg(all(doc, not(doctest)))]
pub mod examples;
mod handle;
mod instance;
mod job;
mod job_data;
mod json;
mod lookup;
mod outbox;
mod panics;
mod plugin;
mod post;
mod resources;
mod rpc;
mod service;
mod state;
#[doc(hidden)]
pub mod sys;
#[cfg(test)]
mod tests;
mod text;
mod timer;
mod topics;
mod turn;
mod watcher;

pub use args::Transition;
pub use callbacks::{Callbacks, LoadOrder};
pub use decide::{Dependency, DependencyRequest, Priority, Update, UpdateRequest};
pub use error::{Error, LogLevel};
pub use handle::Jobtap;
pub use instance::register;
pub use job::{Facts, Job, JobEvent, JobResult, Times};
pub use json::Json;
pub use lookup::Lookup;
pub use panics::quiet_hook;
pub use plugin::{Conf, Plugin};
pub use rpc::{Payload, Response, Rpc};
pub use service::{Access, ServiceRequest};
pub use state::{JobState, NameForm};
pub use text::hostname;
pub use timer::Timer;
pub use turn::TurnEnd;

/// Exports `flux_plugin_init` for a type that implements [`Plugin`].
#[macro_export]
macro_rules! export_plugin {
    ($plugin:ty) => {
        /// The job manager's way in: `flux jobtap load` calls it once.
        ///
        /// # Safety
        /// - `plugin` is the `flux_plugin_t` that the job manager is loading.
        #[allow(unsafe_code)]
        #[no_mangle]
        pub unsafe extern "C" fn flux_plugin_init(
            plugin: *mut $crate::jobtap::sys::flux_plugin_t,
        ) -> std::os::raw::c_int {
            $crate::jobtap::quiet_hook();
            // SAFETY: the job manager passes the plugin that it is loading.
            unsafe { $crate::jobtap::register::<$plugin>(plugin) }
        }
    };
}
