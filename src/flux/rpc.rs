//! Asking a Flux service, without waiting.

use std::cell::{Cell, RefCell};
use std::ffi::CStr;
use std::marker::PhantomData;
use std::os::raw::c_void;
use std::ptr::{self, NonNull};
use std::rc::{Rc, Weak};

use super::error::Error;
use super::instance::{run_callback, Instance};
use super::plugin::Plugin;
use super::resources::{Key, Resource};
use super::sys;

/// The key to a request under way, made by [`Jobtap::rpc`](super::Jobtap::rpc).
/// Dropping it forgets the response, also from within its own callback.
pub struct Rpc {
    _key: Key,
}

/// What came back: the service's answer, or its error.
pub struct Response<'a> {
    future: *mut sys::flux_future_t,
    lifetime: PhantomData<&'a ()>,
}

/// An answer's payload, JSON text, which outlives the callback and is not copied: a list of
/// many jobs is long. Keep it in the plugin, so that it is dropped with it: one that is
/// forgotten (`mem::forget`) keeps the answer, and the broker's handle open, for good.
pub struct Payload {
    /// The text is its own. Referred to until this is dropped.
    future: NonNull<sys::flux_future_t>,
    text: NonNull<[u8]>,
}

/// What is called with the response: once.
type Callback<P> = Box<dyn FnOnce(&mut P, Response<'_>)>;

/// The request.
struct Pending<P: Plugin> {
    future: Cell<Option<NonNull<sys::flux_future_t>>>,
    instance: Weak<Instance<P>>,
    callback: RefCell<Option<Callback<P>>>,
}

impl Rpc {
    pub(super) fn send<P: Plugin>(
        instance: &Rc<Instance<P>>,
        topic: &CStr,
        payload: Option<&CStr>,
        timeout: f64,
        callback: Callback<P>,
    ) -> Result<Rpc, Error> {
        let payload = payload.map_or(ptr::null(), CStr::as_ptr);
        // SAFETY: the handle outlives the plugin; topic and payload are C strings
        // that Flux copies, or NULL, which is no payload.
        let future = unsafe {
            let flux = instance.flux.as_ptr();
            sys::flux_rpc(flux, topic.as_ptr(), payload, sys::FLUX_NODEID_ANY, 0)
        };
        let future = NonNull::new(future).ok_or_else(|| Error::last_os_error("flux_rpc"))?;
        let pending = Rc::new(Pending {
            future: Cell::new(Some(future)),
            instance: Rc::downgrade(instance),
            callback: RefCell::new(Some(callback)),
        });
        // SAFETY: the future is ours; the argument lives until it is released, which
        // destroys the future.
        let code = unsafe {
            sys::flux_future_then(
                future.as_ptr(),
                timeout,
                Some(answered::<P>),
                Rc::as_ptr(&pending) as *mut c_void,
            )
        };
        if code < 0 {
            let error = Error::last_os_error("flux_future_then");
            pending.release();
            return Err(error);
        }
        Ok(Rpc { _key: instance.resources.add(pending) })
    }
}

impl<P: Plugin> Resource for Pending<P> {
    fn release(&self) {
        if let Some(future) = self.future.take() {
            // SAFETY: the future is ours, and is taken out: it is destroyed once. Flux
            // lets a continuation destroy its own future.
            unsafe { sys::flux_future_destroy(future.as_ptr()) };
        }
        let callback = self.callback.take();
        drop(callback);
    }
}

impl Response<'_> {
    /// The answer's payload, JSON text; an error if the service answered with
    /// one, or not in time.
    pub fn text(&self) -> Result<String, Error> {
        let mut text = ptr::null();
        // SAFETY: `answered` holds the future while the callback has this value;
        // the text is the future's own, and is copied.
        unsafe {
            if sys::flux_rpc_get(self.future, &mut text) < 0 || text.is_null() {
                return Err(Error::last_os_error("no usable answer"));
            }
            Ok(CStr::from_ptr(text).to_string_lossy().into_owned())
        }
    }

    /// The same, to be kept.
    pub fn payload(&self) -> Result<Payload, Error> {
        let mut text = ptr::null();
        let future = NonNull::new(self.future);
        // SAFETY: `answered` holds the future while the callback has this value, and the
        // reference that is taken holds it from then on; the text is the future's own, and
        // does not change.
        unsafe {
            if sys::flux_rpc_get(self.future, &mut text) < 0 || text.is_null() {
                return Err(Error::last_os_error("no usable answer"));
            }
            let future = future.ok_or_else(|| Error::new("no answer".to_owned()))?;
            sys::flux_future_incref(future.as_ptr());
            Ok(Payload { future, text: NonNull::from(CStr::from_ptr(text).to_bytes()) })
        }
    }

    /// The integer under `key` in the answer; an error if the service
    /// answered with one, not in time, or without that key.
    pub fn integer(&self, key: &CStr) -> Result<i64, Error> {
        let mut value: i64 = 0;
        // SAFETY: `answered` holds the future while the callback has this value;
        // the format names one 64-bit integer, and gets a pointer to one.
        let code = unsafe {
            sys::flux_rpc_get_unpack(
                self.future,
                c"{s:I}".as_ptr(),
                key.as_ptr(),
                &mut value as *mut i64,
            )
        };
        match code {
            0.. => Ok(value),
            _ => Err(Error::last_os_error("no usable answer")),
        }
    }
}

impl AsRef<[u8]> for Payload {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: the text lives and does not change as long as its future, which is
        // referred to.
        unsafe { self.text.as_ref() }
    }
}

impl Drop for Payload {
    fn drop(&mut self) {
        // SAFETY: the reference was taken in `payload`, and nobody else gives it back.
        unsafe { sys::flux_future_decref(self.future.as_ptr()) };
    }
}

/// The future's continuation.
///
/// # Safety
/// - `arg` points to the `Pending<P>` in an `Rc`, whose future this is.
unsafe extern "C" fn answered<P: Plugin>(future: *mut sys::flux_future_t, arg: *mut c_void) {
    // The callback may drop the key, and the request with it: both the request and
    // the future are held meanwhile.
    let pending = arg as *const Pending<P>;
    // SAFETY: the future was not destroyed, so the request was not released, and
    // lives in an Rc.
    let pending = unsafe {
        Rc::increment_strong_count(pending);
        Rc::from_raw(pending)
    };
    // SAFETY: the future lives, for this is its continuation.
    unsafe { sys::flux_future_incref(future) };
    run_callback(&pending.instance, "rpc", |instance| {
        let Some(callback) = pending.callback.take() else { return };
        let mut callback = Some(callback);
        instance.call("rpc", &mut |plugin| {
            if let Some(callback) = callback.take() {
                callback(plugin, Response { future, lifetime: PhantomData });
            }
        });
        // Its work is done, whenever the key removed.
        pending.release();
    });
    // SAFETY: the reference was taken above.
    unsafe { sys::flux_future_decref(future) };
}
