//! One load of a plugin: its state, and the way into it.

use std::any::Any;
use std::cell::RefCell;
use std::os::raw::{c_int, c_void};
use std::ptr::{self, NonNull};
use std::rc::{Rc, Weak};

use super::callbacks::Callbacks;
use super::error::{Error, LogLevel};
use super::handle::Jobtap;
use super::panics::catch_panic;
use super::plugin::Plugin;
use super::resources::Resources;
use super::sys;
use super::text::c_string;

/// One load of a plugin: what Flux's pointers lead to.
pub(super) struct Instance<P: Plugin> {
    pub(super) flux: NonNull<sys::flux_t>,
    /// The plugin as Flux has it, which lives as long as the instance.
    pub(super) flux_plugin: *mut sys::flux_plugin_t,
    /// `None` only while `init` runs. Borrowed while a callback runs.
    plugin: RefCell<Option<P>>,
    /// Watchers and futures. Below `plugin`, which holds keys to them and is dropped
    /// first.
    pub(super) resources: Rc<Resources>,
    /// What the handlers' arguments point to.
    pub(super) handlers: RefCell<Vec<Rc<dyn Any>>>,
    /// Callbacks of which an error was logged: the first speaks for all.
    logged: RefCell<Vec<&'static str>>,
}

/// A closure that is called again and again; `None` while it is called.
pub(super) type Recurring<P> = RefCell<Option<Box<dyn FnMut(&mut P)>>>;

impl<P: Plugin> Instance<P> {
    /// Runs `body` on the plugin. Errors and panics end here, logged once for
    /// each `callback`.
    pub(super) fn dispatch(
        &self,
        callback: &'static str,
        body: impl FnOnce(&mut P) -> Result<(), Error>,
    ) {
        if let Err(error) = self.try_dispatch(body) {
            self.log_once(callback, &error);
        }
    }

    /// The same for a closure of the plugin's. Apart, so that it is in the .so once.
    #[inline(never)]
    pub(super) fn call(&self, callback: &'static str, body: &mut dyn FnMut(&mut P)) {
        self.dispatch(callback, |plugin| {
            body(plugin);
            Ok(())
        });
    }

    /// Runs `body` on the plugin; a panic becomes an error.
    pub(super) fn try_dispatch<T>(
        &self,
        body: impl FnOnce(&mut P) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let Ok(mut plugin) = self.plugin.try_borrow_mut() else {
            return Err(Error::new("called while another callback runs"));
        };
        let outcome = catch_panic(|| match plugin.as_mut() {
            Some(plugin) => body(plugin),
            None => Err(Error::new("called before flux_plugin_init was done")),
        });
        drop(plugin);
        outcome.unwrap_or_else(|panic| Err(Error::bug(&panic)))
    }

    /// Whether a callback runs, or `init`.
    pub(super) fn is_running(&self) -> bool {
        self.plugin.try_borrow().is_err()
    }

    #[cold]
    pub(super) fn log_once(&self, callback: &'static str, error: &Error) {
        let mut logged = self.logged.borrow_mut();
        if !logged.contains(&callback) {
            logged.push(callback);
            let message = format!("{callback}: {error} (further errors there are not logged)");
            log(P::NAME, self.flux, LogLevel::Error, &message);
        }
    }

    /// Makes the plugin and registers its callbacks.
    fn start(self: &Rc<Self>) -> Result<(), Error> {
        let mut callbacks = Callbacks::new(self);
        let flux = Jobtap { flux: self.flux, instance: Rc::downgrade(self) };
        // Borrowed while it is made, as in a callback.
        let mut plugin = self.plugin.borrow_mut();
        *plugin = Some(P::init(flux, &mut callbacks)?);
        drop(plugin);
        callbacks.register()?;
        Ok(())
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
    let instance = Rc::new(Instance::<P> {
        flux,
        flux_plugin: plugin,
        plugin: RefCell::new(None),
        resources: Rc::default(),
        handlers: RefCell::default(),
        logged: RefCell::default(),
    });
    let address = Rc::into_raw(instance.clone());
    // SAFETY: the plugin lives; from here on the aux item owns one of the two
    // references, and gives it up while this code is still mapped.
    let code = unsafe {
        sys::flux_plugin_aux_set(plugin, ptr::null(), address as *mut c_void, Some(destroy::<P>))
    };
    let outcome = match code {
        0.. => catch_panic(|| instance.start()).unwrap_or_else(|panic| Err(Error::bug(&panic))),
        _ => {
            let error = Error::last_os_error("flux_plugin_aux_set");
            // SAFETY: the aux item was not made, so this reference is still ours.
            drop(unsafe { Rc::from_raw(address) });
            Err(error)
        }
    };
    match outcome {
        Ok(()) => 0,
        Err(error) => {
            instance.log_once("flux_plugin_init", &error);
            -1
        }
    }
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
        log(P::NAME, flux, LogLevel::Error, &format!("removal: a bug: {panic}"));
    }
}

/// Logs `message` behind the plugin's name.
pub(super) fn log(
    plugin: &'static str,
    flux: NonNull<sys::flux_t>,
    level: LogLevel,
    message: &str,
) {
    let message = c_string(&format!("{plugin}: {message}"));
    // SAFETY: the handle is the job manager's own and outlives the plugin; the
    // format is constant and names the one string it gets.
    unsafe {
        sys::flux_log(flux.as_ptr(), level as c_int, c"%s".as_ptr(), message.as_ptr());
    }
}
