//! What it takes to send: the transport, and the datagram that is filled.

use super::line::{self, LineTemplate, Value};
use super::packet::Packet;
use super::transport::Transport;

#[derive(Debug)]
pub(super) struct Context<T> {
    pub(super) transport: T,
    pub(super) packet: Packet,
}

impl<T: Transport> Context<T> {
    pub(super) fn new(transport: T, max_datagram: usize) -> Self {
        Context { transport, packet: Packet::new(max_datagram) }
    }

    // Inlined, with what it calls: it is on the path of every transition.
    #[inline(always)]
    pub(super) fn append(&mut self, frame: &LineTemplate, value: Value) {
        if let Some(full) = self.packet.group(|out| line::append(frame, value, out)) {
            self.send_first(full);
        }
    }

    #[cold]
    fn send_first(&mut self, length: usize) {
        self.transport.send(self.packet.datagram(length));
        self.packet.sent(length);
    }

    pub(super) fn send(&mut self) {
        let length = self.packet.length();
        if length > 0 {
            self.transport.send(self.packet.datagram(length));
            self.packet.clear();
        }
    }
}
