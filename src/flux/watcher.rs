//! Watchers of the job manager's reactor: timers, the end of a loop iteration, and sockets.

use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::os::fd::AsRawFd;
use std::ptr::NonNull;

use super::error::Error;
use super::handle::Flux;
use super::instance::Instance;
use crate::flux_sys as sys;
use crate::os::Uncancelled;
use crate::plugin::StateCounts;

/// A started watcher; one of the end of loop iterations is started by [`request`](Self::request).
/// Dropping it stops it, also from within its own callback.
pub struct Watcher {
    watcher: NonNull<sys::flux_watcher_t>,
    target: NonNull<WatcherArg>,
}

/// The argument of a watcher's callback.
struct WatcherArg {
    instance: NonNull<Instance>,
    callback: fn(&mut StateCounts),
    /// `true` from [`request`](Watcher::request) until the call, which stops the watcher.
    is_requested: Cell<bool>,
}

impl Watcher {
    /// Calls `callback` after `after` seconds, and then every `repeat` seconds unless
    /// `repeat` is 0. With `after` 0 the first call is in the next reactor loop iteration.
    ///
    /// # Errors
    /// If Flux is out of memory.
    pub fn timer(
        flux: &Flux,
        after: f64,
        repeat: f64,
        callback: fn(&mut StateCounts),
    ) -> Result<Watcher, Error> {
        // SAFETY: the reactor belongs to the job manager; `Watcher` keeps the argument for as
        // long as the watcher.
        let watcher = Watcher::new(flux, callback, |reactor, target| unsafe {
            sys::flux_timer_watcher_create(reactor, after, repeat, Some(on_event), target)
        });
        watcher.inspect(Watcher::start)
    }

    /// Calls `callback` at the end of each reactor loop iteration in which it was
    /// [requested](Self::request), before the reactor sleeps.
    ///
    /// # Errors
    /// If Flux is out of memory.
    pub fn loop_end(flux: &Flux, callback: fn(&mut StateCounts)) -> Result<Watcher, Error> {
        // SAFETY: as in `timer`.
        Watcher::new(flux, callback, |reactor, target| unsafe {
            sys::flux_prepare_watcher_create(reactor, Some(on_event), target)
        })
    }

    /// Calls `callback` in each loop iteration in which a socket is writable. To be dropped
    /// before `socket` is closed.
    ///
    /// # Errors
    /// If Flux is out of memory.
    pub fn writable(
        flux: &Flux,
        socket: &impl AsRawFd,
        callback: fn(&mut StateCounts),
    ) -> Result<Watcher, Error> {
        let (fd, events) = (socket.as_raw_fd(), sys::FLUX_POLLOUT as c_int);
        // SAFETY: as in `timer`. A closed descriptor would only never be writable.
        let watcher = Watcher::new(flux, callback, |reactor, target| unsafe {
            sys::flux_fd_watcher_create(reactor, fd, events, Some(on_event), target)
        });
        watcher.inspect(Watcher::start)
    }

    fn new(
        flux: &Flux,
        callback: fn(&mut StateCounts),
        create: impl FnOnce(*mut sys::flux_reactor_t, *mut c_void) -> *mut sys::flux_watcher_t,
    ) -> Result<Watcher, Error> {
        let instance = flux.instance();
        let is_requested = Cell::new(false);
        let target = WatcherArg { instance: NonNull::from(instance), callback, is_requested };
        let target = NonNull::from(Box::leak(Box::new(target)));
        // SAFETY: the handle belongs to the job manager and outlives the plugin.
        let reactor = unsafe { sys::flux_get_reactor(instance.flux.as_ptr()) };
        let Some(watcher) = NonNull::new(create(reactor, target.as_ptr().cast())) else {
            // SAFETY: no watcher has the target.
            drop(unsafe { Box::from_raw(target.as_ptr()) });
            return Err(Error::last_os_error("flux_watcher_create"));
        };
        Ok(Watcher { watcher, target })
    }

    fn start(&self) {
        // SAFETY: the watcher lives as long as `self`.
        unsafe { sys::flux_watcher_start(self.watcher.as_ptr()) };
    }

    /// Calls the function once, at the end of this loop iteration.
    #[inline]
    pub fn request(&self) {
        // SAFETY: the target lives as long as `self`.
        if !unsafe { self.target.as_ref() }.is_requested.replace(true) {
            self.start();
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        // SAFETY: both belong to us and are destroyed once. libev allows a watcher to be
        // stopped and freed in its own callback, which has copied the target by then.
        unsafe {
            sys::flux_watcher_destroy(self.watcher.as_ptr());
            drop(Box::from_raw(self.target.as_ptr()));
        }
    }
}

/// # Safety
/// - `arg` points to the `WatcherArg` of a watcher that was not destroyed.
unsafe extern "C" fn on_event(
    _: *mut sys::flux_reactor_t,
    watcher: *mut sys::flux_watcher_t,
    _: c_int,
    arg: *mut c_void,
) {
    // Copied: the callback may drop the watcher.
    // SAFETY: the caller's promise; the instance outlives its watchers.
    let (instance, callback) = unsafe {
        let target = &*(arg as *const WatcherArg);
        if target.is_requested.take() {
            sys::flux_watcher_stop(watcher);
        }
        (target.instance.as_ref(), target.callback)
    };
    let _uncancelled = Uncancelled::new();
    instance.dispatch("watcher", |plugin| {
        callback(plugin);
        Ok(())
    });
}
