//! The client's connection to a server.

use std::time::{Duration, Instant};

use super::address::Address;
use super::counters::Counters;
use super::socket::Socket;

/// The minimum time between two attempts to open a socket.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// A socket that is opened again after errors, and counters of its sends.
#[derive(Debug)]
pub struct Connection {
    /// `None` until the host is found.
    address: Option<Address>,
    /// `None` if it could not be opened: no address, no route, no socket at the path, no
    /// free file descriptor.
    socket: Option<Socket>,
    /// The time of the last attempt to open the socket.
    opened: Option<Instant>,
    /// The errno of the last attempt; ENOTCONN before the first.
    open_errno: i32,
    counters: Counters,
}

impl Connection {
    /// A connection that is opened by the first send. `None` if the address is not known yet:
    /// then sends fail with ENOTCONN.
    pub fn new(address: Option<Address>) -> Self {
        let (socket, opened, open_errno) = (None, None, libc::ENOTCONN);
        Connection { address, socket, opened, open_errno, counters: Counters::default() }
    }

    /// The server's address, if it is known.
    pub fn address(&self) -> Option<&Address> {
        self.address.as_ref()
    }

    /// The results of all sends so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Sets the address. The counters stay.
    pub fn set_address(&mut self, address: Address) {
        (self.address, self.socket, self.opened) = (Some(address), None, None);
    }

    /// Sends a datagram without waiting. A failure is counted, and the datagram dropped.
    pub fn send(&mut self, datagram: &[u8]) {
        let is_due = self.opened.is_none_or(|time| time.elapsed() >= RETRY_INTERVAL);
        if let (None, Some(address), true) = (&self.socket, &self.address, is_due) {
            self.opened = Some(Instant::now());
            match Socket::connect(address) {
                Ok(socket) => self.socket = Some(socket),
                Err(errno) => self.open_errno = errno,
            }
        }
        let Some(socket) = &self.socket else { return self.counters.add_failure(self.open_errno) };
        let mut result = socket.send(datagram);
        if let (Socket::Udp(_), Err(libc::ECONNREFUSED)) = (socket, result) {
            // It belongs to an earlier datagram. The server may be back.
            self.counters.add_failure(libc::ECONNREFUSED);
            result = socket.send(datagram);
        }
        match result {
            Ok(()) => self.counters.add_datagram(datagram.len()),
            Err(errno) => {
                self.counters.add_failure(errno);
                // A full buffer is no reason for another socket. After other errors a new
                // socket reaches a server that bound the path again, or another local address.
                if !matches!(errno, libc::EAGAIN | libc::ENOBUFS | libc::EMSGSIZE) {
                    (self.socket, self.open_errno) = (None, errno);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::unix::net::UnixDatagram;

    use super::*;

    #[test]
    fn a_server_that_restarts_gets_the_first_datagram() {
        for dead in 1..9 {
            let server = UdpSocket::bind("127.0.0.1:0").unwrap();
            let address = server.local_addr().unwrap();
            let mut connection = Connection::new(Some(Address::udp(address)));
            drop(server);
            (0..dead).for_each(|_| connection.send(b"lost"));
            let refused = connection.counters().failures_by(libc::ECONNREFUSED);
            assert!(dead < 2 || refused > 0);

            let server = UdpSocket::bind(address).unwrap();
            server.set_nonblocking(true).unwrap();
            connection.opened = None; // As after RETRY_INTERVAL.
            connection.send(b"first");
            let mut buffer = [0; 16];
            let length = server.recv(&mut buffer).unwrap();
            assert_eq!(&buffer[..length], b"first", "after {dead}");
        }
    }

    #[test]
    fn a_full_or_absent_unix_socket_never_blocks_and_a_new_one_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("statsd.sock");
        let mut connection = Connection::new(Some(Address::Unix(path.clone())));
        connection.send(b"no socket");
        assert_eq!(connection.counters().datagrams, 0);
        assert_eq!(connection.counters().failures_by(libc::ENOENT), 1);

        let server = UnixDatagram::bind(&path).unwrap();
        connection.opened = None; // As after RETRY_INTERVAL.
        while connection.counters().failures_by(libc::EAGAIN) == 0 {
            connection.send(b"not read");
        }
        assert!(connection.counters().datagrams > 0);

        drop(server);
        connection.send(b"gone");
        std::fs::remove_file(&path).unwrap();
        let server = UnixDatagram::bind(&path).unwrap();
        connection.opened = None;
        connection.send(b"back");
        let mut buffer = [0; 16];
        let length = server.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"back");
    }

    #[test]
    fn nothing_is_sent_until_the_address_is_known() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut connection = Connection::new(None);
        connection.send(b"lost");
        assert_eq!(connection.counters().failures_by(libc::ENOTCONN), 1);
        connection.set_address(Address::udp(server.local_addr().unwrap()));
        connection.send(b"found");
        let mut buffer = [0; 16];
        let length = server.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"found");
    }
}
