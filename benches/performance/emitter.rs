//! Compares the emitter with other Rust clients that send the same names and values with
//! the same kind of socket to the same server.

use std::time::Instant;

use cadence::prelude::*;
use cadence::{BufferedUdpMetricSink, MetricSink, StatsdClient, UdpMetricSink};
use state_counts::stats::{DatagramBuffer, Dialect, Stats, Value};

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
/// The maximum payload of our datagrams in bytes. The default of cadence is 512.
const ETHERNET: usize = 1432;

const OURS: &str = "state-counts";
const OURS_PACKED: &str = "state-counts, packed, as the plugin sends";
const CADENCE: &str = "cadence, non-blocking UdpMetricSink";
const CADENCE_PACKED: &str = "cadence, BufferedUdpMetricSink";
const SENDS: &str = "the sends of packed lines alone";
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
            Contestant::new(OURS_PACKED, ours_packed(&drain)),
            Contestant::new(CADENCE_PACKED, cadence_packed(&drain)),
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
    let faster = samples.ratio(CADENCE_PACKED, OURS_PACKED);
    report.goal(
        "rate against cadence, buffered, every line sent",
        format!("{faster:.2}"),
        "at least 2.00",
        faster >= 2.0,
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

fn ours(drain: &Drain) -> impl FnMut() -> f64 {
    let mut stats = Stats::new(&drain.address().to_string().parse().unwrap()).unwrap();
    stats.set_prefix(PREFIX).unwrap();
    move || {
        timed(ALONE, || {
            for (name, value) in (0..ALONE).map(line) {
                stats.gauge(name, value as i64, false).unwrap();
            }
        })
    }
}

/// The line templates exist before, as in the plugin.
fn ours_packed(drain: &Drain) -> impl FnMut() -> f64 {
    let template = |name: &&str| Dialect::Plain.template(PREFIX, name, &[], &[]).unwrap();
    let templates: Vec<_> = STATES.iter().map(template).collect();
    let mut buffer = DatagramBuffer::default();
    let socket = drain.sender();
    let send = move |buffer: &mut DatagramBuffer| {
        let _ = socket.send(buffer.datagram().unwrap());
        buffer.clear();
    };
    move || {
        timed(PACKED, || {
            for number in 0..PACKED {
                let value = Value::GaugeSet(line(number).1 as i64);
                let template = &templates[number % templates.len()];
                if !buffer.append(template, value, ETHERNET) {
                    send(&mut buffer);
                    buffer.append(template, value, ETHERNET);
                }
            }
            send(&mut buffer);
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

fn cadence_packed(drain: &Drain) -> impl FnMut() -> f64 {
    let socket = drain.sender();
    let sink = BufferedUdpMetricSink::with_capacity(drain.address(), socket, ETHERNET);
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
