//! Destinations: the endpoints with their connections, lookups and health.

use std::collections::VecDeque;
use std::fs;
use std::net::SocketAddr;
use std::time::SystemTime;

use super::health::Health;
use crate::os::Lookup;
use crate::stats::{
    explain, Address, Connection, Counters, DatagramBuffer, Endpoint, LineTemplate, Value,
};

/// The number of polls, 50 ms apart, after which an address on trial is accepted. Within
/// 100 ms the server's host reports a port without a server.
const TRIAL_POLLS: u32 = 2;

/// Errnos of failed sends that prove that there is a server.
const HAS_SERVER: [i32; 3] = [libc::EAGAIN, libc::ENOBUFS, libc::EMSGSIZE];

/// One endpoint, the connection to it, and its health.
#[derive(Debug)]
pub struct Destination {
    endpoint: Endpoint,
    pub(super) connection: Connection,
    /// Set when the first values were sent. Before, datagrams are counted as failed.
    pub(super) is_live: bool,
    /// Another destination with the same address. If set, datagrams are sent only to the
    /// other one.
    same_as: Option<Endpoint>,
    /// The last value of `same_as` that was logged.
    logged_same: Option<Endpoint>,
    pub(super) lookup: Option<Lookup>,
    /// The error of the last lookup, if it failed.
    pub(super) lookup_error: Option<String>,
    /// Further addresses of the host, which are tried in turn if the current one refuses.
    candidates: VecDeque<Address>,
    /// The number of polls, after the first datagram, until the current address is accepted;
    /// 0 if it is accepted.
    trial: u32,
    /// Datagrams and refusals at the beginning of the trial.
    before_trial: (u64, u64),
    /// Its health, with the times of the last success and the last failure.
    pub health: Health,
}

impl Destination {
    fn new(endpoint: Endpoint) -> Destination {
        Destination {
            connection: Connection::new(endpoint.address()),
            endpoint,
            is_live: false,
            same_as: None,
            logged_same: None,
            lookup: None,
            lookup_error: None,
            candidates: VecDeque::new(),
            trial: 0,
            before_trial: (0, 0),
            health: Health::default(),
        }
    }

    /// The endpoint as configured.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The server's address, if the host was found.
    pub fn address(&self) -> Option<&Address> {
        self.connection.address()
    }

    /// The results of all sends so far.
    pub fn counters(&self) -> &Counters {
        self.connection.counters()
    }

    /// The state as the query shows it: `ok`, `failing`, `looking up`, `host not found: …` or
    /// `same as "…"`.
    pub fn state(&self) -> String {
        let never_sent = self.counters().datagrams == 0 && self.counters().failures() > 0;
        match (&self.same_as, &self.lookup_error, self.address()) {
            (Some(other), _, _) => format!("same as \"{other}\""),
            (None, Some(error), None) => format!("host not found: {error}"),
            (None, None, None) => "looking up".to_owned(),
            _ if self.is_failing() || never_sent => "failing".to_owned(),
            _ => "ok".to_owned(),
        }
    }

    /// The explanation of the last failed send, while the state is `failing`.
    pub fn error(&self) -> Option<String> {
        let errno = self.counters().last_error;
        let is_path = matches!(self.address(), Some(Address::Unix(_)));
        (errno != 0 && self.state() == "failing").then(|| explain(errno, is_path))
    }

    /// The numbers of datagrams and failures so far.
    fn totals(&self) -> (u64, u64) {
        (self.counters().datagrams, self.counters().failures())
    }

    /// Returns `true` if a send failed since the last check.
    pub(super) fn is_failing(&self) -> bool {
        self.health.is_failing(self.totals())
    }

    /// Returns `true` if the last send failed with an error that means that there is no
    /// server, or no route to it.
    pub(super) fn is_unreachable(&self) -> bool {
        let has_server = HAS_SERVER.contains(&self.counters().last_error);
        self.is_failing() && self.connection.last_failed() && !has_server
    }

    /// Returns `true` if both have the same address, or paths of the same socket.
    fn has_address_of(&self, other: &Destination) -> bool {
        let Some((one, other)) = self.address().zip(other.address()) else { return false };
        let file = |address: &Address| match address {
            Address::Unix(path) => fs::canonicalize(path).ok(),
            Address::Udp(_) => None,
        };
        one == other || file(one).is_some_and(|one| file(other) == Some(one))
    }

    /// Returns `true` if another destination with the same address is used instead.
    pub(super) fn is_duplicate(&self) -> bool {
        self.same_as.is_some()
    }

    /// Moves to `address`. The next `Publisher::connect` sends the first values. If the
    /// address refuses during its trial, the `candidates` are tried.
    pub(super) fn move_to(&mut self, address: Address, candidates: VecDeque<Address>) {
        self.connection.set_address(address);
        self.is_live = false;
        self.trial = if candidates.is_empty() { 0 } else { TRIAL_POLLS };
        self.candidates = candidates;
        self.before_trial = (self.counters().datagrams, self.refusals());
    }

    /// Ignores earlier failures. To be called after the first values. Their success does not
    /// prove that there is a server: the kernel accepts UDP datagrams to any address.
    pub(super) fn restart_health(&mut self) {
        self.health.restart(self.totals());
    }

    /// Returns `true` if the address is on trial and something was sent to it.
    pub(super) fn is_on_trial(&self) -> bool {
        let is_tried = self.counters().datagrams > self.before_trial.0 || self.has_refused();
        self.trial > 0 && is_tried && !self.is_duplicate()
    }

    /// The number of failed sends with an error that means that there is no server.
    fn refusals(&self) -> u64 {
        let other = HAS_SERVER.iter().map(|&errno| self.counters().failures_by(errno));
        self.counters().failures() - other.sum::<u64>()
    }

    fn has_refused(&self) -> bool {
        self.refusals() > self.before_trial.1 || !self.connection.is_open()
    }

    /// Polls an address on trial. Returns the remaining candidates if it refused.
    pub(super) fn poll_trial(&mut self) -> Option<VecDeque<Address>> {
        if !self.is_on_trial() {
            return None;
        }
        self.connection.poll_error();
        if self.has_refused() {
            self.trial = 0;
            return Some(std::mem::take(&mut self.candidates));
        }
        self.trial -= 1;
        None
    }

    /// The periodic check. Returns `Some(true)` to report a failure, `Some(false)` to report
    /// its end.
    pub(super) fn check_health(&mut self) -> Option<bool> {
        self.connection.poll_error();
        self.health.check(self.totals())
    }

    /// As [`check_health`](Self::check_health), after a failed send. Failures of an address on
    /// trial are not reported.
    pub(super) fn note_failure(&mut self) -> Option<bool> {
        let totals = self.totals();
        (self.trial == 0).then(|| self.health.note(totals)).flatten()
    }
}

/// The destinations to which a datagram is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// All destinations.
    All,
    /// The destination with this index.
    One(usize),
}

/// All destinations in the order of the configuration, and the datagram that is being filled
/// for them.
#[derive(Debug, Default)]
pub struct Destinations {
    pub(super) list: Vec<Destination>,
    buffer: DatagramBuffer,
    /// Set when a send fails, until the failures are reported.
    pub(super) has_failed: bool,
}

impl Destinations {
    /// The destinations in the order of the configuration.
    pub fn iter(&self) -> impl Iterator<Item = &Destination> {
        self.list.iter()
    }

    /// Adds the line for a value to the datagram. If it does not fit, the datagram is sent to
    /// `target` first.
    #[inline(always)]
    pub(super) fn write(&mut self, target: Target, template: &LineTemplate, value: Value) {
        let Destinations { list, buffer, has_failed } = self;
        buffer.append(template, value, |datagram| *has_failed |= !send(list, target, datagram));
    }

    /// Sends the datagram, unless it is empty.
    pub(super) fn send(&mut self, target: Target) {
        let Destinations { list, buffer, has_failed } = self;
        buffer.finish(|datagram| *has_failed |= !send(list, target, datagram));
    }

    /// Replaces the endpoints. A destination with a kept endpoint does not change.
    pub(super) fn set(&mut self, endpoints: &[Endpoint]) {
        let mut old = std::mem::take(&mut self.list);
        let destinations = endpoints.iter().map(|endpoint| {
            match old.iter().position(|destination| destination.endpoint == *endpoint) {
                Some(index) => old.swap_remove(index),
                None => Destination::new(endpoint.clone()),
            }
        });
        self.list = destinations.collect();
    }

    /// Opens the connection of a destination that is not live, unless another destination has
    /// the same address.
    pub(super) fn connect(&mut self, index: usize) -> Connected {
        let destination = &self.list[index];
        if destination.is_live {
            return Connected::No;
        }
        // Of several destinations with one address, a live one is used, or else the first.
        let same = self.list.iter().enumerate().find(|&(other, candidate)| {
            other != index
                && (candidate.is_live || other < index)
                && destination.has_address_of(candidate)
        });
        let same_as = same.map(|(_, other)| other.endpoint.clone());
        let destination = &mut self.list[index];
        destination.same_as = same_as;
        if destination.is_duplicate() {
            if destination.same_as == destination.logged_same {
                return Connected::No;
            }
            destination.logged_same.clone_from(&destination.same_as);
            return Connected::Duplicate;
        }
        if destination.connection.open() {
            Connected::Yes
        } else {
            Connected::No
        }
    }

    /// The addresses to try for a host that was found at `found`, the best one first.
    ///
    /// The current address is kept if it is in `found` and can be reached, because name
    /// servers rotate their answers. If it cannot be reached, the next address of the list
    /// comes first. If all are loopback addresses (`localhost` may be ::1 and 127.0.0.1), one
    /// that another destination uses is preferred.
    pub(super) fn addresses(&self, index: usize, found: &[SocketAddr]) -> Vec<Address> {
        let destination = &self.list[index];
        let mut addresses: Vec<Address> = Vec::new();
        for address in found.iter().filter_map(|&host| destination.endpoint.address_at(host)) {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        if addresses.iter().all(Address::is_loopback) {
            let is_used = |address: &&Address| {
                self.list.iter().enumerate().any(|(other, candidate)| {
                    other != index
                        && !candidate.is_failing()
                        && !candidate.is_duplicate()
                        && candidate.address() == Some(*address)
                })
            };
            if let Some(used) = addresses.iter().find(is_used) {
                return vec![used.clone()];
            }
        }
        let present = addresses.iter().position(|it| Some(it) == destination.address());
        match present {
            Some(present) if self.is_unreachable(index) => addresses.rotate_left(present + 1),
            Some(present) => return vec![addresses.swap_remove(present)],
            None => (),
        }
        addresses
    }

    /// Returns `true` if the destination, or the one used instead, is unreachable.
    pub(super) fn is_unreachable(&self, index: usize) -> bool {
        let destination = &self.list[index];
        let mut others = self.list.iter().filter(|other| !other.is_duplicate());
        match destination.is_duplicate() {
            true => others.any(|it| it.has_address_of(destination) && it.is_unreachable()),
            false => destination.is_unreachable(),
        }
    }
}

/// Sends a datagram. Returns `true` if no send failed.
fn send(list: &mut [Destination], target: Target, datagram: &[u8]) -> bool {
    let mut all_sent = true;
    for (index, destination) in list.iter_mut().enumerate() {
        let is_other = matches!(target, Target::One(only) if only != index);
        if is_other || destination.is_duplicate() {
            continue;
        }
        if !destination.is_live {
            destination.connection.count_unsent();
            all_sent = false;
        } else if destination.connection.send(datagram) {
            destination.health.last_success = Some(SystemTime::now());
        } else {
            all_sent = false;
        }
    }
    all_sent
}

/// The result of [`Destinations::connect`].
pub(super) enum Connected {
    /// The connection is open, and the destination needs the first values.
    Yes,
    /// The connection cannot be opened, or the state did not change.
    No,
    /// Another destination has the same address, which was not logged yet.
    Duplicate,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The addresses to try for the endpoint `name:1`, if its host was found at `found` and
    /// the other destinations are `others`.
    fn choice(others: &[&str], found: &[&str]) -> Vec<String> {
        let mut destinations = Destinations::default();
        let endpoints = others.iter().chain(&["name:1"]).map(|text| text.parse().unwrap());
        destinations.set(&endpoints.collect::<Vec<_>>());
        let found: Vec<_> =
            found.iter().map(|ip| SocketAddr::new(ip.parse().unwrap(), 0)).collect();
        let addresses = destinations.addresses(others.len(), &found);
        addresses.iter().map(Address::to_string).collect()
    }

    fn address(text: &str) -> Address {
        Address::udp(text.parse().unwrap())
    }

    #[test]
    fn each_address_is_tried_once_in_the_order_of_the_name_service() {
        let found = ["192.0.2.2", "192.0.2.1", "::ffff:192.0.2.2"];
        assert_eq!(choice(&[], &found), ["192.0.2.2:1", "192.0.2.1:1"]);
        // The order is the same if another destination has one of them.
        assert_eq!(choice(&["192.0.2.1:1"], &found), ["192.0.2.2:1", "192.0.2.1:1"]);
    }

    #[test]
    fn a_name_of_this_host_gets_the_address_of_another_destination() {
        let found = ["::1", "127.0.0.1"];
        assert_eq!(choice(&[], &found), ["[::1]:1", "127.0.0.1:1"]);
        assert_eq!(choice(&["127.0.0.1:1"], &found), ["127.0.0.1:1"]);
        assert_eq!(choice(&["0.0.0.0:1"], &found), ["127.0.0.1:1"]);
        assert_eq!(choice(&["127.0.0.1:2"], &found), ["[::1]:1", "127.0.0.1:1"], "another port");
    }

    #[test]
    fn the_address_is_kept_unless_it_fails() {
        let mut destinations = Destinations::default();
        destinations.set(&["name:1".parse().unwrap()]);
        let found = ["127.0.0.3:0", "127.0.0.4:0", "127.0.0.5:0"].map(|text| text.parse().unwrap());
        destinations.list[0].move_to(address("127.0.0.4:1"), Default::default());
        assert_eq!(destinations.addresses(0, &found), [address("127.0.0.4:1")]);
        // EMSGSIZE does not mean that there is no server, ECONNREFUSED does.
        destinations.list[0].is_live = true;
        send(&mut destinations.list, Target::All, &vec![0; 70_000]);
        assert_eq!(destinations.addresses(0, &found), [address("127.0.0.4:1")]);
        for _ in 0..9 {
            send(&mut destinations.list, Target::One(0), b"x");
        }
        assert!(destinations.is_unreachable(0), "expected no server at port 1");
        let expected = ["127.0.0.5:1", "127.0.0.3:1", "127.0.0.4:1"].map(address);
        assert_eq!(destinations.addresses(0, &found), expected);
    }

    #[test]
    fn an_address_that_cannot_be_opened_is_skipped() {
        let mut destinations = Destinations::default();
        destinations.set(&["name:1".parse().unwrap()]);
        // EACCES or ENETUNREACH at connect(2), as for an address without a route.
        let next = [address("127.0.0.1:1")].into_iter().collect();
        destinations.list[0].move_to(address("255.255.255.255:1"), next);
        assert!(matches!(destinations.connect(0), Connected::No));
        send(&mut destinations.list, Target::All, b"x");
        let destination = &mut destinations.list[0];
        let polls: Vec<_> = (0..3).map(|_| destination.poll_trial()).collect();
        assert!(polls.iter().any(Option::is_some), "{polls:?} {}", destination.state());
    }
}
