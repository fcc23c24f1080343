//! Sockets to servers.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::SystemTime;

use super::address::Address;
use crate::os::path_mtu;

/// A connected, non-blocking datagram socket. Its errors are errnos.
#[derive(Debug)]
pub enum Socket {
    /// An IPv4 or IPv6 socket.
    Udp(UdpSocket),
    /// A Unix socket, and the file at the server's path.
    Unix(UnixDatagram, Option<FileId>),
}

impl Socket {
    /// A socket that sends to `address`. For UDP it has a new source port.
    ///
    /// # Errors
    /// The errno of socket(2), bind(2) or connect(2).
    pub fn connect(address: &Address) -> Result<Socket, i32> {
        #[cfg(test)]
        faults::next_connect()?;
        let socket = match address {
            Address::Unix(path) => UnixDatagram::unbound().and_then(|socket| {
                socket.set_nonblocking(true)?;
                // Before connect(2): if the file is replaced between the two calls, the next
                // check finds it.
                let file = file_id(path);
                socket.connect(path)?;
                Ok(Socket::Unix(socket, file))
            }),
            Address::Udp(address) => {
                let any = match address.is_ipv4() {
                    true => IpAddr::from(Ipv4Addr::UNSPECIFIED),
                    false => Ipv6Addr::UNSPECIFIED.into(),
                };
                UdpSocket::bind((any, 0)).and_then(|socket| {
                    socket.set_nonblocking(true)?;
                    socket.connect(address)?;
                    Ok(Socket::Udp(socket))
                })
            }
        };
        socket.map_err(|error| errno(&error))
    }

    /// Sends a datagram without waiting.
    ///
    /// # Errors
    /// The errno of send(2). ECONNREFUSED of a UDP socket belongs to an earlier datagram
    /// (ip(7)), but this one was not sent.
    #[inline]
    pub fn send(&self, datagram: &[u8]) -> Result<(), i32> {
        #[cfg(test)]
        faults::next_send()?;
        let result = match self {
            Socket::Udp(socket) => socket.send(datagram),
            Socket::Unix(socket, _) => socket.send(datagram),
        };
        result.map(drop).map_err(|error| errno(&error))
    }

    /// Fetches the pending error of a UDP socket: an earlier datagram was refused (ip(7)).
    pub fn take_error(&self) -> Option<i32> {
        let Socket::Udp(socket) = self else { return None };
        socket.take_error().ok().flatten().map(|error| errno(&error))
    }

    /// The maximum payload of a datagram that is not fragmented, in bytes, if there is one.
    pub fn max_payload(&self) -> Option<usize> {
        match self {
            Socket::Udp(socket) => path_mtu(socket),
            Socket::Unix(..) => None,
        }
    }

    /// `true` if the path of a Unix socket leads to another socket now.
    pub fn has_moved(&self, address: &Address) -> bool {
        match (self, address) {
            (Socket::Unix(_, connected), Address::Unix(path)) => {
                file_id(path).is_some_and(|now| Some(now) != *connected)
            }
            _ => false,
        }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Socket::Udp(socket) => socket.as_fd(),
            Socket::Unix(socket, _) => socket.as_fd(),
        }
    }
}

impl AsRawFd for Socket {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

/// Device, inode and time of creation: the file of a server that restarts may have the inode of
/// the old one. Where the file system has no time of creation, the time of modification, which
/// touch(1) changes, too.
type FileId = (u64, u64, SystemTime);

fn file_id(path: &Path) -> Option<FileId> {
    let file = fs::metadata(path).ok()?;
    Some((file.dev(), file.ino(), file.created().or_else(|_| file.modified()).ok()?))
}

fn errno(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::ENOTCONN)
}

/// Errors of connect(2) and send(2) for tests.
#[cfg(test)]
pub mod faults {
    use std::cell::RefCell;
    use std::thread::LocalKey;

    type Results = RefCell<Vec<i32>>;

    thread_local! {
        static CONNECTS: Results = const { RefCell::new(Vec::new()) };
        static SENDS: Results = const { RefCell::new(Vec::new()) };
    }

    /// In place of an errno: the send panics.
    pub const PANIC: i32 = -1;

    /// The errnos of the next sends of this thread; 0 for a send that is done.
    pub fn set(errnos: &[i32]) {
        SENDS.set(errnos.iter().rev().copied().collect());
    }

    /// As [`set`], for new sockets.
    pub fn set_connects(errnos: &[i32]) {
        CONNECTS.set(errnos.iter().rev().copied().collect());
    }

    pub(super) fn next_connect() -> Result<(), i32> {
        next(&CONNECTS)
    }

    pub(super) fn next_send() -> Result<(), i32> {
        next(&SENDS)
    }

    fn next(results: &'static LocalKey<Results>) -> Result<(), i32> {
        match results.with_borrow_mut(Vec::pop) {
            None | Some(0) => Ok(()),
            Some(PANIC) => panic!("a send panics"),
            Some(errno) => Err(errno),
        }
    }
}
