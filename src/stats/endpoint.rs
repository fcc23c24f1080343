//! Where metrics go, as an administrator writes it.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::str::FromStr;

use super::address::Address;
use super::error::{quoted, Error};

/// A statsd server's address: `HOST:PORT`, `127.0.0.1:8125` or `[::1]:8125`,
/// with `udp://` before it or without, for UDP; `unix:///run/statsd.sock` or
/// `unix:/run/statsd.sock` for a datagram socket in the file system, as
/// Datadog's agent and statsd_exporter listen on. A link-local IPv6 address names
/// its interface: `[fe80::1%eth0]:8125` (RFC 4007, 11).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint(Location);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Location {
    Address(SocketAddr),
    Name(String, u16),
    Path(PathBuf),
}

const WANT: &str = "(want HOST:PORT, [IPv6]:PORT or unix:PATH)";

/// The longest path of a socket, in bytes (unix(7): 108 with the final NUL).
const MAX_PATH: usize = 107;

/// The longest host's name, in bytes (RFC 1035, 2.3.4: 255 with its ends).
const MAX_HOST: usize = 253;

impl FromStr for Endpoint {
    type Err = Error;

    /// # Errors
    /// Name the value, what is wrong with it, and what is wanted.
    fn from_str(text: &str) -> Result<Self, Error> {
        let wrong = |what: &str| Error::Endpoint(format!("{}: {what}", quoted(text)));
        let location = match (text.strip_prefix("unix:"), text.split_once("://")) {
            (Some(path), _) => path_of(path),
            (None, Some(("udp", rest))) => host_and_port(rest),
            (None, Some((scheme, _))) => {
                Err(format!("scheme {} is unknown {WANT}", quoted(scheme)))
            }
            (None, None) => host_and_port(text),
        };
        location.map(Endpoint).map_err(|what| wrong(&what))
    }
}

/// `/PATH`, or `///PATH` as in a URL.
fn path_of(text: &str) -> Result<Location, String> {
    let path = text.strip_prefix("//").unwrap_or(text);
    match path.len() {
        0 => Err(format!("empty path {WANT}")),
        // The broker's working folder is nobody's business.
        _ if !path.starts_with('/') => {
            Err(format!("path {} is not absolute (want unix:/PATH)", quoted(path)))
        }
        1..=MAX_PATH => Ok(Location::Path(path.into())),
        length => Err(format!("path of {length} bytes is too long (want at most {MAX_PATH})")),
    }
}

fn host_and_port(text: &str) -> Result<Location, String> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, rest) =
                rest.split_once(']').ok_or_else(|| format!("missing \"]\" {WANT}"))?;
            (bracketed(address)?, rest.strip_prefix(':'))
        }
        None => match text.rsplit_once(':') {
            Some((host, _)) if host.parse::<Ipv6Addr>().is_ok() => {
                return Err(format!("an IPv6 address wants brackets {WANT}"));
            }
            Some((host, port)) => (named(host), Some(port)),
            None => (named(text), None),
        },
    };
    let port = port.ok_or_else(|| format!("missing \":PORT\" {WANT}"))?;
    if port.is_empty() {
        return Err(format!("no port after the colon {WANT}"));
    }
    // u16's own parser would take "+8125".
    if !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(format!("port {} is not a number (want 1 to 65535)", quoted(port)));
    }
    match (port.parse(), host) {
        (Ok(0) | Err(_), _) => Err(format!(
            "port {} is out of range (want 1 to 65535)",
            port.get(..12).unwrap_or(port)
        )),
        (Ok(port), Ok(address)) => Ok(Location::Address(SocketAddr::new(address, port))),
        (Ok(port), Err(name)) => {
            // A zone has been checked, with its address.
            if !name.contains('%') || !text.starts_with('[') {
                check_name(name)?;
            }
            Ok(Location::Name(name.to_owned(), port))
        }
    }
}

/// What is between brackets: an IPv6 address, or one with a zone, which is looked
/// up like a name: the interface may come later, or come again with another index.
fn bracketed(text: &str) -> Result<Result<IpAddr, &str>, String> {
    let (address, zone) = match text.split_once('%') {
        Some((address, zone)) => (address, Some(zone)),
        None => (text, None),
    };
    let parsed: Ipv6Addr = address
        .parse()
        .map_err(|_| format!("{} is not an IPv6 address {WANT}", quoted(address)))?;
    match zone {
        None => Ok(Ok(parsed.into())),
        // getaddrinfo(3) takes the zones of these alone.
        Some(_) if !parsed.is_unicast_link_local() => {
            Err(format!("{} has a zone (want one for fe80::/10 only)", quoted(text)))
        }
        Some(zone) if is_interface(zone) => Ok(Err(text)),
        Some(zone) => Err(format!("{} is not an interface's name", quoted(zone))),
    }
}

/// Whether an interface may have this name (Linux, dev_valid_name).
fn is_interface(name: &str) -> bool {
    let valid = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'/' | b':' | b'%');
    (1..libc::IF_NAMESIZE).contains(&name.len()) && name.bytes().all(valid)
}

/// What no name service can know is refused at once: it would be asked for ever.
fn check_name(name: &str) -> Result<(), String> {
    // Underscores are in no host's name by RFC 952, and in many a container's.
    let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    match name.len() {
        0 => Err(format!("empty host {WANT}")),
        _ if !name.chars().all(letter) => {
            Err(format!("only letters, digits, -, _ and . make a host's name {WANT}"))
        }
        // glibc would take 1.2 for 1.0.0.2.
        _ if name.chars().all(|c| c.is_ascii_digit() || c == '.') => {
            Err(format!("not an IPv4 address {WANT}"))
        }
        1..=MAX_HOST => Ok(()),
        length => Err(format!("a host's name of {length} bytes (want at most {MAX_HOST})")),
    }
}

/// An address, or else a name.
fn named(host: &str) -> Result<IpAddr, &str> {
    host.parse::<Ipv4Addr>().map(IpAddr::from).map_err(|_| host)
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Location::Address(address) => write!(f, "{address}"),
            Location::Name(scoped, port) if scoped.contains('%') => write!(f, "[{scoped}]:{port}"),
            Location::Name(name, port) => write!(f, "{name}:{port}"),
            Location::Path(path) => {
                let path = path.display().to_string();
                // Two slashes at its beginning would be read as a URL's.
                let url = if path.starts_with("//") { "//" } else { "" };
                write!(f, "unix:{url}{path}")
            }
        }
    }
}

impl Endpoint {
    /// Reads endpoints with commas between them.
    ///
    /// # Errors
    /// As for one; the first that is wrong.
    pub fn list(text: &str) -> Result<Vec<Endpoint>, Error> {
        text.split(',').map(|part| part.trim().parse()).collect()
    }

    /// The host's name, if it is one that must be looked up.
    pub fn name(&self) -> Option<&str> {
        match &self.0 {
            Location::Name(name, _) => Some(name),
            _ => None,
        }
    }

    /// The address that it added to, if that needs no look-up.
    pub fn address(&self) -> Option<Address> {
        match &self.0 {
            Location::Address(address) => Some(Address::udp(*address)),
            Location::Name(..) => None,
            Location::Path(path) => Some(Address::Unix(path.clone())),
        }
    }

    /// The address that it added to if its host is at `host` (whose own port does
    /// not count); `None` for a path.
    pub fn address_at(&self, host: SocketAddr) -> Option<Address> {
        let port = match &self.0 {
            Location::Address(address) => address.port(),
            Location::Name(_, port) => *port,
            Location::Path(_) => return None,
        };
        let mut address = host;
        address.set_port(port);
        Some(Address::udp(address))
    }

    /// The address that it added to, with its host's name looked up here and now,
    /// which may take as long as the name service likes.
    ///
    /// # Errors
    /// If the name is not found.
    pub(super) fn look_up(&self) -> Result<Address, Error> {
        let (name, port) = match &self.0 {
            Location::Address(address) => return Ok(Address::udp(*address)),
            Location::Path(path) => return Ok(Address::Unix(path.clone())),
            Location::Name(name, port) => (name.as_str(), *port),
        };
        (name, port)
            .to_socket_addrs()
            .and_then(|mut found| found.next().ok_or_else(|| io::ErrorKind::NotFound.into()))
            .map(Address::udp)
            .map_err(|error| {
                let text = self.to_string();
                Error::Endpoint(format!("{}: host not found: {error}", quoted(&text)))
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_reads_back_as_it_was_written() {
        for text in [
            "localhost:8125",
            "127.0.0.1:1",
            "[::1]:65535",
            "statsd.example.org:8125",
            "[fe80::1%eth0]:8125",
            "[fe80::1%2]:8125",
            "unix:/run/statsd.sock",
            "unix:////run/statsd.sock",
        ] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), text);
        }
        for (text, short) in
            [("udp://[::1]:1", "[::1]:1"), ("udp://x:1", "x:1"), ("unix:///run/s", "unix:/run/s")]
        {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), short);
        }
        let list = Endpoint::list("a:1, unix:/b").unwrap();
        assert_eq!(list.iter().map(Endpoint::to_string).collect::<Vec<_>>(), ["a:1", "unix:/b"]);
    }

    #[test]
    fn each_mistake_is_named() {
        const NAME: &str = "only letters, digits, -, _ and . make a host's name";
        let table = [
            ("localhost", format!("missing \":PORT\" {WANT}")),
            ("[::1]", format!("missing \":PORT\" {WANT}")),
            (":8125", format!("empty host {WANT}")),
            ("localhost:", format!("no port after the colon {WANT}")),
            ("localhost:http", "port \"http\" is not a number (want 1 to 65535)".into()),
            ("localhost:+81", "port \"+81\" is not a number (want 1 to 65535)".into()),
            ("localhost:-1", "port \"-1\" is not a number (want 1 to 65535)".into()),
            ("localhost:0", "port 0 is out of range (want 1 to 65535)".into()),
            ("localhost:65536", "port 65536 is out of range (want 1 to 65535)".into()),
            ("::1:8125", format!("an IPv6 address wants brackets {WANT}")),
            ("[::1:8125", format!("missing \"]\" {WANT}")),
            ("[localhost]:1", format!("\"localhost\" is not an IPv6 address {WANT}")),
            ("[fe80::1%]:1", "\"\" is not an interface's name".into()),
            ("[fe80::1%a b]:1", "\"a b\" is not an interface's name".into()),
            (
                "[fe80::1%sixteen-letters-]:1",
                "\"sixteen-letters-\" is not an interface's name".into(),
            ),
            ("[::1%lo]:1", "\"::1%lo\" has a zone (want one for fe80::/10 only)".into()),
            ("fe80::1%eth0:1", format!("{NAME} {WANT}")),
            ("tcp://localhost:1", format!("scheme \"tcp\" is unknown {WANT}")),
            ("udp:localhost:1", format!("{NAME} {WANT}")),
            ("a b:1", format!("{NAME} {WANT}")),
            ("a/b:1", format!("{NAME} {WANT}")),
            ("300.1.1.1:1", format!("not an IPv4 address {WANT}")),
            ("1.2:1", format!("not an IPv4 address {WANT}")),
            ("udp://localhost", format!("missing \":PORT\" {WANT}")),
            ("unix:", format!("empty path {WANT}")),
            ("unix://", format!("empty path {WANT}")),
            ("unix:run/s", "path \"run/s\" is not absolute (want unix:/PATH)".into()),
            ("unix://run/s", "path \"run/s\" is not absolute (want unix:/PATH)".into()),
        ];
        for (text, what) in table {
            let error = text.parse::<Endpoint>().unwrap_err().to_string();
            assert_eq!(error, format!("endpoint {text:?}: {what}"));
        }
    }

    #[test]
    fn a_path_is_as_long_as_the_kernel_takes_it() {
        let longest = format!("unix:/{}", "x".repeat(106));
        assert!(longest.parse::<Endpoint>().is_ok());
        let error = format!("{longest}x").parse::<Endpoint>().unwrap_err().to_string();
        assert!(error.ends_with("path of 108 bytes is too long (want at most 107)"), "{error}");
    }

    #[test]
    fn a_name_is_as_long_as_a_name_server_takes_it() {
        let longest = format!("{}:1", "x".repeat(253));
        assert!(longest.parse::<Endpoint>().is_ok());
        let error = format!("x{longest}").parse::<Endpoint>().unwrap_err().to_string();
        assert!(error.ends_with("a host's name of 254 bytes (want at most 253)"), "{error}");
    }

    #[test]
    fn a_long_or_dirty_value_keeps_the_message_on_one_short_line() {
        let error = format!("x\n{}", "y".repeat(500)).parse::<Endpoint>().unwrap_err().to_string();
        assert!(!error.contains('\n') && error.len() < 160, "{error}");
    }
}
