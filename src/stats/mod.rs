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
//! stats.timing("wait", 1.5)?; //       site.queue.wait:1.500|ms
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
//!
//! Several endpoints may be served at once: each gets every datagram, and one that
//! fails hurts no other. Who manages them brings a [`Transport`] of their own.

mod address;
mod connection;
mod context;
mod counters;
mod dialect;
mod endpoint;
mod errno;
mod error;
mod line;
mod packet;
mod transport;

use std::collections::BTreeMap;

use once_cell::unsync::OnceCell;

pub use address::Address;
pub use connection::Connection;
pub use counters::Counters;
pub use dialect::{Dialect, Tag};
pub use endpoint::Endpoint;
pub use errno::{errno_name, explain};
pub(crate) use error::quoted;
pub use error::Error;
pub use transport::{Connections, Transport};

use context::Context;
use line::{LineTemplate, Value};
use packet::{Packet, MAX_DATAGRAM};

/// The longest metric name and the longest prefix, in bytes. Two lines of such
/// a name and prefix, with the longest tags, still fit one datagram.
pub const MAX_NAME: usize = 256;

/// The most that the tags of all metrics may come to, in bytes.
pub const MAX_TAGS: usize = 128;

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
    fn metric<T: Transport>(self, stats: &mut Stats<T>) -> Result<Metric, Error>;
}

impl Name for Metric {
    fn metric<T: Transport>(self, _: &mut Stats<T>) -> Result<Metric, Error> {
        Ok(self)
    }
}

impl Name for &str {
    fn metric<T: Transport>(self, stats: &mut Stats<T>) -> Result<Metric, Error> {
        stats.metric(self)
    }
}

/// A source of metrics: names, a prefix, and a way to statsd servers.
#[derive(Debug)]
pub struct Stats<T: Transport = Connections> {
    prefix: String,
    dialect: Dialect,
    /// Tags that every metric has, behind its own.
    tags: Vec<Tag>,
    names: BTreeMap<Box<str>, Metric>,
    metrics: Vec<Interned>,
    /// Metrics with something pending, in the order they first had it.
    changed: Vec<Metric>,
    aggregated: bool,
    in_batch: bool,
    /// The most payload of a datagram, in bytes, if it was set.
    max_datagram: Option<usize>,
    /// Made on first use. `None` inside: there is nowhere to send.
    context: OnceCell<Option<Context<T>>>,
    /// What makes the transport. By a pointer: the plugin brings its own, and need
    /// not hold what looks names up and waits.
    make: fn() -> Option<T>,
}

impl Default for Stats {
    /// As [`Stats::from_environment`].
    fn default() -> Self {
        Self::from_environment()
    }
}

/// An interned name.
#[derive(Debug)]
struct Interned {
    name: Box<str>,
    tags: Vec<Tag>,
    frame: LineTemplate,
    pending: Option<Value>,
}

impl Stats {
    /// Sends to `endpoint`. A host name is looked up here, once.
    ///
    /// # Errors
    /// If the endpoint's host is not found.
    pub fn new(endpoint: &Endpoint) -> Result<Stats, Error> {
        let connection = Connection::new(endpoint.look_up()?);
        Ok(Stats::with_transport(Connections::new(vec![connection])))
    }

    /// Sends to the endpoint that [`ENDPOINT_VARIABLE`] names, read at the first
    /// metric; a host name is looked up then, once. Where it names none, or none
    /// that can be used, nothing is sent and [`enabled`](Self::enabled) is false.
    pub fn from_environment() -> Stats {
        Stats { make: Connections::from_environment, ..Stats::disabled() }
    }

    /// Sends nowhere.
    pub fn disabled() -> Stats {
        Stats::with_context(OnceCell::new())
    }
}

impl<T: Transport> Stats<T> {
    /// Sends by `transport`.
    pub fn with_transport(transport: T) -> Stats<T> {
        Stats::with_context(OnceCell::with_value(Some(Context::new(transport, MAX_DATAGRAM))))
    }

    fn with_context(context: OnceCell<Option<Context<T>>>) -> Stats<T> {
        Stats {
            prefix: String::new(),
            dialect: Dialect::default(),
            tags: Vec::new(),
            names: BTreeMap::new(),
            metrics: Vec::new(),
            changed: Vec::new(),
            aggregated: false,
            in_batch: false,
            context,
            max_datagram: None,
            make: || None,
        }
    }

    /// Whether there is somewhere to send to (not: whether anybody listens).
    pub fn enabled(&self) -> bool {
        self.context().is_some()
    }

    /// Puts `prefix` and a dot before every name; an empty one puts nothing.
    ///
    /// # Errors
    /// If it is longer than [`MAX_NAME`]; the old one is kept.
    pub fn set_prefix(&mut self, prefix: &str) -> Result<(), Error> {
        if prefix.len() > MAX_NAME {
            return Err(Error::Prefix { length: prefix.len() });
        }
        self.prefix = prefix.to_owned();
        self.reframe();
        Ok(())
    }

    /// Writes all metrics in this dialect, with these tags behind their own.
    ///
    /// # Errors
    /// If the tags are longer than [`MAX_TAGS`]; the old ones stay.
    pub fn set_dialect(&mut self, dialect: Dialect, tags: Vec<Tag>) -> Result<(), Error> {
        let length = tags.iter().map(|(key, value)| key.len() + value.len() + 2).sum();
        if length > MAX_TAGS {
            return Err(Error::Tags { length });
        }
        self.dialect = dialect;
        self.tags = tags;
        self.reframe();
        Ok(())
    }

    /// Puts up to so many bytes into one datagram. Unless this is called it is
    /// 1,432, which fits an Ethernet frame; 8,932 fits a jumbo frame, and 65,507
    /// is what loopback takes (statsd, docs/metric_types.md). What is pending is
    /// flushed first.
    ///
    /// # Errors
    /// If it is none of 1,432 to 65,507; the old one is kept.
    pub fn set_max_datagram(&mut self, bytes: usize) -> Result<(), Error> {
        if !(MAX_DATAGRAM..=65_507).contains(&bytes) {
            return Err(Error::Datagram { bytes });
        }
        self.flush();
        self.max_datagram = Some(bytes);
        if let Some(context) = self.context_mut() {
            context.packet = Packet::new(bytes);
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
        let metric = self.intern(name, Vec::new());
        self.names.insert(name.into(), metric);
        Ok(metric)
    }

    /// Makes a metric with tags of its own. Each call makes another one: unlike
    /// [`metric`](Self::metric) it looks for no earlier one. In the plain dialect,
    /// which has no tags, their values are parts of its name; `name` may then be
    /// empty, if there is a prefix or a tag.
    ///
    /// # Errors
    /// If name and tags together are longer than [`MAX_NAME`].
    pub fn tagged(&mut self, name: &str, tags: &[(&str, &str)]) -> Result<Metric, Error> {
        let length = tags.iter().map(|(key, value)| key.len() + value.len() + 2).sum::<usize>();
        if name.len() + length > MAX_NAME {
            return Err(Error::Name { length: name.len() + length });
        }
        let tags = tags.iter().map(|(key, value)| (key.to_string(), value.to_string()));
        Ok(self.intern(name, tags.collect()))
    }

    /// The name and the tags of a metric, as they are written: `jobs.RUN`,
    /// `jobs|#state:RUN`. Two metrics that are written alike are one to a server.
    /// `None` for a metric that another `Stats` made.
    pub fn series(&self, metric: Metric) -> Option<String> {
        self.metrics.get(metric.0).map(|entry| entry.frame.series())
    }

    /// How many bytes a gauge's line takes, with its newline, if its value has two digits;
    /// 0 for a metric that another `Stats` made.
    pub fn line_length(&self, metric: Metric) -> usize {
        self.metrics.get(metric.0).map_or(0, |entry| entry.frame.length())
    }

    /// Forgets all metrics, after a flush. What was made by
    /// [`metric`](Self::metric) or [`tagged`](Self::tagged) is void.
    pub fn clear(&mut self) {
        self.flush();
        self.names.clear();
        self.metrics.clear();
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

    /// Something took `milliseconds`: sent to the microsecond, and never as
    /// less than 0.
    ///
    /// # Errors
    /// As [`inc`](Self::inc).
    pub fn timing(&mut self, name: impl Name, milliseconds: f64) -> Result<(), Error> {
        // A cast of what is negative, or no number, is 0.
        self.put(name, Value::Timing((milliseconds * 1000.0).round() as u64))
    }

    /// Sends what `body` puts in as few datagrams as possible: up to two lines
    /// in one for certain, more as far as they fit.
    ///
    /// # Errors
    /// What `body` returns.
    pub fn batch(
        &mut self,
        body: impl FnOnce(&mut Self) -> Result<(), Error>,
    ) -> Result<(), Error> {
        // Also where `body` panics: what added after it shall be sent.
        struct End<'a, T: Transport> {
            stats: &'a mut Stats<T>,
            outer: bool,
        }
        impl<T: Transport> Drop for End<'_, T> {
            fn drop(&mut self) {
                self.stats.in_batch = self.outer;
                if !self.outer && !self.stats.aggregated {
                    self.stats.send();
                }
            }
        }
        let outer = std::mem::replace(&mut self.in_batch, true);
        body(End { stats: self, outer }.stats)
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

    /// Sends what is pending, in as few datagrams as possible. A gauge whose moves add
    /// up to 0 is not sent.
    pub fn flush(&mut self) {
        let mut changed = std::mem::take(&mut self.changed);
        if let Some(context) = self.context.get_mut().and_then(Option::as_mut) {
            for metric in &changed {
                let entry = &mut self.metrics[metric.0];
                match entry.pending.take() {
                    None | Some(Value::GaugeAdd(0)) => (),
                    Some(value) => context.append(&entry.frame, value),
                }
            }
        }
        changed.clear();
        self.changed = changed;
        self.send();
    }

    /// What became of the datagrams so far, over all servers; `None` where nothing
    /// is sent.
    pub fn counters(&self) -> Option<Counters> {
        self.context().map(|context| context.transport.counters())
    }

    /// What takes the datagrams; `None` where nothing is sent.
    pub fn transport(&self) -> Option<&T> {
        self.context().map(|context| &context.transport)
    }

    /// As [`transport`](Self::transport). What is pending is not flushed.
    pub fn transport_mut(&mut self) -> Option<&mut T> {
        self.context_mut().map(|context| &mut context.transport)
    }

    /// Sends what `body` puts to the server with this index alone, at once and in
    /// as few datagrams as possible. What was pending before is flushed, to all.
    pub fn only(&mut self, server: usize, body: impl FnOnce(&mut Self)) {
        struct End<'a, T: Transport> {
            stats: &'a mut Stats<T>,
            aggregated: bool,
        }
        impl<T: Transport> Drop for End<'_, T> {
            fn drop(&mut self) {
                self.stats.send();
                self.stats.restrict_to(None);
                self.stats.aggregated = self.aggregated;
            }
        }
        self.flush();
        self.restrict_to(Some(server));
        let aggregated = std::mem::replace(&mut self.aggregated, false);
        let end = End { stats: self, aggregated };
        let _ = end.stats.batch(|stats| {
            body(stats);
            Ok(())
        });
    }

    fn restrict_to(&mut self, only: Option<usize>) {
        if let Some(transport) = self.transport_mut() {
            transport.restrict_to(only);
        }
    }

    fn put(&mut self, name: impl Name, value: Value) -> Result<(), Error> {
        let metric = name.metric(self)?;
        if self.context().is_none() {
            return Ok(());
        }
        let entry = self.metrics.get_mut(metric.0).ok_or(Error::ForeignMetric)?;
        if self.aggregated && !matches!(value, Value::Timing(_)) {
            if entry.pending.is_none() {
                self.changed.push(metric);
            }
            entry.pending = Some(summed(entry.pending, value));
            return Ok(());
        }
        if let Some(context) = self.context.get_mut().and_then(Option::as_mut) {
            context.append(&entry.frame, value);
            if !self.in_batch && !self.aggregated {
                context.send();
            }
        }
        Ok(())
    }

    fn send(&mut self) {
        if let Some(context) = self.context_mut() {
            context.send();
        }
    }

    fn max(&self) -> usize {
        self.max_datagram.unwrap_or(MAX_DATAGRAM)
    }

    fn intern(&mut self, name: &str, tags: Vec<Tag>) -> Metric {
        let metric = Metric(self.metrics.len());
        let frame = self.dialect.frame(&self.prefix, name, tags.iter().chain(&self.tags));
        self.metrics.push(Interned { name: name.into(), tags, frame, pending: None });
        metric
    }

    /// LabelTable and tags are written as they are to be from now on.
    fn reframe(&mut self) {
        for entry in &mut self.metrics {
            let tags = entry.tags.iter().chain(&self.tags);
            entry.frame = self.dialect.frame(&self.prefix, &entry.name, tags);
        }
    }

    // Inlined, for it is on the path of every transition. Only the first call has
    // something to make.
    #[inline(always)]
    fn context(&self) -> Option<&Context<T>> {
        match self.context.get() {
            Some(context) => context.as_ref(),
            None => {
                let make = || Some(Context::new((self.make)()?, self.max()));
                self.context.get_or_init(make).as_ref()
            }
        }
    }

    /// The context, if it was made already.
    fn context_mut(&mut self) -> Option<&mut Context<T>> {
        self.context.get_mut().and_then(Option::as_mut)
    }
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
