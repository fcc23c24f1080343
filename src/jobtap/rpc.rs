//! Asking a Flux service, without waiting.

use std::any::Any;
use std::ffi::CStr;
use std::marker::PhantomData;
use std::os::raw::c_void;
use std::ptr::{self, NonNull};
use std::rc::{Rc, Weak};

use super::plugin::{Error, Plugin, Slot};
use super::sys;

/// A request under way, made by [`Jobtap::rpc`](super::Jobtap::rpc). Dropping
/// it forgets the response, also from within its own callback. Never leak one
/// (`mem::forget`): the response would call code that is gone after an unload.
pub struct Rpc {
    future: NonNull<sys::flux_future_t>,
    /// What the continuation's argument points to.
    _target: Rc<dyn Any>,
}

/// What came back: the service's answer, or its error.
pub struct Response<'a> {
    future: *mut sys::flux_future_t,
    lifetime: PhantomData<&'a ()>,
}

/// Who is called with the response.
struct Target<P: Plugin> {
    slot: Weak<Slot<P>>,
    callback: fn(&mut P, Response<'_>),
}

impl Rpc {
    pub(super) fn send<P: Plugin>(
        flux: NonNull<sys::flux_t>,
        slot: Weak<Slot<P>>,
        topic: &CStr,
        payload: Option<&CStr>,
        timeout: f64,
        callback: fn(&mut P, Response<'_>),
    ) -> Result<Rpc, Error> {
        let target = Rc::new(Target { slot, callback });
        let payload = payload.map_or(ptr::null(), CStr::as_ptr);
        // SAFETY: the handle outlives the plugin; topic and payload are C strings
        // that Flux copies, or NULL, which is no payload.
        let future = unsafe {
            sys::flux_rpc(flux.as_ptr(), topic.as_ptr(), payload, sys::FLUX_NODEID_ANY, 0)
        };
        let future = NonNull::new(future).ok_or_else(|| Error::last_os_error("flux_rpc"))?;
        let rpc = Rpc { future, _target: target.clone() };
        // SAFETY: the future is ours; the argument is kept alive by the Rpc,
        // which destroys the future before it.
        let code = unsafe {
            sys::flux_future_then(
                future.as_ptr(),
                timeout,
                Some(answered::<P>),
                Rc::as_ptr(&target) as *mut c_void,
            )
        };
        if code < 0 {
            return Err(Error::last_os_error("flux_future_then"));
        }
        Ok(rpc)
    }
}

impl Drop for Rpc {
    fn drop(&mut self) {
        // SAFETY: the future is ours, and is destroyed once. Flux lets a
        // continuation destroy its own future.
        unsafe { sys::flux_future_destroy(self.future.as_ptr()) };
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

/// The future's continuation.
///
/// # Safety
/// - `arg` points to the `Target<P>` of a living Rpc.
unsafe extern "C" fn answered<P: Plugin>(future: *mut sys::flux_future_t, arg: *mut c_void) {
    // SAFETY: the Rpc owns the target and destroys the future before it.
    let target = unsafe { &*(arg as *const Target<P>) };
    // The callback may drop its own Rpc, and the target and the future with it:
    // what is needed of the one is taken out first, the other is held.
    let callback = target.callback;
    let Some(slot) = target.slot.upgrade() else { return };
    // SAFETY: the future lives, for this is its continuation.
    unsafe { sys::flux_future_incref(future) };
    slot.enter("rpc", |plugin| {
        callback(plugin, Response { future, lifetime: PhantomData });
        Ok(())
    });
    // SAFETY: the reference was taken above.
    unsafe { sys::flux_future_decref(future) };
}
