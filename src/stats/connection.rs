//! The socket behind an endpoint, and what became of what was sent.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::time::{Duration, Instant};

use super::counters::Counters;
use super::endpoint::Endpoint;

/// How long after a failed attempt to make the socket the next one is made.
const RETRY: Duration = Duration::from_secs(1);
/// How long after a datagram was sent again another one may be.
const REPEAT: Duration = Duration::from_millis(100);

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
    /// When a datagram was last sent again.
    repeated: Option<Instant>,
    counters: Counters,
}

#[derive(Debug)]
pub(super) enum Socket {
    Udp(UdpSocket),
    Unix(UnixDatagram),
}

impl Connection {
    /// Makes the socket. If that cannot be done now, a later send tries again.
    pub(super) fn new(endpoint: Endpoint) -> Self {
        Self::begin(endpoint, true)
    }

    /// As [`new`](Self::new), but if it cannot be done now, no send tries again:
    /// the owner asks for the [`first_socket`](Self::first_socket), and can send
    /// what a server must know that hears of this for the first time.
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
            repeated: None,
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

    /// A socket, where there never was one; not sent on before it is
    /// [installed](Self::install).
    pub(super) fn first_socket(&mut self) -> Option<Socket> {
        if self.met {
            return None;
        }
        self.socket()
    }

    /// Sends on this socket from now on.
    pub(super) fn install(&mut self, socket: Socket) {
        self.socket = Some(socket);
        self.met = true;
    }

    /// The next datagram that meets a refusal is sent again, however soon.
    pub(super) fn insist(&mut self) {
        self.repeated = None;
    }

    /// Sends one datagram. What fails is counted and forgotten: nothing here
    /// waits, and nothing is for the caller to do.
    pub(super) fn send(&mut self, datagram: &[u8]) {
        match self.socket.as_ref().map(|socket| socket.send(datagram)) {
            Some(Ok(_)) => {
                self.counters.datagrams += 1;
                self.counters.bytes += datagram.len() as u64;
            }
            Some(Err(error)) => self.failed(datagram, error),
            None => self.send_anew(datagram),
        }
    }

    /// Sends where there was no socket: makes it first, if it may.
    #[cold]
    fn send_anew(&mut self, datagram: &[u8]) {
        if (self.met || self.meets) && is_over(self.tried, RETRY) {
            self.open();
        }
        match self.socket {
            Some(_) => self.send(datagram),
            None => self.counters.failed(self.trouble),
        }
    }

    /// The send failed.
    #[cold]
    fn failed(&mut self, datagram: &[u8], error: io::Error) {
        let errno = error.raw_os_error().unwrap_or(libc::ENOTCONN);
        self.counters.failed(errno);
        match (&self.socket, errno) {
            // A refusal answers an earlier datagram (ip(7)), and took this one's
            // place. The server may be back, so it is sent again; but not every
            // time, or each send to a dead server would be two. (Without, each
            // second one is refused in place of the one before it.) A server that
            // came back so misses one datagram at the most, the first, and only
            // where others went before it so closely; those it missed as well,
            // and the next resync heals them all.
            (Some(Socket::Udp(_)), libc::ECONNREFUSED) if is_over(self.repeated, REPEAT) => {
                self.repeated = Some(Instant::now());
                self.send(datagram);
            }
            // A full socket is still a server's; any other error says that the
            // server behind this path is gone, and a new one has a socket of its
            // own there.
            (Some(Socket::Unix(_)), libc::EAGAIN | libc::ENOBUFS) => (),
            (Some(Socket::Unix(_)), _) => {
                self.socket = None;
                self.trouble = errno;
            }
            // It sends from the address that this host had when it was made. If
            // that is gone, or is no longer the one for the way there, a new
            // socket takes the right one.
            (Some(Socket::Udp(_)), libc::ENETUNREACH | libc::EINVAL | libc::EADDRNOTAVAIL)
                if is_over(self.tried, RETRY) =>
            {
                if let Some(socket) = self.socket() {
                    self.install(socket);
                    self.send(datagram);
                }
            }
            _ => (),
        }
    }

    fn open(&mut self) {
        self.socket = None;
        if let Some(socket) = self.socket() {
            self.install(socket);
        }
    }

    /// A new socket, if it can be made.
    fn socket(&mut self) -> Option<Socket> {
        let made = match (self.endpoint.path(), self.address()) {
            (Some(path), _) => unix(path),
            (None, Some(address)) => udp(address),
            (None, None) => return None,
        };
        self.tried = Some(Instant::now());
        let errno = |error: io::Error| error.raw_os_error().unwrap_or(libc::ENOTCONN);
        made.map_err(|error| self.trouble = errno(error)).ok()
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
    fn come_back(dead: u64, repeated: Option<Instant>) -> (u64, Vec<String>) {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        let mut connection = Connection::new(address.to_string().parse().unwrap());
        drop(server);
        for _ in 0..dead {
            connection.repeated = repeated;
            connection.send(b"lost");
        }
        let counters = connection.counters();
        assert!(dead < 2 || counters.failures_by(libc::ECONNREFUSED) > 0);
        let calls = counters.datagrams + counters.failures();

        let server = UdpSocket::bind(address).unwrap();
        server.set_nonblocking(true).unwrap();
        connection.repeated = repeated;
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
        let mut connection = Connection::new(format!("unix:{}", path.display()).parse().unwrap());
        connection.send(b"nobody there");
        assert_eq!(connection.counters().datagrams, 0);

        assert_eq!(connection.counters().failures_by(libc::ENOENT), 1);

        let server = UnixDatagram::bind(&path).unwrap();
        connection.tried = None; // As if RETRY were over.
        while connection.counters().failures_by(libc::EAGAIN) == 0 {
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
        assert_eq!(connection.counters().failures_by(libc::ENOENT), 1);
        let socket = connection.first_socket().expect("a server is there");
        connection.install(socket);
        assert!(connection.first_socket().is_none(), "it is not the first any more");
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
        assert_eq!(connection.counters().failures_by(libc::ENOTCONN), 1);
        let found = Ipv4Addr::LOCALHOST.into();
        assert!(connection.set_address(found));
        assert!(!connection.set_address(found), "no news");
        connection.send(b"found");
        let mut buffer = [0; 16];
        let length = server.recv(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"found");
    }
}
