//! Name lookup that does not wait for the name service.
//!
//! A lookup that waits would stop the job manager's only thread. A thread of our own would
//! run code that `flux jobtap remove` unmaps. glibc's getaddrinfo_a(3) resolves in a thread
//! of glibc and is polled.

use std::ffi::{CStr, CString};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::ptr::{self, NonNull};

use crate::flux_sys as sys;

/// A lookup in progress. Dropping it discards the result.
#[derive(Debug)]
pub struct Lookup {
    /// glibc's thread writes to it until the lookup is done: no reference may exist before.
    request: NonNull<Request>,
}

struct Request {
    control: sys::gaicb,
    hints: sys::addrinfo,
    /// The string to which `control.ar_name` points.
    name: CString,
}

impl Lookup {
    /// Starts to resolve `name`.
    ///
    /// # Errors
    /// The text of gai_strerror(3) if glibc is out of memory or cannot start a thread.
    pub fn start(name: &str) -> Result<Lookup, String> {
        // Before glibc 2.34 the resolving thread runs code of this library. RTLD_NODELETE
        // keeps it mapped when the plugin is unmapped.
        // SAFETY: it is a library of glibc; its initialisation runs no code of ours.
        unsafe { libc::dlopen(c"libanl.so.1".as_ptr(), libc::RTLD_NOW | libc::RTLD_NODELETE) };

        // SAFETY: both are plain C structs, for which all zeros is the empty value.
        let (control, hints) = unsafe { (std::mem::zeroed(), std::mem::zeroed()) };
        let name = CString::new(name).map_err(|error| error.to_string())?;
        let mut request = Box::new(Request { control, hints, name });
        // One result per address, not one per type of socket.
        request.hints.ai_socktype = libc::SOCK_DGRAM;
        let request = NonNull::from(Box::leak(request));
        let lookup = Lookup { request };
        // SAFETY: the request was allocated above, and no other code uses it yet.
        let code = unsafe {
            let control = lookup.control();
            (*control).ar_name = (*request.as_ptr()).name.as_ptr();
            (*control).ar_request = ptr::addr_of!((*request.as_ptr()).hints);
            let mut list = [control];
            // glibc copies the list. No notification is requested.
            sys::getaddrinfo_a(sys::GAI_NOWAIT as i32, list.as_mut_ptr(), 1, ptr::null_mut())
        };
        match code {
            0 => Ok(lookup),
            _ => Err(reason(code)),
        }
    }

    /// `None` while the lookup is in progress; then the host's addresses (at least one,
    /// each with port 0) or the text of gai_strerror(3). Never waits.
    pub fn poll(&mut self) -> Option<Result<Vec<SocketAddr>, String>> {
        // SAFETY: the request lives as long as `self`.
        let code = unsafe { sys::gai_error(self.control()) };
        // The code may be set before the thread has released the request.
        if code == sys::EAI_INPROGRESS || !self.is_released() {
            return None;
        }
        Some(match code {
            // SAFETY: the lookup is done, and glibc's thread has released the request.
            0 => match unsafe { self.request.as_ref() }.addresses() {
                none if none.is_empty() => Err("no IP address".to_owned()),
                addresses => Ok(addresses),
            },
            code => Err(reason(code)),
        })
    }

    /// Removes the lookup from glibc's list unless it is in progress. Returns `true` if the
    /// request belongs to us again. glibc does this under its lock, so all writes of its
    /// thread are visible afterwards (gai_cancel(3); glibc, gai_misc.c).
    fn is_released(&self) -> bool {
        // SAFETY: the request lives as long as `self`.
        unsafe { sys::gai_cancel(self.control()) != sys::EAI_NOTCANCELED }
    }

    fn control(&self) -> *mut sys::gaicb {
        // SAFETY: the request lives as long as `self`; no reference is created.
        unsafe { ptr::addr_of_mut!((*self.request.as_ptr()).control) }
    }
}

impl Request {
    /// The addresses of a finished lookup.
    fn addresses(&self) -> Vec<SocketAddr> {
        let mut addresses = Vec::new();
        let mut entry = self.control.ar_result as *const sys::addrinfo;
        while !entry.is_null() {
            // SAFETY: glibc's list, which lives until `drop` frees it.
            let info = unsafe { &*entry };
            match info.ai_family {
                libc::AF_INET => {
                    // SAFETY: the family determines the type of the struct.
                    let address = unsafe { &*(info.ai_addr as *const libc::sockaddr_in) };
                    let address = u32::from_be(address.sin_addr.s_addr);
                    addresses.push((Ipv4Addr::from(address), 0).into());
                }
                libc::AF_INET6 => {
                    // SAFETY: as above.
                    let address = unsafe { &*(info.ai_addr as *const libc::sockaddr_in6) };
                    let ip = Ipv6Addr::from(address.sin6_addr.s6_addr);
                    // A link-local address is valid on its interface only.
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
        if !self.is_released() {
            // glibc's thread still writes to the request and cannot be stopped: a few
            // hundred bytes are leaked. The thread runs no code of ours.
            return;
        }
        // SAFETY: the lookup is over or was never started, so the request and its list, if
        // there is one, belong to us.
        unsafe {
            let request = Box::from_raw(self.request.as_ptr());
            if !request.control.ar_result.is_null() {
                sys::freeaddrinfo(request.control.ar_result);
            }
        }
    }
}

/// The text of gai_strerror(3).
fn reason(code: i32) -> String {
    // SAFETY: the function accepts any number and returns a constant string.
    let text = unsafe { CStr::from_ptr(sys::gai_strerror(code)) };
    text.to_string_lossy().into_owned()
}
