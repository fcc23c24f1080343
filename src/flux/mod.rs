//! A safe wrapper around the parts of Flux that this plugin uses, and the entry point
//! `flux_plugin_init` (flux-jobtap-plugins(7)).
//!
//! Together with [`os`](crate::os) this module contains all `unsafe` code of the crate. Its
//! safety depends on these facts:
//!
//! - The job manager calls a plugin from one thread only, the thread of its reactor.
//! - One loaded plugin is an `Instance`, an aux item of the `flux_plugin_t`. Flux destroys
//!   aux items after the handlers and before `dlclose` (flux-core, plugin.c). So the
//!   instance outlives each callback, and its destructor is still mapped.
//! - Timers, watchers, requests and subscriptions are fields of [`StateCounts`], which the
//!   instance owns. Dropping one destroys the C object, also from within its own callback, which
//!   has copied its data before.
//! - Callbacks take `&mut StateCounts`, and none is called while another one runs. Flux calls
//!   a plugin from within a callback only if that callback posts an event (flux-core,
//!   event.c), and this plugin posts none. A `RefCell` checks this.
//! - No panic reaches C: since Rust 1.81 it would abort the broker.
//!
//! [`StateCounts`]: crate::plugin::StateCounts

#![allow(unsafe_code)]

#[cfg(all(feature = "plugin", not(panic = "unwind")))]
compile_error!("state-counts requires panic = \"unwind\": otherwise a panic would end the broker");

mod args;
mod callback;
mod error;
mod event;
mod handle;
mod instance;
mod job;
mod json;
mod panics;
mod rpc;
#[cfg(test)]
mod tests;
mod watcher;

pub use error::{Error, LogLevel};
pub use event::Subscription;
pub use handle::Flux;
pub use job::{JobArgs, Transition};
pub use rpc::{OnResponse, Payload, Response, Rpc};
pub use watcher::Watcher;

use std::ffi::CString;

/// The entry point: `flux jobtap load` calls it once, before any callback.
///
/// # Safety
/// - `plugin` is the `flux_plugin_t` that the job manager is loading.
#[cfg(all(feature = "plugin", not(test)))]
#[no_mangle]
pub unsafe extern "C" fn flux_plugin_init(
    plugin: *mut crate::flux_sys::flux_plugin_t,
) -> std::ffi::c_int {
    panics::set_hook();
    // SAFETY: the job manager passes the plugin that it is loading.
    unsafe { instance::load(plugin) }
}

/// `text` as a C string, without NUL characters, which would end it early.
fn c_string(text: &str) -> CString {
    let bytes: Vec<u8> = text.bytes().filter(|&byte| byte != 0).collect();
    CString::new(bytes).unwrap_or_default()
}
