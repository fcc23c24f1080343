//! Looking a host's name up without waiting for the name service.
//!
//! The job manager's thread runs every job of the instance, so it may not wait;
//! and a plugin may have no thread of its own, which would run code that a
//! removal unmaps. glibc's getaddrinfo_a(3) looks up in a thread of glibc's,
//! and is polled.

use std::ffi::{CStr, CString};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::ptr::{self, NonNull};

use super::error::Error;
use super::sys;
use super::text::c_string;

/// A look-up under way. Dropping it forgets the answer.
#[derive(Debug)]
pub struct Lookup {
    /// glibc's thread writes to it until the look-up is done, so that no
    /// reference to it may be held before.
    request: NonNull<Request>,
}

struct Request {
    control: sys::gaicb,
    hints: sys::addrinfo,
    /// What `control.ar_name` points to.
    name: CString,
}

impl Lookup {
    /// Begins to look `name` up.
    ///
    /// # Errors
    /// If glibc cannot begin, for want of memory or of a thread.
    pub fn start(name: &str) -> Result<Lookup, Error> {
        // Before glibc 2.34 this library holds the code of the thread that looks
        // up, and would be unmapped with the plugin; so it stays for good.
        // SAFETY: it is glibc's own, and its initialisation runs no code of ours.
        unsafe { libc::dlopen(c"libanl.so.1".as_ptr(), libc::RTLD_NOW | libc::RTLD_NODELETE) };

        // SAFETY: both are plain C structs, for which all zero means "nothing".
        let (control, hints) = unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
        let mut request = Box::new(Request { control, hints, name: c_string(name) });
        // One answer for each address, not for each kind of socket.
        request.hints.ai_socktype = libc::SOCK_DGRAM;
        let request = NonNull::from(Box::leak(request));
        let lookup = Lookup { request };
        // SAFETY: the request was made just above, and nobody else has it yet.
        let code = unsafe {
            let control = lookup.control();
            (*control).ar_name = (*request.as_ptr()).name.as_ptr();
            (*control).ar_request = ptr::addr_of!((*request.as_ptr()).hints);
            let mut list = [control];
            // The list is copied. No notification is asked for.
            sys::getaddrinfo_a(sys::GAI_NOWAIT as i32, list.as_mut_ptr(), 1, ptr::null_mut())
        };
        match code {
            0 => Ok(lookup),
            _ => Err(Error::new(reason(code))),
        }
    }

    /// `None` while it is under way; then the host's addresses, at least one, with
    /// port 0. It answers at once.
    pub fn poll(&mut self) -> Option<Result<Vec<SocketAddr>, Error>> {
        // SAFETY: the request lives as long as `self`.
        let code = unsafe { sys::gai_error(self.control()) };
        // A code may be there before the thread that wrote it has let go.
        if code == sys::EAI_INPROGRESS || !self.let_go() {
            return None;
        }
        Some(match code {
            // SAFETY: the look-up is done, and glibc's thread has let go of it.
            0 => match unsafe { self.request.as_ref() }.addresses() {
                none if none.is_empty() => Err(Error::new("no IP address")),
                addresses => Ok(addresses),
            },
            code => Err(Error::new(reason(code))),
        })
    }

    /// Takes the look-up off glibc's list, unless it is being worked on: returns
    /// whether the request is ours again. Under glibc's lock, so that all that
    /// its thread wrote is seen after this (gai_cancel(3); glibc, gai_misc.c).
    fn let_go(&self) -> bool {
        // SAFETY: the request lives as long as `self`.
        unsafe { sys::gai_cancel(self.control()) != sys::EAI_NOTCANCELED }
    }

    fn control(&self) -> *mut sys::gaicb {
        // SAFETY: the request lives as long as `self`; no reference is made.
        unsafe { ptr::addr_of_mut!((*self.request.as_ptr()).control) }
    }
}

impl Request {
    /// The addresses that a look-up found.
    fn addresses(&self) -> Vec<SocketAddr> {
        let mut addresses = Vec::new();
        let mut entry = self.control.ar_result as *const sys::addrinfo;
        while !entry.is_null() {
            // SAFETY: glibc's list, which lives until it is freed in `drop`.
            let info = unsafe { &*entry };
            match info.ai_family {
                libc::AF_INET => {
                    // SAFETY: the collector says which struct this is.
                    let address = unsafe { &*(info.ai_addr as *const libc::sockaddr_in) };
                    let address = u32::from_be(address.sin_addr.s_addr);
                    addresses.push((Ipv4Addr::from(address), 0).into());
                }
                libc::AF_INET6 => {
                    // SAFETY: as above.
                    let address = unsafe { &*(info.ai_addr as *const libc::sockaddr_in6) };
                    let ip = Ipv6Addr::from(address.sin6_addr.s6_addr);
                    // A link-local address is one of its interface's only.
                    addresses.push(SocketAddrV6::new(ip, 0, 0, address.sin6_scope_id).into());
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
        if !self.let_go() {
            // glibc's thread still writes to it, and nobody can stop it: a few
            // hundred bytes are left to it for good. It runs no code of ours.
            return;
        }
        // SAFETY: the look-up is over or was never begun, so the request is ours
        // again, and so is its list, if there is one.
        unsafe {
            let request = Box::from_raw(self.request.as_ptr());
            if !request.control.ar_result.is_null() {
                sys::freeaddrinfo(request.control.ar_result);
            }
        }
    }
}

/// What gai_strerror(3) says.
fn reason(code: i32) -> String {
    // SAFETY: it takes any number, and returns a constant string.
    let text = unsafe { CStr::from_ptr(sys::gai_strerror(code)) };
    text.to_string_lossy().into_owned()
}
