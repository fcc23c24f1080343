//! The socket behind an endpoint, and what became of what was sent.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::{Duration, Instant};

use super::endpoint::Endpoint;

/// How long after a failed attempt to make the socket the next one is made.
const RETRY: Duration = Duration::from_secs(1);

/// One way to a server: a connected, non-blocking datagram socket.
#[derive(Debug)]
pub struct Connection {
    endpoint: Endpoint,
    /// Where the endpoint is; for a host's name `None` until it was looked up.
    address: Option<IpAddr>,
    /// `None` if it could not be made: no address, no route, no server at that
    /// path, no file descriptor free.
    socket: Option<Socket>,
    /// When it was last tried to make it.
    tried: Option<Instant>,
    /// The errno of the last try that failed; ENOTCONN before the first.
    trouble: i32,
    /// Whether there ever was one.
    met: bool,
    /// Whether [`send`](Self::send) may make the first one.
    meets: bool,
    counters: Counters,
}

#[derive(Debug)]
enum Socket {
    Udp(UdpSocket),
    Unix(UnixDatagram),
}

/// What became of the datagrams.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Datagrams that the kernel took.
    pub datagrams: u64,
    /// Their payload, in bytes.
    pub bytes: u64,
    /// Sends that failed, by errno: ECONNREFUSED, EAGAIN, ENOBUFS, ENETUNREACH…
    /// Where there was no socket, what kept it from being made; ENOTCONN while a
    /// host is not found.
    pub errors: BTreeMap<i32, u64>,
    /// The errno of the last send that failed; 0 if none did.
    pub last_error: i32,
}

impl Counters {
    fn failed(&mut self, errno: i32) {
        *self.errors.entry(errno).or_default() += 1;
        self.last_error = errno;
    }

    /// Sends that failed.
    pub fn failures(&self) -> u64 {
        self.errors.values().sum()
    }

    /// Adds what `other` counted.
    pub(super) fn add(&mut self, other: &Counters) {
        self.datagrams += other.datagrams;
        self.bytes += other.bytes;
        for (errno, count) in &other.errors {
            *self.errors.entry(*errno).or_default() += count;
        }
        self.last_error = other.last_error;
    }
}

impl Connection {
    /// Makes the socket. If that cannot be done now, a later send tries again.
    pub(super) fn new(endpoint: Endpoint) -> Self {
        Self::begin(endpoint, true)
    }

    /// As [`new`](Self::new), but if it cannot be done now, no send tries again:
    /// the owner calls [`meet`](Self::meet), and can first send what a server
    /// must know that hears of this for the first time.
    pub(super) fn introduced(endpoint: Endpoint) -> Self {
        Self::begin(endpoint, false)
    }

    fn begin(endpoint: Endpoint, meets: bool) -> Self {
        let mut connection = Connection {
            address: endpoint.udp().map(|address| address.ip()),
            endpoint,
            socket: None,
            tried: None,
            trouble: libc::ENOTCONN,
            met: false,
            meets,
            counters: Counters::default(),
        };
        connection.open();
        connection
    }

    /// Where it leads.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The address that it sends to; `None` for a path, and for a name that was
    /// not found yet.
    pub fn address(&self) -> Option<SocketAddr> {
        Some(SocketAddr::new(self.address?, self.endpoint.port()?))
    }

    /// Whether something was to be sent, and nothing ever was.
    pub fn never_sent(&self) -> bool {
        self.counters.datagrams == 0 && self.counters.failures() > 0
    }

    /// What became of the datagrams so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The host was found there. Returns whether that is news.
    pub(super) fn set_address(&mut self, address: IpAddr) -> bool {
        let moved = self.address != Some(address);
        if moved {
            self.address = Some(address);
            self.met = false;
            self.open();
        }
        moved
    }

    /// Whether there ever was a socket.
    pub(super) fn is_met(&self) -> bool {
        self.met
    }

    /// Makes the first socket, where that has failed until now. Returns whether
    /// there is one now for the first time.
    pub(super) fn meet(&mut self) -> bool {
        if self.met {
            return false;
        }
        self.open();
        self.met
    }

    /// Sends one datagram. What fails is counted and forgotten: nothing here
    /// waits, and nothing is for the caller to do.
    pub(super) fn send(&mut self, datagram: &[u8]) {
        if self.socket.is_none()
            && (self.met || self.meets)
            && self.tried.is_none_or(|tried| tried.elapsed() >= RETRY)
        {
            self.open();
        }
        let Some(socket) = &self.socket else {
            return self.counters.failed(self.trouble);
        };
        let mut sent = socket.send(datagram);
        if let (Socket::Udp(_), Some(libc::ECONNREFUSED)) = (socket, errno(&sent)) {
            // This is the answer to an earlier datagram (ip(7)), and took this
            // one's place: the server may be back, so send it again.
            self.counters.failed(libc::ECONNREFUSED);
            sent = socket.send(datagram);
        }
        match (sent, socket) {
            (Ok(_), _) => {
                self.counters.datagrams += 1;
                self.counters.bytes += datagram.len() as u64;
            }
            (Err(error), socket) => {
                let errno = error.raw_os_error().unwrap_or(libc::ENOTCONN);
                self.counters.failed(errno);
                // A full socket is still a server's; any other error says that
                // the server behind this path is gone, and a new one has a
                // socket of its own there.
                let full = matches!(errno, libc::EAGAIN | libc::ENOBUFS);
                if matches!(socket, Socket::Unix(_)) && !full {
                    self.socket = None;
                    self.trouble = errno;
                }
            }
        }
    }

    fn open(&mut self) {
        self.socket = None;
        let opened = match (self.endpoint.path(), self.address()) {
            (Some(path), _) => unix(path),
            (None, Some(address)) => udp(address),
            (None, None) => return,
        };
        self.tried = Some(Instant::now());
        match opened {
            Ok(socket) => {
                self.socket = Some(socket);
                self.met = true;
            }
            Err(error) => self.trouble = error.raw_os_error().unwrap_or(libc::ENOTCONN),
        }
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

fn errno(result: &io::Result<usize>) -> Option<i32> {
    result.as_ref().err().and_then(io::Error::raw_os_error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_send_that_fails_is_counted_and_the_next_one_goes_out() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        let mut connection = Connection::new(address.to_string().parse().unwrap());
        drop(server);
        for _ in 0..3 {
            connection.send(b"lost");
        }
        assert!(connection.counters().errors[&libc::ECONNREFUSED] > 0);

        let server = UdpSocket::bind(address).unwrap();
        connection.send(b"back");
        let mut buffer = [0; 16];
        let length = server.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"back");
    }

    #[test]
    fn a_full_or_absent_unix_socket_never_blocks_and_a_new_one_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("statsd.sock");
        let mut connection = Connection::new(format!("unix:{}", path.display()).parse().unwrap());
        connection.send(b"nobody there");
        assert_eq!(connection.counters().datagrams, 0);

        assert_eq!(connection.counters().errors[&libc::ENOENT], 1);

        let server = UnixDatagram::bind(&path).unwrap();
        connection.tried = None; // As if RETRY were over.
        while !connection.counters().errors.contains_key(&libc::EAGAIN) {
            connection.send(b"nobody reads");
        }
        assert!(connection.counters().datagrams > 0);

        drop(server);
        connection.send(b"gone");
        std::fs::remove_file(&path).unwrap();
        let server = UnixDatagram::bind(&path).unwrap();
        connection.tried = None;
        connection.send(b"back");
        let mut buffer = [0; 16];
        let length = server.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"back");
    }

    #[test]
    fn who_is_introduced_is_sent_nothing_before_the_owner_has_met_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("statsd.sock");
        let endpoint = format!("unix:{}", path.display()).parse().unwrap();
        let mut connection = Connection::introduced(endpoint);
        let server = UnixDatagram::bind(&path).unwrap();
        connection.tried = None;
        connection.send(b"too early");
        assert_eq!(connection.counters().errors[&libc::ENOENT], 1);
        assert!(connection.meet() && !connection.meet(), "for the first time");
        connection.send(b"met");
        let mut buffer = [0; 16];
        let length = server.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"met");
    }

    #[test]
    fn a_name_has_no_address_until_it_is_found() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = server.local_addr().unwrap().port();
        let mut connection = Connection::new(format!("statsd:{port}").parse().unwrap());
        connection.send(b"lost");
        assert_eq!(connection.counters().errors[&libc::ENOTCONN], 1);
        let found = Ipv4Addr::LOCALHOST.into();
        assert!(connection.set_address(found));
        assert!(!connection.set_address(found), "no news");
        connection.send(b"found");
        let mut buffer = [0; 16];
        let length = server.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"found");
    }
}
