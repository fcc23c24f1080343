//! The connection to one address: what was sent over it, and when to send more.
//!
//! Nothing here waits. A connection that must pause has a [`Wait`]; meanwhile changes
//! accumulate as differences between the metrics and what was sent.

use std::os::fd::AsFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::publisher::{GaugeMode, Metric};
use super::sent::Sent;
use crate::collectors::MetricKind;
use crate::os::wait_until_writable;
use crate::stats::{explain, Address, Counters, DatagramBuffer, LineTemplate, Socket, Value};

/// Bytes after which a UDP connection pauses. The default receive buffer of a server has
/// 212,992 bytes (net.core.rmem_default), and held 92 datagrams of 700 to 1,432 bytes while
/// the server did not read (measured with Linux 6.18).
const UDP_PART: usize = 54 << 10;
/// Seconds of that pause, in which a server reads what it received.
const PART_PAUSE: f64 = 0.01;
/// Seconds until a send is tried again after ENOBUFS: the queue of the network device is full.
const DEVICE_PAUSE: f64 = 0.005;
/// Seconds after which a socket that stays full counts as failing.
const FULL_TIMEOUT: f64 = 1.0;
/// Seconds from a failure to the first probe; doubled up to the maximum for each failure
/// until the connection works for [`STABLE`] seconds.
const FIRST_PROBE: f64 = 0.1;
const MAX_PROBE: f64 = 10.0;
const STABLE: f64 = 10.0;
/// Seconds in which the server's host reports that nothing listens at a UDP port.
const REFUSAL_TIME: f64 = 0.1;
/// Seconds for which a removed connection is kept to send the final values.
const REMOVAL_TIMEOUT: f64 = 1.0;

/// A socket, and the last values that were sent to the server.
#[derive(Debug)]
pub(super) struct Connection {
    address: Address,
    /// Shared with the watcher of a full socket, so that it outlives the watcher.
    socket: Option<Rc<Socket>>,
    /// The maximum payload of a datagram in bytes: the configured one, and that of the path.
    configured_max: usize,
    max_datagram: usize,
    /// By the index of the metric.
    sent: Vec<Sent>,
    /// Metrics whose value may be due, the oldest first.
    pending: Vec<u32>,
    /// The reason to wait and the time of its end; `None` while the connection is ready.
    wait: Option<(Wait, f64)>,
    /// The seconds from the last failure to the probe after it.
    probe_delay: f64,
    /// The time of the end of the last failure.
    recovered: f64,
    /// The time at which to look for a refusal of the first datagrams of a new socket.
    refusal_check: Option<f64>,
    is_new_socket: bool,
    /// The time since which the socket, or the network device, is full.
    full_since: Option<f64>,
    /// The errno of the failure that has not ended.
    failure: Option<i32>,
    /// Set when the connection is removed: the mode of its final values, and the time after
    /// which it is dropped.
    removal: Option<(GaugeMode, f64)>,
    pub counters: Counters,
    /// Samples of timings that were not sent.
    pub dropped_timings: u64,
    /// The time of the last successful and of the last failed send; 0 for none.
    pub last_success: f64,
    pub last_failure: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wait {
    /// The server, or the network device, needs time to process what was sent.
    Pause,
    /// A Unix socket is full. It also ends when the socket is writable.
    Full,
    /// A send failed.
    Failed,
    /// A probe was sent, and may be refused.
    Probe,
}

/// The datagram that is being filled, and the lines in it. One is used for all connections.
#[derive(Debug, Default)]
pub(super) struct Batch {
    buffer: DatagramBuffer,
    /// The gauges and counters in the buffer, with the values of [`Sent`] after the send.
    metrics: Vec<(u32, i64)>,
    /// Falling gauges of this flush, which are written last, with their values and those of
    /// [`Sent`] after the send.
    falling: Vec<(u32, Value, i64)>,
    /// The number of timings in the buffer.
    timings: u64,
    /// Bytes that were sent since the flush began.
    bytes: usize,
}

impl Batch {
    fn clear(&mut self) {
        self.buffer.clear();
        self.metrics.clear();
        self.timings = 0;
    }
}

/// All metrics at the time of a flush, and how to send them.
#[derive(Clone, Copy)]
pub(super) struct Snapshot<'a> {
    pub metrics: &'a [Metric],
    pub mode: GaugeMode,
    /// The time in seconds since the epoch.
    pub now: f64,
}

/// A flush ended early: a send failed, or the connection pauses.
struct Interrupted;

impl Connection {
    /// A connection that has sent nothing. Counters start with the present totals.
    pub fn new(address: Address, max_datagram: usize, metrics: &[Metric], now: f64) -> Connection {
        let mut connection = Connection {
            address,
            socket: None,
            configured_max: max_datagram,
            max_datagram,
            sent: Vec::new(),
            pending: Vec::new(),
            wait: None,
            probe_delay: 0.0,
            recovered: 0.0,
            refusal_check: None,
            is_new_socket: true,
            full_since: None,
            failure: None,
            removal: None,
            counters: Counters::default(),
            dropped_timings: 0,
            last_success: 0.0,
            last_failure: 0.0,
        };
        for index in 0..metrics.len() {
            connection.metric_added(index as u32, metrics);
        }
        if let Err(errno) = connection.open() {
            connection.failed(errno, now);
        }
        connection
    }

    pub fn address(&self) -> &Address {
        &self.address
    }

    /// `true` from a failed send until sends succeed again.
    pub fn is_failing(&self) -> bool {
        self.failure.is_some()
    }

    /// The explanation of the failure.
    pub fn error(&self) -> Option<String> {
        let is_path = matches!(self.address, Address::Unix(_));
        self.failure.map(|errno| explain(errno, is_path))
    }

    /// Sets the maximum payload of a datagram in bytes, for paths whose MTU the kernel does
    /// not know.
    pub fn set_max_datagram(&mut self, max: usize) {
        self.configured_max = max;
        self.update_max_datagram();
    }

    fn update_max_datagram(&mut self) {
        let path = self.socket.as_ref().and_then(|socket| socket.max_payload());
        self.max_datagram = path.map_or(self.configured_max, |max| max.min(self.configured_max));
    }

    /// Opens a new socket. What was sent stays.
    fn open(&mut self) -> Result<(), i32> {
        self.socket = Some(Rc::new(Socket::connect(&self.address)?));
        self.is_new_socket = true;
        self.update_max_datagram();
        Ok(())
    }

    /// A metric was defined, possibly with the index of an earlier one.
    pub fn metric_added(&mut self, index: u32, metrics: &[Metric]) {
        let place = index as usize;
        if self.sent.len() <= place {
            self.sent.resize(place + 1, Sent::default());
        }
        let metric = &metrics[place];
        let is_counter = metric.kind == MetricKind::Counter;
        let value = metric.level.filter(|_| is_counter).unwrap_or(0);
        let is_pending = self.sent[place].is_pending;
        self.sent[place] = Sent { value, is_known: false, is_pending };
        if self.removal.is_none() {
            self.changed(index);
        }
    }

    /// The value of a metric may be due.
    #[inline]
    pub fn changed(&mut self, index: u32) {
        let sent = &mut self.sent[index as usize];
        if !sent.is_pending {
            sent.is_pending = true;
            self.pending.push(index);
        }
    }

    /// `true` if the value of a metric may be due.
    pub fn is_pending(&self, index: u32) -> bool {
        self.sent.get(index as usize).is_some_and(|sent| sent.is_pending)
    }

    /// Forgets what the server has, so that the following flushes send all values, those of
    /// pending metrics first: then a second resync does not delay what is left of the first.
    pub fn forget(&mut self) {
        self.update_max_datagram();
        for index in 0..self.sent.len() {
            self.sent[index].is_known = false;
            self.changed(index as u32);
        }
    }

    /// Assumes that the server has the values that were sent, also during a resync: without
    /// absolute values, they would be added again.
    pub fn remember(&mut self) {
        if !self.is_failing() {
            self.sent.iter_mut().for_each(|sent| sent.is_known = true);
        }
    }

    /// Opens a new UDP socket: NAT and load balancers see a new flow, which may lead to
    /// another server. Therefore gauges of this instance alone are all sent.
    pub fn renew(&mut self, mode: GaugeMode, now: f64) {
        if self.is_failing() || matches!(self.address, Address::Unix(_)) {
            return;
        }
        match self.open() {
            Ok(()) if mode != GaugeMode::Shared => self.forget(),
            Ok(()) => (),
            Err(errno) => self.failed(errno, now),
        }
    }

    /// `true` if the path of a Unix socket leads to another server now.
    pub fn has_moved(&self) -> bool {
        self.socket.as_ref().is_some_and(|socket| socket.has_moved(&self.address))
    }

    /// `true` if the next step is a probe.
    pub fn is_probe_due(&self, now: f64) -> bool {
        matches!(self.wait, Some((Wait::Failed, end)) if end <= now)
    }

    /// Uses another address of the same host, from the next probe on. It may be another server.
    pub fn set_address(&mut self, address: Address, mode: GaugeMode) {
        self.address = address;
        if mode != GaugeMode::Shared {
            self.forget();
        }
    }

    /// Makes the following flushes send the final values. Gauges that are not 0 are first.
    pub fn begin_removal(&mut self, mode: GaugeMode, now: f64) {
        self.removal = Some((mode, now + REMOVAL_TIMEOUT));
        match mode {
            GaugeMode::Shared => (0..self.sent.len()).for_each(|index| self.changed(index as u32)),
            _ => self.forget(),
        }
        self.pending.sort_by_key(|&index| self.sent[index as usize].value == 0);
    }

    /// Continues a connection that was about to be removed. `address` is the same server's.
    pub fn cancel_removal(&mut self, address: Address) {
        (self.address, self.removal) = (address, None);
        (0..self.sent.len()).for_each(|index| self.changed(index as u32));
    }

    /// `true` if a removed connection can be dropped.
    pub fn is_removable(&self, now: f64) -> bool {
        // After a probe the server may be back, and a full socket may have room before the end.
        let has_failed = matches!(self.wait, Some((Wait::Failed, _)));
        let is_done = self.pending.is_empty() || has_failed;
        self.removal.is_some_and(|(_, end)| is_done || end <= now)
    }

    /// Sends the final values. Waits until `end` for a full socket.
    pub fn send_final_values(&mut self, snapshot: Snapshot, batch: &mut Batch, end: Instant) {
        if self.removal.is_none() {
            self.begin_removal(snapshot.mode, snapshot.now);
        }
        // After a probe the server may be back, and a full socket may have room.
        if !matches!(self.wait, Some((Wait::Failed, _))) {
            self.wait = None;
        }
        loop {
            self.flush(snapshot, &[], batch);
            let left = end.saturating_duration_since(Instant::now());
            match (self.wait, &self.socket) {
                _ if left.is_zero() => return,
                (Some((Wait::Full, _)), Some(socket)) => wait_until_writable(socket.as_fd(), left),
                (Some((Wait::Pause, _)), _) => {
                    std::thread::sleep(left.min(Duration::from_secs_f64(PART_PAUSE)));
                }
                _ => return,
            }
            self.wait = None;
        }
    }

    /// Sends what is due: timings and counters, then rising gauges and then falling ones, so
    /// that a job that changes its state is never missing from the sum of all gauges.
    pub fn flush(&mut self, snapshot: Snapshot, timings: &[(u32, f64)], batch: &mut Batch) {
        batch.clear();
        batch.bytes = 0;
        if self.wait.is_some() {
            self.dropped_timings += timings.len() as u64;
            return;
        }
        let (mode, is_final) = self.removal.map_or((snapshot.mode, false), |it| (it.0, true));
        let result = self.write_all(snapshot, mode, is_final, timings, batch);
        // After an error, the metrics whose values are still due stay pending.
        let Connection { pending, sent, .. } = self;
        pending.retain(|&index| {
            let sent = &mut sent[index as usize];
            let metric = &snapshot.metrics[index as usize];
            sent.is_pending = result.is_err() && sent.due(metric, mode, is_final).is_some();
            sent.is_pending
        });
    }

    fn write_all(
        &mut self,
        snapshot: Snapshot,
        mode: GaugeMode,
        is_final: bool,
        timings: &[(u32, f64)],
        batch: &mut Batch,
    ) -> Result<(), Interrupted> {
        self.write_timings(snapshot, timings, batch)?;
        batch.falling.clear();
        for place in 0..self.pending.len() {
            let index = self.pending[place];
            let sent = &self.sent[index as usize];
            let metric = &snapshot.metrics[index as usize];
            match (&metric.template, sent.due(metric, mode, is_final)) {
                (Some(template), Some((value, target))) if sent.is_rising(value) => {
                    self.write(template, value, snapshot.now, batch)?;
                    batch.metrics.push((index, target));
                }
                (Some(_), Some((value, target))) => batch.falling.push((index, value, target)),
                _ => (),
            }
        }
        for place in 0..batch.falling.len() {
            let (index, value, target) = batch.falling[place];
            if let Some(template) = &snapshot.metrics[index as usize].template {
                self.write(template, value, snapshot.now, batch)?;
                batch.metrics.push((index, target));
            }
        }
        self.send(snapshot.now, batch)
    }

    /// Writes samples of timings. Those that are not sent are dropped.
    fn write_timings(
        &mut self,
        snapshot: Snapshot,
        timings: &[(u32, f64)],
        batch: &mut Batch,
    ) -> Result<(), Interrupted> {
        for (place, &(index, milliseconds)) in timings.iter().enumerate() {
            let Some(template) = &snapshot.metrics[index as usize].template else { continue };
            if self.write(template, Value::timing(milliseconds), snapshot.now, batch).is_err() {
                self.dropped_timings += (timings.len() - place) as u64;
                return Err(Interrupted);
            }
            batch.timings += 1;
        }
        Ok(())
    }

    /// Adds a line to the datagram. If it does not fit, the datagram is sent first.
    #[inline(always)]
    fn write(
        &mut self,
        template: &LineTemplate,
        value: Value,
        now: f64,
        batch: &mut Batch,
    ) -> Result<(), Interrupted> {
        if !batch.buffer.append(template, value, self.max_datagram) {
            self.send(now, batch)?;
            batch.buffer.append(template, value, self.max_datagram);
        }
        Ok(())
    }

    /// Sends the datagram, and records the values in it.
    fn send(&mut self, now: f64, batch: &mut Batch) -> Result<(), Interrupted> {
        let (Some(datagram), Some(socket)) = (batch.buffer.datagram(), &self.socket) else {
            return Ok(());
        };
        let (length, is_udp) = (datagram.len(), matches!(**socket, Socket::Udp(_)));
        if let Err(errno) = socket.send(datagram) {
            self.dropped_timings += batch.timings;
            batch.clear();
            self.failed(errno, now);
            return Err(Interrupted);
        }
        for &(index, value) in &batch.metrics {
            let sent = &mut self.sent[index as usize];
            (sent.value, sent.is_known) = (value, true);
        }
        batch.clear();
        batch.bytes += length;
        self.counters.add_datagram(length);
        (self.last_success, self.full_since) = (now, None);
        if self.failure.take().is_some() {
            self.recovered = now;
        }
        if std::mem::take(&mut self.is_new_socket) {
            self.refusal_check = Some(now + REFUSAL_TIME);
        }
        if is_udp && batch.bytes >= UDP_PART {
            self.wait = Some((Wait::Pause, now + PART_PAUSE));
            return Err(Interrupted);
        }
        Ok(())
    }

    /// Processes an error of connect(2) or send(2).
    #[cold]
    fn failed(&mut self, errno: i32, now: f64) {
        match errno {
            // Nothing is lost, so this is not counted unless it lasts.
            libc::EAGAIN | libc::ENOBUFS if self.socket.is_some() => {
                // The clock may have been set back.
                let lasts = (now - *self.full_since.get_or_insert(now)).abs() >= FULL_TIMEOUT;
                if errno == libc::EAGAIN && matches!(self.address, Address::Unix(_)) {
                    if lasts {
                        self.count_failure(errno, now);
                    }
                    return self.wait = Some((Wait::Full, now + FULL_TIMEOUT));
                } else if !lasts {
                    return self.wait = Some((Wait::Pause, now + DEVICE_PAUSE));
                }
            }
            libc::EMSGSIZE => {
                let before = self.max_datagram;
                self.update_max_datagram();
                if self.max_datagram < before {
                    return self.wait = Some((Wait::Pause, now));
                }
            }
            // There is no server. A later one may have none of the values.
            libc::ECONNREFUSED | libc::ECONNRESET | libc::ENOTCONN | libc::EPIPE | libc::ENOENT => {
                self.forget();
            }
            _ => (),
        }
        let is_unstable = self.is_failing() || (now - self.recovered).abs() < STABLE;
        self.count_failure(errno, now);
        self.refusal_check = None;
        self.probe_delay = match is_unstable {
            true => (self.probe_delay * 2.0).clamp(FIRST_PROBE, MAX_PROBE),
            false => FIRST_PROBE,
        };
        self.wait = Some((Wait::Failed, now + self.probe_delay));
    }

    fn count_failure(&mut self, errno: i32, now: f64) {
        self.counters.add_failure(errno);
        (self.failure, self.last_failure) = (Some(errno), now);
    }

    /// Fetches the refusal of an earlier datagram.
    pub fn check(&mut self, now: f64) {
        if self.is_failing() {
            return;
        }
        if let Some(errno) = self.socket.as_ref().and_then(|socket| socket.take_error()) {
            self.failed(errno, now);
        }
    }

    /// Ends a wait that is over, or for a full socket. The next flush continues.
    pub fn step(&mut self, snapshot: Snapshot, batch: &mut Batch) {
        let now = snapshot.now;
        if self.refusal_check.is_some_and(|time| time <= now) {
            self.refusal_check = None;
            self.check(now);
        }
        // If the clock was set back meanwhile, the end is farther away than the longest wait.
        let is_over = |(wait, end): &mut (Wait, f64)| {
            *wait == Wait::Full || *end <= now || *end > now + MAX_PROBE
        };
        let Some((wait, _)) = self.wait.take_if(is_over) else { return };
        match wait {
            Wait::Pause | Wait::Full => (),
            Wait::Failed => self.probe(snapshot, batch),
            Wait::Probe => match self.socket.as_ref().and_then(|socket| socket.take_error()) {
                Some(errno) => self.failed(errno, now),
                None => (self.failure, self.recovered) = (None, now),
            },
        }
    }

    /// Opens a new socket and sends one value. It shows whether the server is back. A Unix
    /// server is, if the socket could be connected.
    fn probe(&mut self, snapshot: Snapshot, batch: &mut Batch) {
        let now = snapshot.now;
        if self.has_moved() {
            self.forget();
        }
        if let Err(errno) = self.open() {
            return self.failed(errno, now);
        }
        let due = self.pending.iter().find_map(|&index| {
            let metric = &snapshot.metrics[index as usize];
            let (value, target) = self.sent[index as usize].due(metric, snapshot.mode, false)?;
            Some((metric.template.as_ref()?, value, (index, target)))
        });
        let (Some((template, value, sent)), Address::Udp(_)) = (due, &self.address) else {
            (self.failure, self.recovered) = (None, now);
            return;
        };
        batch.clear();
        // An increment that is refused would be lost.
        let probe = match value {
            Value::GaugeAdd(_) => Value::GaugeAdd(0),
            Value::Count(_) => Value::Count(0),
            _ => {
                batch.metrics.push(sent);
                value
            }
        };
        batch.buffer.append(template, probe, self.max_datagram);
        let failure = self.failure;
        if self.send(now, batch).is_ok() {
            (self.failure, self.refusal_check) = (failure, None);
            self.wait = Some((Wait::Probe, now + REFUSAL_TIME));
        }
    }

    /// The socket that is full, if there is one.
    pub fn full_socket(&self) -> Option<&Rc<Socket>> {
        let is_full = matches!(self.wait, Some((Wait::Full, _)));
        self.socket.as_ref().filter(|_| is_full)
    }

    /// `true` while there is a [`next_step`](Self::next_step) or a failure.
    #[inline]
    pub fn needs_service(&self) -> bool {
        self.next_step().is_some() || self.is_failing()
    }

    /// The time of the next [`step`](Self::step).
    pub fn next_step(&self) -> Option<f64> {
        let wait = self.wait.map(|(_, end)| end);
        let removal = self.removal.map(|(_, end)| end);
        [wait, self.refusal_check, removal].into_iter().flatten().min_by(f64::total_cmp)
    }
}
