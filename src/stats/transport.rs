//! What takes the datagrams that a [`Stats`](super::Stats) fills.

use std::env;
use std::fmt::Debug;

use super::connection::Connection;
use super::counters::Counters;
use super::endpoint::Endpoint;
use super::ENDPOINT_VARIABLE;

/// Takes datagrams to one server or to several.
pub trait Transport: Debug {
    /// Sends one datagram. Nothing here waits or fails: what cannot be sent is
    /// counted and forgotten.
    fn send(&mut self, datagram: &[u8]);

    /// Sends to the server with this index alone, or to all, until the next call.
    fn restrict_to(&mut self, only: Option<usize>);

    /// What became of the datagrams so far, over all servers.
    fn counters(&self) -> Counters;
}

/// A fixed set of connections, which is enough for a program of its own.
#[derive(Debug)]
pub struct Connections {
    connections: Vec<Connection>,
    only: Option<usize>,
}

impl Connections {
    pub(super) fn new(connections: Vec<Connection>) -> Connections {
        Connections { connections, only: None }
    }

    /// To the endpoints that [`ENDPOINT_VARIABLE`] names: of several, to those
    /// whose host is found. `None` if there are none.
    pub(super) fn from_environment() -> Option<Connections> {
        let endpoints = Endpoint::list(&env::var(ENDPOINT_VARIABLE).ok()?).ok()?;
        let found = endpoints.iter().filter_map(|endpoint| endpoint.look_up().ok());
        let connections: Vec<_> = found.map(Connection::new).collect();
        (!connections.is_empty()).then(|| Connections::new(connections))
    }
}

impl Transport for Connections {
    fn send(&mut self, datagram: &[u8]) {
        for (index, connection) in self.connections.iter_mut().enumerate() {
            if self.only.is_none_or(|only| only == index) {
                connection.send(datagram);
            }
        }
    }

    fn restrict_to(&mut self, only: Option<usize>) {
        self.only = only;
    }

    fn counters(&self) -> Counters {
        Counters::sum(self.connections.iter().map(Connection::counters))
    }
}
