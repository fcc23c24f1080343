//! Finding the servers, giving each its first values, and reporting how they fare.
//!
//! Nothing here waits. Who owns the publisher calls [`Publisher::poll_lookups`] in
//! short intervals while [`Publisher::is_connecting`], [`Publisher::check_destinations`]
//! in longer ones, and logs the [`Notice`]s.

use std::collections::VecDeque;
use std::net::SocketAddr;

use super::destinations::{Connected, Destination, Destinations};
use super::publisher::{Publisher, Target};
use crate::collectors::CollectorId;
use crate::flux::Lookup;
use crate::stats::{Address, Endpoint};

/// Seconds between two checks of the destinations.
pub const CHECK_INTERVAL: u32 = 10;

/// What an administrator should know of an destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Whether something is wrong.
    pub is_warning: bool,
    /// `endpoint "…": …`
    pub text: String,
}

/// Which hosts to look up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hosts {
    /// Each, for it may have moved.
    All,
    /// Those that are not found or do not answer.
    Unreachable,
}

impl Publisher {
    /// Sends to these endpoints from now on. Those that were there notice nothing;
    /// the others are sent to once they are [connected](Self::connect).
    pub fn set_endpoints(&mut self, endpoints: &[Endpoint]) {
        self.flush();
        self.destinations_mut().set(endpoints);
    }

    /// Sends the first values to each destination that can be reached and has not had
    /// them yet.
    pub fn connect(&mut self) {
        if !self.is_running() {
            return;
        }
        for index in 0..self.destinations().len() {
            match self.destinations_mut().connect(index) {
                Connected::No => (),
                Connected::Yes => self.begin(index),
                Connected::Duplicate => {
                    let destination = self.destinations().get(index);
                    let address = destination.address().map(Address::to_string).unwrap_or_default();
                    let text =
                        format!("{} ({address}): they are sent to once", destination.state());
                    self.notice(index, false, &text);
                }
            }
        }
    }

    fn begin(&mut self, index: usize) {
        // What is pending is in the first values, and is for the others only.
        self.flush();
        self.destinations_mut().get_mut(index).set_live();
        let all: Vec<_> = CollectorId::all().collect();
        self.publish_initial(index, &all);
        self.destinations_mut().get_mut(index).begin_health();
    }

    /// Begins to look up these hosts, but for those that are looked up already.
    pub fn look_up(&mut self, hosts: Hosts) {
        for index in 0..self.destinations().len() {
            let destination = self.destinations().get(index);
            let Some(name) = destination.endpoint().name() else { continue };
            let is_wanted = hosts == Hosts::All
                || destination.address().is_none()
                || destination.is_failing()
                || self.destinations().is_unreachable(index);
            if destination.lookup.is_some() || !is_wanted {
                continue;
            }
            match Lookup::start(name) {
                Ok(lookup) => self.destinations_mut().get_mut(index).lookup = Some(lookup),
                Err(error) => self.not_found(index, &error.to_string()),
            }
        }
    }

    /// Whether a look-up is under way, or an address on trial.
    pub fn is_connecting(&self) -> bool {
        let mut destinations = self.destinations().iter();
        destinations.any(|destination| destination.lookup.is_some() || destination.is_on_trial())
    }

    /// Takes up the look-ups that are done, and what the addresses on trial answered.
    pub fn poll_lookups(&mut self) {
        // Before that nothing is sent that could be refused.
        let is_running = self.is_running();
        for index in 0..self.destinations().len() {
            let destination = self.destinations_mut().get_mut(index);
            if let Some(result) = destination.lookup.as_mut().and_then(Lookup::poll) {
                destination.lookup = None;
                match result {
                    Ok(found) => self.found(index, &found),
                    Err(error) => self.not_found(index, &error.to_string()),
                }
            } else if is_running {
                if let Some(next) = self.destinations_mut().get_mut(index).poll_trial() {
                    self.move_destination(index, next);
                }
            }
        }
    }

    fn found(&mut self, index: usize, found: &[SocketAddr]) {
        self.destinations_mut().get_mut(index).connection.poll_error();
        let addresses = self.destinations().addresses(index, found);
        let (Some(first), destination) =
            (addresses.first(), self.destinations_mut().get_mut(index))
        else {
            return;
        };
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
        let destination = self.destinations_mut().get_mut(index);
        let is_first = destination.lookup_error.replace(error.to_owned()).is_none();
        // While it is sent to where it was, that is no news.
        if is_first && destination.address().is_none() {
            let text = format!("host not found: {error} (retried every {CHECK_INTERVAL} s)");
            self.notice(index, true, &text);
        }
    }

    /// Sends to the first of these addresses, to the next where it refuses.
    fn move_destination(&mut self, index: usize, mut addresses: VecDeque<Address>) {
        let Some(address) = addresses.pop_front() else { return };
        let destination = self.destinations().get(index);
        if destination.is_live() && !destination.is_unreachable() {
            let all: Vec<_> = CollectorId::all().collect();
            self.publish_final(Target::One(index), &all);
        }
        self.flush();
        self.destinations_mut().get_mut(index).move_to(address, addresses);
        self.connect();
    }

    /// Checks every destination's health, every [`CHECK_INTERVAL`] seconds, and tries
    /// again to reach those that cannot be sent to.
    pub fn check_destinations(&mut self) {
        self.report(Destination::check_health);
        self.look_up(Hosts::Unreachable);
        self.connect();
    }

    /// Reports destinations of which a send failed since the last call.
    #[inline]
    pub fn report_failures(&mut self) {
        if self.destinations_mut().take_failed() {
            self.report(Destination::note_failure);
        }
    }

    #[cold]
    fn report(&mut self, look: fn(&mut Destination) -> Option<bool>) {
        for index in 0..self.destinations().len() {
            let destination = self.destinations_mut().get_mut(index);
            // Of a host that is not found that was reported already.
            if destination.address().is_none() || destination.is_duplicate() {
                continue;
            }
            match look(destination) {
                None => (),
                Some(true) => {
                    let error = destination.error().unwrap_or_default();
                    let text = format!("sends fail: {error} (further ones are counted)");
                    self.notice(index, true, &text);
                }
                Some(false) => self.notice(index, false, "sends succeed again"),
            }
        }
    }

    fn notice(&mut self, index: usize, is_warning: bool, text: &str) {
        let text = format!("endpoint \"{}\": {text}", self.destinations().get(index).endpoint());
        self.notices.push(Notice { is_warning, text });
    }

    /// What an administrator should know, and is not logged yet.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    /// All destinations.
    pub fn destinations(&self) -> &Destinations {
        self.stats().transport().expect("made with one")
    }

    fn destinations_mut(&mut self) -> &mut Destinations {
        self.stats_mut().transport_mut().expect("made with one")
    }
}
