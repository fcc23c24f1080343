//! Errors of Flux's functions, and levels of log lines.

use std::{fmt, io};

/// The severity of a log line (syslog(3)), as `flux dmesg` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum LogLevel {
    /// A fault in the plugin or in Flux.
    Error = libc::LOG_ERR,
    /// Metrics may be missing or late.
    Warning = libc::LOG_WARNING,
    /// Normal operation.
    Info = libc::LOG_INFO,
}

/// An error with a text for an administrator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    text: String,
    /// `true` if a request had no response in time.
    pub is_timeout: bool,
}

impl Error {
    /// An error with this text.
    pub fn new(text: impl Into<String>) -> Self {
        Error { text: text.into(), is_timeout: false }
    }

    /// `context`, followed by the text of errno.
    pub(super) fn last_os_error(context: &str) -> Self {
        let error = io::Error::last_os_error();
        Error {
            text: format!("{context}: {error}"),
            is_timeout: error.raw_os_error() == Some(libc::ETIMEDOUT),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Error {}
