//! Services: requests that a plugin answers.

use std::ffi::{c_void, CStr};
use std::ptr;

use super::callbacks::{Callbacks, Handler};
use super::error::Error;
use super::plugin::Plugin;
use super::sys;
use super::text::c_string;

/// Who may send requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// The instance's owner alone.
    Owner,
    /// All users.
    Users,
}

/// A request to a plugin's service.
#[derive(Clone, Copy, Debug)]
pub struct ServiceRequest<'a> {
    /// Its payload, JSON text, if it has any.
    pub payload: Option<&'a str>,
    /// Whose it is.
    pub user: u32,
}

impl<P: Plugin> Callbacks<P> {
    /// Answers requests to `job-manager.NAME.METHOD`, NAME being [`Plugin::NAME`], which
    /// has no dot and no slash then.
    ///
    /// The answer is a JSON object's text. An error, or a panic, is answered as EINVAL
    /// with its text.
    pub fn service<F>(&mut self, method: &str, access: Access, callback: F)
    where
        F: Fn(&mut P, ServiceRequest<'_>) -> Result<String, Error> + 'static,
    {
        let (name, method) = (c_string(P::NAME), c_string(method));
        let roles = match access {
            Access::Owner => 0,
            Access::Users => sys::FLUX_ROLE_USER,
        };
        let (plugin, handler) = (self.instance().flux_plugin, self.keep("service", callback));
        // SAFETY: the plugin is being loaded; Flux copies the texts. The argument lives
        // as long as the instance; Flux destroys the message handler with the plugin, and
        // delivers nothing meanwhile.
        let code = unsafe {
            // Until the load is done, its name is a path, which is no part of a topic.
            match sys::flux_plugin_set_name(plugin, name.as_ptr()) {
                0.. => sys::flux_jobtap_service_register_ex(
                    plugin,
                    method.as_ptr(),
                    roles,
                    Some(requested::<P, F>),
                    handler,
                ),
                code => code,
            }
        };
        if code < 0 {
            self.set_error(Error::last_os_error("flux_jobtap_service_register_ex"));
        }
    }
}

/// The message handler.
///
/// # Safety
/// - `flux` and `message` are Flux's, for the request that came.
/// - `arg` points to a `Handler<P, F>` of a living instance.
unsafe extern "C" fn requested<P: Plugin, F>(
    flux: *mut sys::flux_t,
    _: *mut sys::flux_msg_handler_t,
    message: *const sys::flux_msg_t,
    arg: *mut c_void,
) where
    F: Fn(&mut P, ServiceRequest<'_>) -> Result<String, Error>,
{
    // SAFETY: `service` passed the handler, which lives as long as its instance.
    let (handler, instance) = unsafe {
        let handler = &*(arg as *const Handler<P, F>);
        (handler, &*handler.instance)
    };
    let (mut text, mut user) = (ptr::null(), 0);
    // SAFETY: the message lives while this runs, and so does its text.
    let payload = unsafe {
        let code = sys::flux_request_decode(message, ptr::null_mut(), &mut text);
        let user = sys::flux_msg_get_userid(message, &mut user);
        match code < 0 || user < 0 {
            true => Err(Error::last_os_error("flux_request_decode")),
            false => Ok((!text.is_null()).then(|| CStr::from_ptr(text).to_string_lossy())),
        }
    };
    let outcome = payload.and_then(|payload| {
        let request = ServiceRequest { payload: payload.as_deref(), user };
        instance.try_dispatch(|plugin| (handler.callback)(plugin, request))
    });
    let (answer, error) = match &outcome {
        Ok(answer) => (c_string(answer), None),
        Err(error) => (c_string(""), Some(c_string(&error.to_string()))),
    };
    // SAFETY: the handle and the message live; Flux copies the texts.
    let code = unsafe {
        match error {
            None => sys::flux_respond(flux, message, answer.as_ptr()),
            Some(error) => sys::flux_respond_error(flux, message, libc::EINVAL, error.as_ptr()),
        }
    };
    if code < 0 {
        instance.log_once(handler.name, &Error::last_os_error("flux_respond"));
    }
}
