//! A model of servers, and of a publisher whose sends fail: after any failure, each server has
//! the right values afterwards.

use std::collections::BTreeMap;
use std::net::UdpSocket;
use std::panic::{catch_unwind, AssertUnwindSafe};

use super::{GaugeMode, MetricNames, Publisher};
use crate::collectors::{CollectorId, MetricId, MetricKind, MetricSpec, Recorder};
use crate::stats::faults;

const GAUGES: usize = 12;
const TIMING: usize = GAUGES + 1;

/// A server that applies each line, as statsd does.
struct Server {
    socket: UdpSocket,
    gauges: BTreeMap<String, i64>,
    counters: BTreeMap<String, i64>,
    timings: u64,
}

impl Server {
    fn new() -> Server {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        Server { socket, gauges: BTreeMap::new(), counters: BTreeMap::new(), timings: 0 }
    }

    fn endpoint(&self) -> String {
        self.socket.local_addr().unwrap().to_string()
    }

    /// Applies what has arrived.
    fn read(&mut self) {
        let mut buffer = [0; 2048];
        while let Ok(length) = self.socket.recv(&mut buffer) {
            for line in std::str::from_utf8(&buffer[..length]).unwrap().lines() {
                let (name, rest) = line.split_once(':').unwrap();
                let (value, kind) = rest.split_once('|').unwrap();
                match kind {
                    "ms" => self.timings += 1,
                    "c" => {
                        *self.counters.entry(name.into()).or_default() +=
                            value.parse::<i64>().unwrap()
                    }
                    _ if value.starts_with(['+', '-']) => {
                        *self.gauges.entry(name.into()).or_default() +=
                            value.parse::<i64>().unwrap()
                    }
                    _ => drop(self.gauges.insert(name.into(), value.parse().unwrap())),
                }
            }
        }
    }
}

/// A publisher of some gauges, a counter and a timing, and two servers.
struct Model {
    publisher: Publisher,
    collector: CollectorId,
    servers: [Server; 2],
    levels: [i64; GAUGES],
    total: i64,
    timings: u64,
    now: f64,
    mode: GaugeMode,
    /// Refusals of each server so far.
    refusals: [u64; 2],
}

impl Model {
    fn new(mode: GaugeMode) -> Model {
        let servers = [Server::new(), Server::new()];
        let mut publisher = Publisher::default();
        publisher.rename(MetricNames::default());
        publisher.set_mode(mode);
        // A datagram has about four lines.
        publisher.set_max_datagram(60);
        let endpoints = servers.each_ref().map(|it| it.endpoint().parse().unwrap());
        publisher.set_destinations(&endpoints, 0.0);
        let collector = CollectorId::named("queues").unwrap();
        let mut model = Model {
            publisher,
            collector,
            servers,
            levels: [0; GAUGES],
            total: 0,
            timings: 0,
            now: 1000.0,
            mode,
            refusals: [0; 2],
        };
        model.define(0);
        model
    }

    /// Defines the metrics; another `version` has other names.
    fn define(&mut self, version: usize) {
        let kind = |index| match index {
            0..GAUGES => MetricKind::JobSum,
            GAUGES => MetricKind::Counter,
            _ => MetricKind::Timing,
        };
        let spec = |index: usize| {
            let name = format!("v{version}-{index:02}");
            MetricSpec::new(kind(index), "m", vec![("queue", name.as_str().into())])
        };
        self.publisher.define(self.collector, 1, (0..=TIMING).map(spec).collect());
    }

    /// Changes all metrics in a different way in each round.
    fn change(&mut self, round: usize) {
        for gauge in 0..GAUGES {
            let by = match (gauge + round) % 4 {
                0 => 3,
                1 if self.levels[gauge] > 0 => -1,
                _ => 0,
            };
            self.levels[gauge] += by;
            self.publisher.add(self.collector, MetricId::of(1, gauge), by);
        }
        // Events before the start are those of existing jobs.
        let is_counted = u64::from(self.publisher.is_running());
        self.total += is_counted as i64;
        self.publisher.count(self.collector, MetricId::of(1, GAUGES), 1);
        self.timings += is_counted;
        self.publisher.timing(self.collector, MetricId::of(1, TIMING), 1.0);
    }

    fn flush(&mut self) {
        self.publisher.flush(self.now);
        self.read();
    }

    fn service(&mut self, seconds: f64) {
        self.now += seconds;
        self.publisher.service(self.now);
        self.read();
    }

    /// Applies what has arrived. A refusal means that the server has restarted without its
    /// values; an instance that does not share its gauges must not rely on that.
    fn read(&mut self) {
        for (index, server) in self.servers.iter_mut().enumerate() {
            server.read();
            let counters = self.publisher.destinations()[index].counters();
            let refusals = counters.failures_by(libc::ECONNREFUSED);
            if refusals > std::mem::replace(&mut self.refusals[index], refusals)
                && self.mode == GaugeMode::Shared
            {
                server.gauges.clear();
            }
        }
    }

    /// Lets time pass until nothing is left to do.
    fn settle(&mut self) {
        while let Some(next) = self.publisher.next_service() {
            self.service((next - self.now).max(0.0));
        }
        self.publisher.check_destinations(self.now);
        self.read();
    }

    fn assert_right(&self, version: usize, what: &str) {
        for (server, destination) in self.servers.iter().zip(self.publisher.destinations()) {
            assert_eq!(destination.state(), "ok", "{what}");
            for (index, level) in self.levels.into_iter().enumerate() {
                let name = format!("m.v{version}-{index:02}");
                let value = server.gauges.get(&name).copied().unwrap_or_default();
                assert_eq!(value, level, "{name} {what}");
            }
            let old =
                server.gauges.iter().filter(|(name, _)| !name.contains(&format!("v{version}-")));
            assert_eq!(old.filter(|(_, value)| **value != 0).count(), 0, "retired {what}");
            let total: i64 = server.counters.values().sum();
            assert_eq!(total, self.total, "{what}");
            assert_eq!(server.timings + destination.dropped_timings(), self.timings, "{what}");
        }
    }
}

const ERRNOS: [i32; 6] = [
    libc::EAGAIN,
    libc::ECONNREFUSED,
    libc::ENOBUFS,
    libc::EMSGSIZE,
    libc::EPERM,
    libc::ENETUNREACH,
];

#[test]
fn each_failed_send_is_made_good() {
    for mode in [GaugeMode::Increments, GaugeMode::Values, GaugeMode::Shared] {
        for errno in ERRNOS {
            for index in 0..40 {
                let what = format!("{mode:?}: errno {errno} at send {index}");
                let mut model = Model::new(mode);
                model.change(0);
                let mut errnos = vec![0; index];
                errnos.push(errno);
                faults::set(&errnos);
                // First values, changes, a resync, and other names.
                model.publisher.start(model.now);
                model.read();
                model.change(1);
                model.flush();
                model.publisher.resync();
                model.change(2);
                model.flush();
                model.define(1);
                model.change(3);
                model.flush();
                faults::set(&[]);
                model.settle();
                model.assert_right(1, &what);
            }
        }
    }
}

#[test]
fn any_number_of_failed_sends_is_made_good() {
    for mode in [GaugeMode::Increments, GaugeMode::Values, GaugeMode::Shared] {
        for errno in ERRNOS {
            for failures in [1, 2, 5, 20] {
                let mut model = Model::new(mode);
                faults::set(&vec![errno; failures]);
                model.publisher.start(model.now);
                model.read();
                for round in 0..20 {
                    model.change(round);
                    model.flush();
                    model.service(0.03);
                }
                faults::set(&[]);
                model.settle();
                model.assert_right(0, &format!("{mode:?}: {failures} times errno {errno}"));
            }
        }
    }
}

#[test]
fn a_server_that_is_back_at_the_end_has_the_final_values() {
    let mut model = Model::new(GaugeMode::Increments);
    model.publisher.start(model.now);
    model.change(0);
    // Both servers refuse one datagram, and accept the probe after it.
    faults::set(&[libc::ECONNREFUSED; 2]);
    model.flush();
    model.service(0.15);
    assert!(model.publisher.destinations().iter().all(|it| it.state() == "failing"));
    model.publisher.end(model.now);
    model.read();
    for server in &model.servers {
        assert!(server.gauges.values().all(|value| *value == 0), "{:?}", server.gauges);
    }
}

#[test]
fn the_end_leaves_no_gauge_behind() {
    for mode in [GaugeMode::Increments, GaugeMode::Values, GaugeMode::Shared] {
        let mut model = Model::new(mode);
        model.publisher.start(model.now);
        model.change(0);
        model.publisher.flush(model.now);
        model.change(1);
        model.publisher.end(model.now);
        model.servers.iter_mut().for_each(Server::read);
        for server in &model.servers {
            assert!(server.gauges.values().all(|value| *value == 0), "{mode:?}");
            assert_eq!(server.counters.values().sum::<i64>(), model.total, "{mode:?}");
        }
    }
}

/// The gauges of a server, without the prefix `m.v0-`.
fn gauges(server: &mut Server) -> Vec<i64> {
    server.read();
    (0..GAUGES)
        .map(|it| server.gauges.get(&format!("m.v0-{it:02}")).copied().unwrap_or(0))
        .collect()
}

#[test]
fn a_socket_that_cannot_be_created_is_created_later() {
    for errno in [libc::ENOBUFS, libc::EAGAIN, libc::EMFILE] {
        faults::set_connects(&[errno; 5]);
        let mut model = Model::new(GaugeMode::Increments);
        model.publisher.start(model.now);
        for round in 0..5 {
            model.change(round);
            model.flush();
            model.service(0.1);
        }
        faults::set_connects(&[]);
        model.settle();
        model.assert_right(0, &format!("errno {errno}"));
    }
}

#[test]
fn a_caught_panic_loses_no_value_and_sends_none_twice() {
    for mode in [GaugeMode::Increments, GaugeMode::Values, GaugeMode::Shared] {
        for index in 0..20 {
            let mut model = Model::new(mode);
            model.publisher.start(model.now);
            model.read();
            model.change(1);
            let mut errnos = vec![0; index];
            errnos.push(faults::PANIC);
            faults::set(&errnos);
            let flush = AssertUnwindSafe(|| model.publisher.flush(model.now));
            let is_caught = catch_unwind(flush).is_err();
            faults::set(&[]);
            assert!(!is_caught || model.publisher.is_pending());
            model.change(2);
            // Samples of timings are lost with the flush that panics.
            model.flush();
            for server in &mut model.servers {
                assert_eq!(gauges(server), model.levels, "{mode:?} {index} {is_caught}");
                assert_eq!(server.counters.values().sum::<i64>(), model.total, "{mode:?} {index}");
            }
        }
    }
}

#[test]
fn a_full_device_does_not_keep_a_unix_connection_busy() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("statsd.sock");
    let _server = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    let mut model = Model::new(GaugeMode::Increments);
    let endpoint = format!("unix:{}", path.display());
    model.publisher.set_destinations(&[endpoint.parse().unwrap()], model.now);
    faults::set(&[libc::ENOBUFS]);
    model.publisher.start(model.now);
    // The socket is writable, so that a watcher would call back at once.
    assert!(model.publisher.full_sockets().is_empty());
    assert!(model.publisher.next_service().unwrap() < model.now + 0.1);
}

#[test]
fn a_server_with_another_address_has_all_values_after_the_final_ones() {
    for mode in [GaugeMode::Increments, GaugeMode::Values, GaugeMode::Shared] {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let port = socket.local_addr().unwrap().port();
        let mut server = Server { socket, ..Server::new() };
        let mut model = Model::new(mode);
        model.publisher.start(model.now);
        model.change(0);
        for host in ["127.0.0.1", "127.0.0.2", "127.0.0.1"] {
            let endpoint = format!("{host}:{port}").parse().unwrap();
            model.publisher.set_destinations(&[endpoint], model.now);
            model.publisher.flush(model.now);
            assert_eq!(gauges(&mut server), model.levels, "{mode:?} {host}");
        }
    }
}

#[test]
fn the_next_address_of_a_host_gets_all_values() {
    for mode in [GaugeMode::Increments, GaugeMode::Values] {
        let mut model = Model::new(mode);
        model.publisher.start(model.now);
        model.change(0);
        model.flush();
        let [first, second] = &mut model.publisher.destinations[..] else { panic!() };
        first.connection.as_mut().unwrap().set_address(second.address().unwrap().clone(), mode);
        model.servers[1].gauges.clear();
        faults::set(&[libc::EHOSTUNREACH]);
        model.change(1);
        model.publisher.flush(model.now);
        model.settle();
        assert_eq!(gauges(&mut model.servers[1]), model.levels, "{mode:?}");
    }
}

#[test]
fn a_probe_loses_no_count() {
    for mode in [GaugeMode::Increments, GaugeMode::Shared] {
        let mut model = Model::new(mode);
        model.publisher.start(model.now);
        model.change(0);
        model.flush();
        // The server ends. The first datagram is lost, and the next one is refused.
        let address = model.servers[0].socket.local_addr().unwrap();
        model.servers[0].socket = Server::new().socket;
        model.publisher.count(model.collector, MetricId::of(1, GAUGES), 1);
        model.publisher.flush(model.now);
        let lost = 1;
        for _ in 0..3 {
            model.publisher.count(model.collector, MetricId::of(1, GAUGES), 10);
            model.publisher.flush(model.now);
            (0..20).for_each(|_| model.service(0.1));
        }
        model.servers[0].socket = UdpSocket::bind(address).unwrap();
        model.servers[0].socket.set_nonblocking(true).unwrap();
        model.settle();
        let counted: Vec<i64> =
            model.servers.iter().map(|server| server.counters.values().sum()).collect();
        assert_eq!(counted, [model.total + 30, model.total + 30 + lost], "{mode:?}");
    }
}

#[test]
fn a_removed_server_gets_final_values_in_its_own_mode() {
    let mut model = Model::new(GaugeMode::Shared);
    model.publisher.start(model.now);
    model.change(0);
    model.flush();
    // Another instance.
    *model.servers[1].gauges.get_mut("m.v0-00").unwrap() += 5;
    let endpoint = model.servers[0].endpoint().parse().unwrap();
    faults::set(&[libc::ENOBUFS]);
    model.publisher.set_destinations(&[endpoint], model.now);
    model.publisher.set_mode(GaugeMode::Increments);
    model.publisher.flush(model.now);
    faults::set(&[]);
    model.publisher.end(model.now);
    let mut expected = [0; GAUGES];
    expected[0] = 5;
    assert_eq!(gauges(&mut model.servers[1]), expected);
}

#[test]
fn a_sample_is_not_sent_under_a_later_name() {
    let mut model = Model::new(GaugeMode::Increments);
    model.publisher.start(model.now);
    model.publisher.timing(model.collector, MetricId::of(1, TIMING), 1.0);
    model.publisher.retire(model.collector, 1);
    model.publisher.service(model.now);
    model.define(1);
    let mut received = Vec::new();
    model.publisher.flush(model.now);
    let mut buffer = [0; 2048];
    while let Ok(length) = model.servers[0].socket.recv(&mut buffer) {
        received.extend_from_slice(&buffer[..length]);
        received.push(b'\n');
    }
    let text = String::from_utf8(received).unwrap();
    let samples: Vec<_> = text.lines().filter(|line| line.ends_with("|ms")).collect();
    assert_eq!(samples, [format!("m.v0-{TIMING}:1|ms")]);
}

#[test]
fn a_unix_server_that_takes_over_the_path_of_a_failing_one_has_all_values() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("statsd.sock");
    let _old = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    let mut model = Model::new(GaugeMode::Increments);
    let endpoint = format!("unix:{}", path.display());
    model.publisher.set_destinations(&[endpoint.parse().unwrap()], model.now);
    model.publisher.set_max_datagram(1432);
    model.publisher.start(model.now);
    model.change(0);
    faults::set(&[libc::EPERM]);
    model.publisher.flush(model.now);
    std::fs::remove_file(&path).unwrap();
    let new = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    new.set_nonblocking(true).unwrap();
    model.now += 0.2;
    model.publisher.service(model.now);
    let mut buffer = [0; 2048];
    let length = new.recv(&mut buffer).unwrap();
    let lines = std::str::from_utf8(&buffer[..length]).unwrap();
    assert_eq!(lines.lines().filter(|line| line.ends_with("|g")).count(), GAUGES, "{lines}");
}

#[test]
fn two_paths_of_one_unix_server_continue_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let (path, link) = (folder.path().join("statsd.sock"), folder.path().join("link.sock"));
    let server = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    server.set_nonblocking(true).unwrap();
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let mut model = Model::new(GaugeMode::Increments);
    let endpoint = |path: &std::path::Path| format!("unix:{}", path.display()).parse().unwrap();
    model.publisher.set_destinations(&[endpoint(&path)], model.now);
    model.publisher.set_max_datagram(1432);
    model.change(0);
    model.publisher.start(model.now);
    model.publisher.set_destinations(&[endpoint(&link)], model.now);
    model.publisher.flush(model.now);
    let mut buffer = [0; 2048];
    let mut last = String::new();
    while let Ok(length) = server.recv(&mut buffer) {
        last = String::from_utf8(buffer[..length].to_vec()).unwrap();
    }
    assert!(last.contains("m.v0-00:3|g"), "{last}");
}

/// Random operations with random faults, compared with the model.
#[test]
fn random_operations_with_random_faults_end_with_the_right_values() {
    for seed in 1..=3000u64 {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut random = |limit: usize| {
            // xorshift64 (Marsaglia, 2003).
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 33) as usize % limit
        };
        let mode = [GaugeMode::Increments, GaugeMode::Values, GaugeMode::Shared][random(3)];
        let mut model = Model::new(mode);
        let (mut version, mut operations) = (0, Vec::new());
        // `false` if a server was removed meanwhile; if a panic lost samples.
        let (mut is_complete, mut has_all_samples) = (true, true);
        model.publisher.start(model.now);
        model.read();
        for round in 0..random(30) {
            let errnos = ERRNOS.map(|errno| [0, errno]).concat();
            let faults: Vec<_> = (0..random(6)).map(|_| errnos[random(errnos.len())]).collect();
            faults::set(&faults);
            let operation = random(13);
            operations.push((operation, faults));
            match operation {
                0..3 => model.change(round),
                3 => model.flush(),
                4 => model.publisher.resync(),
                5 => {
                    version += 1;
                    model.define(version);
                }
                6 => {
                    model.publisher.look_up(false, model.now);
                    model.read();
                }
                7 => model.service([0.001, 0.02, 0.2, 2.0][random(4)]),
                8 => {
                    model.publisher.check_destinations(model.now);
                    model.read();
                }
                9 if mode != GaugeMode::Shared => {
                    model.mode = [GaugeMode::Increments, GaugeMode::Values][random(2)];
                    model.publisher.set_mode(model.mode);
                }
                10 if mode != GaugeMode::Shared => {
                    // A removed server comes back, possibly before it has the final values.
                    let endpoints =
                        model.servers.each_ref().map(|it| it.endpoint().parse().unwrap());
                    model.publisher.set_destinations(&endpoints[random(2)..][..1], model.now);
                    if random(2) == 0 {
                        model.publisher.flush(model.now);
                    }
                    model.publisher.set_destinations(&endpoints, model.now);
                    is_complete = false;
                }
                11 => {
                    // The label is removed. It may come back, or another one takes its place.
                    model.publisher.retire(model.collector, 1);
                    if random(2) == 0 {
                        model.service(0.01);
                    }
                    version += random(2);
                    model.define(version);
                    model.levels = [0; GAUGES];
                }
                12 => {
                    faults::set(&[0, 0, 0, faults::PANIC][random(4)..]);
                    let flush = AssertUnwindSafe(|| model.publisher.flush(model.now));
                    has_all_samples &= catch_unwind(flush).is_ok();
                    model.read();
                }
                _ => model.publisher.set_max_datagram([20, 60, 512][random(3)]),
            }
        }
        faults::set(&[]);
        model.flush();
        model.settle();
        let what = format!("seed {seed}, {mode:?}: {operations:?}");
        if !is_complete {
            // A removed connection that failed counted less, and old names may remain.
            for server in &mut model.servers {
                server.gauges.retain(|name, _| name.contains(&format!("v{version}-")));
                server.counters = BTreeMap::from([(String::new(), model.total)]);
            }
        }
        let timings = model.timings;
        for (server, destination) in model.servers.iter_mut().zip(model.publisher.destinations()) {
            if !is_complete || !has_all_samples {
                server.timings = timings - destination.dropped_timings();
            }
        }
        model.assert_right(version, &what);
    }
}
