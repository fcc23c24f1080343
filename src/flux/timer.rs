//! Timers of the job manager's reactor.

use std::cell::RefCell;
use std::os::raw::{c_int, c_void};
use std::rc::{Rc, Weak};

use super::error::Error;
use super::instance::{run_callback, Instance, Recurring};
use super::plugin::Plugin;
use super::resources::{Key, Resource};
use super::sys;
use super::watcher::Watcher;

/// The key to a running timer, made by [`Jobtap::timer`](super::Jobtap::timer).
/// Dropping it stops the timer, also from within its own callback. A timer whose
/// key is forgotten runs until the plugin's end.
pub struct Timer {
    _key: Key,
}

/// The timer.
struct Running<P: Plugin> {
    watcher: Watcher,
    instance: Weak<Instance<P>>,
    callback: Recurring<P>,
}

impl Timer {
    pub(super) fn start<P: Plugin>(
        instance: &Rc<Instance<P>>,
        after: f64,
        repeat: f64,
        callback: Box<dyn FnMut(&mut P)>,
    ) -> Result<Timer, Error> {
        let timer = Rc::new(Running {
            watcher: Watcher::none(),
            instance: Rc::downgrade(instance),
            callback: RefCell::new(Some(callback)),
        });
        // SAFETY: the handle is the job manager's own and outlives the plugin; the
        // argument lives as long as the watcher, which is destroyed with it. The
        // watcher is nobody else's.
        unsafe {
            let watcher = sys::flux_timer_watcher_create(
                sys::flux_get_reactor(instance.flux.as_ptr()),
                after,
                repeat,
                Some(fired::<P>),
                Rc::as_ptr(&timer) as *mut c_void,
            );
            timer.watcher.take_over("flux_timer_watcher_create", watcher)?;
        }
        timer.watcher.start();
        Ok(Timer { _key: instance.resources.add(timer) })
    }
}

impl<P: Plugin> Resource for Running<P> {
    fn release(&self) {
        self.watcher.destroy();
        let callback = self.callback.take();
        drop(callback);
    }
}

/// The watcher's callback.
///
/// # Safety
/// - `arg` points to the `Running<P>` in an `Rc`, whose watcher this is.
unsafe extern "C" fn fired<P: Plugin>(
    _: *mut sys::flux_reactor_t,
    _: *mut sys::flux_watcher_t,
    _: c_int,
    arg: *mut c_void,
) {
    // The callback may drop the key, and the timer with it: it is held meanwhile.
    let timer = arg as *const Running<P>;
    // SAFETY: the watcher was not destroyed, so the timer lives, in an Rc.
    let timer = unsafe {
        Rc::increment_strong_count(timer);
        Rc::from_raw(timer)
    };
    run_callback(&timer.instance, "timer", |instance| {
        let Some(mut callback) = timer.callback.take() else { return };
        instance.call("timer", &mut *callback);
        if timer.watcher.is_alive() {
            timer.callback.replace(Some(callback));
        }
    });
}
