//! Where an endpoint leads, once its host is found.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

/// A server's address. Two that are equal are one server's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// UDP. Made by [`Address::udp`], which writes each address in one form.
    Udp(SocketAddr),
    /// The path of a datagram socket.
    Unix(PathBuf),
}

impl Address {
    /// The address that the kernel sends to for `address`: an IPv4 address that is
    /// mapped into IPv6 (RFC 4291, 2.5.5.2) is itself, and to 0.0.0.0 or `::` Linux
    /// sends to this host (ip(7), INADDR_ANY; Linux, ip_route_output_key_hash_rcu).
    pub fn udp(address: SocketAddr) -> Address {
        let ip = match address.ip().to_canonical() {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        Address::Udp(match (ip, address) {
            // With its scope.
            (IpAddr::V6(ip), SocketAddr::V6(mut scoped)) => {
                scoped.set_ip(ip);
                scoped.into()
            }
            (ip, address) => SocketAddr::new(ip, address.port()),
        })
    }

    /// Whether it is this host's loopback.
    pub fn is_loopback(&self) -> bool {
        matches!(self, Address::Udp(address) if address.ip().is_loopback())
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Udp(address) => write!(f, "{address}"),
            Address::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_server_are_equal() {
        let table = [
            ("127.0.0.1:1", "127.0.0.1:1"),
            ("[::ffff:127.0.0.1]:1", "127.0.0.1:1"),
            ("0.0.0.0:1", "127.0.0.1:1"),
            ("[::ffff:0.0.0.0]:1", "127.0.0.1:1"),
            ("[::]:1", "[::1]:1"),
            ("[::1]:1", "[::1]:1"),
            ("127.0.0.2:1", "127.0.0.2:1"),
            ("[fe80::1%2]:1", "[fe80::1%2]:1"),
        ];
        for (text, want) in table {
            assert_eq!(Address::udp(text.parse().unwrap()).to_string(), want);
        }
        let scoped = |text: &str| Address::udp(text.parse().unwrap());
        assert_ne!(scoped("[fe80::1%2]:1"), scoped("[fe80::1%3]:1"));
    }
}
