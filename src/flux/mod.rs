//! A safe layer over flux, Flux's interface for plugins of the job manager
//! (flux-flux-plugins(7)).
//!
//! It knows nothing of metrics: any flux plugin can stand on it. Implement
//! [`Plugin`], name the [`Callbacks`] wanted, and
//! [`export_plugin!`](crate::export_plugin) the type:
//!
//! ```no_run
//! use state_counts::flux::{Callbacks, Error, Job, Jobtap, LogLevel, NameForm, Plugin};
//!
//! struct Watch {
//!     flux: Jobtap<Self>,
//! }
//!
//! impl Plugin for Watch {
//!     const NAME: &'static str = "watch";
//!
//!     fn init(flux: Jobtap<Self>, callbacks: &mut Callbacks<Self>) -> Result<Self, Error> {
//!         callbacks.job_new(Self::job_new);
//!         Ok(Watch { flux })
//!     }
//! }
//!
//! impl Watch {
//!     fn job_new(&mut self, job: &Job<'_>) -> Result<(), Error> {
//!         let state = job.state()?.name(NameForm::Long);
//!         self.flux.log(LogLevel::Info, &format!("a job in {state}"));
//!         Ok(())
//!     }
//! }
//!
//! // With `default-features = false`; else this crate exports its own already.
//! // state_counts::export_plugin!(Watch);
//! ```
//!
//! # What holds it together
//!
//! All `unsafe` code of the crate is in this module.
//!
//! - The job manager calls a plugin from one thread only, its reactor's.
//! - A plugin's state, its *instance*, is an aux item of the plugin. Flux destroys it
//!   after the handlers and before `dlclose` (flux-core, plugin.c). So no callback finds
//!   it gone, and its destructor's code is still mapped.
//! - The instance owns watchers and futures. [`Timer`], [`PrepareWatcher`] and [`Rpc`] are keys
//!   to them. Dropping a key releases what it opens. Forgetting one leaves that to the
//!   plugin's end. (A [`Payload`] is no key: forgotten, it is never released.)
//! - Callbacks take `&mut self`, and none is called while another runs. The job manager
//!   calls one plugin after another. It calls a plugin in the middle of a callback only
//!   if that callback posts an event (flux-core, event.c: `event_job_post_entry` runs
//!   all that follows before it returns, unless the job is in the middle of an event
//!   already). So posts wait until the callback has returned, and are made before the
//!   job manager removed on. The callbacks that follow are called as for a plugin in C: in
//!   order, and before the next post of the same callback. A post cannot return an error
//!   to its callback: the error is logged.
//! - A panic stops at the edge to C: since Rust 1.81 one that reached it would abort the
//!   broker.

#![allow(unsafe_code)]

mod args;
mod callbacks;
mod error;
mod handle;
mod instance;
mod job;
mod json;
mod lookup;
mod panics;
mod plugin;
mod prepare_watcher;
mod resources;
mod rpc;
mod state;
#[doc(hidden)]
pub mod sys;
// #[cfg(test)]
// mod tests;
mod text;
mod timer;
mod topics;
mod watcher;

pub use args::Transition;
pub use callbacks::Callbacks;
pub use error::{Error, LogLevel};
pub use handle::Jobtap;
pub use instance::register;
pub use job::{Job, JobEvent, JobInfo, JobResult, Times};
pub use json::Json;
pub use lookup::Lookup;
pub use panics::quiet_hook;
pub use plugin::{Conf, Plugin};
pub use prepare_watcher::PrepareWatcher;
pub use rpc::{Payload, Response, Rpc};
pub use state::{JobState, NameForm};
pub use text::hostname;
pub use timer::Timer;

/// Exports `flux_plugin_init` for a type that implements [`Plugin`].
#[macro_export]
macro_rules! export_plugin {
    ($plugin:ty) => {
        /// The job manager's way in: `flux flux load` calls it once.
        ///
        /// # Safety
        /// - `plugin` is the `flux_plugin_t` that the job manager is loading.
        #[allow(unsafe_code)]
        #[no_mangle]
        pub unsafe extern "C" fn flux_plugin_init(
            plugin: *mut $crate::flux::sys::flux_plugin_t,
        ) -> std::os::raw::c_int {
            $crate::flux::quiet_hook();
            // SAFETY: the job manager passes the plugin that it is loading.
            unsafe { $crate::flux::register::<$plugin>(plugin) }
        }
    };
}
