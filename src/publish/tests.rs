//! What a server hears from a publisher of counters.

use std::net::UdpSocket;

use super::{MetricNames, Publisher};
use crate::collectors::{
    Backfill, CollectorId, Collectors, MetricId, MetricKind, MetricSpec, Recorder,
};
use crate::jobs::JobTable;

/// A publisher, a collector, and the server that hears it.
fn publisher(collector: &str) -> (Publisher, CollectorId, UdpSocket) {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    server.set_nonblocking(true).unwrap();
    let mut publisher = Publisher::new();
    publisher.rename(MetricNames::default()).unwrap();
    let endpoint = server.local_addr().unwrap().to_string();
    publisher.set_destinations(&[endpoint.parse().unwrap()]);
    (publisher, CollectorId::named(collector).unwrap(), server)
}

/// The collector has counted its jobs: there are none.
fn enable(collector: CollectorId, publisher: &mut Publisher) {
    let counting = Backfill::new(&[collector]);
    Collectors::default().install(counting, &JobTable::default(), publisher);
}

/// The lines that came since the last time, in order of their names. On loopback a
/// datagram is there when its send returns.
fn lines(server: &UdpSocket) -> Vec<String> {
    let (mut lines, mut buffer) = (Vec::new(), [0; 2048]);
    while let Ok(length) = server.recv(&mut buffer) {
        let text = std::str::from_utf8(&buffer[..length]).unwrap();
        lines.extend(text.lines().map(str::to_owned));
    }
    lines.sort();
    lines
}

const ZEROS: [&str; 5] = [
    "result.canceled:0|c",
    "result.completed:0|c",
    "result.failed:0|c",
    "result.submitted:0|c",
    "result.timeout:0|c",
];

#[test]
fn counters_begin_at_0_for_each_server_and_are_not_repeated() {
    let (mut publisher, results, server) = publisher("results");
    enable(results, &mut publisher);
    assert_eq!(lines(&server), [""; 0], "Flux may still refuse the load");
    publisher.start();
    assert_eq!(lines(&server), ZEROS);
    publisher.count(results, MetricId::fixed(1), 1);
    publisher.flush();
    assert_eq!(lines(&server), ["result.failed:1|c"]);
    publisher.resync();
    publisher.flush();
    assert_eq!(lines(&server), [""; 0]);
    // One that added later.
    let late = UdpSocket::bind("127.0.0.1:0").unwrap();
    late.set_nonblocking(true).unwrap();
    let endpoints = [&server, &late].map(|it| it.local_addr().unwrap().to_string());
    publisher.set_destinations(&endpoints.map(|it| it.parse().unwrap()));
    publisher.connect();
    assert_eq!((lines(&server), lines(&late)), (Vec::new(), ZEROS.map(str::to_owned).into()));
    publisher.end();
    assert_eq!((lines(&server), lines(&late)), (Vec::new(), Vec::new()));
}

#[test]
fn counters_of_a_family_that_is_switched_on_begin_at_0() {
    let (mut publisher, results, server) = publisher("results");
    publisher.start();
    assert_eq!(lines(&server), [""; 0], "it has not counted its jobs");
    enable(results, &mut publisher);
    publisher.mark_unpublished(&[results]);
    // What is counted meanwhile is not lost by it.
    publisher.count(results, MetricId::fixed(0), 2);
    publisher.flush();
    let mut wanted = ZEROS;
    wanted[1] = "result.completed:2|c";
    assert_eq!(lines(&server), wanted);
    publisher.flush();
    assert_eq!(lines(&server), [""; 0]);
}

#[test]
fn a_gauge_that_is_new_is_sent_as_a_value_and_then_as_increments() {
    let (mut publisher, queues, server) = publisher("queues");
    publisher.start();
    let spec = |_| MetricSpec::new(MetricKind::JobSum, "queue", vec![("queue", "new".into())]);
    publisher.define(queues, 1, [()].map(spec).into());
    for wanted in ["queue.new:1|g", "queue.new:+1|g"] {
        publisher.add(queues, MetricId { label: 1, metric: 0 }, 1);
        publisher.flush();
        assert_eq!(lines(&server), [wanted]);
    }
}

#[test]
fn what_is_not_known_at_the_end_goes_to_0_where_it_was_sent() {
    let (mut publisher, resources, server) = publisher("resources");
    publisher.start();
    let spec = |resource: &str| {
        MetricSpec::new(MetricKind::BrokerStatus, "resource", vec![("resource", resource.into())])
    };
    publisher.define(resources, 1, ["nodes", "gpus"].map(spec).into());
    let nodes = MetricId { label: 1, metric: 0 };
    publisher.set(resources, nodes, Some(8));
    publisher.flush();
    assert_eq!(lines(&server), ["resource.nodes:8|g"]);
    publisher.set(resources, nodes, None);
    publisher.flush();
    assert_eq!(lines(&server), [""; 0]);
    publisher.end();
    assert_eq!(lines(&server), ["resource.nodes:0|g"]);
}
