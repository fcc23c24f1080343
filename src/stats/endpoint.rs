//! Endpoints, as an administrator writes them.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::str::FromStr;

use super::address::Address;
use super::errors::{quoted, Error};

/// The address of a statsd server, read with [`str::parse`].
///
/// UDP: `HOST:PORT`, `127.0.0.1:8125` or `[::1]:8125`, with or without `udp://` before it.
/// A link-local IPv6 address has its interface: `[fe80::1%eth0]:8125` (RFC 4007, 11).
///
/// Unix datagram socket, for example of Datadog's agent or statsd_exporter:
/// `unix:/run/statsd.sock` or `unix:///run/statsd.sock`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint(Location);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Location {
    Address(SocketAddr),
    /// A host name, or a link-local address with its interface, and a port.
    Name(String, u16),
    Path(PathBuf),
}

const EXPECTED: &str = "(expected HOST:PORT, [IPv6]:PORT or unix:PATH)";

/// The maximum length of a socket's path in bytes (unix(7): 108 with the final NUL).
const MAX_PATH: usize = 107;

/// The maximum length of a host name in bytes (RFC 1035, 2.3.4: 255 with both ends).
const MAX_HOST: usize = 253;

impl FromStr for Endpoint {
    type Err = Error;

    /// # Errors
    /// The text names the value, the mistake, and the expected form.
    fn from_str(text: &str) -> Result<Self, Error> {
        let location = match (text.strip_prefix("unix:"), text.split_once("://")) {
            (Some(path), _) => parse_path(path),
            (None, Some(("udp", rest))) => parse_host_and_port(rest),
            (None, Some((scheme, _))) => {
                Err(format!("unknown scheme {} {EXPECTED}", quoted(scheme)))
            }
            (None, None) => parse_host_and_port(text),
        };
        let error = |what: String| Error::Endpoint(format!("{}: {what}", quoted(text)));
        location.map(Endpoint).map_err(error)
    }
}

/// Reads `/PATH`, or `///PATH` as in a URL.
fn parse_path(text: &str) -> Result<Location, String> {
    let path = text.strip_prefix("//").unwrap_or(text);
    match path.len() {
        0 => Err(format!("empty path {EXPECTED}")),
        // A relative path would depend on the broker's working directory.
        _ if !path.starts_with('/') => {
            Err(format!("path {} is not absolute (expected unix:/PATH)", quoted(path)))
        }
        1..=MAX_PATH => Ok(Location::Path(path.into())),
        length => Err(format!("path of {length} bytes too long (expected at most {MAX_PATH})")),
    }
}

fn parse_host_and_port(text: &str) -> Result<Location, String> {
    let address = text.parse().ok().filter(|it: &SocketAddr| it.port() != 0);
    // Otherwise the text is a name, an address with a zone, or a mistake.
    let needs_zone = |it: &SocketAddr| matches!(it.ip(), IpAddr::V6(ip) if is_link_local(ip));
    if let Some(address) = address.filter(|it| !text.contains('%') && !needs_zone(it)) {
        return Ok(Location::Address(address));
    }
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let missing = || format!("missing \"]\" {EXPECTED}");
            let (address, rest) = rest.split_once(']').ok_or_else(missing)?;
            check_bracketed(address)?;
            (address, rest.strip_prefix(':'))
        }
        None => match text.rsplit_once(':') {
            Some((host, _)) if host.parse::<Ipv6Addr>().is_ok() => {
                return Err(format!("IPv6 address without brackets {EXPECTED}"));
            }
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let port = port.filter(|port| !port.is_empty());
    let port = port.ok_or_else(|| format!("missing \":PORT\" {EXPECTED}"))?;
    // u16's parser would accept "+8125".
    let number = port.parse().ok().filter(|&number| number != 0 && !port.starts_with('+'));
    let wrong = || format!("port {} is not valid (expected 1 to 65535)", quoted(port));
    let number = number.ok_or_else(wrong)?;
    if !text.starts_with('[') {
        check_name(host)?;
    }
    Ok(Location::Name(host.to_owned(), number))
}

/// Checks the text between brackets: an IPv6 address, or a link-local one with a zone. The
/// latter is looked up like a name, because the interface may not exist yet, or may get
/// another index.
fn check_bracketed(text: &str) -> Result<(), String> {
    let (address, zone) = match text.split_once('%') {
        Some((address, zone)) => (address, Some(zone)),
        None => (text, None),
    };
    let is_link_local = match address.parse() {
        Ok(address) => is_link_local(address),
        Err(_) => return Err(format!("{} is not an IPv6 address {EXPECTED}", quoted(address))),
    };
    // As the kernel checks the name of an interface (dev_valid_name).
    let valid = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'/' | b':' | b'%');
    match zone {
        // getaddrinfo(3) accepts zones of these addresses only.
        Some(_) if !is_link_local => Err(format!(
            "{} has a zone (expected one for fe80::/10 or ff02::/16 only)",
            quoted(text)
        )),
        None if is_link_local => {
            Err(format!("link-local address without interface (expected [{address}%eth0]:PORT)"))
        }
        Some(zone) if !(1..libc::IF_NAMESIZE).contains(&zone.len()) || !zone.bytes().all(valid) => {
            Err(format!("{} is not the name of an interface", quoted(zone)))
        }
        _ => Ok(()),
    }
}

/// Returns `true` for addresses that connect(2) refuses without an interface (RFC 4291, 2.5.6
/// and 2.7).
fn is_link_local(address: Ipv6Addr) -> bool {
    address.is_unicast_link_local() || address.segments()[0] & 0xff0f == 0xff02
}

/// Rejects names that cannot exist, which would be looked up forever.
fn check_name(name: &str) -> Result<(), String> {
    // RFC 952 does not allow underscores, but many names of containers have them.
    let valid = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    match name.len() {
        0 => Err(format!("empty host {EXPECTED}")),
        _ if !name.chars().all(valid) => {
            Err("host name is not valid (expected letters, digits, -, _ and .)".to_owned())
        }
        // glibc would read 1.2 as 1.0.0.2.
        _ if name.chars().all(|c| c.is_ascii_digit() || c == '.') => {
            Err(format!("not an IPv4 address {EXPECTED}"))
        }
        1..=MAX_HOST => Ok(()),
        length => {
            Err(format!("host name of {length} bytes too long (expected at most {MAX_HOST})"))
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Location::Address(address) => write!(f, "{address}"),
            Location::Name(scoped, port) if scoped.contains('%') => write!(f, "[{scoped}]:{port}"),
            Location::Name(name, port) => write!(f, "{name}:{port}"),
            // Two slashes at the beginning would be read as part of a URL.
            Location::Path(path) if path.as_os_str().as_encoded_bytes().starts_with(b"//") => {
                write!(f, "unix://{}", path.display())
            }
            Location::Path(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl Endpoint {
    /// Reads endpoints with commas between them.
    ///
    /// # Errors
    /// If an endpoint is not valid. The text names the first one.
    pub fn list(text: &str) -> Result<Vec<Endpoint>, Error> {
        text.split(',').map(|part| part.trim().parse()).collect()
    }

    /// The host name, if it must be looked up.
    #[doc(hidden)]
    pub fn name(&self) -> Option<&str> {
        match &self.0 {
            Location::Name(name, _) => Some(name),
            _ => None,
        }
    }

    /// The address, if no lookup is needed.
    #[doc(hidden)]
    pub fn address(&self) -> Option<Address> {
        match &self.0 {
            Location::Address(address) => Some(Address::udp(*address)),
            Location::Name(..) => None,
            Location::Path(path) => Some(Address::Unix(path.clone())),
        }
    }

    /// The address of a host name that was found at `host`, with the endpoint's port; `None`
    /// if the endpoint has no host name.
    pub(crate) fn address_at(&self, mut host: SocketAddr) -> Option<Address> {
        let Location::Name(_, port) = &self.0 else { return None };
        host.set_port(*port);
        Some(Address::udp(host))
    }

    /// The address. A host name is looked up, which may block.
    ///
    /// # Errors
    /// If the host is not found.
    pub(super) fn look_up(&self) -> Result<Address, Error> {
        let Location::Name(name, port) = &self.0 else {
            return Ok(self.address().expect("an endpoint without a name has an address"));
        };
        (name.as_str(), *port)
            .to_socket_addrs()
            .and_then(|mut found| found.next().ok_or_else(|| io::ErrorKind::NotFound.into()))
            .map(Address::udp)
            .map_err(|error| {
                let text = quoted(&self.to_string());
                Error::Endpoint(format!("{text}: host not found: {error}"))
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_printed_endpoint_can_be_read_again() {
        for text in [
            "localhost:8125",
            "127.0.0.1:1",
            "[::1]:65535",
            "statsd.example.org:8125",
            "[fe80::1%eth0]:8125",
            "[fe80::1%2]:8125",
            "[ff02::1%eth0]:8125",
            "[ff05::1]:8125",
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
        let expected = |what: &str| format!("{what} {EXPECTED}");
        let port = |port: &str| format!("port \"{port}\" is not valid (expected 1 to 65535)");
        let host = "host name is not valid (expected letters, digits, -, _ and .)";
        let interface = |zone: &str| format!("\"{zone}\" is not the name of an interface");
        let link_local = |address: &str| {
            format!("link-local address without interface (expected [{address}%eth0]:PORT)")
        };
        let relative = "path \"run/s\" is not absolute (expected unix:/PATH)";
        let table = [
            ("localhost", expected("missing \":PORT\"")),
            ("[::1]", expected("missing \":PORT\"")),
            (":8125", expected("empty host")),
            ("localhost:", expected("missing \":PORT\"")),
            ("localhost:http", port("http")),
            ("localhost:+81", port("+81")),
            ("localhost:-1", port("-1")),
            ("localhost:0", port("0")),
            ("localhost:65536", port("65536")),
            ("127.0.0.1:0", port("0")),
            ("[::1]:0", port("0")),
            ("::1:8125", expected("IPv6 address without brackets")),
            ("[::1:8125", expected("missing \"]\"")),
            ("[localhost]:1", expected("\"localhost\" is not an IPv6 address")),
            ("[fe80::1%]:1", interface("")),
            ("[fe80::1%a b]:1", interface("a b")),
            ("[fe80::1%sixteen-letters-]:1", interface("sixteen-letters-")),
            (
                "[::1%lo]:1",
                "\"::1%lo\" has a zone (expected one for fe80::/10 or ff02::/16 only)".into(),
            ),
            (
                "[::1%1]:1",
                "\"::1%1\" has a zone (expected one for fe80::/10 or ff02::/16 only)".into(),
            ),
            ("fe80::1%eth0:1", host.into()),
            ("[fe80::1]:8125", link_local("fe80::1")),
            ("udp://[fe80::a]:1", link_local("fe80::a")),
            ("[ff02::1]:1", link_local("ff02::1")),
            ("tcp://localhost:1", expected("unknown scheme \"tcp\"")),
            ("udp:localhost:1", host.into()),
            ("a b:1", host.into()),
            ("a/b:1", host.into()),
            ("300.1.1.1:1", expected("not an IPv4 address")),
            ("1.2:1", expected("not an IPv4 address")),
            ("udp://localhost", expected("missing \":PORT\"")),
            ("unix:", expected("empty path")),
            ("unix://", expected("empty path")),
            ("unix:run/s", relative.into()),
            ("unix://run/s", relative.into()),
        ];
        for (text, what) in table {
            let error = text.parse::<Endpoint>().unwrap_err().to_string();
            assert_eq!(error, format!("endpoint {text:?}: {what}"));
        }
    }

    #[test]
    fn a_path_has_at_most_the_length_that_the_kernel_accepts() {
        let longest = format!("unix:/{}", "x".repeat(106));
        assert!(longest.parse::<Endpoint>().is_ok());
        let error = format!("{longest}x").parse::<Endpoint>().unwrap_err().to_string();
        assert!(error.ends_with("path of 108 bytes too long (expected at most 107)"), "{error}");
    }

    #[test]
    fn a_host_name_has_at_most_the_length_that_name_servers_accept() {
        let longest = format!("{}:1", "x".repeat(253));
        assert!(longest.parse::<Endpoint>().is_ok());
        let error = format!("x{longest}").parse::<Endpoint>().unwrap_err().to_string();
        assert!(
            error.ends_with("host name of 254 bytes too long (expected at most 253)"),
            "{error}"
        );
    }

    #[test]
    fn a_long_or_multi_line_value_keeps_the_error_on_one_short_line() {
        let error = format!("x\n{}", "y".repeat(500)).parse::<Endpoint>().unwrap_err().to_string();
        assert!(!error.contains('\n') && error.len() < 160, "{error}");
    }
}
