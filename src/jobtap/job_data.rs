//! A plugin's own data of a job, which is dropped with the job.

use std::any::Any;
use std::cell::RefCell;
use std::ffi::{c_void, CStr};
use std::ptr::{self, NonNull};
use std::rc::Rc;

use super::error::{Error, LogLevel};
use super::handle::Jobtap;
use super::instance::log;
use super::panics::catch_panic;
use super::plugin::Plugin;
use super::sys;

/// The aux item's name. Each plugin has aux items of its own (jobtap.c, `aux_wrap`).
const NAME: &CStr = c"rust";

/// What the aux item points to, in an `Rc`: who uses the data holds it, so that it may
/// be replaced meanwhile.
struct Data {
    flux: NonNull<sys::flux_t>,
    plugin: &'static str,
    data: RefCell<Box<dyn Any>>,
}

impl<P: Plugin> Jobtap<P> {
    /// Gives a job data of the plugin's own, one value of any type, in place of the
    /// value that it has. It is dropped when the job becomes inactive, is rejected, or
    /// the plugin is removed. Its destructor runs outside the plugin's callbacks.
    ///
    /// # Errors
    /// If there is no such job, or no callback runs.
    pub fn set_job_data<T: 'static>(&self, id: u64, data: T) -> Result<(), Error> {
        let instance = self.running()?;
        let data: RefCell<Box<dyn Any>> = RefCell::new(Box::new(data));
        let data = Rc::into_raw(Rc::new(Data { flux: self.flux, plugin: P::NAME, data }));
        // SAFETY: a callback runs, so the plugin lives; from here on the aux item owns
        // the data. Flux drops it while the plugin is loaded (or, of an inactive job,
        // leaves it).
        let code = unsafe {
            sys::flux_jobtap_job_aux_set(
                instance.flux_plugin,
                id,
                NAME.as_ptr(),
                data as *mut c_void,
                Some(drop_data),
            )
        };
        if code < 0 {
            let error = Error::last_os_error("flux_jobtap_job_aux_set");
            // SAFETY: the aux item was not made, so the data is still ours.
            drop(unsafe { Rc::from_raw(data) });
            return Err(error);
        }
        Ok(())
    }

    /// Calls `body` with a job's data. `None` if the job has none, or none of this type,
    /// if it is in use already, or if no callback runs.
    pub fn with_job_data<T: 'static, R>(
        &self,
        id: u64,
        body: impl FnOnce(&mut T) -> R,
    ) -> Option<R> {
        let instance = self.running().ok()?;
        // SAFETY: a callback runs, so the plugin lives.
        let data = unsafe {
            sys::flux_jobtap_job_aux_get(instance.flux_plugin, id, NAME.as_ptr()) as *const Data
        };
        if data.is_null() {
            return None;
        }
        // SAFETY: it is what `set_job_data` set under this name, in an Rc that the aux
        // item owns. It is held meanwhile.
        let data = unsafe {
            Rc::increment_strong_count(data);
            Rc::from_raw(data)
        };
        let mut data = data.data.try_borrow_mut().ok()?;
        data.downcast_mut().map(body)
    }

    /// Drops a job's data, if it has any.
    ///
    /// # Errors
    /// If there is no such job, or no callback runs.
    pub fn remove_job_data(&self, id: u64) -> Result<(), Error> {
        let instance = self.running()?;
        // Not flux_jobtap_job_aux_delete_value, which old Fluxes have not.
        // SAFETY: a callback runs, so the plugin lives; without a value the item goes.
        let code = unsafe {
            let (data, destructor) = (ptr::null_mut(), None);
            sys::flux_jobtap_job_aux_set(instance.flux_plugin, id, NAME.as_ptr(), data, destructor)
        };
        match code {
            0.. => Ok(()),
            _ => Err(Error::last_os_error("flux_jobtap_job_aux_set")),
        }
    }
}

/// The aux item's destructor.
///
/// # Safety
/// - `data` is what `set_job_data` gave to the aux item.
unsafe extern "C" fn drop_data(data: *mut c_void) {
    // SAFETY: the aux item owned it, and gives it up here, once.
    let data = unsafe { Rc::from_raw(data as *const Data) };
    let (flux, plugin) = (data.flux, data.plugin);
    if let Err(panic) = catch_panic(|| drop(data)) {
        log(plugin, flux, LogLevel::Error, &format!("a job's data: a bug: {panic}"));
    }
}
