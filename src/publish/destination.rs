//! Destinations: the endpoints, the addresses of their hosts, and their connections.
//!
//! Nothing here waits. The plugin calls [`Publisher::service`] at [`Publisher::next_service`]
//! and when a full socket is writable, [`Publisher::check_destinations`] every
//! [`CHECK_INTERVAL`] seconds, and logs the [`Notice`]s.

use std::fs;
use std::net::SocketAddr;
use std::rc::Rc;

use super::connection::{Connection, Snapshot};
use super::publisher::Publisher;
use crate::os::Lookup;
use crate::stats::{Address, Counters, Endpoint, Socket};

/// The seconds between two checks of the destinations.
pub const CHECK_INTERVAL: u32 = 10;
/// Seconds between two polls of a lookup in progress.
const LOOKUP_POLL: f64 = 0.05;
/// The minimum number of seconds between two reports of failures of a destination, so that an
/// unstable one does not fill the log.
const REPORT_INTERVAL: f64 = 60.0;

/// A log line about a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Set if the line reports a failure.
    pub is_warning: bool,
    /// `endpoint "…": …`
    pub text: String,
}

/// One endpoint and the connection to it.
#[derive(Debug)]
pub struct Destination {
    endpoint: Endpoint,
    /// `None` while the host is not found, and while another destination has its address.
    pub(super) connection: Option<Connection>,
    /// Another destination with the same address: the only one that is used.
    same_as: Option<Endpoint>,
    lookup: Option<Lookup>,
    /// The error of the last lookup, if it failed.
    lookup_error: Option<String>,
    /// The addresses of the host. The first one is used; the next one if that one fails.
    addresses: Vec<Address>,
    /// The number of addresses that have not failed yet: failures are not reported before.
    untried: usize,
    /// Set if a failure was reported and its end was not.
    is_failure_reported: bool,
    /// The time of that report.
    failure_reported: f64,
}

impl Destination {
    fn new(endpoint: Endpoint) -> Destination {
        Destination {
            addresses: endpoint.address().into_iter().collect(),
            untried: 0,
            endpoint,
            connection: None,
            same_as: None,
            lookup: None,
            lookup_error: None,
            is_failure_reported: false,
            failure_reported: f64::NEG_INFINITY,
        }
    }

    /// The endpoint as configured.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The server's address, if the host was found.
    pub fn address(&self) -> Option<&Address> {
        self.addresses.first()
    }

    /// The results of all sends to the present server.
    pub fn counters(&self) -> Counters {
        self.connection.as_ref().map(|it| it.counters.clone()).unwrap_or_default()
    }

    /// Samples of timings that were not sent: the connection was not ready, or a send failed.
    pub fn dropped_timings(&self) -> u64 {
        self.connection.as_ref().map_or(0, |it| it.dropped_timings)
    }

    /// The times of the last successful and of the last failed send, in seconds since the
    /// epoch.
    pub fn last_times(&self) -> [Option<f64>; 2] {
        let time = |get: fn(&Connection) -> f64| {
            self.connection.as_ref().map(get).filter(|&time| time > 0.0)
        };
        [time(|it| it.last_success), time(|it| it.last_failure)]
    }

    /// The state as the query shows it: `ok`, `failing`, `looking up`, `host not found: …` or
    /// `same as "…"`.
    pub fn state(&self) -> String {
        match (&self.same_as, &self.lookup_error, &self.connection) {
            (Some(other), ..) => format!("same as \"{other}\""),
            (None, _, Some(connection)) if connection.is_failing() => "failing".to_owned(),
            (None, _, Some(_)) => "ok".to_owned(),
            (None, Some(error), None) => format!("host not found: {error}"),
            (None, None, None) => "looking up".to_owned(),
        }
    }

    /// The explanation of the last failed send, while the state is `failing`.
    pub fn error(&self) -> Option<String> {
        self.connection.as_ref()?.error()
    }

    fn is_failing(&self) -> bool {
        self.connection.as_ref().is_some_and(Connection::is_failing)
    }
}

/// The connections of these destinations.
pub(super) fn connections(destinations: &[Destination]) -> impl Iterator<Item = &Connection> {
    destinations.iter().filter_map(|it| it.connection.as_ref())
}

pub(super) fn connections_mut(
    destinations: &mut [Destination],
) -> impl Iterator<Item = &mut Connection> {
    destinations.iter_mut().filter_map(|it| it.connection.as_mut())
}

/// Returns `true` for equal addresses, and for two paths of one socket.
fn is_same(one: &Address, other: &Address) -> bool {
    let file = |address: &Address| match address {
        // The server may be absent, and with it the file.
        Address::Unix(path) => fs::canonicalize(path)
            .ok()
            .or_else(|| Some(fs::canonicalize(path.parent()?).ok()?.join(path.file_name()?))),
        Address::Udp(_) => None,
    };
    one == other || file(one).is_some_and(|one| file(other) == Some(one))
}

impl Publisher {
    /// All destinations, in the order of the configuration.
    pub fn destinations(&self) -> &[Destination] {
        &self.destinations
    }

    /// Sets the maximum payload of a datagram in bytes.
    pub fn set_max_datagram(&mut self, max: usize) {
        self.max_datagram = max;
        let connections = connections_mut(&mut self.destinations);
        connections.for_each(|connection| connection.set_max_datagram(max));
    }

    /// Replaces the endpoints. Destinations that stay are not affected. A server whose address
    /// is no longer used gets the final values, in this flush or in later ones.
    pub fn set_destinations(&mut self, endpoints: &[Endpoint], now: f64) {
        self.now = now;
        let mut old = std::mem::take(&mut self.destinations);
        let destinations = endpoints.iter().map(|endpoint| {
            match old.iter().position(|destination| destination.endpoint == *endpoint) {
                Some(index) => old.swap_remove(index),
                None => Destination::new(endpoint.clone()),
            }
        });
        self.destinations = destinations.collect();
        for removed in old.into_iter().filter_map(|it| it.connection) {
            self.remove_connection(removed);
        }
        self.connect();
    }

    fn remove_connection(&mut self, mut connection: Connection) {
        if self.is_running() {
            connection.begin_removal(self.mode, self.now);
            self.removed.push(connection);
            self.is_flush_due = true;
        }
    }

    /// Connects each destination with an address, unless another destination has the address.
    fn connect(&mut self) {
        for index in 0..self.destinations.len() {
            let destination = &self.destinations[index];
            let Some(address) = destination.address().cloned() else { continue };
            if destination.connection.is_some() {
                continue;
            }
            // Of several destinations with one address, the first one that connects is used.
            let same_as = self.user_of(&address, index).map(|other| other.endpoint.clone());
            let old = std::mem::replace(&mut self.destinations[index].same_as, same_as.clone());
            if same_as.is_some() {
                if same_as != old {
                    let state = self.destinations[index].state();
                    let text = format!("{state} ({address}): only one of them is used");
                    self.notice(index, false, &text);
                }
                continue;
            }
            let connection =
                match self.removed.iter().position(|it| is_same(it.address(), &address)) {
                    Some(place) => {
                        let mut connection = self.removed.swap_remove(place);
                        connection.cancel_removal(address);
                        connection
                    }
                    None => Connection::new(address, self.max_datagram, &self.metrics, self.now),
                };
            self.destinations[index].connection = Some(connection);
            self.is_flush_due = true;
        }
    }

    /// Starts lookups of all hosts, except for lookups in progress, and replaces the sockets
    /// of other UDP endpoints. `failing_only`: only of hosts that were not found, whose servers
    /// fail, or whose address another destination uses.
    pub fn look_up(&mut self, failing_only: bool, now: f64) {
        self.now = now;
        for index in 0..self.destinations.len() {
            let destination = &self.destinations[index];
            let is_wanted = !failing_only
                || destination.address().is_none()
                || destination.is_failing()
                || destination.same_as.is_some();
            match destination.endpoint.name() {
                Some(name) if is_wanted && destination.lookup.is_none() => {
                    match Lookup::start(name) {
                        Ok(lookup) => self.destinations[index].lookup = Some(lookup),
                        Err(error) => self.not_found(index, &error),
                    }
                }
                None if !failing_only => self.renew(index),
                _ => (),
            }
        }
        self.check_paths();
    }

    fn renew(&mut self, index: usize) {
        if let Some(connection) = &mut self.destinations[index].connection {
            connection.renew(self.mode, self.now);
            self.is_flush_due = true;
        }
    }

    /// Connects again where the path of a Unix socket leads to another server.
    fn check_paths(&mut self) {
        for index in 0..self.destinations.len() {
            let connection = &mut self.destinations[index].connection;
            if let Some(old) = connection.take_if(|it| it.has_moved()) {
                self.remove_connection(old);
                // `connect` would continue it, and drop only the socket.
                let address = self.destinations[index].addresses[0].clone();
                let new = Connection::new(address, self.max_datagram, &self.metrics, self.now);
                self.destinations[index].connection = Some(new);
                self.notice(index, false, "the socket at the path was replaced");
            }
        }
    }

    /// The time of the next [`service`](Self::service) in seconds since the epoch.
    pub fn next_service(&self) -> Option<f64> {
        let lookup = self.destinations.iter().any(|it| it.lookup.is_some());
        let connections = connections(&self.destinations);
        let steps = connections.chain(&self.removed).filter_map(Connection::next_step);
        let steps = steps.chain(lookup.then_some(self.now + LOOKUP_POLL));
        steps.min_by(f64::total_cmp)
    }

    /// Returns `true` if a flush may have changed [`next_service`](Self::next_service),
    /// [`full_sockets`](Self::full_sockets) or the notices.
    #[inline]
    pub fn needs_service(&self) -> bool {
        let connections = connections(&self.destinations);
        connections.chain(&self.removed).any(Connection::needs_service)
    }

    /// The Unix sockets that are full.
    pub fn full_sockets(&self) -> Vec<Rc<Socket>> {
        let connections = connections(&self.destinations);
        connections.chain(&self.removed).filter_map(|it| it.full_socket().cloned()).collect()
    }

    /// Processes the results of lookups, and continues connections whose wait is over or whose
    /// socket was full.
    pub fn service(&mut self, now: f64) {
        // A timer may fire a little early.
        let now = now + 0.001;
        self.now = now;
        for index in 0..self.destinations.len() {
            let destination = &mut self.destinations[index];
            if let Some(result) = destination.lookup.as_mut().and_then(Lookup::poll) {
                destination.lookup = None;
                match result {
                    Ok(found) => self.found(index, &found),
                    Err(error) => self.not_found(index, &error),
                }
            }
        }
        if !self.is_running() {
            return;
        }
        for index in 0..self.destinations.len() {
            self.try_next_address(index);
        }
        let Publisher { destinations, removed, metrics, mode, batch, .. } = self;
        let snapshot = Snapshot { metrics, mode: *mode, now };
        let connections = connections_mut(destinations);
        connections.chain(removed).for_each(|connection| connection.step(snapshot, batch));
        self.flush_connections(now);
    }

    /// If a host has several addresses and a probe of the present one is due, the next one is
    /// used instead, unless another destination uses it and fails, too.
    fn try_next_address(&mut self, index: usize) {
        let Destination { connection, addresses, .. } = &self.destinations[index];
        if !connection.as_ref().is_some_and(|it| it.is_probe_due(self.now)) {
            return;
        }
        let next = addresses.iter().enumerate().skip(1).find_map(|(place, address)| {
            let user = self.user_of(address, index);
            (!user.is_some_and(Destination::is_failing)).then_some((place, user.is_some()))
        });
        let destination = &mut self.destinations[index];
        destination.untried = destination.untried.saturating_sub(1);
        let Some((place, is_used)) = next else { return };
        destination.addresses.rotate_left(place);
        if is_used {
            let failing = destination.connection.take();
            failing.into_iter().for_each(|it| self.remove_connection(it));
            self.connect();
        } else if let Some(connection) = &mut destination.connection {
            connection.set_address(destination.addresses[0].clone(), self.mode);
        }
    }

    /// Another destination than the one at `index` that is connected to this address.
    fn user_of(&self, address: &Address, index: usize) -> Option<&Destination> {
        let others = self.destinations.iter().enumerate().filter(|(other, _)| *other != index);
        others.map(|(_, it)| it).find(|it| {
            it.connection.is_some() && it.address().is_some_and(|used| is_same(used, address))
        })
    }

    fn found(&mut self, index: usize, found: &[SocketAddr]) {
        let addresses = self.addresses(index, found);
        let Some(first) = addresses.first().cloned() else { return };
        let destination = &mut self.destinations[index];
        let was_missing = destination.lookup_error.take().is_some();
        let old = std::mem::replace(&mut destination.addresses, addresses);
        if old.first() == Some(&first) {
            self.renew(index);
            return self.connect();
        }
        destination.untried = match destination.addresses.len() {
            1 => 0,
            several => several,
        };
        match (old.first(), destination.connection.take()) {
            (Some(old), Some(connection)) => {
                self.notice(index, false, &format!("moved from {old} to {first}"));
                self.remove_connection(connection);
            }
            _ if was_missing => self.notice(index, false, &format!("found, at {first}")),
            _ => (),
        }
        self.connect();
    }

    /// The addresses to try for a host that was found at `found`, the best one first.
    ///
    /// The present address stays if it is in `found`, because name servers rotate their
    /// answers. If all are loopback addresses (`localhost` may be ::1 and 127.0.0.1), one that
    /// another destination uses is preferred.
    fn addresses(&self, index: usize, found: &[SocketAddr]) -> Vec<Address> {
        let destination = &self.destinations[index];
        let mut addresses: Vec<Address> = Vec::new();
        for address in found.iter().filter_map(|&host| destination.endpoint.address_at(host)) {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        let is_used =
            |address| self.user_of(address, index).is_some_and(|other| !other.is_failing());
        let are_local = addresses.iter().all(Address::is_loopback);
        let used = addresses.iter().position(|it| are_local && is_used(it));
        let present = addresses.iter().position(|it| Some(it) == destination.address());
        addresses.rotate_left(used.or(present).unwrap_or(0));
        addresses
    }

    fn not_found(&mut self, index: usize, error: &str) {
        let destination = &mut self.destinations[index];
        let is_first = destination.lookup_error.replace(error.to_owned()).is_none();
        let text = match destination.address() {
            None => format!("host not found: {error} (retried every {CHECK_INTERVAL} s)"),
            Some(address) => format!("host not found: {error}; sends to {address} continue"),
        };
        if is_first {
            self.notice(index, true, &text);
        }
    }

    /// Looks for refusals and for Unix sockets that were replaced, and retries lookups.
    pub fn check_destinations(&mut self, now: f64) {
        self.now = now;
        connections_mut(&mut self.destinations).for_each(|it| it.check(now));
        self.look_up(true, now);
        self.connect();
        if self.is_running() {
            self.flush_connections(now);
        }
    }

    /// Reports connections that fail, or that work again.
    fn report_failures(&mut self) {
        for index in 0..self.destinations.len() {
            let now = self.now;
            let destination = &mut self.destinations[index];
            let error = destination.error();
            // The clock may have been set back.
            let is_due = (now - destination.failure_reported).abs() >= REPORT_INTERVAL;
            match (&error, destination.is_failure_reported) {
                (Some(error), false) if is_due && destination.untried == 0 => {
                    (destination.is_failure_reported, destination.failure_reported) = (true, now);
                    let text = format!("sends fail: {error} (further failures are counted)");
                    self.notice(index, true, &text);
                }
                (None, true) if destination.connection.is_some() => {
                    destination.is_failure_reported = false;
                    self.notice(index, false, "sends succeed again");
                }
                _ => (),
            }
        }
    }

    fn notice(&mut self, index: usize, is_warning: bool, text: &str) {
        let text = format!("endpoint \"{}\": {text}", self.destinations[index].endpoint());
        self.notices.push(Notice { is_warning, text });
    }

    /// Returns the log lines since the last call.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        self.report_failures();
        std::mem::take(&mut self.notices)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The addresses for the endpoint `name:1`, whose host was found at `found`, in the order
    /// in which they are tried. The other destinations are `others`; `present` was used before.
    fn choice(others: &[&str], present: &[&str], found: &[&str]) -> Vec<String> {
        let mut publisher = Publisher::default();
        let endpoints = others.iter().chain(&["name:1"]).map(|text| text.parse().unwrap());
        publisher.set_destinations(&endpoints.collect::<Vec<_>>(), 0.0);
        let index = others.len();
        publisher.destinations[index].addresses =
            present.iter().map(|text| Address::udp(text.parse().unwrap())).collect();
        let found: Vec<_> =
            found.iter().map(|ip| SocketAddr::new(ip.parse().unwrap(), 0)).collect();
        publisher.addresses(index, &found).iter().map(Address::to_string).collect()
    }

    #[test]
    fn each_address_is_tried_once_in_the_order_of_the_name_service() {
        let found = ["192.0.2.2", "192.0.2.1", "::ffff:192.0.2.2"];
        assert_eq!(choice(&[], &[], &found), ["192.0.2.2:1", "192.0.2.1:1"]);
        // The order is the same if another destination has one of them.
        assert_eq!(choice(&["192.0.2.1:1"], &[], &found), ["192.0.2.2:1", "192.0.2.1:1"]);
    }

    #[test]
    fn a_name_of_this_host_gets_the_address_of_another_destination() {
        let found = ["::1", "127.0.0.1"];
        assert_eq!(choice(&[], &[], &found), ["[::1]:1", "127.0.0.1:1"]);
        assert_eq!(choice(&["127.0.0.1:1"], &[], &found)[0], "127.0.0.1:1");
        assert_eq!(choice(&["0.0.0.0:1"], &[], &found)[0], "127.0.0.1:1");
        assert_eq!(choice(&["127.0.0.1:2"], &[], &found)[0], "[::1]:1", "another port");
    }

    #[test]
    fn the_present_address_stays_while_the_host_has_it() {
        let found = ["192.0.2.1", "192.0.2.2"];
        assert_eq!(choice(&[], &["192.0.2.2:1"], &found), ["192.0.2.2:1", "192.0.2.1:1"]);
        assert_eq!(choice(&[], &["192.0.2.3:1"], &found), ["192.0.2.1:1", "192.0.2.2:1"]);
    }

    #[test]
    fn two_paths_of_a_socket_are_the_same_before_the_server_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let [run, link, other] = ["run", "link", "other"].map(|name| folder.path().join(name));
        fs::create_dir(&run).unwrap();
        fs::create_dir(&other).unwrap();
        std::os::unix::fs::symlink(&run, &link).unwrap();
        let socket = |folder: &std::path::Path| Address::Unix(folder.join("statsd.sock"));
        assert!(is_same(&socket(&run), &socket(&link)));
        assert!(!is_same(&socket(&run), &socket(&other)));
    }

    /// A broadcast address needs a permission that the plugin's sockets do not have.
    #[test]
    fn an_address_that_another_destination_uses_is_not_connected_twice() {
        let server = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let used = server.local_addr().unwrap();
        let endpoints = [format!("statsd.test:{}", used.port()), used.to_string()];
        let mut publisher = Publisher::default();
        publisher.set_destinations(&endpoints.map(|it| it.parse().unwrap()), 0.0);
        publisher.start(0.0);
        let failing = SocketAddr::from(([255; 4], used.port()));
        publisher.found(0, &[failing, used]);
        let states = |publisher: &Publisher| -> Vec<_> {
            publisher.destinations().iter().map(Destination::state).collect()
        };
        publisher.service(1.0);
        assert_eq!(states(&publisher), [format!("same as \"{used}\""), "ok".to_owned()]);
        // It is used when no other destination does.
        publisher.set_destinations(&[publisher.destinations[0].endpoint.clone()], 60.0);
        assert_eq!(states(&publisher), ["ok"]);
    }
}
