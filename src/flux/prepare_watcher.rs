//! The end of a turn of the job manager's reactor.

use std::cell::{Cell, RefCell};
use std::os::raw::{c_int, c_void};
use std::rc::{Rc, Weak};

use super::error::Error;
use super::instance::{run_callback, Instance, Recurring};
use super::plugin::Plugin;
use super::resources::{Key, Resource};
use super::sys;
use super::watcher::Watcher;

/// The key to a callback at the end of a turn of the reactor, before it sleeps. Made
/// by [`Jobtap::turn_end`](super::Jobtap::turn_end), it is called only while it is
/// [requested](PrepareWatcher::request). Dropping the key ends it, also from within its own
/// callback.
pub struct PrepareWatcher {
    request: Rc<Request>,
    _key: Key,
}

/// What the key and the callback share.
struct Request {
    watcher: Watcher,
    is_made: Cell<bool>,
}

/// The callback.
struct PrepareCallback<P: Plugin> {
    request: Rc<Request>,
    instance: Weak<Instance<P>>,
    callback: Recurring<P>,
}

impl PrepareWatcher {
    pub(super) fn new<P: Plugin>(
        instance: &Rc<Instance<P>>,
        callback: Box<dyn FnMut(&mut P)>,
    ) -> Result<PrepareWatcher, Error> {
        let request = Rc::new(Request { watcher: Watcher::none(), is_made: Cell::new(false) });
        let end = Rc::new(PrepareCallback {
            request: request.clone(),
            instance: Rc::downgrade(instance),
            callback: RefCell::new(Some(callback)),
        });
        // SAFETY: the handle is the job manager's own and outlives the plugin; the
        // argument lives until it is released, which destroys the watcher. The watcher
        // is nobody else's.
        unsafe {
            let watcher = sys::flux_prepare_watcher_create(
                sys::flux_get_reactor(instance.flux.as_ptr()),
                Some(on_turn_end::<P>),
                Rc::as_ptr(&end) as *mut c_void,
            );
            request.watcher.take_over("flux_prepare_watcher_create", watcher)?;
        }
        Ok(PrepareWatcher { request, _key: instance.resources.add(end) })
    }

    /// Calls the callback once, at the end of this turn. Further requests in the
    /// same turn change nothing.
    #[inline]
    pub fn request(&self) {
        if !self.request.is_made.replace(true) {
            self.request.watcher.start();
        }
    }
}

impl<P: Plugin> Resource for PrepareCallback<P> {
    fn release(&self) {
        self.request.watcher.destroy();
        let callback = self.callback.take();
        drop(callback);
    }
}

/// The watcher's callback.
///
/// # Safety
/// - `arg` points to the `PrepareCallback<P>` in an `Rc`, whose watcher this is.
unsafe extern "C" fn on_turn_end<P: Plugin>(
    _: *mut sys::flux_reactor_t,
    _: *mut sys::flux_watcher_t,
    _: c_int,
    arg: *mut c_void,
) {
    // The callback may drop the key, and this with it: it is held meanwhile.
    let end = arg as *const PrepareCallback<P>;
    // SAFETY: the watcher was not destroyed, so this was not released, and lives in
    // an Rc.
    let end = unsafe {
        Rc::increment_strong_count(end);
        Rc::from_raw(end)
    };
    end.request.watcher.stop();
    end.request.is_made.set(false);
    run_callback(&end.instance, "turn", |instance| {
        let Some(mut callback) = end.callback.take() else { return };
        instance.call("turn", &mut *callback);
        if end.request.watcher.is_alive() {
            end.callback.replace(Some(callback));
        }
    });
}
