//! The client with a real socket.

use std::net::UdpSocket;

use super::*;

fn server() -> (UdpSocket, Stats) {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    server.set_nonblocking(true).unwrap();
    let endpoint: Endpoint = server.local_addr().unwrap().to_string().parse().unwrap();
    let mut stats = Stats::new(&endpoint).unwrap();
    stats.set_prefix("p").unwrap();
    (server, stats)
}

/// The datagrams that arrived. On loopback they arrive before send(2) returns.
fn received(server: &UdpSocket) -> Vec<String> {
    let mut buffer = [0; 65_536];
    let mut datagrams = Vec::new();
    while let Ok(length) = server.recv(&mut buffer) {
        datagrams.push(String::from_utf8(buffer[..length].to_vec()).unwrap());
    }
    datagrams
}

#[test]
fn each_call_is_one_datagram() {
    let (server, mut stats) = server();
    stats.inc("a").unwrap();
    stats.dec("a").unwrap();
    stats.gauge("a", -5, false).unwrap();
    stats.gauge("a", -5, true).unwrap();
    stats.count("b", 3).unwrap();
    stats.timing("c", 1.5).unwrap();
    assert_eq!(
        received(&server),
        ["p.a:+1|g", "p.a:-1|g", "p.a:0|g\np.a:-5|g", "p.a:-5|g", "p.b:3|c", "p.c:1.500|ms"]
    );
    assert_eq!(stats.counters().datagrams, 6);
}

#[test]
fn names_and_prefixes_that_are_too_long_are_errors() {
    let (server, mut stats) = server();
    let longest = "n".repeat(MAX_NAME);
    stats.set_prefix(&longest).unwrap();
    stats.gauge(&longest, -1, false).unwrap();
    assert_eq!(received(&server).len(), 1, "both lines in one datagram");

    let long = "n".repeat(MAX_NAME + 1);
    let error = stats.inc(&long).unwrap_err();
    assert_eq!(error.to_string(), "metric name of 257 bytes too long (expected at most 256)");
    assert_eq!(stats.set_prefix(&long), Err(Error::Prefix { length: 257 }));
    assert_eq!(stats.inc(""), Err(Error::Name { length: 0 }));
    assert!(received(&server).is_empty());
}

#[test]
fn a_new_prefix_applies_to_all_names() {
    let (server, mut stats) = server();
    stats.inc("a:b").unwrap();
    stats.set_prefix("new\nprefix").unwrap();
    stats.inc("a:b").unwrap();
    stats.set_prefix("").unwrap();
    stats.inc("a:b").unwrap();
    assert_eq!(received(&server), ["p.a_b:+1|g", "new_prefix.a_b:+1|g", "a_b:+1|g"]);
}

#[test]
fn a_host_that_is_not_found_is_an_error_or_a_failed_send() {
    // No name server is queried for a name with an empty part.
    let endpoint: Endpoint = "no..host:1".parse().unwrap();
    let error = Stats::new(&endpoint).unwrap_err().to_string();
    assert!(error.starts_with("endpoint \"no..host:1\": host not found: "), "{error}");

    let servers = OnceCell::with_value(Ok(vec![Server::new(endpoint)]));
    let mut stats = Stats { servers, prefix: String::new() };
    stats.inc("a").unwrap();
    assert_eq!((stats.enabled(), stats.counters().errors), (true, vec![(libc::ENOTCONN, 1)]));
    assert_eq!(stats.error().unwrap().to_string(), error);
    // The host has an address now.
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    server.set_nonblocking(true).unwrap();
    let text = server.local_addr().unwrap().to_string();
    let found = |stats: &mut Stats, looked_up| {
        let server = &mut stats.servers.get_mut().unwrap().as_mut().unwrap()[0];
        (server.endpoint, server.looked_up) = (text.parse().unwrap(), looked_up);
    };
    found(&mut stats, Some(Instant::now()));
    stats.inc("a").unwrap();
    assert!(received(&server).is_empty(), "no lookup within 10 s");
    found(&mut stats, None);
    assert!(stats.error().is_some());
    stats.inc("a").unwrap();
    assert_eq!((received(&server), stats.error()), (vec!["a:+1|g".to_owned()], None));
}

#[test]
fn without_an_endpoint_nothing_is_sent() {
    let mut stats =
        Stats { servers: OnceCell::with_value(Ok(Vec::new())), ..Stats::from_environment() };
    stats.inc("a").unwrap();
    assert!(!stats.enabled());
    assert_eq!(stats.counters(), Counters::default());
}
