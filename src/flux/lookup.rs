//! Looking a host's name up without waiting for the name service.
//!
//! The job manager's thread runs every job of the instance, so it may not wait;
//! and a plugin may have no thread of its own, which would run code that a
//! removal unmaps. glibc's getaddrinfo_a(3) looks up in a thread of glibc's,
//! and is polled.

use std::ffi::{CStr, CString};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ptr;

use super::jobtap::{c_string, Error};
use super::sys;

/// A look-up under way. Dropping it forgets the answer.
pub struct Lookup {
    /// `None` only in `drop`. glibc's thread works on it until it is done.
    request: Option<Box<Request>>,
}

struct Request {
    control: sys::gaicb,
    hints: sys::addrinfo,
    /// What `control.ar_name` points to.
    _name: CString,
}

impl Lookup {
    /// Begins to look `name` up.
    ///
    /// # Errors
    /// If glibc cannot begin, for want of memory or of a thread.
    pub fn start(name: &str) -> Result<Lookup, Error> {
        let name = c_string(name);
        // SAFETY: both are plain C structs, for which all zero means "nothing".
        let (control, hints) = unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
        let mut request = Box::new(Request { control, hints, _name: name });
        // One answer for each address, not for each kind of socket.
        request.hints.ai_socktype = libc::SOCK_DGRAM;
        request.control.ar_name = request._name.as_ptr();
        request.control.ar_request = &request.hints;
        let mut list = [&mut request.control as *mut sys::gaicb];
        // SAFETY: the list is copied; the request it names stays in its box
        // until it is done (see `drop`). No notification is asked for.
        let code = unsafe {
            sys::getaddrinfo_a(sys::GAI_NOWAIT as i32, list.as_mut_ptr(), 1, ptr::null_mut())
        };
        match code {
            0 => Ok(Lookup { request: Some(request) }),
            _ => Err(Error::new(reason(code))),
        }
    }

    /// `None` while it is under way; then the host's addresses, at least one. It
    /// answers at once.
    pub fn poll(&mut self) -> Option<Result<Vec<IpAddr>, Error>> {
        let request = self.request.as_mut()?;
        // SAFETY: the request was begun, and lives.
        match unsafe { sys::gai_error(&mut request.control) } {
            sys::EAI_INPROGRESS => None,
            0 => match request.addresses() {
                none if none.is_empty() => Some(Err(Error::new("no IP address"))),
                addresses => Some(Ok(addresses)),
            },
            code => Some(Err(Error::new(reason(code)))),
        }
    }
}

impl Request {
    /// The addresses that a look-up found.
    fn addresses(&self) -> Vec<IpAddr> {
        let mut addresses = Vec::new();
        let mut entry = self.control.ar_result as *const sys::addrinfo;
        while !entry.is_null() {
            // SAFETY: glibc's list, which lives until it is freed in `drop`.
            let info = unsafe { &*entry };
            match info.ai_family {
                libc::AF_INET => {
                    // SAFETY: the family says which struct this is.
                    let address = unsafe { &*(info.ai_addr as *const libc::sockaddr_in) };
                    let address = u32::from_be(address.sin_addr.s_addr);
                    addresses.push(Ipv4Addr::from(address).into());
                }
                libc::AF_INET6 => {
                    // SAFETY: as above.
                    let address = unsafe { &*(info.ai_addr as *const libc::sockaddr_in6) };
                    addresses.push(Ipv6Addr::from(address.sin6_addr.s6_addr).into());
                }
                _ => (),
            }
            entry = info.ai_next;
        }
        addresses
    }
}

impl Drop for Lookup {
    fn drop(&mut self) {
        let Some(mut request) = self.request.take() else { return };
        // SAFETY: the request was begun, and lives.
        let over = unsafe {
            sys::gai_cancel(&mut request.control);
            sys::gai_error(&mut request.control) != sys::EAI_INPROGRESS
        };
        if !over {
            // glibc's thread still writes to it, and nobody can stop it: a few
            // hundred bytes are left to it for good. It runs no code of ours.
            Box::leak(request);
        } else if !request.control.ar_result.is_null() {
            // SAFETY: the look-up is done, and its list is ours to free.
            unsafe { sys::freeaddrinfo(request.control.ar_result) };
        }
    }
}

/// What gai_strerror(3) says.
fn reason(code: i32) -> String {
    // SAFETY: it takes any number, and returns a constant string.
    let text = unsafe { CStr::from_ptr(sys::gai_strerror(code)) };
    text.to_string_lossy().into_owned()
}
