//! Finding the endpoints' hosts, and telling how the endpoints are.

use std::net::IpAddr;

use super::health::Health;
use super::StateCounts;
use crate::config::Config;
use crate::families::FamilyId;
use crate::jobtap::{Error, LogLevel, Lookup, Timer};
use crate::output::Target;
use crate::stats::{errno_name, Connection, Endpoint, Stats};

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

/// The timers of a configuration.
pub(super) struct HostTimers {
    refresh: New,
    beat: New,
}

/// A timer of a configuration.
enum New {
    /// The one that is there goes on.
    Same,
    /// This one, or none.
    Timer(Option<Timer>),
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
            _ if host.is_failing(connection) || connection.never_sent() => "failing".to_owned(),
            _ => "ok".to_owned(),
        }
    }
}

impl Host {
    fn is_failing(&self, connection: &Connection) -> bool {
        let counters = connection.counters();
        self.health.is_failing(counters.datagrams, counters.failures())
    }

    /// Where it is best sent to of the addresses that its name stands for now:
    /// where it is sent to already, if that is among them (name servers turn
    /// their lists round) and can be reached; then where it leads from there on
    /// in the list. `localhost` may be ::1 first, and the server listen on
    /// 127.0.0.1 alone.
    fn choose(&self, connection: &Connection, addresses: &[IpAddr]) -> IpAddr {
        let before = connection.address().map(|address| address.ip());
        let place = addresses.iter().position(|&address| Some(address) == before);
        match place {
            None => addresses[0],
            Some(place) if self.is_failing(connection) && is_unreachable(connection) => {
                addresses[(place + 1) % addresses.len()]
            }
            Some(place) => addresses[place],
        }
    }
}

/// Whether the last failure says that no server is there, rather than that it
/// has too much to read.
fn is_unreachable(connection: &Connection) -> bool {
    !matches!(connection.counters().last_error, libc::EAGAIN | libc::ENOBUFS | libc::EMSGSIZE)
}

impl StateCounts {
    /// Makes the timers that `config` needs.
    pub(super) fn prepare_hosts(&self, config: &Config) -> Result<HostTimers, Error> {
        let old = self.config.as_ref();
        let names = config.endpoints.iter().any(|endpoint| endpoint.name().is_some());
        let refreshed = self.hosts.refresh.is_some() && names;
        Ok(HostTimers {
            refresh: match names {
                _ if refreshed && old.is_some_and(|old| old.lookup == config.lookup) => New::Same,
                true => {
                    let timer = self.jobtap.timer(config.lookup, config.lookup, Self::look_up_all);
                    New::Timer(Some(timer?))
                }
                false => New::Timer(None),
            },
            beat: match config.endpoints.is_empty() {
                true => New::Timer(None),
                false if self.hosts.beat.is_some() => New::Same,
                false => {
                    New::Timer(Some(self.jobtap.timer(BEAT.into(), BEAT.into(), Self::beat)?))
                }
            },
        })
    }

    /// Puts them in place.
    pub(super) fn commit_hosts(&mut self, timers: HostTimers) {
        if let New::Timer(timer) = timers.refresh {
            self.hosts.refresh = timer;
        }
        if let New::Timer(timer) = timers.beat {
            self.hosts.beat = timer;
        }
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
        let connections = self.publisher.stats().connections();
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
            let connection = &self.publisher.stats().connections()[number];
            match outcome {
                Ok(addresses) => {
                    let address = host.choose(connection, &addresses);
                    match connection.address().map(|address| address.ip()) == Some(address) {
                        true => host.trouble = None,
                        false => self.found(number, address),
                    }
                }
                Err(error) => self.not_found(number, &error),
            }
        }
        if self.hosts.hosts.iter().all(|host| host.lookup.is_none()) {
            self.hosts.poll = None;
        }
    }

    /// The host is at an address where it was not before.
    fn found(&mut self, number: usize, address: IpAddr) {
        if self.publisher.stats().connections()[number].address().is_some() {
            let all: Vec<_> = FamilyId::all().collect();
            self.publisher.publish_final(Target::One(number), &all);
        }
        // What is pending is in the first values: it is not for the server that is
        // met here.
        self.publisher.flush();
        self.publisher.stats_mut().set_address(number, address);
        let host = &mut self.hosts.hosts[number];
        if host.trouble.take().is_some() {
            let message = format!("endpoint \"{}\": found, at {address}", host.endpoint);
            self.inform(&message);
        }
        self.met(number);
    }

    /// The server of this endpoint is sent to for the first time, and knows
    /// nothing yet.
    fn met(&mut self, number: usize) {
        let all: Vec<_> = FamilyId::all().collect();
        self.publisher.publish_initial(Target::One(number), &all);
        // The greeting itself proves nothing: UDP takes what nobody receives.
        let counters = self.publisher.stats().connections()[number].counters();
        self.hosts.hosts[number].health.begin(counters.datagrams, counters.failures());
    }

    fn not_found(&mut self, number: usize, error: &Error) {
        let address = self.publisher.stats().connections()[number].address();
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
        let connections = self.publisher.stats().connections();
        for (host, connection) in self.hosts.hosts.iter_mut().zip(connections) {
            if host.endpoint.name().is_some() && connection.address().is_none() {
                continue; // Said already.
            }
            let counters = connection.counters();
            let (level, message) = match host.health.beat(counters.datagrams, counters.failures()) {
                None => continue,
                Some(true) => {
                    // By name: what strerror(3) says is in the broker's language.
                    let error = errno_name(counters.last_error);
                    (LogLevel::Warning, format!("sends fail: {error} (the rest is counted)"))
                }
                Some(false) => (LogLevel::Info, "sends succeed again".to_owned()),
            };
            self.jobtap.log(level, &format!("endpoint \"{}\": {message}", host.endpoint));
        }
        self.look_up(|host, connection| {
            host.is_failing(connection) || connection.address().is_none()
        });
        self.meet();
        let config = self.config.take();
        self.tell_telemetry(config.as_ref());
        self.config = config;
    }

    /// Greets the servers that can be reached now for the first time.
    fn meet(&mut self) {
        for number in 0..self.publisher.stats().connections().len() {
            if self.publisher.meet(number) {
                self.met(number);
            }
        }
    }
}
