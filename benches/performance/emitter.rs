//! Compares the emitter with other Rust clients that send the same names and values with
//! the same kind of socket to the same server.

use std::time::Instant;

use cadence::prelude::*;
use cadence::{BufferedUdpMetricSink, MetricSink, StatsdClient, UdpMetricSink};
use state_counts::stats::{Metric, Stats};

use super::alternate::{Contestant, Samples};
use super::drain::{Drain, Reader};
use super::report::Report;
use super::support::STATES;
use super::{plot, Options};

const ROUNDS: usize = 301;
/// Lines per sample, each in its own datagram or packed. A sample is shorter than a time
/// slice of the scheduler.
const ALONE: usize = 500;
const PACKED: usize = 7_000;

const PREFIX: &str = "flux.job.state";
/// Datagram sizes: the default of state-counts, and the size for jumbo frames. The default
/// of cadence is 512.
const ETHERNET: usize = 1432;
const JUMBO: usize = 8932;

const OURS: &str = "state-counts";
const OURS_PACKED: &str = "state-counts, packed (batch)";
const OURS_PACKED_METRIC: &str = "state-counts, packed, interned names";
const OURS_JUMBO: &str = "state-counts, packed (batch), datagrams of 8,932 bytes";
const OURS_SUMMED: &str = "state-counts, summed by name (aggregated)";
const CADENCE: &str = "cadence, non-blocking UdpMetricSink";
const CADENCE_PACKED: &str = "cadence, BufferedUdpMetricSink";
const CADENCE_JUMBO: &str = "cadence, BufferedUdpMetricSink, datagrams of 8,932 bytes";
const SENDS: &str = "only the sends of packed lines";
const STATSD: &str = "statsd, Client";
const STATSD_PACKED: &str = "statsd, Pipeline";

pub fn measure(report: &mut Report, options: Options) {
    let drain = Drain::start(Reader::Spins);
    let mut samples = Samples::default();
    samples.add_warm(
        ROUNDS,
        &mut [
            Contestant::new(OURS, ours(&drain)),
            Contestant::new(CADENCE, cadence_alone(&drain)),
            Contestant::new(STATSD, statsd_alone(&drain)),
            Contestant::new(OURS_PACKED, ours_packed(&drain, ETHERNET)),
            Contestant::new(OURS_JUMBO, ours_packed(&drain, JUMBO)),
            Contestant::new(OURS_PACKED_METRIC, ours_packed_interned(&drain)),
            Contestant::new(OURS_SUMMED, ours_summed(&drain)),
            Contestant::new(CADENCE_PACKED, cadence_packed(&drain, ETHERNET)),
            Contestant::new(CADENCE_JUMBO, cadence_packed(&drain, JUMBO)),
            Contestant::new(STATSD_PACKED, statsd_packed(&drain)),
            Contestant::new(SENDS, sends(&drain)),
        ],
    );
    for (name, median) in samples.medians() {
        let rate = 1e3 / median;
        report
            .figure(&format!("{name}: per line"), format!("{median:.0} ns ({rate:.2} million/s)"));
    }
    let slower = samples.ratio(CADENCE, OURS);
    report.goal(
        "rate, ratio to cadence, one line per datagram",
        format!("{slower:.2}"),
        "at least 1.00",
        slower >= 1.0,
    );
    for (how, cadence, ours) in [
        ("every line sent", CADENCE_PACKED, OURS_PACKED),
        ("every line sent, datagrams of 8,932 bytes", CADENCE_JUMBO, OURS_JUMBO),
    ] {
        let faster = samples.ratio(cadence, ours);
        report.goal(
            &format!("rate, ratio to cadence, buffered, {how}"),
            format!("{faster:.2}"),
            "at least 2.00",
            faster >= 2.0,
        );
    }
    // The plugin sums by name. There is no goal, because cadence sends every line.
    report.figure(
        "rate, ratio to cadence, buffered, summed by name",
        format!("{:.2}", samples.ratio(CADENCE_PACKED, OURS_SUMMED)),
    );
    let besides = |name| samples.difference(name, SENDS);
    report.figure(
        "rate, ratio to cadence, every line sent, without the sends",
        format!("{:.2}", besides(CADENCE_PACKED) / besides(OURS_PACKED)),
    );
    if options.docs {
        plot::bars("emitter.svg", "A gauge's line, in Rust clients", &samples.medians());
    }
}

/// Name and value of a line.
fn line(number: usize) -> (&'static str, u64) {
    (STATES[number % STATES.len()], (number % 1000) as u64)
}

/// Nanoseconds per line.
fn timed(lines: usize, body: impl FnOnce()) -> f64 {
    let start = Instant::now();
    body();
    start.elapsed().as_secs_f64() * 1e9 / lines as f64
}

fn stats(drain: &Drain) -> Stats {
    let mut stats = Stats::new(&drain.address().to_string().parse().unwrap()).unwrap();
    stats.set_prefix(PREFIX).unwrap();
    stats
}

fn ours(drain: &Drain) -> impl FnMut() -> f64 {
    let mut stats = stats(drain);
    move || {
        timed(ALONE, || {
            for (name, value) in (0..ALONE).map(line) {
                stats.gauge_set(name, value as i64).unwrap();
            }
        })
    }
}

fn ours_packed(drain: &Drain, max_datagram: usize) -> impl FnMut() -> f64 {
    let mut stats = stats(drain);
    stats.set_max_datagram(max_datagram).unwrap();
    move || {
        timed(PACKED, || {
            let lines = (0..PACKED).map(line);
            let all = |stats: &mut Stats| {
                lines.into_iter().try_for_each(|(name, value)| stats.gauge_set(name, value as i64))
            };
            stats.batch(all).unwrap();
        })
    }
}

fn ours_packed_interned(drain: &Drain) -> impl FnMut() -> f64 {
    let mut stats = stats(drain);
    let metrics: Vec<Metric> = STATES.iter().map(|name| stats.metric(name).unwrap()).collect();
    move || {
        timed(PACKED, || {
            let all = |stats: &mut Stats| {
                (0..PACKED).try_for_each(|number| {
                    stats.gauge_set(metrics[number % metrics.len()], line(number).1 as i64)
                })
            };
            stats.batch(all).unwrap();
        })
    }
}

fn ours_summed(drain: &Drain) -> impl FnMut() -> f64 {
    let mut stats = stats(drain);
    stats.set_aggregated(true);
    move || {
        timed(PACKED, || {
            for (name, value) in (0..PACKED).map(line) {
                stats.gauge_set(name, value as i64).unwrap();
            }
            stats.flush();
        })
    }
}

/// Sends prepared datagrams with the same lines.
fn sends(drain: &Drain) -> impl FnMut() -> f64 {
    let mut datagrams = vec![String::new()];
    for (name, value) in (0..PACKED).map(line) {
        let line = format!("{PREFIX}.{name}:{value}|g\n");
        if datagrams[datagrams.len() - 1].len() + line.len() > ETHERNET {
            datagrams.push(String::new());
        }
        datagrams.last_mut().unwrap().push_str(&line);
    }
    let socket = drain.sender();
    move || {
        timed(PACKED, || {
            for datagram in &datagrams {
                let _ = socket.send(datagram.as_bytes());
            }
        })
    }
}

fn cadence_with(
    sink: impl MetricSink + Sync + Send + std::panic::RefUnwindSafe + 'static,
) -> StatsdClient {
    StatsdClient::from_sink(PREFIX, sink)
}

fn cadence_alone(drain: &Drain) -> impl FnMut() -> f64 {
    let socket = drain.sender();
    let client = cadence_with(UdpMetricSink::from(drain.address(), socket).unwrap());
    move || {
        timed(ALONE, || {
            for (name, value) in (0..ALONE).map(line) {
                let _ = client.gauge(name, value);
            }
        })
    }
}

fn cadence_packed(drain: &Drain, max_datagram: usize) -> impl FnMut() -> f64 {
    let socket = drain.sender();
    let sink = BufferedUdpMetricSink::with_capacity(drain.address(), socket, max_datagram);
    let client = cadence_with(sink.unwrap());
    move || {
        timed(PACKED, || {
            for (name, value) in (0..PACKED).map(line) {
                let _ = client.gauge(name, value);
            }
            let _ = client.flush();
        })
    }
}

fn statsd_alone(drain: &Drain) -> impl FnMut() -> f64 {
    let client = statsd::Client::new(drain.address(), PREFIX).unwrap();
    move || {
        timed(ALONE, || {
            for (name, value) in (0..ALONE).map(line) {
                client.gauge(name, value as f64);
            }
        })
    }
}

fn statsd_packed(drain: &Drain) -> impl FnMut() -> f64 {
    let client = statsd::Client::new(drain.address(), PREFIX).unwrap();
    move || {
        timed(PACKED, || {
            let mut pipeline = client.pipeline();
            pipeline.set_max_udp_size(ETHERNET);
            for (name, value) in (0..PACKED).map(line) {
                pipeline.gauge(name, value as f64);
            }
            pipeline.send(&client);
        })
    }
}
