//! What it takes to send: the connections, and the datagram that is filled.

use std::env;

use super::connection::Connection;
use super::endpoint::Endpoint;
use super::error::Error;
use super::line::{self, Frame, Value};
use super::packet::Packet;
use super::ENDPOINT_VARIABLE;

/// What it takes to send.
#[derive(Debug)]
pub(super) struct Context {
    pub(super) connections: Vec<Connection>,
    /// The one connection that is sent to; `None`: all.
    pub(super) only: Option<usize>,
    pub(super) packet: Packet,
}

impl Context {
    pub(super) fn new(connections: Vec<Connection>, max_datagram: usize) -> Self {
        Context { connections, only: None, packet: Packet::new(max_datagram) }
    }

    pub(super) fn from_environment(max_datagram: usize) -> Option<Self> {
        let endpoints = Endpoint::list(&env::var(ENDPOINT_VARIABLE).ok()?).ok()?;
        let connections = endpoints.into_iter().map(|endpoint| {
            let address = endpoint.look_up();
            let mut connection = Connection::new(endpoint);
            if let Some(address) = address? {
                connection.set_address(address);
            }
            Ok(connection)
        });
        // Of several, those that are found.
        let connections: Vec<_> = connections.filter_map(Result::<_, Error>::ok).collect();
        (!connections.is_empty()).then(|| Context::new(connections, max_datagram))
    }

    // On the path of every transition, as what it calls.
    #[inline(always)]
    pub(super) fn append(&mut self, frame: &Frame, value: Value) {
        if let Some(full) = self.packet.group(|out| line::append(frame, value, out)) {
            self.send_first(full);
        }
    }

    #[cold]
    fn send_first(&mut self, length: usize) {
        send(&mut self.connections, self.only, self.packet.datagram(length));
        self.packet.sent(length);
    }

    pub(super) fn send(&mut self) {
        let length = self.packet.length();
        if length > 0 {
            send(&mut self.connections, self.only, self.packet.datagram(length));
            self.packet.clear();
        }
    }
}

fn send(connections: &mut [Connection], only: Option<usize>, datagram: &[u8]) {
    for (number, connection) in connections.iter_mut().enumerate() {
        if only.is_none_or(|only| only == number) {
            connection.send(datagram);
        }
    }
}
