//! Cost of a flush, which depends on the changed names, not on the existing ones.

use std::net::UdpSocket;
use std::time::Instant;

use state_counts::collectors::{CollectorId, MetricId, MetricKind, MetricSpec, Recorder};
use state_counts::publish::Publisher;

use super::alternate::{Contestant, Samples};
use super::drain::roomy_socket;
use super::report::Report;
use super::{plot, Options};

const ROUNDS: usize = 31;
const EXIST: [usize; 4] = [100, 1_000, 10_000, 100_000];
const CHANGED: [usize; 5] = [1, 10, 100, 1_000, 10_000];

const FLUSH: &str = "flush";
const SENDS: &str = "its sends";

/// Gauges, and a server that holds their datagrams until they are read.
struct Names {
    server: UdpSocket,
    publisher: Publisher,
    collector: CollectorId,
    metrics: Vec<MetricId>,
}

pub fn measure(report: &mut Report, options: Options) {
    let mut lines = Vec::new();
    for exist in EXIST {
        let mut names = Names::new(exist);
        let costs: Vec<_> = CHANGED
            .into_iter()
            .filter(|&changed| changed <= exist)
            .map(|changed| (changed as f64, names.cost(changed)))
            .collect();
        lines.push((format!("{exist} names exist"), costs));
    }
    let cost = |exist: usize, changed: usize| {
        let place = EXIST.iter().position(|&known| known == exist).unwrap();
        let (_, costs) = &lines[place];
        costs.iter().find(|(known, _)| *known == changed as f64).unwrap().1
    };
    for changed in CHANGED {
        report.figure(
            &format!("flush of {changed} changed names of 10,000, without the sends"),
            format!("{:.1} µs", cost(10_000, changed)),
        );
    }
    let most = cost(100_000, 10_000) / 1e3;
    report.goal(
        "flush of 10,000 changed names of 100,000, without the sends",
        format!("{most:.2} ms"),
        "at most 2 ms",
        most <= 2.0,
    );
    // A flush that visits all names would be about 100 times as expensive. The ratio is
    // above 1 because names that are far apart in memory are not in the cache.
    let growth = cost(100_000, 1_000) / cost(1_000, 1_000);
    report.goal(
        "flush of 1,000 changed names, ratio of 100,000 names to 1,000",
        format!("{growth:.2}"),
        "below 3",
        growth < 3.0,
    );
    if options.docs {
        let lines: Vec<_> = lines.iter().map(|(name, costs)| (name.as_str(), costs)).collect();
        plot::lines("flush.svg", "A flush, without the sends", &lines);
    }
}

impl Names {
    fn new(exist: usize) -> Names {
        let server = roomy_socket();
        server.set_nonblocking(true).unwrap();
        let endpoint = server.local_addr().unwrap().to_string().parse().unwrap();
        let mut publisher = Publisher::default();
        publisher.set_max_datagram(1432);
        let collector = CollectorId::named("queues").unwrap();
        // More gauges than there can be labels.
        const EACH: usize = 10;
        for label in 0..exist / EACH {
            let spec = |metric| {
                let name = format!("{:06}", label * EACH + metric);
                let tags = vec![("queue", name.as_str().into()), ("state", "RUN".into())];
                MetricSpec::new(MetricKind::JobSum, "flux.job.queue", tags)
            };
            publisher.define(collector, label as u16, (0..EACH).map(spec).collect());
        }
        let id = |number| MetricId::of((number / EACH) as u16, number % EACH);
        let metrics = (0..exist).map(id).collect();
        publisher.set_destinations(&[endpoint], 0.0);
        publisher.start(0.0);
        let names = Names { server, publisher, collector, metrics };
        names.received();
        names
    }

    /// Time of a flush of `changed` evenly spread names in microseconds, minus the time of
    /// the sends.
    fn cost(&mut self, changed: usize) -> f64 {
        let step = self.metrics.len() / changed;
        let collector = self.collector;
        let change = |publisher: &mut Publisher, metrics: &[MetricId]| {
            for &metric in metrics.iter().step_by(step).take(changed) {
                publisher.add(collector, metric, 1);
            }
        };
        change(&mut self.publisher, &self.metrics);
        self.publisher.flush(0.0);
        let datagrams = self.received();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        sender.set_nonblocking(true).unwrap();
        sender.connect(self.server.local_addr().unwrap()).unwrap();

        // Repeat short flushes within a sample.
        let times = (1_000 / changed).max(1);
        let mut samples = Samples::default();
        let shared = std::cell::RefCell::new(self);
        samples.add_warm(
            ROUNDS,
            &mut [
                Contestant::new(FLUSH, || {
                    let mut names = shared.borrow_mut();
                    let Names { publisher, metrics, .. } = &mut **names;
                    let mut total = 0.0;
                    for _ in 0..times {
                        change(publisher, metrics);
                        let start = Instant::now();
                        publisher.flush(0.0);
                        total += start.elapsed().as_secs_f64();
                    }
                    names.received();
                    total * 1e6 / times as f64
                }),
                Contestant::new(SENDS, || {
                    let mut total = 0.0;
                    for _ in 0..times {
                        let start = Instant::now();
                        for datagram in &datagrams {
                            let _ = sender.send(datagram);
                        }
                        total += start.elapsed().as_secs_f64();
                    }
                    shared.borrow().received();
                    total * 1e6 / times as f64
                }),
            ],
        );
        samples.difference(FLUSH, SENDS)
    }

    /// Received datagrams, in order.
    fn received(&self) -> Vec<Vec<u8>> {
        let mut buffer = [0; 65536];
        let mut datagrams = Vec::new();
        while let Ok(length) = self.server.recv(&mut buffer) {
            datagrams.push(buffer[..length].to_vec());
        }
        datagrams
    }
}
