//! The lines of a publisher, as a server receives them.

use std::net::UdpSocket;

use super::{GaugeMode, MetricNames, Publisher};
use crate::collectors::{
    Backfill, CollectorId, Collectors, MetricId, MetricKind, MetricSpec, Recorder,
};
use crate::jobs::{Change, Job, JobTable, State};

/// A publisher, a collector, and the server that the publisher sends to.
fn publisher(collector: &str) -> (Publisher, CollectorId, UdpSocket) {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    server.set_nonblocking(true).unwrap();
    let mut publisher = Publisher::default();
    publisher.set_max_datagram(1432);
    publisher.rename(MetricNames::default());
    let endpoint = server.local_addr().unwrap().to_string();
    publisher.set_destinations(&[endpoint.parse().unwrap()], 0.0);
    (publisher, CollectorId::named(collector).unwrap(), server)
}

/// Enables the collector, without jobs.
fn enable(collector: CollectorId, publisher: &mut Publisher) {
    let counting = Backfill::new(&[collector]);
    Collectors::default().install(counting, &JobTable::default(), publisher);
}

/// The lines since the last call. On loopback a datagram arrives before send(2) returns.
fn ordered_lines(server: &UdpSocket) -> Vec<String> {
    let (mut lines, mut buffer) = (Vec::new(), [0; 2048]);
    while let Ok(length) = server.recv(&mut buffer) {
        let text = std::str::from_utf8(&buffer[..length]).unwrap();
        lines.extend(text.lines().map(str::to_owned));
    }
    lines
}

/// The lines since the last call, sorted.
fn lines(server: &UdpSocket) -> Vec<String> {
    let mut lines = ordered_lines(server);
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
fn counters_start_at_0_for_each_server_and_are_not_sent_twice() {
    let (mut publisher, results, server) = publisher("results");
    enable(results, &mut publisher);
    assert_eq!(lines(&server), [""; 0], "Flux may still refuse the load");
    publisher.start(0.0);
    assert_eq!(lines(&server), ZEROS);
    publisher.count(results, MetricId::fixed(1), 1);
    publisher.flush(0.0);
    assert_eq!(lines(&server), ["result.failed:1|c"]);
    publisher.resync();
    publisher.flush(0.0);
    assert_eq!(lines(&server), ZEROS, "the server may have restarted");
    // A new destination.
    let late = UdpSocket::bind("127.0.0.1:0").unwrap();
    late.set_nonblocking(true).unwrap();
    let endpoints = [&server, &late].map(|it| it.local_addr().unwrap().to_string());
    publisher.set_destinations(&endpoints.map(|it| it.parse().unwrap()), 0.0);
    publisher.flush(0.0);
    assert_eq!((lines(&server), lines(&late)), (Vec::new(), ZEROS.map(str::to_owned).into()));
    publisher.end(0.0);
    assert_eq!((lines(&server), lines(&late)), (Vec::new(), Vec::new()));
}

#[test]
fn counters_of_a_newly_enabled_collector_start_at_0() {
    let (mut publisher, results, server) = publisher("results");
    publisher.start(0.0);
    assert_eq!(lines(&server), [""; 0], "its jobs are not counted yet");
    enable(results, &mut publisher);
    // Events before the flush are not lost.
    publisher.count(results, MetricId::fixed(0), 2);
    publisher.flush(0.0);
    let mut expected = ZEROS;
    expected[1] = "result.completed:2|c";
    assert_eq!(lines(&server), expected);
    publisher.flush(0.0);
    assert_eq!(lines(&server), [""; 0]);
}

#[test]
fn a_new_gauge_is_sent_as_an_absolute_value_and_then_as_increments() {
    let (mut publisher, queues, server) = publisher("queues");
    publisher.start(0.0);
    let spec = |_| MetricSpec::new(MetricKind::JobSum, "queue", vec![("queue", "new".into())]);
    publisher.define(queues, 1, [()].map(spec).into());
    for expected in ["queue.new:1|g", "queue.new:+1|g"] {
        publisher.add(queues, MetricId { label: 1, metric: 0 }, 1);
        publisher.flush(0.0);
        assert_eq!(lines(&server), [expected]);
    }
}

#[test]
fn an_unknown_gauge_ends_at_0_if_it_was_published() {
    let (mut publisher, resources, server) = publisher("resources");
    publisher.start(0.0);
    let spec = |resource: &str| {
        MetricSpec::new(MetricKind::BrokerStatus, "resource", vec![("resource", resource.into())])
    };
    publisher.define(resources, 1, ["nodes", "gpus"].map(spec).into());
    let nodes = MetricId { label: 1, metric: 0 };
    publisher.set(resources, nodes, Some(8));
    publisher.flush(0.0);
    assert_eq!(lines(&server), ["resource.nodes:8|g"]);
    publisher.set(resources, nodes, None);
    publisher.flush(0.0);
    assert_eq!(lines(&server), [""; 0]);
    publisher.end(0.0);
    assert_eq!(lines(&server), ["resource.nodes:0|g"]);
}

#[test]
fn rising_gauges_are_sent_before_falling_ones_and_a_net_change_of_0_is_not_sent() {
    let (mut publisher, queues, server) = publisher("queues");
    publisher.start(0.0);
    let spec =
        |label: &str| MetricSpec::new(MetricKind::JobSum, "queue", vec![("queue", label.into())]);
    publisher.define(queues, 1, ["a", "b", "c"].map(spec).into());
    let id = |metric| MetricId { label: 1, metric };
    for metric in 0..3 {
        publisher.add(queues, id(metric), 5);
    }
    publisher.flush(0.0);
    assert_eq!(ordered_lines(&server), ["queue.a:5|g", "queue.b:5|g", "queue.c:5|g"]);
    for (metric, by) in [(0, -1), (1, 1), (2, -2), (0, -1), (1, -1), (1, 7), (2, 2)] {
        publisher.add(queues, id(metric), by);
    }
    publisher.flush(0.0);
    assert_eq!(ordered_lines(&server), ["queue.b:+7|g", "queue.a:-2|g"]);
}

#[test]
fn sums_that_are_added_again_send_only_the_differences() {
    let (mut publisher, queues, server) = publisher("queues");
    publisher.start(0.0);
    let spec =
        |label: &str| MetricSpec::new(MetricKind::JobSum, "queue", vec![("queue", label.into())]);
    publisher.define(queues, 1, ["same", "less", "gone", "never"].map(spec).into());
    let id = |metric| MetricId { label: 1, metric };
    let levels = [(0, 3), (1, 3), (2, 3)];
    levels.into_iter().for_each(|(metric, level)| publisher.add(queues, id(metric), level));
    publisher.flush(0.0);
    let expected = ["queue.gone:3|g", "queue.less:3|g", "queue.never:0|g", "queue.same:3|g"];
    assert_eq!(lines(&server), expected);
    publisher.reset_sums(queues);
    [(0, 3), (1, 1)].into_iter().for_each(|(metric, by)| publisher.add(queues, id(metric), by));
    publisher.flush(0.0);
    assert_eq!(ordered_lines(&server), ["queue.less:-2|g", "queue.gone:-3|g"]);
}

#[test]
fn counters_of_the_plugin_begin_at_0_and_are_summed_until_the_flush() {
    let (mut publisher, _, server) = publisher("results");
    publisher.start(0.0);
    for (name, total) in [("plugin.datagrams", 2), ("plugin.repairs", 0)] {
        publisher.set_plugin_counter(name, total);
    }
    publisher.flush(0.0);
    assert_eq!(ordered_lines(&server), ["plugin.datagrams:0|c", "plugin.repairs:0|c"]);
    publisher.set_plugin_counter("plugin.datagrams", 4);
    publisher.set_plugin_counter("plugin.datagrams", 7);
    assert!(publisher.is_pending());
    publisher.flush(0.0);
    assert_eq!(ordered_lines(&server), ["plugin.datagrams:5|c"]);
    assert!(!publisher.is_pending());
    publisher.flush(0.0);
    assert_eq!(lines(&server), [""; 0]);
}

#[test]
fn gauges_that_instances_share_are_sent_as_increments_only() {
    let (mut publisher, queues, server) = publisher("queues");
    publisher.set_mode(GaugeMode::Shared);
    publisher.start(0.0);
    let spec =
        |label: &str| MetricSpec::new(MetricKind::JobSum, "queue", vec![("queue", label.into())]);
    publisher.define(queues, 1, ["a", "b"].map(spec).into());
    publisher.add(queues, MetricId { label: 1, metric: 0 }, 2);
    publisher.resync();
    publisher.flush(0.0);
    assert_eq!(lines(&server), ["queue.a:+2|g"], "not b, which is 0");
    let late = UdpSocket::bind("127.0.0.1:0").unwrap();
    late.set_nonblocking(true).unwrap();
    let endpoints = [&server, &late].map(|it| it.local_addr().unwrap().to_string());
    publisher.set_destinations(&endpoints.map(|it| it.parse().unwrap()), 0.0);
    publisher.flush(0.0);
    assert_eq!((lines(&server), lines(&late)), (Vec::new(), vec!["queue.a:+2|g".to_owned()]));
    publisher.add(queues, MetricId { label: 1, metric: 0 }, 1);
    publisher.end(0.0);
    let all = ["queue.a:+1|g", "queue.a:-3|g"].map(str::to_owned).to_vec();
    assert_eq!((ordered_lines(&server), ordered_lines(&late)), (all.clone(), all));
}

#[test]
fn a_label_that_moves_to_the_place_of_another_one_keeps_its_gauge() {
    let (mut publisher, pending, server) = publisher("pending");
    let (mut table, mut collectors) = (JobTable::default(), Collectors::default());
    let schemes = &mut table.labels_mut().schemes;
    (1..=schemes.max).for_each(|number| assert_ne!(schemes.id(&format!("s{number}")), 0));
    // The second label is idle for the longest time, then the first one.
    for id in [2, 1].into_iter().chain(3..=schemes.last()) {
        schemes.count(id, 1);
        schemes.count(id, -1);
    }
    collectors.install(Backfill::new(&[pending]), &table, &mut publisher);
    publisher.start(0.0);
    lines(&server);
    let schemes = &mut table.labels_mut().schemes;
    assert_eq!(["new", "s2"].map(|label| schemes.id(label)), [2, 1]);
    let job = Job { schemes: 0b110, ..Job::new(Some(State::Depend)) };
    let change = Change { after: Some(job), ..Change::default() };
    collectors.on_change(&change, None, &table, &mut publisher);
    publisher.flush(0.0);
    let mut sent = ordered_lines(&server);
    sent.retain(|line| line.starts_with("dependency.s2:"));
    assert_eq!(sent, ["dependency.s2:+1|g"]);
}

#[test]
fn a_clock_that_is_set_back_delays_no_probe() {
    let (mut publisher, states, server) = publisher("states");
    let address = server.local_addr().unwrap();
    drop(server);
    enable(states, &mut publisher);
    publisher.start(40_000.0);
    publisher.check_destinations(40_000.1);
    assert_eq!(publisher.destinations()[0].state(), "failing");
    let server = UdpSocket::bind(address).unwrap();
    server.set_nonblocking(true).unwrap();
    publisher.service(1_000.0);
    assert_eq!(lines(&server).len(), 1, "a probe");
}
