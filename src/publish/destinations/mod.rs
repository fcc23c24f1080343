//! The list of destinations, which is what a publisher's datagrams go to.

mod destination;
mod health;

use std::net::SocketAddr;

pub use destination::Destination;

use crate::stats::{Address, Counters, Endpoint, Transport};

/// All destinations, in the order in which an administrator named the endpoints.
#[derive(Debug, Default)]
pub struct Destinations {
    destinations: Vec<Destination>,
    /// The one that is sent to; `None`: all.
    only: Option<usize>,
    /// Whether a send failed since the last [`take_failed`](Self::take_failed).
    failed: bool,
}

impl Transport for Destinations {
    fn send(&mut self, datagram: &[u8]) {
        for (index, destination) in self.destinations.iter_mut().enumerate() {
            if self.only.is_none_or(|only| only == index) && !destination.is_duplicate() {
                self.failed |= !destination.send(datagram);
            }
        }
    }

    fn restrict_to(&mut self, only: Option<usize>) {
        self.only = only;
    }

    fn counters(&self) -> Counters {
        Counters::sum(self.destinations.iter().map(Destination::counters))
    }
}

impl Destinations {
    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Destination> {
        self.destinations.iter()
    }

    pub(in crate::publish) fn len(&self) -> usize {
        self.destinations.len()
    }

    pub(in crate::publish) fn get(&self, index: usize) -> &Destination {
        &self.destinations[index]
    }

    pub(in crate::publish) fn get_mut(&mut self, index: usize) -> &mut Destination {
        &mut self.destinations[index]
    }

    /// Sends to these endpoints from now on. Those that were there keep their
    /// connection, its counters and what is known of the host.
    pub(in crate::publish) fn set(&mut self, endpoints: &[Endpoint]) {
        let mut old = std::mem::take(&mut self.destinations);
        let destinations = endpoints.iter().map(|endpoint| {
            match old.iter().position(|destination| destination.endpoint() == endpoint) {
                Some(index) => old.swap_remove(index),
                None => Destination::new(endpoint.clone()),
            }
        });
        self.destinations = destinations.collect();
    }

    /// The destination with this index is to be sent to, if it is not yet, can be, and
    /// no other sends there already. A duplicate that is new is returned.
    pub(in crate::publish) fn connect(&mut self, index: usize) -> Connected {
        let destination = &self.destinations[index];
        if destination.is_live() {
            return Connected::No;
        }
        // One that is live keeps its server; else the first one does.
        let others = self.destinations.iter().enumerate();
        let mut others = others.filter(|(other, _)| *other != index);
        let same = others.find(|(other, candidate)| {
            (candidate.is_live() || *other < index) && destination.leads_where(candidate)
        });
        let same = same.map(|(_, other)| other.endpoint().clone());
        let destination = &mut self.destinations[index];
        if destination.set_same_as(same) && destination.is_duplicate() {
            return Connected::Duplicate;
        }
        match !destination.is_duplicate() && destination.connection.open() {
            true => Connected::Yes,
            false => Connected::No,
        }
    }

    /// Where the destination with this index is best sent to, of the addresses that its
    /// host has now, and which to go on with where that refuses.
    ///
    /// It keeps its address if that is among them (name servers turn their lists
    /// round) and can be reached. Where it cannot, the next in the list is tried
    /// first. A list of this host's own addresses alone (`localhost` may be ::1 and
    /// 127.0.0.1) added to one where another destination sends already, if there is one.
    pub(in crate::publish) fn addresses(&self, index: usize, found: &[SocketAddr]) -> Vec<Address> {
        let destination = &self.destinations[index];
        let found = found.iter().filter_map(|&host| destination.endpoint().address_at(host));
        let mut addresses: Vec<Address> = Vec::new();
        for address in found {
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        if addresses.iter().all(Address::is_loopback) {
            let is_used = |address: &Address| {
                let mut others = self.destinations.iter().enumerate();
                others.any(|(other, candidate)| {
                    other != index
                        && !candidate.is_failing()
                        && !candidate.is_duplicate()
                        && candidate.address() == Some(address)
                })
            };
            if let Some(used) = addresses.iter().find(|&address| is_used(address)) {
                return vec![used.clone()];
            }
        }
        let at = addresses.iter().position(|address| Some(address) == destination.address());
        match at {
            Some(at) if self.is_unreachable(index) => addresses.rotate_left(at + 1),
            Some(at) => return vec![addresses.swap_remove(at)],
            None => (),
        }
        addresses
    }

    /// Whether the destination with this index, or the one that sends in its place, says
    /// that no server is there.
    pub(in crate::publish) fn is_unreachable(&self, index: usize) -> bool {
        let destination = &self.destinations[index];
        let others = || self.destinations.iter().filter(|other| !other.is_duplicate());
        match destination.is_duplicate() {
            true => others().any(|other| other.leads_where(destination) && other.is_unreachable()),
            false => destination.is_unreachable(),
        }
    }

    /// Each destination sends its next datagram again if that is refused, however soon after
    /// the last retransmission. For datagrams with absolute values, which repair what
    /// was lost.
    pub(in crate::publish) fn allow_retransmit(&mut self) {
        self.destinations
            .iter_mut()
            .for_each(|destination| destination.connection.allow_retransmit());
    }

    /// Whether a send failed since the last call.
    pub(in crate::publish) fn take_failed(&mut self) -> bool {
        std::mem::take(&mut self.failed)
    }
}

/// What became of an destination that was to be sent to.
pub(in crate::publish) enum Connected {
    /// It can be sent to, and knows nothing yet.
    Yes,
    /// Not now, or it is sent to already.
    No,
    /// It leads where another one does, which is new.
    Duplicate,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What an destination of this name and port 1 added to, if its host has these
    /// addresses; the other destinations are at `others`.
    fn choice(others: &[&str], found: &[&str]) -> Vec<String> {
        let mut destinations = Destinations::default();
        let endpoints = others.iter().chain(&["name:1"]).map(|text| text.parse().unwrap());
        destinations.set(&endpoints.collect::<Vec<_>>());
        let found: Vec<_> =
            found.iter().map(|ip| SocketAddr::new(ip.parse().unwrap(), 0)).collect();
        let addresses = destinations.addresses(others.len(), &found);
        addresses.iter().map(Address::to_string).collect()
    }

    #[test]
    fn each_address_is_tried_once_in_the_order_of_the_name_service() {
        let found = ["192.0.2.2", "192.0.2.1", "::ffff:192.0.2.2"];
        assert_eq!(choice(&[], &found), ["192.0.2.2:1", "192.0.2.1:1"]);
        // Another destination there is no reason to leave the others out.
        assert_eq!(choice(&["192.0.2.1:1"], &found), ["192.0.2.2:1", "192.0.2.1:1"]);
    }

    #[test]
    fn a_name_of_this_host_comes_to_where_another_output_is() {
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
        let address = |text: &str| Address::udp(text.parse().unwrap());
        let found = ["127.0.0.3:0", "127.0.0.4:0", "127.0.0.5:0"].map(|text| text.parse().unwrap());
        destinations.get_mut(0).move_to(address("127.0.0.4:1"), Default::default());
        assert_eq!(destinations.addresses(0, &found), [address("127.0.0.4:1")]);
        // A datagram too large says that someone is there, a refusal that nobody is.
        destinations.get_mut(0).set_live();
        destinations.send(&vec![0; 70_000]);
        assert_eq!(destinations.addresses(0, &found), [address("127.0.0.4:1")]);
        (0..9).for_each(|_| destinations.send(b"x"));
        assert!(destinations.is_unreachable(0), "who listens at port 1?");
        let want = ["127.0.0.5:1", "127.0.0.3:1", "127.0.0.4:1"].map(address);
        assert_eq!(destinations.addresses(0, &found), want);
    }

    #[test]
    fn an_address_that_cannot_be_opened_is_passed_over() {
        let mut destinations = Destinations::default();
        destinations.set(&["name:1".parse().unwrap()]);
        let address = |text: &str| Address::udp(text.parse().unwrap());
        // EACCES or ENETUNREACH at connect(2), as an address without a route.
        let next = [address("127.0.0.1:1")].into_iter().collect();
        destinations.get_mut(0).move_to(address("255.255.255.255:1"), next);
        assert!(matches!(destinations.connect(0), Connected::No));
        destinations.send(b"x");
        let destination = destinations.get_mut(0);
        let polls: Vec<_> = (0..3).map(|_| destination.poll_trial()).collect();
        assert!(polls.iter().any(Option::is_some), "{polls:?} {}", destination.state());
    }
}
