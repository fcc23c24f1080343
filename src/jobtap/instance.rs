//! One load of a plugin: its state, and the way into it.

use std::cell::{Cell, RefCell};
use std::os::raw::{c_int, c_void};
use std::ptr::{self, NonNull};
use std::rc::{Rc, Weak};

use super::error::{Error, LogLevel};
use super::handle::Jobtap;
use super::panics::catch_panic;
use super::plugin::{shim, Callback, Plugin};
use super::resources::Resources;
use super::sys;
use super::text::c_string;

/// One load of a plugin: what Flux's pointers lead to.
pub(super) struct Instance<P: Plugin> {
    pub(super) flux: NonNull<sys::flux_t>,
    /// The plugin as Flux has it, which lives as long as the instance.
    pub(super) handle: *mut sys::flux_plugin_t,
    /// `None` only while `init` runs. Borrowed while a callback runs, so that
    /// one that leads back into the plugin is refused rather than unsound.
    plugin: RefCell<Option<P>>,
    /// Watchers and futures. Below `plugin`, which holds keys to them and is dropped
    /// first.
    pub(super) resources: Rc<Resources>,
    /// What each handler's argument points to.
    handlers: Vec<Handler<P>>,
    /// Callbacks of which an error was logged: the first speaks for all.
    logged: RefCell<Vec<&'static str>>,
}

/// The argument of one registered handler.
pub(super) struct Handler<P: Plugin> {
    pub(super) callback: Callback,
    pub(super) instance: Cell<*const Instance<P>>,
}

impl<P: Plugin> Instance<P> {
    /// Runs `body` on the plugin. Errors and panics end here, logged once for
    /// each `callback`. (Not inlined: the most frequent callback would have the
    /// stack frame of all of them.)
    #[inline(never)]
    pub(super) fn dispatch(
        &self,
        callback: &'static str,
        body: impl FnOnce(&mut P) -> Result<(), Error>,
    ) {
        if let Err(error) = self.try_dispatch(body) {
            self.log_once(callback, &error);
        }
    }

    /// Runs `body` on the plugin; a panic becomes an error.
    pub(super) fn try_dispatch(
        &self,
        body: impl FnOnce(&mut P) -> Result<(), Error>,
    ) -> Result<(), Error> {
        catch_panic(|| match self.plugin.try_borrow_mut() {
            Ok(mut plugin) => plugin.as_mut().map_or(Ok(()), body),
            Err(_) => Err(Error::new("called while another callback runs")),
        })
        .unwrap_or_else(|panic| Err(Error::bug(&panic)))
    }

    #[cold]
    fn log_once(&self, callback: &'static str, error: &Error) {
        let mut logged = self.logged.borrow_mut();
        if !logged.contains(&callback) {
            logged.push(callback);
            let message = format!("{callback}: {error} (further errors there are not logged)");
            log::<P>(self.flux, LogLevel::Error, &message);
        }
    }
}

/// Runs `body`, which calls into the plugin, at the plugin's edge to C: a panic in
/// what surrounds that call (the destructor of a closure) ends here, too. Where the
/// instance is gone, nothing runs.
pub(super) fn run_callback<P: Plugin>(
    instance: &Weak<Instance<P>>,
    callback: &'static str,
    body: impl FnOnce(&Instance<P>),
) {
    let Some(instance) = instance.upgrade() else { return };
    if let Err(panic) = catch_panic(|| body(&instance)) {
        instance.log_once(callback, &Error::bug(&panic));
    }
}

/// Makes a plugin of type `P` and registers its callbacks: the whole of
/// `flux_plugin_init`. Returns what that returns, 0 or -1.
///
/// # Safety
/// - `plugin` is the `flux_plugin_t` that the job manager is loading.
pub unsafe fn register<P: Plugin>(plugin: *mut sys::flux_plugin_t) -> c_int {
    // SAFETY: the caller's promise.
    let Some(flux) = NonNull::new(unsafe { sys::flux_jobtap_get_flux(plugin) }) else {
        return -1;
    };
    let instance = Rc::new(Instance {
        flux,
        handle: plugin,
        plugin: RefCell::new(None),
        resources: Rc::default(),
        handlers: P::CALLBACKS
            .iter()
            .map(|&callback| Handler { callback, instance: Cell::new(ptr::null()) })
            .collect(),
        logged: RefCell::new(Vec::new()),
    });
    let made = catch_panic(|| P::init(Jobtap { flux, instance: Rc::downgrade(&instance) }));
    match made.unwrap_or_else(|panic| Err(Error::bug(&panic))) {
        Ok(made) => *instance.plugin.borrow_mut() = Some(made),
        Err(error) => {
            instance.log_once("flux_plugin_init", &error);
            return -1;
        }
    }
    let address = Rc::into_raw(instance);
    // SAFETY: the plugin lives; from here on the aux item owns the instance, and
    // destroys it while this code is still mapped.
    let code = unsafe {
        sys::flux_plugin_aux_set(plugin, ptr::null(), address as *mut c_void, Some(destroy::<P>))
    };
    if code < 0 {
        // SAFETY: the aux item was not made, so the instance is still ours.
        let instance = unsafe { Rc::from_raw(address) };
        instance.log_once("flux_plugin_init", &Error::last_os_error("flux_plugin_aux_set"));
        return -1;
    }
    // SAFETY: the aux item keeps the instance alive beyond this function.
    for handler in unsafe { &(*address).handlers } {
        handler.instance.set(address);
        // SAFETY: Flux copies the topic; the argument lives as long as the
        // instance, which Flux destroys after the handlers.
        let code = unsafe {
            sys::flux_plugin_add_handler(
                plugin,
                handler.callback.topic().as_ptr(),
                Some(shim::<P>),
                handler as *const Handler<P> as *mut c_void,
            )
        };
        if code < 0 {
            let error = Error::last_os_error("flux_plugin_add_handler");
            // SAFETY: as above.
            unsafe { &*address }.log_once("flux_plugin_init", &error);
            return -1;
        }
    }
    0
}

/// The aux item's destructor: the end of the plugin, while its code is mapped.
///
/// # Safety
/// - `instance` is the pointer that `register` gave to the aux item.
unsafe extern "C" fn destroy<P: Plugin>(instance: *mut c_void) {
    // SAFETY: the aux item owned the instance, and gives it up here, once.
    let instance = unsafe { Rc::from_raw(instance as *const Instance<P>) };
    let flux = instance.flux;
    if let Err(panic) = catch_panic(|| drop(instance)) {
        log::<P>(flux, LogLevel::Error, &format!("removal: a bug: {panic}"));
    }
}

/// Logs `message` behind the plugin's name.
pub(super) fn log<P: Plugin>(flux: NonNull<sys::flux_t>, level: LogLevel, message: &str) {
    let message = c_string(&format!("{}: {message}", P::NAME));
    // SAFETY: the handle is the job manager's own and outlives the plugin; the
    // format is constant and names the one string it gets.
    unsafe {
        sys::flux_log(flux.as_ptr(), level as c_int, c"%s".as_ptr(), message.as_ptr());
    }
}
