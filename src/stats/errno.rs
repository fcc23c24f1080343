//! Errnos by name.

/// Pairs each constant with its own name.
macro_rules! names {
    ($($name:ident)+) => { &[$((libc::$name, stringify!($name))),+] };
}

/// What socket(2), bind(2), connect(2), send(2), unix(7), ip(7), udp(7) and
/// path_resolution(7) say may go wrong.
const NAMES: &[(i32, &str)] = names! {
    EACCES EADDRINUSE EADDRNOTAVAIL EAFNOSUPPORT EAGAIN EALREADY EBADF ECONNABORTED ECONNREFUSED
    ECONNRESET EDESTADDRREQ EFAULT EHOSTDOWN EHOSTUNREACH EINPROGRESS EINTR EINVAL EIO EISCONN ELOOP EMFILE
    EMSGSIZE ENAMETOOLONG ENETDOWN ENETUNREACH ENFILE ENOBUFS ENODEV ENOENT ENOMEM ENOPROTOOPT
    ENOTCONN ENOTDIR ENOTSOCK EOPNOTSUPP EPERM EPIPE EPROTO EPROTONOSUPPORT EPROTOTYPE EROFS
    ETIMEDOUT
};

/// The errno's name, as errno(3) has it: `EPROTOTYPE`. `errno 4095` for one that
/// no socket returns.
pub fn errno_name(errno: i32) -> String {
    match NAMES.iter().find(|(number, _)| *number == errno) {
        Some((_, name)) => (*name).to_owned(),
        None => format!("errno {errno}"),
    }
}

/// The errno's name and, where that is clear, what it says of a statsd server:
/// `EPROTOTYPE: a stream socket is there; datagram sockets only`. For a `path`
/// rather than UDP where that makes a difference (connect(2), unix(7), udp(7)).
pub fn explain(errno: i32, path: bool) -> String {
    let what = match (errno, path) {
        (libc::EPROTOTYPE, _) => "a stream socket is there; datagram sockets only",
        (libc::ENOENT, _) => "nothing is at this path",
        (libc::EACCES, true) => "permission denied",
        (libc::ECONNREFUSED, _) => "no server listens there",
        (libc::EAGAIN, true) => "the server does not read fast enough",
        (libc::ENETUNREACH | libc::EHOSTUNREACH, _) => "there is no route to it",
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
        // A stream socket at the path (unix(7)).
        assert_eq!(errno_name(libc::EPROTOTYPE), "EPROTOTYPE");
        assert_eq!(errno_name(libc::ECONNREFUSED), "ECONNREFUSED");
        assert_eq!(errno_name(4095), "errno 4095");
        assert_eq!(
            explain(libc::EPROTOTYPE, true),
            "EPROTOTYPE: a stream socket is there; datagram sockets only"
        );
        assert_eq!(explain(libc::ENOMEM, false), "ENOMEM");
    }
}
