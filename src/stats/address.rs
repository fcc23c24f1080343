//! Addresses of servers.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

/// The address of a server. Equal addresses belong to one server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A UDP address in the canonical form of [`Address::udp`].
    Udp(SocketAddr),
    /// The path of a datagram socket.
    Unix(PathBuf),
}

impl Address {
    /// The address to which Linux sends datagrams for `address`: the IPv4 address for an
    /// IPv4-mapped IPv6 address (RFC 4291, 2.5.5.2), and this host for 0.0.0.0 and `::`
    /// (ip(7), INADDR_ANY; ip_route_output_key_hash_rcu in the kernel).
    pub fn udp(address: SocketAddr) -> Address {
        let ip = match address.ip().to_canonical() {
            IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        Address::Udp(match (ip, address) {
            // Keeps the scope.
            (IpAddr::V6(ip), SocketAddr::V6(mut scoped)) => {
                scoped.set_ip(ip);
                scoped.into()
            }
            (ip, address) => SocketAddr::new(ip, address.port()),
        })
    }

    /// Returns `true` for a UDP address of the loopback interface.
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
        for (text, expected) in table {
            assert_eq!(Address::udp(text.parse().unwrap()).to_string(), expected);
        }
        let scoped = |text: &str| Address::udp(text.parse().unwrap());
        assert_ne!(scoped("[fe80::1%2]:1"), scoped("[fe80::1%3]:1"));
    }
}
