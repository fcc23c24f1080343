//! Services of the operating system that std lacks: name lookup without waiting, the path
//! MTU, poll(2), the host's name, and protection from the cancellation of a thread.

#![allow(unsafe_code)]

mod lookup;
mod path_mtu;

use std::ffi::{c_int, CStr};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;
use std::time::Duration;

pub use lookup::Lookup;
pub use path_mtu::path_mtu;

/// Waits until a send to the socket does not block, or for `timeout` (poll(2)).
pub(crate) fn wait_until_writable(socket: BorrowedFd<'_>, timeout: Duration) {
    let mut fd = libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLOUT, revents: 0 };
    // SAFETY: one valid entry, as the length says.
    unsafe { libc::poll(&mut fd, 1, timeout.as_millis() as libc::c_int) };
}

use crate::flux_sys as sys;

/// The host name (gethostname(2)), cut at 255 bytes.
pub(crate) fn hostname() -> String {
    let mut name = [0u8; 256];
    // SAFETY: the buffer has the length that is passed plus one byte, which stays 0 and
    // terminates a name that was cut.
    unsafe { libc::gethostname(name.as_mut_ptr().cast(), name.len() - 1) };
    CStr::from_bytes_until_nul(&name).map(|name| name.to_string_lossy().into()).unwrap_or_default()
}

/// While this value exists, its thread is not cancelled.
///
/// `flux module remove --cancel job-manager` cancels the job manager's thread
/// (pthread_cancel(3)), which unwinds the stack from within the next system call. Rust aborts
/// the process if this unwinding meets `catch_unwind`, so it must begin outside of Rust.
pub(crate) struct Uncancelled(c_int);

impl Uncancelled {
    pub(crate) fn new() -> Uncancelled {
        let mut old = 0;
        // SAFETY: it writes the old state to `old`.
        unsafe { sys::pthread_setcancelstate(sys::PTHREAD_CANCEL_DISABLE as c_int, &mut old) };
        Uncancelled(old)
    }
}

impl Drop for Uncancelled {
    fn drop(&mut self) {
        // SAFETY: the value is an old state. No state is written.
        unsafe { sys::pthread_setcancelstate(self.0, ptr::null_mut()) };
    }
}
