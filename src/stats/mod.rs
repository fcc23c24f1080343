//! A small statsd client, and the line formats and sockets that the plugin sends with.
//!
//! ```
//! use state_counts::stats::{Endpoint, Stats};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let server = std::net::UdpSocket::bind("127.0.0.1:0")?;
//! # let text = server.local_addr()?.to_string();
//! let endpoint: Endpoint = text.parse()?; // or use Stats::from_environment()
//! let mut stats = Stats::new(&endpoint)?;
//! stats.set_prefix("site.queue")?;
//!
//! stats.inc("waiting")?; //               site.queue.waiting:+1|g
//! stats.dec("waiting")?; //               site.queue.waiting:-1|g
//! stats.gauge("length", 12, false)?; //   site.queue.length:12|g
//! stats.gauge("length", -2, true)?; //    site.queue.length:-2|g
//! stats.count("submitted", 3)?; //        site.queue.submitted:3|c
//! stats.timing("wait", 1.5)?; //          site.queue.wait:1.500|ms
//! # let mut buffer = [0; 64];
//! # let length = server.recv(&mut buffer)?;
//! # assert_eq!(&buffer[..length], b"site.queue.waiting:+1|g");
//! # Ok(())
//! # }
//! ```
//!
//! Each call sends one datagram. Sends never wait for a server and never return an error: a
//! datagram that cannot be sent is dropped and counted in [`Counters`]. Only the lookup of a host
//! name may block.

mod address;
mod connection;
mod counters;
mod datagram;
mod dialect;
mod endpoint;
mod errors;
mod line;
mod socket;

use std::env;
use std::time::{Duration, Instant};

use once_cell::unsync::OnceCell;

use connection::Connection;

pub use counters::Counters;
pub use endpoint::Endpoint;
pub use errors::Error;

#[doc(hidden)]
pub use address::Address;
#[doc(hidden)]
pub use datagram::DatagramBuffer;
#[doc(hidden)]
pub use dialect::{is_invisible, Dialect, Tag};
#[doc(hidden)]
pub use errors::{errno_name, explain};
#[doc(hidden)]
pub use line::{LineTemplate, Value};
#[doc(hidden)]
pub use socket::Socket;

pub(crate) use errors::{quoted, shortened};
#[cfg(test)]
pub(crate) use socket::faults;

/// The maximum length of a metric name, and of a prefix, in bytes. Two lines with such
/// a name and prefix and the longest tags fit in one datagram.
#[doc(hidden)]
pub const MAX_NAME: usize = 256;

/// The maximum length of the tags that all metrics share, in bytes, separators included.
#[doc(hidden)]
pub const MAX_TAGS: usize = 128;

/// The environment variable that names the endpoint, as for flux-core's own statsd client
/// (flux-environment(7)).
pub const ENDPOINT_VARIABLE: &str = "FLUX_FRIPP_STATSD";

/// The minimum time between two lookups of a host that was not found.
const LOOKUP_INTERVAL: Duration = Duration::from_secs(10);

/// A statsd client. Each call sends one datagram to each of its servers.
#[derive(Debug)]
pub struct Stats {
    prefix: String,
    /// Created at the first use; empty if the variable is unset, an error if it is not valid.
    servers: OnceCell<Result<Vec<Server>, Error>>,
}

#[derive(Debug)]
struct Server {
    endpoint: Endpoint,
    connection: Connection,
    /// The time of the last lookup of the host.
    looked_up: Option<Instant>,
    /// The error of the last lookup.
    error: Option<Error>,
}

impl Stats {
    /// A client that sends to `endpoint`. A host name is looked up before this function
    /// returns, which may block.
    ///
    /// # Errors
    /// If the host is not found.
    pub fn new(endpoint: &Endpoint) -> Result<Stats, Error> {
        let mut server = Server::new(endpoint.clone());
        server.look_up();
        if let Some(error) = server.error {
            return Err(error);
        }
        Ok(Stats { servers: OnceCell::with_value(Ok(vec![server])), ..Stats::from_environment() })
    }

    /// A client that sends to the endpoint in [`ENDPOINT_VARIABLE`], or to each of several
    /// endpoints with commas between them. The variable is read at the first use of the
    /// client. If it is unset, empty or not valid, nothing is sent and
    /// [`enabled`](Self::enabled) returns `false`; [`error`](Self::error) returns the mistake.
    ///
    /// A host name is looked up when a metric is sent and, if it is not found, again at most
    /// every 10 s. This lookup may block.
    pub fn from_environment() -> Stats {
        Stats { prefix: String::new(), servers: OnceCell::new() }
    }

    /// Sets the prefix. Each name is then sent as PREFIX.NAME, or as NAME if the prefix is
    /// empty.
    ///
    /// # Errors
    /// If the prefix is longer than 256 bytes; then the old one stays.
    pub fn set_prefix(&mut self, prefix: &str) -> Result<(), Error> {
        if prefix.len() > MAX_NAME {
            return Err(Error::Prefix { length: prefix.len() });
        }
        self.prefix = prefix.to_owned();
        Ok(())
    }

    /// Returns `true` if the client has an endpoint, even if no server listens there.
    pub fn enabled(&self) -> bool {
        matches!(self.servers(), Ok(servers) if !servers.is_empty())
    }

    /// The reason why a server gets nothing: the variable is not valid, or the last lookup of a
    /// host failed. `None` if there is no such reason, or no endpoint.
    pub fn error(&self) -> Option<&Error> {
        match self.servers() {
            Ok(servers) => servers.iter().find_map(|server| server.error.as_ref()),
            Err(error) => Some(error),
        }
    }

    /// The results of all sends so far, summed over all servers.
    pub fn counters(&self) -> Counters {
        Counters::sum(self.servers().iter().flatten().map(|server| server.connection.counters()))
    }

    /// Adds 1 to a gauge.
    ///
    /// # Errors
    /// If the name is empty or longer than 256 bytes.
    pub fn inc(&mut self, name: &str) -> Result<(), Error> {
        self.send(name, Value::GaugeAdd(1))
    }

    /// Subtracts 1 from a gauge.
    ///
    /// # Errors
    /// As [`inc`](Self::inc).
    pub fn dec(&mut self, name: &str) -> Result<(), Error> {
        self.send(name, Value::GaugeAdd(-1))
    }

    /// Adds `count` to a counter.
    ///
    /// # Errors
    /// As [`inc`](Self::inc).
    pub fn count(&mut self, name: &str, count: i64) -> Result<(), Error> {
        self.send(name, Value::Count(count))
    }

    /// Adds `value` to a gauge if `increment` is set; otherwise sets the gauge to `value`.
    ///
    /// # Errors
    /// As [`inc`](Self::inc).
    pub fn gauge(&mut self, name: &str, value: i64, increment: bool) -> Result<(), Error> {
        let value = if increment { Value::GaugeAdd(value) } else { Value::GaugeSet(value) };
        self.send(name, value)
    }

    /// Sends a duration in milliseconds, rounded to microseconds. A negative duration is
    /// sent as 0.
    ///
    /// # Errors
    /// As [`inc`](Self::inc).
    pub fn timing(&mut self, name: &str, milliseconds: f64) -> Result<(), Error> {
        self.send(name, Value::timing(milliseconds))
    }

    fn send(&mut self, name: &str, value: Value) -> Result<(), Error> {
        if name.is_empty() {
            return Err(Error::Name { length: 0 });
        }
        let template = Dialect::Plain.template(&self.prefix, name, &[], &[])?;
        let _ = self.servers();
        let mut lines = Vec::new();
        template.append(value, &mut lines);
        lines.pop(); // The last newline is not sent.
        for server in self.servers.get_mut().into_iter().flatten().flatten() {
            // If the host is not found, the send fails and is counted.
            server.look_up();
            server.connection.send(&lines);
        }
        Ok(())
    }

    fn servers(&self) -> &Result<Vec<Server>, Error> {
        self.servers.get_or_init(|| {
            let text = env::var_os(ENDPOINT_VARIABLE).filter(|text| !text.is_empty());
            let endpoints = text.map(|text| Endpoint::list(&text.to_string_lossy())).transpose()?;
            Ok(endpoints.into_iter().flatten().map(Server::new).collect())
        })
    }
}

impl Server {
    fn new(endpoint: Endpoint) -> Server {
        Server { endpoint, connection: Connection::new(None), looked_up: None, error: None }
    }

    /// Looks up the host if its address is unknown and the last lookup was long enough ago.
    fn look_up(&mut self) {
        let is_due = self.looked_up.is_none_or(|time| time.elapsed() >= LOOKUP_INTERVAL);
        if self.connection.address().is_none() && is_due {
            self.looked_up = Some(Instant::now());
            let found = self.endpoint.look_up();
            self.error = found.map(|address| self.connection.set_address(address)).err();
        }
    }
}

#[cfg(test)]
mod tests;
