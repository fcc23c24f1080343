//! Finding the endpoints' hosts, and telling how the endpoints are.

use std::io;
use std::net::IpAddr;

use super::health::Health;
use super::StateCounts;
use crate::config::Config;
use crate::flux::{Error, LogLevel, Lookup, Timer};
use crate::stats::{Connection, Endpoint, Stats};

/// Seconds between two looks at the endpoints' health. One that fails, or that
/// was not found, is looked up again at each.
const BEAT: u32 = 10;
/// Seconds between two looks at a look-up under way.
const POLL: f64 = 0.05;

/// The endpoints' hosts, and the timers that look after them.
#[derive(Default)]
pub(super) struct Hosts {
    /// One for each of the connections, in their order.
    hosts: Vec<Host>,
    beat: Option<Timer>,
    /// Looks every endpoint up again, whatever its health.
    refresh: Option<Timer>,
    /// Only while a look-up is under way.
    poll: Option<Timer>,
}

/// One endpoint's host.
pub(super) struct Host {
    endpoint: Endpoint,
    health: Health,
    lookup: Option<Lookup>,
    /// Why it was not found, the last time it was looked up.
    trouble: Option<String>,
}

impl Hosts {
    /// There are other connections now. Hosts that stay keep what is known.
    pub(super) fn follow(&mut self, stats: &Stats) {
        let mut old = std::mem::take(&mut self.hosts);
        let hosts = stats.connections().iter().map(|connection| {
            let endpoint = connection.endpoint();
            match old.iter().position(|host| host.endpoint == *endpoint) {
                Some(place) => old.swap_remove(place),
                None => Host {
                    endpoint: endpoint.clone(),
                    health: Health::default(),
                    lookup: None,
                    trouble: None,
                },
            }
        });
        self.hosts = hosts.collect();
    }

    /// How the endpoint with this number is, in a word or two.
    pub(super) fn state(&self, number: usize, connection: &Connection) -> String {
        let Some(host) = self.hosts.get(number) else { return "unknown".to_owned() };
        match (&host.trouble, connection.address()) {
            (Some(trouble), None) => format!("host not found: {trouble}"),
            (None, None) if host.endpoint.name().is_some() => "looking up".to_owned(),
            _ if host.health.is_failing() || connection.never_sent() => "failing".to_owned(),
            _ => "ok".to_owned(),
        }
    }
}

impl StateCounts {
    /// Makes the timers that `config` needs.
    pub(super) fn hosts_change(&mut self, config: &Config) -> Result<(), Error> {
        let beat = match (&self.hosts.beat, config.endpoints.is_empty()) {
            (None, false) => Some(self.jobtap.timer(BEAT.into(), BEAT.into(), Self::beat)?),
            (_, true) => None,
            (Some(_), false) => self.hosts.beat.take(),
        };
        let names = config.endpoints.iter().any(|endpoint| endpoint.name().is_some());
        let refresh = match names {
            true => Some(self.jobtap.timer(config.lookup, config.lookup, Self::look_up_all)?),
            false => None,
        };
        self.hosts.beat = beat;
        self.hosts.refresh = refresh;
        Ok(())
    }

    pub(super) fn look_up_new_hosts(&mut self) {
        self.look_up(|_, connection| connection.address().is_none());
    }

    fn look_up_all(&mut self) {
        self.look_up(|_, _| true);
    }

    /// Begins to look up those hosts that are `wanted` and are not looked up
    /// already.
    fn look_up(&mut self, wanted: impl Fn(&Host, &Connection) -> bool) {
        let connections = self.stats.connections();
        let mut failed = Vec::new();
        for (number, (host, connection)) in self.hosts.hosts.iter_mut().zip(connections).enumerate()
        {
            let Some(name) = host.endpoint.name() else { continue };
            if host.lookup.is_none() && wanted(host, connection) {
                match Lookup::start(name) {
                    Ok(lookup) => host.lookup = Some(lookup),
                    Err(error) => failed.push((number, error)),
                }
            }
        }
        for (number, error) in failed {
            self.not_found(number, &error);
        }
        let under_way = self.hosts.hosts.iter().any(|host| host.lookup.is_some());
        if under_way && self.hosts.poll.is_none() {
            match self.jobtap.timer(0.0, POLL, Self::poll) {
                Ok(timer) => self.hosts.poll = Some(timer),
                Err(error) => self.warn(&error.to_string()),
            }
        }
    }

    /// Takes up the look-ups that are done.
    fn poll(&mut self) {
        for number in 0..self.hosts.hosts.len() {
            let host = &mut self.hosts.hosts[number];
            let Some(outcome) = host.lookup.as_mut().and_then(Lookup::poll) else { continue };
            host.lookup = None;
            let connection = &self.stats.connections()[number];
            let before = connection.address().map(|address| address.ip());
            match outcome {
                // Of a host's addresses the first, unless it is still at the one
                // that is used: name servers turn their lists round.
                Ok(addresses) if !before.is_some_and(|before| addresses.contains(&before)) => {
                    self.found(number, addresses[0]);
                }
                Ok(_) => host.trouble = None,
                Err(error) => self.not_found(number, &error),
            }
        }
        if self.hosts.hosts.iter().all(|host| host.lookup.is_none()) {
            self.hosts.poll = None;
        }
    }

    /// The host is at an address where it was not before.
    fn found(&mut self, number: usize, address: IpAddr) {
        if self.live && self.stats.connections()[number].address().is_some() {
            self.farewell(Some(number));
        }
        // What is pending is in the counts that the greeting tells: it is not for
        // the server that is met here.
        self.stats.flush();
        self.stats.set_address(number, address);
        let counters = self.stats.connections()[number].counters();
        let host = &mut self.hosts.hosts[number];
        host.health.begin(counters.datagrams, counters.failures());
        if host.trouble.take().is_some() {
            let message = format!("endpoint \"{}\": found, at {address}", host.endpoint);
            self.inform(&message);
        }
        // The server there knows nothing yet.
        if self.live {
            self.greet(Some(number));
        }
    }

    fn not_found(&mut self, number: usize, error: &Error) {
        let address = self.stats.connections()[number].address();
        let host = &mut self.hosts.hosts[number];
        let first = host.trouble.replace(error.to_string()).is_none();
        // While it is sent to where it was, that is no news.
        if first && address.is_none() {
            let message = format!(
                "endpoint \"{}\": host not found: {error} (looked up again every {BEAT} s)",
                host.endpoint
            );
            self.warn(&message);
        }
    }

    /// Looks at the endpoints' health, and looks those up that have none.
    fn beat(&mut self) {
        let connections = self.stats.connections();
        for (host, connection) in self.hosts.hosts.iter_mut().zip(connections) {
            if host.endpoint.name().is_some() && connection.address().is_none() {
                continue; // Said already.
            }
            let counters = connection.counters();
            let (level, message) = match host.health.beat(counters.datagrams, counters.failures()) {
                None => continue,
                Some(true) => {
                    let error = io::Error::from_raw_os_error(counters.last_error);
                    (LogLevel::Warning, format!("sends fail: {error} (the rest is counted)"))
                }
                Some(false) => (LogLevel::Info, "sends succeed again".to_owned()),
            };
            self.jobtap.log(level, &format!("endpoint \"{}\": {message}", host.endpoint));
        }
        self.look_up(|host, connection| host.health.is_failing() || connection.address().is_none());
        self.tell_telemetry();
    }
}
