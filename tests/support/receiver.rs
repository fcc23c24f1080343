//! A statsd server that keeps all values of gauges, and counts datagrams.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};

use super::Counts;

/// The start of the names of state counts. A broker sends its own metrics to the same server.
pub const PREFIX: &str = "flux.job.state.";

/// The received metrics.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// The value of each gauge, without the prefix.
    pub gauges: Counts,
    /// The lowest value of each gauge so far, after each line.
    pub lowest: Counts,
    /// The highest value of each gauge so far.
    pub highest: Counts,
    /// The number of datagrams with state counts.
    pub datagrams: u64,
    /// The number of datagrams with an increment of a state count.
    pub increments: u64,
    /// The datagrams with state counts as texts; at most 5,000.
    pub texts: Vec<String>,
    /// The other lines of all datagrams.
    others: Vec<String>,
    syncs: u64,
}

/// A server on loopback, which a thread reads until it is dropped.
pub struct Receiver {
    address: SocketAddr,
    shared: Arc<(Mutex<Seen>, Condvar)>,
    syncs: u64,
}

const STOP: &[u8] = b"receiver:stop";
pub const SYNC: &[u8] = b"receiver:sync";

impl Receiver {
    pub fn start() -> Receiver {
        Self::start_at("127.0.0.1:0")
    }

    pub fn start_at(address: &str) -> Receiver {
        let socket = UdpSocket::bind(address).expect("loopback");
        deepen(&socket);
        let shared = Arc::new((Mutex::new(Seen::default()), Condvar::new()));
        let receiver =
            Receiver { address: socket.local_addr().unwrap(), shared: shared.clone(), syncs: 0 };
        thread::spawn(move || {
            let mut buffer = [0; 65536];
            while let Ok(length) = socket.recv(&mut buffer) {
                let datagram = &buffer[..length];
                if datagram == STOP {
                    break;
                }
                let mut seen = shared.0.lock().unwrap();
                if datagram == SYNC {
                    seen.syncs += 1;
                } else {
                    seen.take(std::str::from_utf8(datagram).expect("statsd is text"));
                }
                shared.1.notify_all();
            }
        });
        receiver
    }

    /// `HOST:PORT` for `FLUX_FRIPP_STATSD`.
    pub fn endpoint(&self) -> String {
        self.address.to_string()
    }

    /// All that was sent before this call.
    pub fn seen(&mut self) -> Seen {
        self.seen_behind(&self.endpoint())
    }

    /// All that was sent to the proxy at `endpoint` before this call.
    pub fn seen_behind(&mut self, endpoint: &str) -> Seen {
        self.synchronize(endpoint);
        self.shared.0.lock().unwrap().clone()
    }

    /// Waits until all datagrams sent to `endpoint` so far are read.
    fn synchronize(&mut self, endpoint: &str) {
        self.syncs += 1;
        knock(endpoint, SYNC);
        let seen = self.shared.0.lock().unwrap();
        drop(self.shared.1.wait_while(seen, |seen| seen.syncs < self.syncs).unwrap());
    }

    /// The lines that are not state counts, by datagram.
    pub fn others(&mut self) -> Vec<String> {
        self.seen().others
    }

    /// As `others`, but only those since the last such call, sent to the proxy at `endpoint`.
    pub fn take_others(&mut self, endpoint: &str) -> Vec<String> {
        self.synchronize(endpoint);
        std::mem::take(&mut self.shared.0.lock().unwrap().others)
    }

    /// The values of each name that is not a state count, in order.
    pub fn values(&mut self) -> BTreeMap<String, Vec<String>> {
        let mut values: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for datagram in self.others() {
            for (name, value) in datagram.lines().filter_map(|line| line.split_once(':')) {
                values.entry(name.to_owned()).or_default().push(value.to_owned());
            }
        }
        values
    }

    /// The last value of each gauge, the sum of each counter and the number of the samples of
    /// each timing, by the name with its tags and the type.
    pub fn totals(&mut self) -> BTreeMap<String, i64> {
        let states = self.seen().gauges.into_iter();
        let states = states.map(|(state, level)| (format!("{PREFIX}{state} g"), level));
        let mut totals: BTreeMap<String, i64> = states.collect();
        for (name, lines) in self.values() {
            for line in lines {
                let (value, kind) = line.split_once('|').expect("a type");
                let (kind, tags) = kind.split_once("|#").unwrap_or((kind, ""));
                let tags = if tags.is_empty() { String::new() } else { format!("|#{tags}") };
                let total = totals.entry(format!("{name}{tags} {kind}")).or_default();
                match kind {
                    "ms" => *total += 1,
                    "g" if !value.starts_with(['+', '-']) => *total = value.parse().unwrap(),
                    _ => *total += value.parse::<i64>().unwrap(),
                }
            }
        }
        totals
    }

    /// Waits until `wanted` accepts the received metrics, at most for `patience`.
    pub fn wait(&mut self, patience: Duration, wanted: impl Fn(&Seen) -> bool) -> Seen {
        let end = Instant::now() + patience;
        loop {
            let seen = self.seen();
            if wanted(&seen) || Instant::now() > end {
                return seen;
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Forgets everything, like a restarted server.
    pub fn forget(&mut self) {
        self.begin(Counts::new());
    }

    /// Forgets everything, and continues with these gauges.
    pub fn begin(&mut self, gauges: Counts) {
        self.seen();
        let mut seen = self.shared.0.lock().unwrap();
        *seen = Seen { gauges, syncs: seen.syncs, ..Seen::default() };
    }
}

/// A UDP address without a socket. It has a loopback address of its own: on 127.0.0.1, the
/// socket of another test could get the same port.
pub fn vacant() -> SocketAddr {
    static COUNT: AtomicU8 = AtomicU8::new(1);
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let host = COUNT.fetch_add(1, Ordering::Relaxed);
    let address = Ipv4Addr::new(127, high | 1, low, host);
    UdpSocket::bind((address, 0)).and_then(|socket| socket.local_addr()).expect("loopback")
}

/// Makes the receive buffer large enough for the datagrams of a busy broker. Without
/// privileges, the system's limit applies.
pub fn deepen(socket: &UdpSocket) {
    let size = 64 << 20;
    setsockopt(socket, sockopt::RcvBufForce, &size)
        .or_else(|_| setsockopt(socket, sockopt::RcvBuf, &size))
        .expect("a socket has a buffer");
}

fn knock(endpoint: &str, what: &[u8]) {
    let own = if endpoint.starts_with('[') { "[::1]:0" } else { "127.0.0.1:0" };
    let socket = UdpSocket::bind(own).expect("loopback");
    socket.send_to(what, endpoint).expect("loopback");
}

impl Drop for Receiver {
    fn drop(&mut self) {
        knock(&self.endpoint(), STOP);
    }
}

impl Seen {
    /// The gauges that were negative, with their lowest values.
    pub fn negative(&self) -> Counts {
        let below = self.lowest.iter().filter(|(_, &lowest)| lowest < 0);
        below.map(|(name, &lowest)| (name.clone(), lowest)).collect()
    }

    /// Reads a datagram like Etsy's statsd (stats.js).
    fn take(&mut self, datagram: &str) {
        let ours = |line: &&str| line.starts_with(PREFIX) && line.ends_with("|g");
        let others: Vec<_> = datagram.lines().filter(|line| !ours(line)).collect();
        if !others.is_empty() {
            self.others.push(others.join("\n"));
        }
        let lines: BTreeMap<usize, (&str, &str)> = datagram
            .lines()
            .filter(ours)
            .enumerate()
            .filter_map(|(number, line)| {
                let (name, value) = line.strip_prefix(PREFIX)?.split_once(':')?;
                Some((number, (name, value.strip_suffix("|g")?)))
            })
            .collect();
        if lines.is_empty() {
            return;
        }
        self.datagrams += 1;
        if self.texts.len() < 5000 {
            self.texts.push(datagram.to_owned());
        }
        self.increments += u64::from(lines.values().any(|(_, value)| is_increment(value)));
        for (name, value) in lines.into_values() {
            let number: i64 = value.parse().expect("a gauge is a number");
            let gauge = self.gauges.entry(name.to_owned()).or_default();
            *gauge = if is_increment(value) { *gauge + number } else { number };
            let lowest = self.lowest.entry(name.to_owned()).or_default();
            *lowest = (*lowest).min(*gauge);
            let highest = self.highest.entry(name.to_owned()).or_default();
            *highest = (*highest).max(*gauge);
        }
    }
}

fn is_increment(value: &str) -> bool {
    value.starts_with(['+', '-'])
}
