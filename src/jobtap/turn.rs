//! The end of a turn of the job manager's reactor.

use std::any::Any;
use std::cell::Cell;
use std::os::raw::{c_int, c_void};
use std::ptr::NonNull;
use std::rc::{Rc, Weak};

use super::plugin::{Error, Plugin, Slot};
use super::sys;

/// A callback at the end of a turn of the reactor, before it sleeps. Made by
/// [`Jobtap::turn_end`](super::Jobtap::turn_end), it is called only while it is
/// [requested](TurnEnd::request). Dropping it ends it, also from within its own
/// callback. Never forget one (`mem::forget`): it would call code that is gone
/// after an unload.
pub struct TurnEnd {
    watcher: NonNull<sys::flux_watcher_t>,
    requested: Rc<Cell<bool>>,
    /// What the watcher's argument points to.
    _target: Rc<dyn Any>,
}

/// Who is called.
struct Target<P: Plugin> {
    slot: Weak<Slot<P>>,
    requested: Rc<Cell<bool>>,
    callback: fn(&mut P),
}

impl TurnEnd {
    pub(super) fn new<P: Plugin>(
        flux: NonNull<sys::flux_t>,
        slot: Weak<Slot<P>>,
        callback: fn(&mut P),
    ) -> Result<TurnEnd, Error> {
        let requested = Rc::new(Cell::new(false));
        let target = Rc::new(Target { slot, requested: requested.clone(), callback });
        // SAFETY: the handle is the job manager's own and outlives the plugin;
        // the argument is kept alive by the TurnEnd, which destroys the watcher
        // before it.
        let watcher = unsafe {
            sys::flux_prepare_watcher_create(
                sys::flux_get_reactor(flux.as_ptr()),
                Some(ended::<P>),
                Rc::as_ptr(&target) as *mut c_void,
            )
        };
        let watcher = NonNull::new(watcher)
            .ok_or_else(|| Error::last_os_error("flux_prepare_watcher_create"))?;
        Ok(TurnEnd { watcher, requested, _target: target })
    }

    /// Calls the callback once, at the end of this turn. Further requests in the
    /// same turn change nothing.
    #[inline]
    pub fn request(&self) {
        if !self.requested.replace(true) {
            // SAFETY: the watcher is ours, and lives as long as `self`.
            unsafe { sys::flux_watcher_start(self.watcher.as_ptr()) };
        }
    }
}

impl Drop for TurnEnd {
    fn drop(&mut self) {
        // SAFETY: the watcher is ours, and is destroyed once. libev lets a
        // watcher be stopped and freed in its own callback.
        unsafe { sys::flux_watcher_destroy(self.watcher.as_ptr()) };
    }
}

/// The watcher's callback.
///
/// # Safety
/// - `arg` points to the `Target<P>` of a living TurnEnd, and `watcher` is its own.
unsafe extern "C" fn ended<P: Plugin>(
    _: *mut sys::flux_reactor_t,
    watcher: *mut sys::flux_watcher_t,
    _: c_int,
    arg: *mut c_void,
) {
    // SAFETY: the TurnEnd owns the target and destroys the watcher before it.
    let target = unsafe { &*(arg as *const Target<P>) };
    // SAFETY: the watcher lives, for this is its callback.
    unsafe { sys::flux_watcher_stop(watcher) };
    target.requested.set(false);
    // The callback may drop its own TurnEnd, and the target with it: what is
    // needed is taken out first.
    let callback = target.callback;
    if let Some(slot) = target.slot.upgrade() {
        slot.enter("turn", |plugin| {
            callback(plugin);
            Ok(())
        });
    }
}
