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

/// A running timer. Dropping it stops the timer, also from within its own callback.
pub struct Timer {
    _watcher: Watcher,
}

/// Calls a function at the end of a reactor loop iteration, before the reactor sleeps, if it
/// was [requested](Self::request) in that iteration.
pub struct PrepareWatcher {
    watcher: Watcher,
}

/// Calls a function in each loop iteration in which a socket is writable. Dropping it stops
/// the watcher, also from within its own callback.
pub struct WritableWatcher {
    _watcher: Watcher,
}

/// A `flux_watcher_t` and the argument of its callback.
struct Watcher {
    watcher: NonNull<sys::flux_watcher_t>,
    target: NonNull<WatcherArg>,
}

/// The argument of a watcher's callback.
struct WatcherArg {
    instance: NonNull<Instance>,
    callback: fn(&mut StateCounts),
    /// `true` while the watcher is started. Used only by prepare watchers.
    is_started: Cell<bool>,
}

impl Timer {
    /// Calls `callback` after `after` seconds, and then every `repeat` seconds unless
    /// `repeat` is 0. With `after` 0 the first call is in the next reactor loop iteration.
    ///
    /// # Errors
    /// If Flux is out of memory.
    pub fn start(
        flux: &Flux,
        after: f64,
        repeat: f64,
        callback: fn(&mut StateCounts),
    ) -> Result<Timer, Error> {
        // SAFETY: the reactor belongs to the job manager; `Watcher` keeps the argument for as
        // long as the watcher.
        let watcher = Watcher::new(flux, callback, |reactor, target| unsafe {
            sys::flux_timer_watcher_create(reactor, after, repeat, Some(on_event), target)
        });
        let watcher = watcher.ok_or_else(|| Error::last_os_error("flux_timer_watcher_create"))?;
        // SAFETY: the watcher lives.
        unsafe { sys::flux_watcher_start(watcher.watcher.as_ptr()) };
        Ok(Timer { _watcher: watcher })
    }
}

impl PrepareWatcher {
    /// # Errors
    /// If Flux is out of memory.
    pub fn new(flux: &Flux, callback: fn(&mut StateCounts)) -> Result<PrepareWatcher, Error> {
        // SAFETY: as in `Timer::start`.
        let watcher = Watcher::new(flux, callback, |reactor, target| unsafe {
            sys::flux_prepare_watcher_create(reactor, Some(on_prepare), target)
        });
        let watcher = watcher.ok_or_else(|| Error::last_os_error("flux_prepare_watcher_create"))?;
        Ok(PrepareWatcher { watcher })
    }

    /// Calls the function once, at the end of this loop iteration.
    #[inline]
    pub fn request(&self) {
        // SAFETY: target and watcher live as long as `self`.
        unsafe {
            if !self.watcher.target.as_ref().is_started.replace(true) {
                sys::flux_watcher_start(self.watcher.watcher.as_ptr());
            }
        }
    }
}

impl WritableWatcher {
    /// To be dropped before `socket` is closed.
    ///
    /// # Errors
    /// If Flux is out of memory.
    pub fn start(
        flux: &Flux,
        socket: &impl AsRawFd,
        callback: fn(&mut StateCounts),
    ) -> Result<WritableWatcher, Error> {
        let (fd, events) = (socket.as_raw_fd(), sys::FLUX_POLLOUT as c_int);
        // SAFETY: as in `Timer::start`. A closed descriptor would only never be writable.
        let watcher = Watcher::new(flux, callback, |reactor, target| unsafe {
            sys::flux_fd_watcher_create(reactor, fd, events, Some(on_event), target)
        });
        let watcher = watcher.ok_or_else(|| Error::last_os_error("flux_fd_watcher_create"))?;
        // SAFETY: the watcher lives.
        unsafe { sys::flux_watcher_start(watcher.watcher.as_ptr()) };
        Ok(WritableWatcher { _watcher: watcher })
    }
}

impl Watcher {
    fn new(
        flux: &Flux,
        callback: fn(&mut StateCounts),
        create: impl FnOnce(*mut sys::flux_reactor_t, *mut c_void) -> *mut sys::flux_watcher_t,
    ) -> Option<Watcher> {
        let instance = flux.instance();
        let is_started = Cell::new(false);
        let target = WatcherArg { instance: NonNull::from(instance), callback, is_started };
        let target = NonNull::from(Box::leak(Box::new(target)));
        // SAFETY: the handle belongs to the job manager and outlives the plugin.
        let reactor = unsafe { sys::flux_get_reactor(instance.flux.as_ptr()) };
        match NonNull::new(create(reactor, target.as_ptr().cast())) {
            Some(watcher) => Some(Watcher { watcher, target }),
            None => {
                // SAFETY: no watcher has the target.
                drop(unsafe { Box::from_raw(target.as_ptr()) });
                None
            }
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
    _: *mut sys::flux_watcher_t,
    _: c_int,
    arg: *mut c_void,
) {
    // Copied: the callback may drop the watcher.
    // SAFETY: the caller's promise; the instance outlives its watchers.
    let (instance, callback) = unsafe {
        let target = &*(arg as *const WatcherArg);
        (target.instance.as_ref(), target.callback)
    };
    let _uncancelled = Uncancelled::new();
    instance.dispatch("watcher", |plugin| {
        callback(plugin);
        Ok(())
    });
}

/// # Safety
/// - `arg` points to the `WatcherArg` of a watcher that was not destroyed.
unsafe extern "C" fn on_prepare(
    _: *mut sys::flux_reactor_t,
    watcher: *mut sys::flux_watcher_t,
    _: c_int,
    arg: *mut c_void,
) {
    // SAFETY: the caller's promise; the instance outlives its watchers.
    let (instance, callback) = unsafe {
        sys::flux_watcher_stop(watcher);
        let target = &*(arg as *const WatcherArg);
        target.is_started.set(false);
        (target.instance.as_ref(), target.callback)
    };
    let _uncancelled = Uncancelled::new();
    instance.dispatch("flush", |plugin| {
        callback(plugin);
        Ok(())
    });
}
