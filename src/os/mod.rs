//! Services of the operating system that std lacks: name lookup without waiting, and the
//! host's name.

#![allow(unsafe_code)]

mod lookup;

use std::ffi::CStr;

pub use lookup::Lookup;

/// The host name (gethostname(2)), cut at 255 bytes.
pub(crate) fn hostname() -> String {
    let mut name = [0u8; 256];
    // SAFETY: the buffer has the length that is passed plus one byte, which stays 0 and
    // terminates a name that was cut.
    unsafe { libc::gethostname(name.as_mut_ptr().cast(), name.len() - 1) };
    CStr::from_bytes_until_nul(&name).map(|name| name.to_string_lossy().into()).unwrap_or_default()
}
