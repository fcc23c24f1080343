//! A small safe layer over the part of Flux that a jobtap plugin uses.
//!
//! It knows nothing of metrics: any jobtap plugin can stand on it. Implement
//! [`Plugin`], name the callbacks wanted, and [`export_plugin!`](crate::export_plugin)
//! the type:
//!
//! ```no_run
//! use state_counts::jobtap::{
//!     Callback, Error, Job, JobState, Jobtap, LogLevel, NameForm, Plugin,
//! };
//!
//! struct Greeter {
//!     jobtap: Jobtap<Self>,
//! }
//!
//! impl Plugin for Greeter {
//!     const NAME: &'static str = "greeter";
//!     const CALLBACKS: &'static [Callback] = &[Callback::JobNew];
//!
//!     fn init(jobtap: Jobtap<Self>) -> Result<Self, Error> {
//!         Ok(Greeter { jobtap })
//!     }
//!
//!     fn job_new(&mut self, state: JobState, _: &Job) -> Result<(), Error> {
//!         self.jobtap.log(LogLevel::Info, &format!("a job in {}", state.name(NameForm::Long)));
//!         Ok(())
//!     }
//! }
//!
//! // With `default-features = false`; else this crate exports its own already.
//! // state_counts::export_plugin!(Greeter);
//! ```
//!
//! All `unsafe` code of the crate is in this module. What holds it together:
//!
//! - The job manager calls a plugin from one thread only, its reactor's.
//! - A plugin's state hangs on the plugin as an aux item, which Flux destroys
//!   after the handlers and before `dlclose` (flux-core, plugin.c), so no
//!   callback finds it gone and its destructor's code is still mapped.
//! - A panic stops at the shim: since Rust 1.81 one that reached C would abort
//!   the broker.

mod args;
mod error;
mod handle;
mod instance;
mod job;
mod json;
mod lookup;
mod panics;
mod plugin;
mod resources;
mod rpc;
mod state;
#[doc(hidden)]
pub mod sys;
mod text;
mod timer;
mod turn;
mod watcher;

pub use args::Transition;
pub use error::{Error, LogLevel};
pub use handle::Jobtap;
pub use instance::register;
pub use job::{Facts, FoundJob, Job, JobResult, Times};
pub use json::Json;
pub use lookup::Lookup;
pub use panics::quiet_hook;
pub use plugin::{Callback, Conf, Plugin};
pub use rpc::{Response, Rpc};
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
