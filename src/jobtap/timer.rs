//! Timers of the job manager's reactor.

use std::any::Any;
use std::os::raw::{c_int, c_void};
use std::ptr::NonNull;
use std::rc::{Rc, Weak};

use super::plugin::{Error, Plugin, Slot};
use super::sys;

/// A running timer, made by [`Jobtap::timer`](super::Jobtap::timer). Dropping
/// it stops it, also from within its own callback. Never forget one
/// (`mem::forget`): it would call code that is gone after an unload.
pub struct Timer {
    watcher: NonNull<sys::flux_watcher_t>,
    /// What the watcher's argument points to.
    _target: Rc<dyn Any>,
}

/// Who is called when the time has come.
struct Target<P: Plugin> {
    slot: Weak<Slot<P>>,
    callback: fn(&mut P),
}

impl Timer {
    pub(super) fn start<P: Plugin>(
        flux: NonNull<sys::flux_t>,
        slot: Weak<Slot<P>>,
        after: f64,
        repeat: f64,
        callback: fn(&mut P),
    ) -> Result<Timer, Error> {
        let target = Rc::new(Target { slot, callback });
        // SAFETY: the handle is the job manager's own and outlives the plugin;
        // the argument is kept alive by the Timer, which destroys the watcher
        // before it.
        let watcher = unsafe {
            sys::flux_timer_watcher_create(
                sys::flux_get_reactor(flux.as_ptr()),
                after,
                repeat,
                Some(fired::<P>),
                Rc::as_ptr(&target) as *mut c_void,
            )
        };
        let watcher = NonNull::new(watcher)
            .ok_or_else(|| Error::last_os_error("flux_timer_watcher_create"))?;
        // SAFETY: the watcher was made just above.
        unsafe { sys::flux_watcher_start(watcher.as_ptr()) };
        Ok(Timer { watcher, _target: target })
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        // SAFETY: the watcher is ours, and is destroyed once. libev lets a
        // timer be stopped and freed in its own callback.
        unsafe { sys::flux_watcher_destroy(self.watcher.as_ptr()) };
    }
}

/// The watcher's callback.
///
/// # Safety
/// - `arg` points to the `Target<P>` of a living Timer.
unsafe extern "C" fn fired<P: Plugin>(
    _: *mut sys::flux_reactor_t,
    _: *mut sys::flux_watcher_t,
    _: c_int,
    arg: *mut c_void,
) {
    // SAFETY: the Timer owns the target and destroys the watcher before it.
    let target = unsafe { &*(arg as *const Target<P>) };
    // The callback may drop its own Timer, and the target with it: what is
    // needed is taken out first.
    let callback = target.callback;
    if let Some(slot) = target.slot.upgrade() {
        slot.enter("timer", |plugin| {
            callback(plugin);
            Ok(())
        });
    }
}
