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
/// no socket should give.
pub fn errno_name(errno: i32) -> String {
    match NAMES.iter().find(|(number, _)| *number == errno) {
        Some((_, name)) => (*name).to_owned(),
        None => format!("errno {errno}"),
    }
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
    }
}
