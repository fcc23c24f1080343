//! A statsd server that remembers everything: gauges, their lowest values, and
//! how many datagrams of ours came.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::socket::{setsockopt, sockopt};

use super::Counts;

/// How our names begin. A broker sends metrics of its own to the same server.
pub const PREFIX: &str = "flux.job.state.";

/// What has been received.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// Each gauge's value now, without the prefix.
    pub gauges: Counts,
    /// Each gauge's lowest value ever, looked at after each line.
    pub lowest: Counts,
    /// Each gauge's highest value ever.
    pub highest: Counts,
    /// Datagrams of ours.
    pub datagrams: u64,
    /// Those of them that hold an increment.
    pub increments: u64,
    /// The datagrams of ours, as text; only the first thousands.
    pub texts: Vec<String>,
    /// What else the datagrams held, as text.
    others: Vec<String>,
    syncs: u64,
}

/// A server on loopback, read by a thread until it is dropped.
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

    /// What came before this call.
    pub fn seen(&mut self) -> Seen {
        self.seen_behind(&self.endpoint())
    }

    /// What came before this call to `endpoint`, from where it is relayed.
    pub fn seen_behind(&mut self, endpoint: &str) -> Seen {
        self.synchronize(endpoint);
        self.shared.0.lock().unwrap().clone()
    }

    /// Waits until all is taken that was sent to `endpoint` so far.
    fn synchronize(&mut self, endpoint: &str) {
        self.syncs += 1;
        knock(endpoint, SYNC);
        let seen = self.shared.0.lock().unwrap();
        drop(self.shared.1.wait_while(seen, |seen| seen.syncs < self.syncs).unwrap());
    }

    /// The lines that came and are no gauge of ours, by their datagrams.
    pub fn others(&mut self) -> Vec<String> {
        self.seen().others
    }

    /// The same, but only those since the last such call, and before this one to
    /// `endpoint`, from where they are relayed.
    pub fn take_others(&mut self, endpoint: &str) -> Vec<String> {
        self.synchronize(endpoint);
        std::mem::take(&mut self.shared.0.lock().unwrap().others)
    }

    /// The values that came under each name that is no gauge of ours, in order.
    pub fn values(&mut self) -> BTreeMap<String, Vec<String>> {
        let mut values: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for datagram in self.others() {
            for (name, value) in datagram.lines().filter_map(|line| line.split_once(':')) {
                values.entry(name.to_owned()).or_default().push(value.to_owned());
            }
        }
        values
    }

    /// Waits until `wanted` holds; after `patience` returns what is there.
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

    /// Forgets everything, as a server that was restarted.
    pub fn forget(&mut self) {
        self.begin(Counts::new());
    }

    /// Forgets everything but what its gauges are from here on.
    pub fn begin(&mut self, gauges: Counts) {
        self.seen();
        let mut seen = self.shared.0.lock().unwrap();
        *seen = Seen { gauges, syncs: seen.syncs, ..Seen::default() };
    }
}

/// A UDP port where nobody is, until a test binds it. It is on a loopback address
/// of its own: on 127.0.0.1, another test's socket could get its number meanwhile.
pub fn vacant() -> SocketAddr {
    static COUNT: AtomicU8 = AtomicU8::new(1);
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let host = COUNT.fetch_add(1, Ordering::Relaxed);
    let address = Ipv4Addr::new(127, high | 1, low, host);
    UdpSocket::bind((address, 0)).and_then(|socket| socket.local_addr()).expect("loopback")
}

/// Gives a socket a receive buffer that holds what a busy broker sends while its
/// reader waits for a core. Who may not exceed the system's limit gets that.
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
    /// The gauges whose lowest value is below 0.
    pub fn negative(&self) -> Counts {
        let below = self.lowest.iter().filter(|(_, &lowest)| lowest < 0);
        below.map(|(name, &lowest)| (name.clone(), lowest)).collect()
    }

    /// Reads a datagram as statsd's own server does (statsd, stats.js).
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
