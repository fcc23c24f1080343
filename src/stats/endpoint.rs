//! Where metrics go: an endpoint's text, and the socket behind it.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::str::FromStr;
use std::time::{Duration, Instant};
use std::{fmt, vec};

use super::error::{shown, Error};

/// A statsd server's address as an administrator writes it: `HOST:PORT`,
/// `127.0.0.1:8125` or `[::1]:8125`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    host: Host,
    port: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    Address(IpAddr),
    Name(String),
}

impl FromStr for Endpoint {
    type Err = Error;

    /// # Errors
    /// Name the value, what is wrong with it, and what is wanted.
    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = |what: &str| Error::Endpoint(format!("{}: {what}", shown(text)));
        const WANT: &str = "(want HOST:PORT or [IPv6]:PORT)";

        let (host, port) = match text.strip_prefix('[') {
            Some(rest) => {
                let (address, rest) =
                    rest.split_once(']').ok_or_else(|| wrong(&format!("missing \"]\" {WANT}")))?;
                let address = address.parse::<Ipv6Addr>().map_err(|_| {
                    wrong(&format!("{} is not an IPv6 address {WANT}", shown(address)))
                })?;
                let port = rest.strip_prefix(':');
                (Host::Address(address.into()), port)
            }
            None => match text.rsplit_once(':') {
                Some((host, _)) if host.contains(':') => {
                    return Err(wrong(&format!("an IPv6 address wants brackets {WANT}")));
                }
                Some((host, port)) => (named(host), Some(port)),
                None => (named(text), None),
            },
        };
        let port = port.ok_or_else(|| wrong(&format!("missing \":PORT\" {WANT}")))?;
        if host == Host::Name(String::new()) {
            return Err(wrong(&format!("empty host {WANT}")));
        }
        if port.is_empty() {
            return Err(wrong(&format!("no port after the colon {WANT}")));
        }
        // u16's own parser would take "+8125".
        if !port.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(wrong(&format!("port {} is not a number (want 1 to 65535)", shown(port))));
        }
        match port.parse() {
            Ok(0) | Err(_) => Err(wrong(&format!(
                "port {} is out of range (want 1 to 65535)",
                port.get(..12).unwrap_or(port)
            ))),
            Ok(port) => Ok(Endpoint { host, port }),
        }
    }
}

fn named(host: &str) -> Host {
    match host.parse::<Ipv4Addr>() {
        Ok(address) => Host::Address(address.into()),
        Err(_) => Host::Name(host.to_owned()),
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Address(IpAddr::V6(address)) => write!(f, "[{address}]:{}", self.port),
            Host::Address(address) => write!(f, "{address}:{}", self.port),
            Host::Name(name) => write!(f, "{name}:{}", self.port),
        }
    }
}

impl Endpoint {
    /// The address to send to. A name is looked up here and now, which may
    /// take as long as the name service likes; an address costs nothing.
    ///
    /// # Errors
    /// If the name is not found.
    pub fn address(&self) -> Result<SocketAddr, Error> {
        match &self.host {
            Host::Address(address) => Ok((*address, self.port).into()),
            Host::Name(name) => (name.as_str(), self.port)
                .to_socket_addrs()
                .and_then(|mut found: vec::IntoIter<_>| {
                    found.next().ok_or_else(|| io::ErrorKind::NotFound.into())
                })
                .map_err(|error| {
                    let text = self.to_string();
                    Error::Endpoint(format!("{}: host not found: {error}", shown(&text)))
                }),
        }
    }
}

/// How long after a failed attempt to make the socket the next one is made.
const RETRY: Duration = Duration::from_secs(1);

/// A connected, non-blocking UDP socket, and what became of what was sent.
#[derive(Debug)]
pub(super) struct Connection {
    address: SocketAddr,
    /// `None` if it could not be made: no route yet, no file descriptor free.
    socket: Option<UdpSocket>,
    tried: Instant,
    counters: Counters,
}

/// What became of the datagrams.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Datagrams that the kernel took.
    pub datagrams: u64,
    /// Their payload, in bytes.
    pub bytes: u64,
    /// Sends that failed, by errno: ECONNREFUSED, EAGAIN, ENOBUFS, ENETUNREACH…
    pub errors: BTreeMap<i32, u64>,
}

impl Counters {
    fn failed(&mut self, errno: i32) {
        *self.errors.entry(errno).or_default() += 1;
    }
}

impl Connection {
    pub(super) fn new(address: SocketAddr) -> Self {
        let mut connection = Connection {
            address,
            socket: None,
            tried: Instant::now(),
            counters: Counters::default(),
        };
        connection.open();
        connection
    }

    pub(super) fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Sends one datagram. What fails is counted and forgotten: nothing here
    /// waits, and nothing is for the caller to do.
    pub(super) fn send(&mut self, datagram: &[u8]) {
        if self.socket.is_none() && self.tried.elapsed() >= RETRY {
            self.open();
        }
        let Some(socket) = &self.socket else {
            return self.counters.failed(libc::ENOTCONN);
        };
        let mut sent = socket.send(datagram);
        if sent.as_ref().is_err_and(|error| error.raw_os_error() == Some(libc::ECONNREFUSED)) {
            // This is the answer to an earlier datagram (ip(7)), and took this
            // one's place: the server may be back, so send it again.
            self.counters.failed(libc::ECONNREFUSED);
            sent = socket.send(datagram);
        }
        match sent {
            Ok(_) => {
                self.counters.datagrams += 1;
                self.counters.bytes += datagram.len() as u64;
            }
            Err(error) => self.counters.failed(error.raw_os_error().unwrap_or(0)),
        }
    }

    fn open(&mut self) {
        self.tried = Instant::now();
        let any: IpAddr = match self.address {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let opened = UdpSocket::bind((any, 0)).and_then(|socket| {
            socket.set_nonblocking(true)?;
            socket.connect(self.address)?;
            Ok(socket)
        });
        match opened {
            Ok(socket) => self.socket = Some(socket),
            Err(error) => self.counters.failed(error.raw_os_error().unwrap_or(0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_reads_back_as_it_was_written() {
        for text in ["localhost:8125", "127.0.0.1:1", "[::1]:65535", "statsd.example.org:8125"] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn each_mistake_is_named() {
        let want = "(want HOST:PORT or [IPv6]:PORT)";
        let table = [
            ("localhost", format!("missing \":PORT\" {want}")),
            ("[::1]", format!("missing \":PORT\" {want}")),
            (":8125", format!("empty host {want}")),
            ("localhost:", format!("no port after the colon {want}")),
            ("localhost:http", "port \"http\" is not a number (want 1 to 65535)".into()),
            ("localhost:+81", "port \"+81\" is not a number (want 1 to 65535)".into()),
            ("localhost:-1", "port \"-1\" is not a number (want 1 to 65535)".into()),
            ("localhost:0", "port 0 is out of range (want 1 to 65535)".into()),
            ("localhost:65536", "port 65536 is out of range (want 1 to 65535)".into()),
            ("::1:8125", format!("an IPv6 address wants brackets {want}")),
            ("[::1:8125", format!("missing \"]\" {want}")),
            ("[localhost]:1", format!("\"localhost\" is not an IPv6 address {want}")),
        ];
        for (text, what) in table {
            let error = text.parse::<Endpoint>().unwrap_err().to_string();
            assert_eq!(error, format!("endpoint {text:?}: {what}"));
        }
    }

    #[test]
    fn a_long_or_dirty_value_keeps_the_message_on_one_short_line() {
        let error = format!("x\n{}", "y".repeat(500)).parse::<Endpoint>().unwrap_err().to_string();
        assert!(!error.contains('\n') && error.len() < 160, "{error}");
    }

    #[test]
    fn a_send_that_fails_is_counted_and_the_next_one_goes_out() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        let mut connection = Connection::new(address);
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
}
