//! Errors of the client's functions, and names and explanations for errnos.

use std::fmt;

/// A name, prefix or endpoint that is not valid. Failed sends are not errors: see
/// [`Counters`](super::Counters).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// An endpoint that cannot be used, with the reason.
    Endpoint(String),
    /// A metric name that is empty or longer than 256 bytes.
    Name {
        /// The length of the name and its tags in bytes.
        length: usize,
    },
    /// Common tags that are longer than 128 bytes.
    Tags {
        /// The length of all common tags in bytes.
        length: usize,
    },
    /// A prefix longer than 256 bytes.
    Prefix {
        /// The length of the prefix in bytes.
        length: usize,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, length, max) = match self {
            Error::Endpoint(text) => return write!(f, "endpoint {text}"),
            Error::Name { length: 0 } => return write!(f, "metric name is empty"),
            Error::Name { length } => ("metric name", length, super::MAX_NAME),
            Error::Tags { length } => ("tags", length, super::MAX_TAGS),
            Error::Prefix { length } => ("prefix", length, super::MAX_NAME),
        };
        write!(f, "{what} of {length} bytes too long (expected at most {max})")
    }
}

impl std::error::Error for Error {}

/// `value` in double quotes, escaped, and cut after 40 characters, so that an error text
/// that contains it stays one short line: Flux cuts the error of a load at 159 bytes.
pub(crate) fn quoted(value: &str) -> String {
    format!("\"{}\"", shortened(&value.escape_default().to_string()))
}

/// `text`, cut after 40 characters.
pub(crate) fn shortened(text: &str) -> String {
    match text.char_indices().nth(40) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

/// Pairs each constant with its name.
macro_rules! names {
    ($($name:ident)+) => { &[$((libc::$name, stringify!($name))),+] };
}

/// The errnos of socket(2), bind(2), connect(2), send(2), unix(7), ip(7), udp(7) and
/// path_resolution(7).
const NAMES: &[(i32, &str)] = names! {
    EACCES EADDRINUSE EADDRNOTAVAIL EAFNOSUPPORT EAGAIN EALREADY EBADF ECONNABORTED ECONNREFUSED
    ECONNRESET EDESTADDRREQ EFAULT EHOSTDOWN EHOSTUNREACH EINPROGRESS EINTR EINVAL EIO EISCONN ELOOP
    EMFILE EMSGSIZE ENAMETOOLONG ENETDOWN ENETUNREACH ENFILE ENOBUFS ENODEV ENOENT ENOMEM ENOPROTOOPT
    ENOTCONN ENOTDIR ENOTSOCK EOPNOTSUPP EPERM EPIPE EPROTO EPROTONOSUPPORT EPROTOTYPE EROFS
    ETIMEDOUT
};

/// The symbolic name of an errno, for example `EPROTOTYPE`; `errno 4095` if sockets do not
/// return it.
pub fn errno_name(errno: i32) -> String {
    match NAMES.iter().find(|(number, _)| *number == errno) {
        Some((_, name)) => (*name).to_owned(),
        None => format!("errno {errno}"),
    }
}

/// The symbolic name of an errno and, for the common ones, the meaning for a statsd server:
/// `ECONNREFUSED: no server listens there`. `is_path` is set for a Unix socket, where some
/// errnos have another meaning than for UDP (connect(2), unix(7), udp(7)).
pub fn explain(errno: i32, is_path: bool) -> String {
    let what = match (errno, is_path) {
        (libc::EPROTOTYPE, _) => "stream socket found; expected a datagram socket",
        (libc::ENOENT, _) => "the path does not exist",
        (libc::EACCES, true) => "permission denied",
        (libc::ECONNREFUSED, _) => "no server listens there",
        (libc::EAGAIN, true) => "the server does not read fast enough",
        (libc::ENETUNREACH | libc::EHOSTUNREACH, _) => "no route to the server",
        (libc::EMSGSIZE, _) => "the datagram is too large",
        (libc::EMFILE | libc::ENFILE, _) => "no file descriptor is free",
        _ => return errno_name(errno),
    };
    format!("{}: {what}", errno_name(errno))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_errno_has_its_name() {
        assert_eq!(errno_name(libc::EPROTOTYPE), "EPROTOTYPE");
        assert_eq!(errno_name(libc::ECONNREFUSED), "ECONNREFUSED");
        assert_eq!(errno_name(4095), "errno 4095");
        let text = "EPROTOTYPE: stream socket found; expected a datagram socket";
        assert_eq!(explain(libc::EPROTOTYPE, true), text);
        assert_eq!(explain(libc::ENOMEM, false), "ENOMEM");
    }
}
