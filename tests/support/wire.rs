//! A statsd server that can be restarted, or is behind a path that loses datagrams. It has all
//! gauges of a plugin, and the set of gauges that it got since the last start of a plugin.

use std::collections::BTreeSet;
use std::net::UdpSocket;
use std::thread;
use std::time::Duration;

use super::gauges::{fold, gauge_of, Gauges};
use super::lossy_proxy::LossyProxy;
use super::receiver::Receiver;

/// A server and the path to it.
pub struct Wire {
    /// `None` while it is down.
    receiver: Option<Receiver>,
    address: String,
    proxy: Option<LossyProxy>,
    gauges: Gauges,
    /// The gauges since the last [`Wire::forget_mentions`].
    mentioned: BTreeSet<String>,
    /// The gauges that were ever negative.
    negative: BTreeSet<String>,
}

impl Wire {
    /// A server on loopback.
    pub fn start() -> Wire {
        let receiver = Receiver::start();
        Wire {
            address: receiver.endpoint(),
            receiver: Some(receiver),
            proxy: None,
            gauges: Gauges::new(),
            mentioned: BTreeSet::new(),
            negative: BTreeSet::new(),
        }
    }

    /// A server behind a path that loses `percent` of 100 datagrams, chosen by `seed`.
    pub fn lossy(percent: u64, seed: u64) -> Wire {
        let wire = Wire::start();
        Wire { proxy: Some(LossyProxy::start(&wire.address, percent, seed)), ..wire }
    }

    /// The endpoint for the plugin, `HOST:PORT`.
    pub fn endpoint(&self) -> String {
        self.proxy.as_ref().map_or(self.address.clone(), LossyProxy::endpoint)
    }

    /// Stops the server, which forgets its gauges.
    pub fn close(&mut self) {
        self.receiver = None;
        // The receiver closes its socket in another thread.
        while UdpSocket::bind(&self.address).is_err() {
            thread::sleep(Duration::from_millis(1));
        }
        self.gauges.clear();
    }

    /// Starts the server again, at the same address.
    pub fn open(&mut self) {
        self.receiver.get_or_insert_with(|| Receiver::start_at(&self.address));
    }

    /// Reads all datagrams; the gauges that are not 0.
    pub fn gauges(&mut self) -> Gauges {
        self.take();
        let mut gauges = self.gauges.clone();
        gauges.retain(|_, level| *level != 0);
        gauges
    }

    /// The plugin may not know the previous gauges from now on, so that nothing corrects those
    /// that it does not send again.
    pub fn forget_mentions(&mut self) {
        self.take();
        self.mentioned.clear();
    }

    /// Returns `true` if the gauge was sent since then.
    pub fn is_mentioned(&self, name: &str) -> bool {
        self.mentioned.contains(name)
    }

    /// The gauges that were ever negative.
    pub fn negative(&self) -> &BTreeSet<String> {
        &self.negative
    }

    /// The number of lost datagrams.
    pub fn dropped(&self) -> u64 {
        self.proxy.as_ref().map_or(0, LossyProxy::dropped)
    }

    fn take(&mut self) {
        let endpoint = self.endpoint();
        let Some(receiver) = &mut self.receiver else { return };
        let datagrams = receiver.take_others(&endpoint);
        for line in datagrams.iter().flat_map(|datagram| datagram.lines()) {
            let Some((name, value)) = gauge_of(line) else { continue };
            if fold(&mut self.gauges, name, value) < 0 {
                self.negative.insert(name.to_owned());
            }
            self.mentioned.insert(name.to_owned());
        }
    }
}
