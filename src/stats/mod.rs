//! Metrics to a statsd server, as fast as they happen and never in the way.
//!
//! ```
//! use state_counts::stats::{Endpoint, Stats};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let server = std::net::UdpSocket::bind("127.0.0.1:0")?;
//! # let text = server.local_addr()?.to_string();
//! let endpoint: Endpoint = text.parse()?; // or Stats::from_environment()
//! let mut stats = Stats::new(&endpoint)?;
//! stats.set_prefix("site.queue")?;
//!
//! stats.inc("waiting")?; //            site.queue.waiting:+1|g
//! stats.dec("waiting")?; //            site.queue.waiting:-1|g
//! stats.gauge_set("length", 12)?; //   site.queue.length:12|g
//! stats.gauge_add("length", -2)?; //   site.queue.length:-2|g
//! stats.count("submitted", 3)?; //     site.queue.submitted:3|c
//! stats.timing("wait", 1.5)?; //       site.queue.wait:1.5|ms
//! # let mut buffer = [0; 64];
//! # let length = server.recv(&mut buffer)?;
//! # assert_eq!(&buffer[..length], b"site.queue.waiting:+1|g");
//! # Ok(())
//! # }
//! ```
//!
//! Each call sends one datagram, unless the [`Stats`] aggregates
//! ([`set_aggregated`](Stats::set_aggregated)) or the call is part of a
//! [`batch`](Stats::batch). A send that fails is counted and forgotten: no call
//! waits, and none returns an error because of the network.

mod endpoint;
mod error;
mod line;
mod packet;

use std::collections::HashMap;
use std::env;

use once_cell::unsync::OnceCell;

pub use endpoint::{Counters, Endpoint};
pub(crate) use error::shown;
pub use error::Error;

use endpoint::Connection;
use line::Value;
use packet::Packet;

/// The longest metric name and the longest prefix, in bytes. Two lines of such
/// a name and prefix still fit one datagram.
pub const MAX_NAME: usize = 256;

/// The environment variable with the endpoint, as flux-core's own statsd
/// client reads it (flux-environment(7)).
pub const ENDPOINT_VARIABLE: &str = "FLUX_FRIPP_STATSD";

/// A metric's name, interned: the fast way to name it again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric(usize);

/// How a call names its metric: text, or a [`Metric`].
pub trait Name {
    /// The interned name.
    ///
    /// # Errors
    /// If the name is empty or longer than [`MAX_NAME`].
    fn metric(self, stats: &mut Stats) -> Result<Metric, Error>;
}

impl Name for Metric {
    fn metric(self, _: &mut Stats) -> Result<Metric, Error> {
        Ok(self)
    }
}

impl Name for &str {
    fn metric(self, stats: &mut Stats) -> Result<Metric, Error> {
        stats.metric(self)
    }
}

/// A source of metrics: names, a prefix, and a way to one statsd server.
#[derive(Debug, Default)]
pub struct Stats {
    prefix: String,
    names: HashMap<Box<str>, Metric>,
    metrics: Vec<Entry>,
    /// Metrics with something pending, in the order they first had it.
    changed: Vec<Metric>,
    aggregated: bool,
    in_batch: bool,
    /// Made on first use. `None` inside: there is nowhere to send.
    context: OnceCell<Option<Context>>,
}

/// What it takes to send.
#[derive(Debug)]
struct Context {
    connection: Connection,
    packet: Packet,
}

/// An interned name.
#[derive(Debug)]
struct Entry {
    name: Box<str>,
    /// The name with its prefix, sanitized, and the colon: how its lines begin.
    head: Vec<u8>,
    pending: Option<Value>,
}

impl Stats {
    /// Sends to `endpoint`. A host name is looked up here, once.
    ///
    /// # Errors
    /// If the endpoint's host is not found.
    pub fn new(endpoint: &Endpoint) -> Result<Stats, Error> {
        let address = endpoint.address()?;
        let context = OnceCell::with_value(Some(Context::new(Connection::new(address))));
        Ok(Stats { context, ..Stats::default() })
    }

    /// Sends to the endpoint that [`ENDPOINT_VARIABLE`] names, read at the first
    /// metric. Where it names none, or none that can be used, nothing is sent
    /// and [`enabled`](Self::enabled) is false.
    pub fn from_environment() -> Stats {
        Stats::default()
    }

    /// Sends nowhere.
    pub fn disabled() -> Stats {
        Stats { context: OnceCell::with_value(None), ..Stats::default() }
    }

    /// Whether there is somewhere to send to (not: whether anybody listens).
    pub fn enabled(&self) -> bool {
        self.context().is_some()
    }

    /// Puts `prefix` and a dot before every name; an empty one puts nothing.
    ///
    /// # Errors
    /// If it is longer than [`MAX_NAME`]; the old one stays.
    pub fn set_prefix(&mut self, prefix: &str) -> Result<(), Error> {
        if prefix.len() > MAX_NAME {
            return Err(Error::Prefix { length: prefix.len() });
        }
        self.prefix = prefix.to_owned();
        for entry in &mut self.metrics {
            entry.head = head(prefix, &entry.name);
        }
        Ok(())
    }

    /// Interns `name`. Each distinct name is kept for the life of this value.
    ///
    /// # Errors
    /// If it is empty or longer than [`MAX_NAME`].
    pub fn metric(&mut self, name: &str) -> Result<Metric, Error> {
        if let Some(&metric) = self.names.get(name) {
            return Ok(metric);
        }
        if name.is_empty() || name.len() > MAX_NAME {
            return Err(Error::Name { length: name.len() });
        }
        let metric = Metric(self.metrics.len());
        let head = head(&self.prefix, name);
        self.metrics.push(Entry { name: name.into(), head, pending: None });
        self.names.insert(name.into(), metric);
        Ok(metric)
    }

    /// A gauge rises by one.
    ///
    /// # Errors
    /// This and the other calls refuse a name that is empty or too long.
    pub fn inc(&mut self, name: impl Name) -> Result<(), Error> {
        self.gauge_add(name, 1)
    }

    /// A gauge falls by one.
    ///
    /// # Errors
    /// As [`inc`](Self::inc).
    pub fn dec(&mut self, name: impl Name) -> Result<(), Error> {
        self.gauge_add(name, -1)
    }

    /// A gauge moves by `by`.
    ///
    /// # Errors
    /// As [`inc`](Self::inc).
    pub fn gauge_add(&mut self, name: impl Name, by: i64) -> Result<(), Error> {
        self.put(name, Value::GaugeAdd(by))
    }

    /// A gauge stands at `level`.
    ///
    /// # Errors
    /// As [`inc`](Self::inc).
    pub fn gauge_set(&mut self, name: impl Name, level: i64) -> Result<(), Error> {
        self.put(name, Value::GaugeSet(level))
    }

    /// A counter counted `count` more.
    ///
    /// # Errors
    /// As [`inc`](Self::inc).
    pub fn count(&mut self, name: impl Name, count: i64) -> Result<(), Error> {
        self.put(name, Value::Count(count))
    }

    /// Something took `milliseconds`.
    ///
    /// # Errors
    /// As [`inc`](Self::inc).
    pub fn timing(&mut self, name: impl Name, milliseconds: f64) -> Result<(), Error> {
        self.put(name, Value::Timing(milliseconds))
    }

    /// Sends what `body` puts in as few datagrams as possible: up to two lines
    /// in one for certain, more as far as they fit.
    ///
    /// # Errors
    /// What `body` returns.
    pub fn batch(
        &mut self,
        body: impl FnOnce(&mut Stats) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let outer = std::mem::replace(&mut self.in_batch, true);
        let outcome = body(self);
        self.in_batch = outer;
        if !self.in_batch && !self.aggregated {
            self.send();
        }
        outcome
    }

    /// Whether values wait, summed by name, until [`flush`](Self::flush).
    /// Timings are not summed: each is a sample of its own, and leaves with the
    /// others or when a datagram is full. Switching it off flushes.
    pub fn set_aggregated(&mut self, aggregated: bool) {
        self.aggregated = aggregated;
        if !aggregated {
            self.flush();
        }
    }

    /// Sends what is pending, in full datagrams. A gauge whose moves added up
    /// to nothing is left alone.
    pub fn flush(&mut self) {
        let mut changed = std::mem::take(&mut self.changed);
        if let Some(context) = self.context.get_mut().and_then(Option::as_mut) {
            for metric in &changed {
                let entry = &mut self.metrics[metric.0];
                match entry.pending.take() {
                    None | Some(Value::GaugeAdd(0)) => (),
                    Some(value) => context.append(&entry.head, value),
                }
            }
        }
        changed.clear();
        self.changed = changed;
        self.send();
    }

    /// What became of the datagrams so far; `None` where nothing is sent.
    pub fn counters(&self) -> Option<&Counters> {
        self.context().map(|context| context.connection.counters())
    }

    fn put(&mut self, name: impl Name, value: Value) -> Result<(), Error> {
        let metric = name.metric(self)?;
        if self.context().is_none() {
            return Ok(());
        }
        let entry = &mut self.metrics[metric.0];
        if self.aggregated && !matches!(value, Value::Timing(_)) {
            if entry.pending.is_none() {
                self.changed.push(metric);
            }
            entry.pending = Some(summed(entry.pending, value));
            return Ok(());
        }
        if let Some(context) = self.context.get_mut().and_then(Option::as_mut) {
            context.append(&entry.head, value);
            if !self.in_batch && !self.aggregated {
                context.send();
            }
        }
        Ok(())
    }

    fn send(&mut self) {
        if let Some(context) = self.context.get_mut().and_then(Option::as_mut) {
            context.send();
        }
    }

    fn context(&self) -> Option<&Context> {
        self.context.get_or_init(Context::from_environment).as_ref()
    }
}

impl Context {
    fn new(connection: Connection) -> Self {
        Context { connection, packet: Packet::new() }
    }

    fn from_environment() -> Option<Self> {
        let endpoint: Endpoint = env::var(ENDPOINT_VARIABLE).ok()?.parse().ok()?;
        Some(Context::new(Connection::new(endpoint.address().ok()?)))
    }

    fn append(&mut self, head: &[u8], value: Value) {
        let connection = &mut self.connection;
        self.packet
            .group(|out| line::append(head, value, out), |datagram| connection.send(datagram));
    }

    fn send(&mut self) {
        let connection = &mut self.connection;
        self.packet.flush(|datagram| connection.send(datagram));
    }
}

fn head(prefix: &str, name: &str) -> Vec<u8> {
    let mut head = Vec::with_capacity(prefix.len() + name.len() + 2);
    line::sanitized(prefix, &mut head);
    if !prefix.is_empty() {
        head.push(b'.');
    }
    line::sanitized(name, &mut head);
    head.push(b':');
    head
}

/// What `earlier` and then `value` come to, of one metric.
fn summed(earlier: Option<Value>, value: Value) -> Value {
    match (earlier, value) {
        (Some(Value::GaugeAdd(sum)), Value::GaugeAdd(by)) => Value::GaugeAdd(sum + by),
        (Some(Value::GaugeSet(level)), Value::GaugeAdd(by)) => Value::GaugeSet(level + by),
        (Some(Value::Count(sum)), Value::Count(count)) => Value::Count(sum + count),
        (_, value) => value,
    }
}

#[cfg(test)]
mod tests;
