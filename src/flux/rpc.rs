//! Requests to Flux services, without waiting.

use std::ffi::{c_void, CStr};
use std::marker::PhantomData;
use std::ptr::{self, NonNull};

use super::error::Error;
use super::handle::Flux;
use super::instance::Instance;
use crate::flux_sys as sys;
use crate::os::Uncancelled;
use crate::plugin::StateCounts;

/// A function that is called with the response to a request.
pub type OnResponse = fn(&mut StateCounts, Response<'_>);

/// A request. Dropping it discards the response, also from within its own callback.
pub struct Rpc {
    future: NonNull<sys::flux_future_t>,
    target: NonNull<ResponseArg>,
}

/// The argument of the future's continuation.
struct ResponseArg {
    instance: NonNull<Instance>,
    callback: OnResponse,
}

/// The response to a request, or the error.
pub struct Response<'a> {
    future: *mut sys::flux_future_t,
    lifetime: PhantomData<&'a ()>,
}

/// The payload of a response, JSON text, kept without a copy: a list of jobs may be long.
pub struct Payload {
    /// Owns the text. This value holds a reference to it.
    future: NonNull<sys::flux_future_t>,
    text: NonNull<[u8]>,
}

impl Rpc {
    /// Sends a request with a JSON payload, or without one, and calls `callback` with the
    /// response, or with an error after `timeout` seconds.
    ///
    /// # Errors
    /// If the request cannot be sent.
    pub fn send(
        flux: &Flux,
        topic: &CStr,
        payload: Option<&CStr>,
        timeout: f64,
        callback: OnResponse,
    ) -> Result<Rpc, Error> {
        let instance = flux.instance();
        let payload = payload.map_or(ptr::null(), CStr::as_ptr);
        // SAFETY: the handle outlives the plugin; topic and payload are C strings that Flux
        // copies, or NULL.
        let future = unsafe {
            let flux = instance.flux.as_ptr();
            sys::flux_rpc(flux, topic.as_ptr(), payload, sys::FLUX_NODEID_ANY, 0)
        };
        let future = NonNull::new(future).ok_or_else(|| Error::last_os_error("flux_rpc"))?;
        let target = ResponseArg { instance: NonNull::from(instance), callback };
        let rpc = Rpc { future, target: NonNull::from(Box::leak(Box::new(target))) };
        // SAFETY: the future belongs to `rpc`, which keeps the argument for as long.
        let code = unsafe {
            let arg = rpc.target.as_ptr().cast();
            sys::flux_future_then(future.as_ptr(), timeout, Some(on_response), arg)
        };
        match code {
            0.. => Ok(rpc),
            _ => Err(Error::last_os_error("flux_future_then")),
        }
    }
}

impl Drop for Rpc {
    fn drop(&mut self) {
        // SAFETY: both belong to us and are destroyed once. Flux allows a continuation to
        // destroy its own future; `on_response` holds a reference meanwhile.
        unsafe {
            sys::flux_future_destroy(self.future.as_ptr());
            drop(Box::from_raw(self.target.as_ptr()));
        }
    }
}

impl Response<'_> {
    /// The payload, JSON text.
    ///
    /// # Errors
    /// The service's error, or that it did not respond in time.
    pub fn payload(&self) -> Result<Payload, Error> {
        let mut text = ptr::null();
        // SAFETY: `on_response` holds the future while the callback has this value. The text
        // belongs to the future and does not change; the reference that is taken here keeps
        // the future from then on.
        unsafe {
            if sys::flux_rpc_get(self.future, &mut text) < 0 {
                return Err(Error::last_os_error("no usable response"));
            }
            let (Some(future), false) = (NonNull::new(self.future), text.is_null()) else {
                return Err(Error::new("no usable response: no payload"));
            };
            sys::flux_future_incref(future.as_ptr());
            Ok(Payload { future, text: NonNull::from(CStr::from_ptr(text).to_bytes()) })
        }
    }
}

impl AsRef<[u8]> for Payload {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: the text lives and does not change as long as its future, to which this
        // value holds a reference.
        unsafe { self.text.as_ref() }
    }
}

impl Drop for Payload {
    fn drop(&mut self) {
        // SAFETY: `Response::payload` took the reference.
        unsafe { sys::flux_future_decref(self.future.as_ptr()) };
    }
}

/// The future's continuation.
///
/// # Safety
/// - `arg` points to the `ResponseArg` of an `Rpc` that was not dropped and owns `future`.
unsafe extern "C" fn on_response(future: *mut sys::flux_future_t, arg: *mut c_void) {
    // Copied, and the future is referenced: the callback may drop the `Rpc`.
    // SAFETY: the caller's promise; the instance outlives its requests.
    let (instance, callback) = unsafe {
        sys::flux_future_incref(future);
        let target = &*(arg as *const ResponseArg);
        (target.instance.as_ref(), target.callback)
    };
    let _uncancelled = Uncancelled::new();
    instance.dispatch("rpc", |plugin| {
        callback(plugin, Response { future, lifetime: PhantomData });
        Ok(())
    });
    // SAFETY: the reference was taken above.
    unsafe { sys::flux_future_decref(future) };
}
