//! One loaded plugin: an aux item of the `flux_plugin_t`, which owns the plugin's state.

use std::cell::{Cell, RefCell};
use std::ffi::{c_int, c_void, CStr};
use std::ptr::{self, NonNull};

use super::callback::register_handlers;
use super::error::{Error, LogLevel};
use super::handle::{log, Flux};
use super::panics::catch_panic;
use crate::flux_sys as sys;
use crate::os::Uncancelled;
use crate::plugin::StateCounts;

/// One loaded plugin.
pub(super) struct Instance {
    pub(super) flux: NonNull<sys::flux_t>,
    pub(super) flux_plugin: *mut sys::flux_plugin_t,
    /// `None` only while the plugin is created. Borrowed while a callback runs.
    plugin: RefCell<Option<StateCounts>>,
    /// The callbacks with a logged error. Only the first error of each is logged.
    logged: RefCell<Vec<&'static str>>,
    pub(super) panics: Cell<u64>,
    /// The value of the item `MARK`, if this instance set it.
    mark: Cell<*mut c_void>,
}

/// An item of the job manager's handle, which all plugins share: the path of the loaded
/// plugin. To Flux, a copy of the file with another name is another plugin.
const MARK: &CStr = c"state-counts::path";

impl Instance {
    /// Marks the job manager as having this plugin, at the first call.
    ///
    /// # Errors
    /// If another copy of the plugin is loaded.
    pub(super) fn mark(&self) -> Result<(), Error> {
        // SAFETY: handle and plugin live. Each copy of the plugin sets the item to a C string.
        // It has no destructor, which Flux would call when this code is no longer mapped;
        // `destroy` removes it. The path exists while the plugin is loaded; it is copied.
        unsafe {
            let flux = self.flux.as_ptr();
            let found = sys::flux_aux_get(flux, MARK.as_ptr());
            if found.is_null() {
                // If Flux is out of memory, a copy is not refused.
                self.mark.set(libc::strdup(sys::flux_plugin_get_path(self.flux_plugin)).cast());
                sys::flux_aux_set(flux, MARK.as_ptr(), self.mark.get(), None);
            } else if found != self.mark.get() {
                let path = CStr::from_ptr(found.cast()).to_string_lossy();
                return Err(Error::new(format!("state-counts is already loaded from {path}")));
            }
        }
        Ok(())
    }

    /// Runs `body` on the plugin. The first error of each `callback` is logged. A panic is
    /// caught, logged and counted, and the plugin recovers.
    #[inline(always)]
    pub(super) fn dispatch(
        &self,
        callback: &'static str,
        body: impl FnOnce(&mut StateCounts) -> Result<(), Error>,
    ) {
        let Ok(mut plugin) = self.plugin.try_borrow_mut() else {
            return self.log_once(callback, &Error::new("called while another callback runs"));
        };
        // `None` only before flux_plugin_init has returned.
        let Some(plugin) = plugin.as_mut() else { return };
        match catch_panic(|| body(plugin)) {
            Ok(Ok(())) => (),
            Ok(Err(error)) => self.log_once(callback, &error),
            Err(message) => self.recover(callback, plugin, &message),
        }
    }

    #[cold]
    fn recover(&self, callback: &str, plugin: &mut StateCounts, message: &str) {
        self.panics.set(self.panics.get() + 1);
        self.log_once("a bug", &Error::new(format!("{callback}: {message}")));
        if catch_panic(|| plugin.recover()).is_err() {
            self.panics.set(self.panics.get() + 1);
        }
    }

    #[cold]
    fn log_once(&self, key: &'static str, error: &Error) {
        let mut logged = self.logged.borrow_mut();
        if !logged.contains(&key) {
            logged.push(key);
            let message = format!("{key}: {error} (further ones are not logged)");
            log(self.flux, LogLevel::Error, &message);
        }
    }
}

/// Creates the plugin and registers its handlers. Returns the result of `flux_plugin_init`, 0
/// or -1.
///
/// # Safety
/// - `plugin` is the `flux_plugin_t` that the job manager is loading.
pub(super) unsafe fn load(plugin: *mut sys::flux_plugin_t) -> c_int {
    let _uncancelled = Uncancelled::new();
    // SAFETY: the caller's promise.
    let Some(flux) = NonNull::new(unsafe { sys::flux_jobtap_get_flux(plugin) }) else {
        return -1;
    };
    let instance = Box::into_raw(Box::new(Instance {
        flux,
        flux_plugin: plugin,
        plugin: RefCell::new(None),
        logged: RefCell::default(),
        panics: Cell::new(0),
        mark: Cell::new(ptr::null_mut()),
    }));
    // SAFETY: the plugin lives. The aux item owns the instance from here on; Flux destroys it
    // after the handlers, while this code is still mapped.
    let code =
        unsafe { sys::flux_plugin_aux_set(plugin, ptr::null(), instance.cast(), Some(destroy)) };
    let outcome = match code {
        0.. => catch_panic(|| {
            // SAFETY: the aux item keeps the instance until the plugin's end.
            let instance = unsafe { &*instance };
            // SAFETY: `StateCounts` keeps the handle and is dropped with the instance.
            let handle = unsafe { Flux::new(instance) };
            *instance.plugin.borrow_mut() = Some(StateCounts::new(handle)?);
            register_handlers(instance)
        })
        .unwrap_or_else(|panic| Err(Error::new(format!("a bug: {panic}")))),
        _ => {
            let error = Error::last_os_error("flux_plugin_aux_set");
            // SAFETY: the aux item was not created, so the instance still belongs to us.
            drop(unsafe { Box::from_raw(instance) });
            Err(error)
        }
    };
    match outcome {
        Ok(()) => 0,
        Err(error) => {
            log(flux, LogLevel::Error, &format!("flux_plugin_init: {error}"));
            -1
        }
    }
}

/// The aux item's destructor. Flux calls it at the removal, while the code is still mapped.
///
/// # Safety
/// - `instance` is the pointer that `load` passed to the aux item.
unsafe extern "C" fn destroy(instance: *mut c_void) {
    let _uncancelled = Uncancelled::new();
    let instance = instance as *mut Instance;
    // SAFETY: the aux item owned the instance, and Flux calls this once. The plugin's
    // destructor still uses the instance, which is freed after it. The mark is the string that
    // this instance allocated.
    unsafe {
        let flux = (*instance).flux;
        if let Err(panic) = catch_panic(|| drop((*instance).plugin.take())) {
            log(flux, LogLevel::Error, &format!("a bug: removal: {panic}"));
        }
        let mark = (*instance).mark.get();
        if !mark.is_null() {
            sys::flux_aux_set(flux.as_ptr(), MARK.as_ptr(), ptr::null_mut(), None);
            libc::free(mark);
        }
        drop(Box::from_raw(instance));
    }
}
