//! Event messages, which the broker sends to all subscribers (flux_event_subscribe(3)).

use std::ffi::{c_void, CStr};
use std::ptr::{self, NonNull};

use super::error::Error;
use super::handle::Flux;
use super::instance::Instance;
use crate::flux_sys as sys;
use crate::plugin::StateCounts;

/// A function that is called with the payload of an event message, JSON text.
pub type OnEvent = fn(&mut StateCounts, &str) -> Result<(), Error>;

/// A subscription to the event messages of a topic. Dropping it unsubscribes; the broker counts
/// the subscriptions of the job manager, so other plugins keep theirs.
pub struct Subscription {
    topic: &'static CStr,
    handler: NonNull<sys::flux_msg_handler_t>,
    target: NonNull<EventArg>,
}

/// The argument of the message handler.
struct EventArg {
    instance: NonNull<Instance>,
    callback: OnEvent,
}

impl Subscription {
    /// Calls `callback` for each event message of `topic`. The subscription takes effect when
    /// the broker has processed it; nothing waits for that.
    ///
    /// # Errors
    /// If Flux is out of memory.
    pub fn new(
        flux: &Flux,
        topic: &'static CStr,
        callback: OnEvent,
    ) -> Result<Subscription, Error> {
        let instance = flux.instance();
        let target = EventArg { instance: NonNull::from(instance), callback };
        let target = NonNull::from(Box::leak(Box::new(target)));
        let matching = sys::flux_match {
            typemask: sys::FLUX_MSGTYPE_EVENT as i32,
            matchtag: sys::FLUX_MATCHTAG_NONE,
            topic_glob: topic.as_ptr(),
        };
        // SAFETY: the handle outlives the plugin; Flux copies the topic; `Subscription` keeps
        // the argument for as long as the handler.
        let handler = unsafe {
            let (flux, arg) = (instance.flux.as_ptr(), target.as_ptr().cast());
            sys::flux_msg_handler_create(flux, matching, Some(on_event), arg)
        };
        let Some(handler) = NonNull::new(handler) else {
            // SAFETY: no handler has the target.
            drop(unsafe { Box::from_raw(target.as_ptr()) });
            return Err(Error::last_os_error("flux_msg_handler_create"));
        };
        // SAFETY: the handler lives, and so does the handle. Without a response the future has
        // no further use.
        unsafe {
            sys::flux_msg_handler_start(handler.as_ptr());
            let (flux, flags) = (instance.flux.as_ptr(), sys::FLUX_RPC_NORESPONSE as i32);
            let future = sys::flux_event_subscribe_ex(flux, topic.as_ptr(), flags);
            sys::flux_future_destroy(future);
        }
        Ok(Subscription { topic, handler, target })
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        // SAFETY: handler and target belong to us and are destroyed once; the instance and the
        // handle live longer.
        unsafe {
            sys::flux_msg_handler_destroy(self.handler.as_ptr());
            let target = Box::from_raw(self.target.as_ptr());
            let flux = target.instance.as_ref().flux.as_ptr();
            let flags = sys::FLUX_RPC_NORESPONSE as i32;
            let future = sys::flux_event_unsubscribe_ex(flux, self.topic.as_ptr(), flags);
            sys::flux_future_destroy(future);
        }
    }
}

/// # Safety
/// - `arg` points to the `EventArg` of a handler that was not destroyed.
unsafe extern "C" fn on_event(
    _: *mut sys::flux_t,
    _: *mut sys::flux_msg_handler_t,
    message: *const sys::flux_msg_t,
    arg: *mut c_void,
) {
    // Copied: the callback may drop the subscription.
    // SAFETY: the caller's promise; the instance outlives its handlers.
    let (instance, callback) = unsafe {
        let target = &*(arg as *const EventArg);
        (target.instance.as_ref(), target.callback)
    };
    instance.dispatch("event message", |plugin| {
        let mut text = ptr::null();
        // SAFETY: the message lives during this call, and so does its payload, a C string.
        let text = unsafe {
            if sys::flux_event_decode(message, ptr::null_mut(), &mut text) < 0 || text.is_null() {
                return Err(Error::last_os_error("flux_event_decode"));
            }
            CStr::from_ptr(text)
        };
        callback(plugin, &text.to_string_lossy())
    });
}
