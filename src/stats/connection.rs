//! The socket to a server.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use super::address::Address;
use super::counters::Counters;

/// The minimum time between two attempts to open a socket.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// The minimum time between two retransmissions after a refusal.
const RETRANSMIT_INTERVAL: Duration = Duration::from_millis(100);

/// A connected, non-blocking datagram socket, which is opened again after errors, and
/// counters of its sends.
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
    /// The time of the last retransmission.
    retransmitted: Option<Instant>,
    last_failed: bool,
    counters: Counters,
}

#[derive(Debug)]
enum Socket {
    Udp(UdpSocket),
    Unix(UnixDatagram),
}

impl Connection {
    /// Opens a socket to `address`. If this fails, a later send tries again. `None` if the
    /// address is not known yet: then sends fail with ENOTCONN.
    pub fn new(address: Option<Address>) -> Self {
        let mut connection = Connection {
            address,
            socket: None,
            opened: None,
            open_errno: libc::ENOTCONN,
            retransmitted: None,
            last_failed: false,
            counters: Counters::default(),
        };
        connection.open();
        connection
    }

    /// The server's address, if it is known.
    pub fn address(&self) -> Option<&Address> {
        self.address.as_ref()
    }

    /// The results of all sends so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Replaces the address and opens a socket to it. The counters stay.
    pub fn set_address(&mut self, address: Address) {
        self.address = Some(address);
        self.socket = None;
        self.open();
    }

    /// Returns `true` if there is a socket.
    pub fn is_open(&self) -> bool {
        self.socket.is_some()
    }

    /// Returns `true` if the last send or a later [`poll_error`](Self::poll_error) failed.
    pub fn last_failed(&self) -> bool {
        self.last_failed
    }

    /// Opens the socket if it is not open. Returns `true` if it is open afterwards.
    pub fn open(&mut self) -> bool {
        if self.socket.is_none() {
            self.socket = self.new_socket();
        }
        self.is_open()
    }

    /// Fetches the pending error of a UDP socket, which reports that an earlier datagram
    /// was refused (ip(7)), and counts it as a failed send.
    pub fn poll_error(&mut self) {
        let Some(Socket::Udp(socket)) = &self.socket else { return };
        if let Ok(Some(error)) = socket.take_error() {
            self.count_failure(errno(&error));
        }
    }

    /// Permits an immediate retransmission of the next datagram that is refused.
    pub fn allow_retransmit(&mut self) {
        self.retransmitted = None;
    }

    /// Counts a datagram that is dropped because the server cannot be reached yet.
    #[cold]
    pub fn count_unsent(&mut self) {
        self.count_failure(self.open_errno);
    }

    fn count_failure(&mut self, errno: i32) {
        self.counters.add_failure(errno);
        self.last_failed = true;
    }

    /// Sends a datagram without waiting. A failure is counted, and the datagram dropped.
    /// Returns `true` if the kernel accepted it at the first attempt. A retransmission after
    /// a refusal does not count: the kernel accepts it even if there is no server.
    pub fn send(&mut self, datagram: &[u8]) -> bool {
        let result = match &self.socket {
            Some(Socket::Udp(socket)) => socket.send(datagram),
            Some(Socket::Unix(socket)) => socket.send(datagram),
            None => return self.open_and_send(datagram),
        };
        match result {
            Ok(_) => {
                self.counters.datagrams += 1;
                self.counters.bytes += datagram.len() as u64;
                self.last_failed = false;
                true
            }
            Err(error) => {
                self.send_failed(datagram, errno(&error));
                false
            }
        }
    }

    #[cold]
    fn open_and_send(&mut self, datagram: &[u8]) -> bool {
        if is_over(self.opened, RETRY_INTERVAL) && self.open() {
            return self.send(datagram);
        }
        self.count_unsent();
        false
    }

    #[cold]
    fn send_failed(&mut self, datagram: &[u8], errno: i32) {
        self.count_failure(errno);
        match (&self.socket, errno) {
            // The refusal belongs to an earlier datagram (ip(7)), but prevented this send.
            // The server may be back, so the datagram is sent again, though not every time:
            // each datagram to a dead server would cost two system calls. So a server that
            // restarts misses at most the first datagram, and only if others were sent
            // shortly before. The next resync corrects all of them.
            (Some(Socket::Udp(_)), libc::ECONNREFUSED)
                if is_over(self.retransmitted, RETRANSMIT_INTERVAL) =>
            {
                self.retransmitted = Some(Instant::now());
                self.send(datagram);
            }
            // The socket's buffer is full, so the server exists.
            (Some(Socket::Unix(_)), libc::EAGAIN | libc::ENOBUFS) => (),
            // The server is gone. A new one binds another socket to the path.
            (Some(Socket::Unix(_)), _) => {
                self.socket = None;
                self.open_errno = errno;
            }
            // The local address of the socket no longer exists, or no longer has a route to
            // the server. A new socket selects another address.
            (Some(Socket::Udp(_)), libc::ENETUNREACH | libc::EINVAL | libc::EADDRNOTAVAIL)
                if is_over(self.opened, RETRY_INTERVAL) =>
            {
                if let Some(socket) = self.new_socket() {
                    self.socket = Some(socket);
                    self.send(datagram);
                }
            }
            _ => (),
        }
    }

    fn new_socket(&mut self) -> Option<Socket> {
        let socket = match self.address.as_ref()? {
            Address::Unix(path) => UnixDatagram::unbound().and_then(|socket| {
                socket.set_nonblocking(true)?;
                socket.connect(path)?;
                Ok(Socket::Unix(socket))
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
        self.opened = Some(Instant::now());
        socket.map_err(|error| self.open_errno = errno(&error)).ok()
    }
}

fn errno(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(libc::ENOTCONN)
}

/// Returns `true` if at least `time` has passed since `since`, or if `since` is `None`.
fn is_over(since: Option<Instant>, time: Duration) -> bool {
    since.is_none_or(|since| since.elapsed() >= time)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends `dead` datagrams to a dead server, and two more after its restart. Returns the
    /// number of system calls before the restart, and the datagrams that arrive after it.
    fn restart(dead: u64, retransmitted: Option<Instant>) -> (u64, Vec<String>) {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        let mut connection = Connection::new(Some(Address::udp(address)));
        drop(server);
        for _ in 0..dead {
            connection.retransmitted = retransmitted;
            connection.send(b"lost");
        }
        let counters = connection.counters();
        assert!(dead < 2 || counters.failures_by(libc::ECONNREFUSED) > 0);
        let calls = counters.datagrams + counters.failures();

        let server = UdpSocket::bind(address).unwrap();
        server.set_nonblocking(true).unwrap();
        connection.retransmitted = retransmitted;
        connection.send(b"first");
        connection.send(b"second");
        let mut buffer = [0; 16];
        let mut arrived = Vec::new();
        while let Ok(length) = server.recv(&mut buffer) {
            arrived.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
        }
        (calls, arrived)
    }

    #[test]
    fn a_server_that_restarts_after_a_while_gets_the_first_datagram() {
        for dead in 1..9 {
            let (_, arrived) = restart(dead, None);
            assert_eq!(arrived, ["first", "second"], "after {dead}");
        }
    }

    #[test]
    fn a_dead_server_costs_one_call_per_send_and_loses_at_most_the_first_datagram() {
        // No retransmission is permitted, as right after one.
        let now = Some(Instant::now() + Duration::from_secs(3600));
        for dead in 1..9 {
            let (calls, arrived) = restart(dead, now);
            assert_eq!(calls, dead);
            assert_eq!(arrived.last().map(String::as_str), Some("second"), "after {dead}");
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

    #[test]
    fn a_refusal_is_found_before_the_next_send() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut connection = Connection::new(Some(Address::udp(server.local_addr().unwrap())));
        connection.send(b"received");
        connection.poll_error();
        assert!(!connection.last_failed());
        drop(server);
        connection.send(b"refused");
        for _ in 0..2 {
            connection.poll_error();
            assert!(connection.last_failed());
            assert_eq!(connection.counters().errors, [(libc::ECONNREFUSED, 1)], "fetched once");
        }
    }
}
