//! The socket behind an endpoint, and what became of what was sent.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::{Duration, Instant};

use super::address::Address;
use super::counters::Counters;

/// How long after a failed try to open the socket the next one is made.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// How long after a datagram was sent again another one may be.
const RETRANSMIT_INTERVAL: Duration = Duration::from_millis(100);

/// The way to one server: a connected, non-blocking datagram socket, while one can be
/// opened.
#[derive(Debug)]
pub struct Connection {
    /// `None` while nobody knows where the server is.
    address: Option<Address>,
    /// `None` if it could not be opened: no address, no route, no server at that
    /// path, no file descriptor free.
    socket: Option<Socket>,
    /// When it was last tried to open it.
    opened: Option<Instant>,
    /// Why the last try failed; ENOTCONN before the first.
    open_errno: i32,
    /// When a datagram was last sent again.
    last_retransmit: Option<Instant>,
    /// Whether the last send or poll failed.
    last_failed: bool,
    counters: Counters,
}

#[derive(Debug)]
enum Socket {
    Udp(UdpSocket),
    Unix(UnixDatagram),
}

impl Connection {
    /// Opens the socket. If that cannot be done now, a later send tries again.
    pub fn new(address: Address) -> Self {
        let mut connection = Connection::unknown();
        connection.set_address(address);
        connection
    }

    /// One whose server is yet to be found.
    pub fn unknown() -> Self {
        Connection {
            address: None,
            socket: None,
            opened: None,
            open_errno: libc::ENOTCONN,
            last_retransmit: None,
            last_failed: false,
            counters: Counters::default(),
        }
    }

    /// The address that it sends to, if it is known.
    pub fn address(&self) -> Option<&Address> {
        self.address.as_ref()
    }

    /// What became of the datagrams so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Whether something was to be sent, and nothing ever was.
    pub fn never_sent(&self) -> bool {
        self.counters.datagrams == 0 && self.counters.failures() > 0
    }

    /// Sends to this address from now on, and opens a socket for it.
    pub fn set_address(&mut self, address: Address) {
        self.address = Some(address);
        self.socket = None;
        self.open();
    }

    /// Whether there is a socket.
    pub fn is_open(&self) -> bool {
        self.socket.is_some()
    }

    /// Whether the last send failed, or a later [poll](Self::poll_error).
    pub fn last_failed(&self) -> bool {
        self.last_failed
    }

    /// Opens the socket, unless it is open. Returns whether it is.
    pub fn open(&mut self) -> bool {
        if self.socket.is_none() {
            self.socket = self.new_socket();
        }
        self.socket.is_some()
    }

    /// Looks whether an earlier datagram was refused (ECONNREFUSED, ip(7)), and
    /// counts that, as the next send would have. Returns the errno, if so.
    pub fn poll_error(&mut self) -> Option<i32> {
        let Some(Socket::Udp(socket)) = &self.socket else { return None };
        let errno = socket.take_error().ok()??.raw_os_error()?;
        self.counters.failed(errno);
        self.last_failed = true;
        Some(errno)
    }

    /// The next datagram that is refused is sent again, however soon.
    pub fn allow_retransmit(&mut self) {
        self.last_retransmit = None;
    }

    /// Counts a datagram that was meant for a server that cannot be sent to.
    #[cold]
    pub fn count_unsent(&mut self) {
        self.counters.failed(self.open_errno);
        self.last_failed = true;
    }

    /// Sends one datagram. What fails is counted and forgotten: nothing here
    /// waits, and nothing is for the caller to do. Returns whether the kernel took
    /// it. What is sent again after a refusal counts as refused: the kernel takes it
    /// even where no server is.
    pub fn send(&mut self, datagram: &[u8]) -> bool {
        match self.socket.as_ref().map(|socket| socket.send(datagram)) {
            Some(Ok(_)) => {
                self.counters.datagrams += 1;
                self.counters.bytes += datagram.len() as u64;
                self.last_failed = false;
                true
            }
            Some(Err(error)) => {
                self.failed(datagram, error);
                false
            }
            None => self.open_and_send(datagram),
        }
    }

    /// Sends where there was no socket, if one can be opened.
    #[cold]
    fn open_and_send(&mut self, datagram: &[u8]) -> bool {
        if is_over(self.opened, RETRY_INTERVAL) && self.open() {
            return self.send(datagram);
        }
        self.count_unsent();
        false
    }

    #[cold]
    fn failed(&mut self, datagram: &[u8], error: io::Error) {
        let errno = error.raw_os_error().unwrap_or(libc::ENOTCONN);
        self.counters.failed(errno);
        self.last_failed = true;
        match (&self.socket, errno) {
            // A refusal answers an earlier datagram (ip(7)), but this one was not
            // sent because of it. The server may be back, so this one is sent again.
            // Not every time: each send to a dead server would be two. So a server
            // that added back misses at most one datagram, the first, and only if
            // others were sent just before it, which it missed, too. The next resync
            // repairs them all.
            (Some(Socket::Udp(_)), libc::ECONNREFUSED)
                if is_over(self.last_retransmit, RETRANSMIT_INTERVAL) =>
            {
                self.last_retransmit = Some(Instant::now());
                self.send(datagram);
            }
            // A full socket is still a server's; any other error says that the
            // server behind this path is gone, and a new one has a socket of its
            // own there.
            (Some(Socket::Unix(_)), libc::EAGAIN | libc::ENOBUFS) => (),
            (Some(Socket::Unix(_)), _) => {
                self.socket = None;
                self.open_errno = errno;
            }
            // It sends from the address that this host had when it was opened. If
            // that is gone, or is no longer the one for the way there, a new
            // socket takes the right one.
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

    /// A new socket, if one can be opened.
    fn new_socket(&mut self) -> Option<Socket> {
        let opened = match self.address.as_ref()? {
            Address::Unix(path) => unix(path),
            Address::Udp(address) => udp(*address),
        };
        self.opened = Some(Instant::now());
        let errno = |error: io::Error| error.raw_os_error().unwrap_or(libc::ENOTCONN);
        opened.map_err(|error| self.open_errno = errno(error)).ok()
    }
}

impl Socket {
    fn send(&self, datagram: &[u8]) -> io::Result<usize> {
        match self {
            Socket::Udp(socket) => socket.send(datagram),
            Socket::Unix(socket) => socket.send(datagram),
        }
    }
}

fn udp(address: SocketAddr) -> io::Result<Socket> {
    let any: IpAddr = match address {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0))?;
    socket.set_nonblocking(true)?;
    socket.connect(address)?;
    Ok(Socket::Udp(socket))
}

fn unix(path: &Path) -> io::Result<Socket> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.connect(path)?;
    Ok(Socket::Unix(socket))
}

/// Whether as much time has passed since then, if it ever was.
fn is_over(since: Option<Instant>, time: Duration) -> bool {
    since.is_none_or(|since| since.elapsed() >= time)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After as many sends to a dead server, and two more when it is back: the
    /// system calls of the former, and which of the latter arrive.
    fn come_back(dead: u64, last_retransmit: Option<Instant>) -> (u64, Vec<String>) {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        let mut connection = Connection::new(Address::udp(address));
        drop(server);
        for _ in 0..dead {
            connection.last_retransmit = last_retransmit;
            connection.send(b"lost");
        }
        let counters = connection.counters();
        assert!(dead < 2 || counters.failures_by(libc::ECONNREFUSED) > 0);
        let calls = counters.datagrams + counters.failures();

        let server = UdpSocket::bind(address).unwrap();
        server.set_nonblocking(true).unwrap();
        connection.last_retransmit = last_retransmit;
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
    fn a_server_that_comes_back_after_a_while_gets_the_first_datagram() {
        for dead in 1..9 {
            let (_, arrived) = come_back(dead, None);
            assert_eq!(arrived, ["first", "second"], "after {dead}");
        }
    }

    #[test]
    fn a_dead_server_costs_one_call_a_send_and_a_fast_sender_its_first_datagram() {
        // None is sent again: another one just was.
        let now = Some(Instant::now() + Duration::from_secs(3600));
        for dead in 1..9 {
            let (calls, arrived) = come_back(dead, now);
            assert_eq!(calls, dead);
            assert_eq!(arrived.last().map(String::as_str), Some("second"), "after {dead}");
        }
    }

    #[test]
    fn a_full_or_absent_unix_socket_never_blocks_and_a_new_one_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("statsd.sock");
        let mut connection = Connection::new(Address::Unix(path.clone()));
        connection.send(b"nobody there");
        assert_eq!(connection.counters().datagrams, 0);

        assert_eq!(connection.counters().failures_by(libc::ENOENT), 1);

        let server = UnixDatagram::bind(&path).unwrap();
        connection.opened = None; // As if RETRY_INTERVAL were over.
        while connection.counters().failures_by(libc::EAGAIN) == 0 {
            connection.send(b"nobody reads");
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
        let mut connection = Connection::unknown();
        connection.send(b"lost");
        assert_eq!(connection.counters().failures_by(libc::ENOTCONN), 1);
        connection.set_address(Address::udp(server.local_addr().unwrap()));
        connection.send(b"found");
        let mut buffer = [0; 16];
        let length = server.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"found");
    }

    #[test]
    fn a_refusal_can_be_asked_for_before_the_next_send() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut connection = Connection::new(Address::udp(server.local_addr().unwrap()));
        connection.send(b"received");
        assert_eq!(connection.poll_error(), None);
        drop(server);
        connection.send(b"refused");
        assert_eq!(connection.poll_error(), Some(libc::ECONNREFUSED));
        assert_eq!(connection.poll_error(), None, "it is taken");
    }
}
