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
    /// ENOTCONN where there was no socket to send on.
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
    pub(super) fn new(endpoint: Endpoint) -> Self {
        let mut connection = Connection {
            address: endpoint.udp().map(|address| address.ip()),
            endpoint,
            socket: None,
            tried: None,
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
            self.open();
        }
        moved
    }

    /// Sends one datagram. What fails is counted and forgotten: nothing here
    /// waits, and nothing is for the caller to do.
    pub(super) fn send(&mut self, datagram: &[u8]) {
        if self.socket.is_none() && self.tried.is_none_or(|tried| tried.elapsed() >= RETRY) {
            self.open();
            if self.socket.is_none() && self.tried.is_some() {
                return; // Counted, with what was wrong.
            }
        }
        let Some(socket) = &self.socket else {
            return self.counters.failed(libc::ENOTCONN);
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
                self.counters.failed(error.raw_os_error().unwrap_or(0));
                // A full socket is still a server's; any other error says that
                // the server behind this path is gone, and a new one has a
                // socket of its own there.
                let full = matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::ENOBUFS));
                if matches!(socket, Socket::Unix(_)) && !full {
                    self.socket = None;
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
            Ok(socket) => self.socket = Some(socket),
            Err(error) => self.counters.failed(error.raw_os_error().unwrap_or(0)),
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
