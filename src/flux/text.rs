//! Text to C and back.

use std::ffi::{c_char, CStr, CString};

/// `text` for C, less any NUL, which would end it early.
pub(super) fn c_string(text: &str) -> CString {
    let bytes: Vec<u8> = text.bytes().filter(|&byte| byte != 0).collect();
    CString::new(bytes).unwrap_or_default()
}

/// The host's name, as the kernel knows it (gethostname(2)).
pub fn hostname() -> String {
    let mut name = [0u8; 256];
    // SAFETY: the buffer is as long as it is said to be, less the last byte,
    // which stays 0 and ends even a name that was cut.
    unsafe { libc::gethostname(name.as_mut_ptr().cast(), name.len() - 1) };
    CStr::from_bytes_until_nul(&name).map(|name| name.to_string_lossy().into()).unwrap_or_default()
}

/// A copy of a C string, `None` for NULL.
///
/// # Safety
/// - `text` is NULL or a C string.
pub(super) unsafe fn c_text(text: *const c_char) -> Option<String> {
    // SAFETY: the caller's promise.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
}
