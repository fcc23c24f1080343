//! The public API against a real socket.

use std::net::UdpSocket;
use std::time::Duration;

use super::*;

fn server() -> (UdpSocket, Stats) {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    server.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
    let endpoint: Endpoint = server.local_addr().unwrap().to_string().parse().unwrap();
    let mut stats = Stats::new(&endpoint).unwrap();
    stats.set_prefix("p").unwrap();
    (server, stats)
}

/// The datagrams that are there. Loopback delivers before send returns.
fn received(server: &UdpSocket) -> Vec<String> {
    server.set_nonblocking(true).unwrap();
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
    stats.gauge_set("a", -5).unwrap();
    stats.count("b", 3).unwrap();
    stats.timing("c", 1.5).unwrap();
    assert_eq!(
        received(&server),
        ["p.a:+1|g", "p.a:-1|g", "p.a:0|g\np.a:-5|g", "p.b:3|c", "p.c:1.500|ms"]
    );
    assert_eq!(stats.counters().unwrap().datagrams, 5);
}

#[test]
fn a_batch_is_one_datagram() {
    let (server, mut stats) = server();
    stats
        .batch(|stats| {
            stats.inc("RUN")?;
            stats.dec("SCHED")
        })
        .unwrap();
    assert_eq!(received(&server), ["p.RUN:+1|g\np.SCHED:-1|g"]);
}

#[test]
fn a_panic_in_a_batch_leaves_no_batch_behind() {
    let (server, mut stats) = server();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        stats.only(0, |stats| {
            stats.inc("before").unwrap();
            panic!("made for a test");
        })
    }));
    assert!(panicked.is_err());
    stats.inc("after").unwrap();
    assert_eq!(received(&server), ["p.before:+1|g", "p.after:+1|g"]);
}

#[test]
fn aggregated_values_are_summed_by_name_until_the_flush() {
    let (server, mut stats) = server();
    stats.set_aggregated(true);
    for _ in 0..3 {
        stats.inc("up").unwrap();
    }
    stats.inc("noise").unwrap();
    stats.dec("noise").unwrap();
    stats.gauge_set("level", 7).unwrap();
    stats.gauge_add("level", -2).unwrap();
    stats.count("done", 2).unwrap();
    stats.count("done", 2).unwrap();
    stats.timing("t", 1.0).unwrap();
    stats.timing("t", 2.0).unwrap();
    assert!(received(&server).is_empty());
    stats.flush();
    assert_eq!(received(&server), ["p.t:1|ms\np.t:2|ms\np.up:+3|g\np.level:5|g\np.done:4|c"]);
    stats.flush();
    assert!(received(&server).is_empty(), "nothing changed, nothing sent");
}

#[test]
fn a_gauge_that_rested_for_periods_goes_on_from_where_it_was() {
    // flux-core's own aggregation forgets it, and counts again from 0.
    let (server, mut stats) = server();
    stats.set_aggregated(true);
    let mut level = 0;
    let mut periods = |moves: &[i64]| {
        for &by in moves {
            stats.gauge_add("g", by).unwrap();
        }
        stats.flush();
        for datagram in received(&server) {
            let by = datagram.strip_prefix("p.g:").unwrap().strip_suffix("|g").unwrap();
            level += by.parse::<i64>().unwrap();
        }
        level
    };
    assert_eq!(periods(&[1, 1, 1, 1, 1]), 5);
    assert_eq!(periods(&[]), 5);
    assert_eq!(periods(&[1, -1]), 5);
    assert_eq!(periods(&[1]), 6);
}

#[test]
fn names_and_prefixes_that_are_too_long_are_refused_not_cut() {
    let (server, mut stats) = server();
    let longest = "n".repeat(MAX_NAME);
    stats.set_prefix(&longest).unwrap();
    stats.gauge_set(longest.as_str(), -1).unwrap();
    assert_eq!(received(&server).len(), 1, "both lines in one datagram");

    let long = "n".repeat(MAX_NAME + 1);
    let error = stats.inc(long.as_str()).unwrap_err();
    assert_eq!(error.to_string(), "metric name of 257 bytes is too long (want at most 256)");
    assert_eq!(stats.set_prefix(&long), Err(Error::Prefix { length: 257 }));
    assert_eq!(stats.inc(""), Err(Error::Name { length: 0 }));
    assert!(received(&server).is_empty());
}

#[test]
fn a_datagram_is_as_full_as_it_may_be() {
    let (server, mut stats) = server();
    // 1,000 lines of 8 bytes, with a newline between two.
    for (set, want) in [(None, 1_430), (Some(8_932), 8_927)] {
        if let Some(bytes) = set {
            stats.set_max_datagram(bytes).unwrap();
        }
        stats.batch(|stats| (0..1000).try_for_each(|_| stats.inc("a"))).unwrap();
        assert_eq!(received(&server)[0].len(), want);
    }
    for bytes in [1_431, 65_508] {
        assert_eq!(stats.set_max_datagram(bytes), Err(Error::Datagram { bytes }));
    }
}

#[test]
fn a_prefix_set_late_counts_for_names_known_already() {
    let (server, mut stats) = server();
    let metric = stats.metric("a:b").unwrap();
    stats.set_prefix("new\nprefix").unwrap();
    stats.inc(metric).unwrap();
    stats.set_prefix("").unwrap();
    stats.inc(metric).unwrap();
    assert_eq!(received(&server), ["new_prefix.a_b:+1|g", "a_b:+1|g"]);
}

#[test]
fn without_an_endpoint_every_call_is_in_vain_and_in_order() {
    let mut stats = Stats::disabled();
    assert!(!stats.enabled());
    stats.inc("a").unwrap();
    stats.set_aggregated(true);
    stats.inc("a").unwrap();
    stats.flush();
    assert_eq!(stats.counters(), None);
}
