//! What went wrong, and how the log shows it.

use std::{fmt, io};

/// How much a log line matters: syslog(3)'s levels, as `flux dmesg` shows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum LogLevel {
    /// Something failed that somebody has to mend.
    Error = libc::LOG_ERR,
    /// Something is not as it should be, and the plugin removed on.
    Warning = libc::LOG_WARNING,
    /// Good to know.
    Info = libc::LOG_INFO,
}

/// What went wrong, in words for an administrator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error(String);

impl Error {
    /// An error with this text.
    pub fn new(text: impl Into<String>) -> Self {
        Error(text.into())
    }

    /// A panic.
    #[cold]
    pub(super) fn bug(panic: &str) -> Self {
        Error(format!("a bug: {panic}"))
    }

    /// What errno says.
    pub(super) fn errno() -> Self {
        Error(io::Error::last_os_error().to_string())
    }

    /// `what`, and what errno says of it.
    pub(super) fn last_os_error(what: &str) -> Self {
        Error(format!("{what}: {}", Error::errno()))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}
