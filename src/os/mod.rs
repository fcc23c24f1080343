//! Services of the operating system that std lacks: name lookup without waiting, the path
//! MTU, poll(2), and the host's name.

#![allow(unsafe_code)]

mod lookup;
mod path_mtu;

use std::ffi::CStr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

pub use lookup::Lookup;
pub use path_mtu::path_mtu;

/// Waits until a send to the socket does not block, or for `timeout` (poll(2)).
pub(crate) fn wait_until_writable(socket: BorrowedFd<'_>, timeout: Duration) {
    let mut fd = libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLOUT, revents: 0 };
    // SAFETY: one valid entry, as the length says.
    unsafe { libc::poll(&mut fd, 1, timeout.as_millis() as libc::c_int) };
}

/// The host name (gethostname(2)), cut at 255 bytes.
pub(crate) fn hostname() -> String {
    let mut name = [0u8; 256];
    // SAFETY: the buffer has the length that is passed plus one byte, which stays 0 and
    // terminates a name that was cut.
    unsafe { libc::gethostname(name.as_mut_ptr().cast(), name.len() - 1) };
    CStr::from_bytes_until_nul(&name).map(|name| name.to_string_lossy().into()).unwrap_or_default()
}
