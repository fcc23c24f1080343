//! One destination: an endpoint, the connection to it, and its health.

use std::collections::VecDeque;
use std::fs;

use super::health::Health;
use crate::flux::Lookup;
use crate::stats::{explain, Address, Connection, Counters, Endpoint};

/// Polls until an address counts as one where a server listens: 100 ms, in which
/// a server's host answers that none does.
const TRIAL_POLLS: u32 = 2;

/// Failures that say that a server is there, and has too much to read.
const HAS_SERVER: [i32; 3] = [libc::EAGAIN, libc::ENOBUFS, libc::EMSGSIZE];

/// One endpoint: its address, the connection to it, and its health.
#[derive(Debug)]
pub struct Destination {
    endpoint: Endpoint,
    pub(in crate::publish) connection: Connection,
    /// Whether it was sent the first values, and so each change from then on.
    live: bool,
    /// The destination that sends to the same address in this one's place.
    same_as: Option<Endpoint>,
    /// The last of these that was logged.
    logged_same: Option<Endpoint>,
    /// A look-up of the host under way.
    pub(in crate::publish) lookup: Option<Lookup>,
    /// Why the host was not found, the last time it was looked up.
    pub(in crate::publish) lookup_error: Option<String>,
    /// The host's further addresses, tried in turn where one refuses.
    candidates: VecDeque<Address>,
    /// Polls until the present address is no longer on trial. They count from the first
    /// datagram on: to an idle server none may be sent for long.
    trial: u32,
    /// Datagrams, and failures that say that no server is there, before the trial.
    before_trial: (u64, u64),
    health: Health,
}

impl Destination {
    pub(in crate::publish) fn new(endpoint: Endpoint) -> Destination {
        Destination {
            connection: endpoint.address().map_or_else(Connection::unknown, Connection::new),
            endpoint,
            live: false,
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

    /// As an administrator named it.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Where it leads, if its host was found.
    pub fn address(&self) -> Option<&Address> {
        self.connection.address()
    }

    /// What became of what was sent.
    pub fn counters(&self) -> &Counters {
        self.connection.counters()
    }

    /// Whether it was sent the first values, and so each change from then on.
    pub fn is_live(&self) -> bool {
        self.live
    }

    /// Its health, in a few words.
    pub fn state(&self) -> String {
        match (&self.same_as, &self.lookup_error, self.address()) {
            (Some(other), _, _) => format!("same as \"{other}\""),
            (None, Some(error), None) => format!("host not found: {error}"),
            (None, None, None) => "looking up".to_owned(),
            _ if self.is_failing() || self.connection.never_sent() => "failing".to_owned(),
            _ => "ok".to_owned(),
        }
    }

    /// What the last failure says, while it fails.
    pub fn error(&self) -> Option<String> {
        let errno = self.counters().last_error;
        let is_path = matches!(self.address(), Some(Address::Unix(_)));
        (errno != 0 && self.state() == "failing").then(|| explain(errno, is_path))
    }

    /// Whether it fails, by what was sent since the last check.
    pub fn is_failing(&self) -> bool {
        self.health.is_failing(self.counters().datagrams, self.counters().failures())
    }

    /// Whether its last failure says that no server is there, rather than that it
    /// has too much to read.
    pub(in crate::publish) fn is_unreachable(&self) -> bool {
        let is_there = HAS_SERVER.contains(&self.counters().last_error);
        self.is_failing() && self.connection.last_failed() && !is_there
    }

    /// Whether it sends to the same server as `other`.
    pub(in crate::publish) fn leads_where(&self, other: &Destination) -> bool {
        let both = self.address().zip(other.address());
        both.is_some_and(|(own, other)| own == other || is_same_file(own, other))
    }

    /// Another destination sends in its place, or none does any more. Returns whether that
    /// is another one than was logged.
    pub(in crate::publish) fn set_same_as(&mut self, other: Option<Endpoint>) -> bool {
        let is_new = other.is_some() && self.logged_same != other;
        if is_new {
            self.logged_same.clone_from(&other);
        }
        self.same_as = other;
        is_new
    }

    /// Sends to this address from now on; to the next of the `candidates` where it
    /// refuses soon. The server there knows nothing yet.
    pub(in crate::publish) fn move_to(&mut self, address: Address, candidates: VecDeque<Address>) {
        self.connection.set_address(address);
        self.live = false;
        self.trial = if candidates.is_empty() { 0 } else { TRIAL_POLLS };
        self.candidates = candidates;
        self.before_trial = (self.counters().datagrams, self.refusals());
    }

    /// From now on it is sent to.
    pub(in crate::publish) fn set_live(&mut self) {
        self.live = true;
    }

    /// It was sent the first values, which prove nothing: UDP takes what nobody
    /// receives.
    pub(in crate::publish) fn begin_health(&mut self) {
        let counters = self.connection.counters();
        self.health.begin(counters.datagrams, counters.failures());
    }

    /// Whether its address is on trial, and there is something to poll for.
    pub(in crate::publish) fn is_on_trial(&self) -> bool {
        let is_tried = self.counters().datagrams > self.before_trial.0
            || self.refusals() > self.before_trial.1
            || !self.connection.is_open();
        self.trial > 0 && is_tried && !self.is_duplicate()
    }

    /// Failures that say that no server is there.
    fn refusals(&self) -> u64 {
        let there = HAS_SERVER.iter().map(|&errno| self.counters().failures_by(errno));
        self.counters().failures() - there.sum::<u64>()
    }

    /// A poll of the trial. Returns the addresses to go on with, if this one
    /// refused.
    pub(in crate::publish) fn poll_trial(&mut self) -> Option<VecDeque<Address>> {
        if !self.is_on_trial() {
            return None;
        }
        self.connection.poll_error();
        if self.refusals() > self.before_trial.1 || !self.connection.is_open() {
            self.trial = 0;
            return Some(std::mem::take(&mut self.candidates));
        }
        self.trial -= 1;
        None
    }

    /// Sends one datagram. Returns whether the kernel took it at the first try.
    pub(in crate::publish) fn send(&mut self, datagram: &[u8]) -> bool {
        if self.live {
            return self.connection.send(datagram);
        }
        self.connection.count_unsent();
        false
    }

    /// Whether another destination sends in its place.
    pub(in crate::publish) fn is_duplicate(&self) -> bool {
        self.same_as.is_some()
    }

    /// A regular check of its health. Returns whether it fails, if that is to be
    /// reported.
    pub(in crate::publish) fn check_health(&mut self) -> Option<bool> {
        self.connection.poll_error();
        let counters = self.connection.counters();
        self.health.check(counters.datagrams, counters.failures())
    }

    /// A look at its health right after a failure. An address on trial is not
    /// reported: there are others.
    pub(in crate::publish) fn note_failure(&mut self) -> Option<bool> {
        let counters = self.connection.counters();
        match self.trial {
            0 => self.health.note(counters.datagrams, counters.failures()),
            _ => None,
        }
    }
}

/// Whether both are paths of one socket.
fn is_same_file(one: &Address, other: &Address) -> bool {
    let (Address::Unix(one), Address::Unix(other)) = (one, other) else { return false };
    let both = fs::canonicalize(one).and_then(|one| Ok((one, fs::canonicalize(other)?)));
    both.is_ok_and(|(one, other)| one == other)
}
