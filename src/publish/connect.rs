//! Host lookups, first values for each destination, and reports of failures.
//!
//! Nothing here waits. The plugin calls [`Publisher::poll_lookups`] in short intervals while
//! [`Publisher::is_connecting`] returns `true`, calls [`Publisher::check_destinations`] every
//! [`CHECK_INTERVAL`] seconds, and logs the [`Notice`]s.

use std::collections::VecDeque;
use std::net::SocketAddr;

use super::destination::{Connected, Destination, Destinations, Target};
use super::publisher::Publisher;
use crate::collectors::CollectorId;
use crate::os::Lookup;
use crate::stats::{Address, Endpoint};

/// The seconds between two checks of the destinations.
pub const CHECK_INTERVAL: u32 = 10;

/// A log line about a destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Set if the line reports a failure.
    pub is_warning: bool,
    /// `endpoint "…": …`
    pub text: String,
}

/// The hosts to look up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hosts {
    /// All hosts, because their addresses may have changed.
    All,
    /// Hosts that were not found, or whose servers cannot be reached.
    Unreachable,
}

impl Publisher {
    /// Replaces the endpoints. Destinations that stay are not affected; the others get their
    /// first values from [`connect`](Self::connect).
    pub fn set_destinations(&mut self, endpoints: &[Endpoint]) {
        self.flush();
        self.destinations.set(endpoints);
    }

    /// Sends the first values to each destination that can be reached and has not received them.
    pub fn connect(&mut self) {
        if !self.is_running() {
            return;
        }
        for index in 0..self.destinations.list.len() {
            match self.destinations.connect(index) {
                Connected::No => (),
                Connected::Yes => {
                    // The first values include pending changes, so these are flushed before
                    // the destination is live.
                    self.flush();
                    self.destinations.list[index].is_live = true;
                    self.publish_initial(index);
                    self.destinations.list[index].restart_health();
                }
                Connected::Duplicate => {
                    let destination = &self.destinations.list[index];
                    let address = destination.address().map(Address::to_string).unwrap_or_default();
                    let state = destination.state();
                    self.notice(
                        index,
                        false,
                        &format!("{state} ({address}): only one of them is used"),
                    );
                }
            }
        }
    }

    /// Starts lookups of these hosts, except for lookups in progress.
    pub fn look_up(&mut self, hosts: Hosts) {
        for index in 0..self.destinations.list.len() {
            let destination = &self.destinations.list[index];
            let Some(name) = destination.endpoint().name() else { continue };
            let is_wanted = hosts == Hosts::All
                || destination.address().is_none()
                || destination.is_failing()
                || self.destinations.is_unreachable(index);
            if destination.lookup.is_some() || !is_wanted {
                continue;
            }
            match Lookup::start(name) {
                Ok(lookup) => self.destinations.list[index].lookup = Some(lookup),
                Err(error) => self.not_found(index, &error.to_string()),
            }
        }
    }

    /// Returns `true` during a lookup or a trial of an address.
    pub fn is_connecting(&self) -> bool {
        self.destinations.iter().any(|it| it.lookup.is_some() || it.is_on_trial())
    }

    /// Processes the results of lookups and trials.
    pub fn poll_lookups(&mut self) {
        // Before the start nothing is sent that could be refused.
        let is_running = self.is_running();
        for index in 0..self.destinations.list.len() {
            let destination = &mut self.destinations.list[index];
            if let Some(result) = destination.lookup.as_mut().and_then(Lookup::poll) {
                destination.lookup = None;
                match result {
                    Ok(found) => self.found(index, &found),
                    Err(error) => self.not_found(index, &error.to_string()),
                }
            } else if let Some(next) = destination.poll_trial().filter(|_| is_running) {
                self.move_destination(index, next);
            }
        }
    }

    fn found(&mut self, index: usize, found: &[SocketAddr]) {
        self.destinations.list[index].connection.poll_error();
        let addresses = self.destinations.addresses(index, found);
        let Some(first) = addresses.first() else { return };
        let destination = &mut self.destinations.list[index];
        let was_missing = destination.lookup_error.take().is_some();
        if destination.address() == Some(first) {
            return;
        }
        if was_missing {
            let text = format!("found, at {first}");
            self.notice(index, false, &text);
        }
        self.move_destination(index, addresses.into());
    }

    fn not_found(&mut self, index: usize, error: &str) {
        let destination = &mut self.destinations.list[index];
        let is_first = destination.lookup_error.replace(error.to_owned()).is_none();
        // With an earlier address, sending continues.
        if is_first && destination.address().is_none() {
            let text = format!("host not found: {error} (retried every {CHECK_INTERVAL} s)");
            self.notice(index, true, &text);
        }
    }

    /// Moves a destination to the first of these addresses; if that one refuses, to the next.
    fn move_destination(&mut self, index: usize, mut addresses: VecDeque<Address>) {
        let Some(address) = addresses.pop_front() else { return };
        let destination = &self.destinations.list[index];
        if destination.is_live && !destination.is_unreachable() {
            self.publish_final(Target::One(index), &CollectorId::all().collect::<Vec<_>>());
        }
        self.flush();
        self.destinations.list[index].move_to(address, addresses);
        self.connect();
    }

    /// Checks the health of all destinations and retries unreachable ones.
    pub fn check_destinations(&mut self) {
        self.report(Destination::check_health);
        self.look_up(Hosts::Unreachable);
        self.connect();
    }

    /// Reports destinations to which a send failed since the last call.
    #[inline]
    pub fn report_failures(&mut self) {
        if std::mem::take(&mut self.destinations.has_failed) {
            self.report(Destination::note_failure);
        }
    }

    #[cold]
    fn report(&mut self, check: fn(&mut Destination) -> Option<bool>) {
        for index in 0..self.destinations.list.len() {
            let destination = &mut self.destinations.list[index];
            // A host that is not found was reported already.
            if destination.address().is_none() || destination.is_duplicate() {
                continue;
            }
            match check(destination) {
                None => (),
                Some(true) => {
                    let error = destination.error().unwrap_or_default();
                    let text = format!("sends fail: {error} (further failures are counted)");
                    self.notice(index, true, &text);
                }
                Some(false) => self.notice(index, false, "sends succeed again"),
            }
        }
    }

    fn notice(&mut self, index: usize, is_warning: bool, text: &str) {
        let text = format!("endpoint \"{}\": {text}", self.destinations.list[index].endpoint());
        self.notices.push(Notice { is_warning, text });
    }

    /// Returns the log lines since the last call.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    /// All destinations.
    pub fn destinations(&self) -> &Destinations {
        &self.destinations
    }
}
