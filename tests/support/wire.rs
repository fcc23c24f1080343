//! A statsd server that is not perfect: it may be restarted, or be behind a path that
//! loses datagrams. It keeps each gauge of a plugin's, and which of them it heard of since
//! somebody could forget them.

use std::collections::BTreeSet;
use std::net::UdpSocket;
use std::thread;
use std::time::Duration;

use super::gauges::{fold, gauge_of, Gauges};
use super::lossy_proxy::LossyProxy;
use super::receiver::Receiver;

/// One server, and the path to it.
pub struct Wire {
    /// `None` while it is down.
    receiver: Option<Receiver>,
    address: String,
    proxy: Option<LossyProxy>,
    gauges: Gauges,
    /// Those that came since the last [`Wire::forget_mentions`].
    mentioned: BTreeSet<String>,
    /// Those that were below 0 at any time.
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

    /// One behind a path that loses `percent` of 100 datagrams, which ones `seed` says.
    pub fn lossy(percent: u64, seed: u64) -> Wire {
        let wire = Wire::start();
        Wire { proxy: Some(LossyProxy::start(&wire.address, percent, seed)), ..wire }
    }

    /// Where the plugin sends to, `HOST:PORT`.
    pub fn endpoint(&self) -> String {
        self.proxy.as_ref().map_or(self.address.clone(), LossyProxy::endpoint)
    }

    /// The server goes down, and forgets its gauges.
    pub fn close(&mut self) {
        self.receiver = None;
        // It closes its socket in a thread of its own.
        while UdpSocket::bind(&self.address).is_err() {
            thread::sleep(Duration::from_millis(1));
        }
        self.gauges.clear();
    }

    /// The server is back where it was.
    pub fn open(&mut self) {
        self.receiver.get_or_insert_with(|| Receiver::start_at(&self.address));
    }

    /// Takes what came, and says which gauges it has, but for those at 0.
    pub fn gauges(&mut self) -> Gauges {
        self.take();
        let mut gauges = self.gauges.clone();
        gauges.retain(|_, level| *level != 0);
        gauges
    }

    /// From here on the plugin may not know the gauges that came before: nobody will
    /// mend those that it never mentions again.
    pub fn forget_mentions(&mut self) {
        self.take();
        self.mentioned.clear();
    }

    /// Whether a gauge came since then.
    pub fn is_mentioned(&self, name: &str) -> bool {
        self.mentioned.contains(name)
    }

    /// The gauges that were below 0 at any time.
    pub fn negative(&self) -> &BTreeSet<String> {
        &self.negative
    }

    /// Datagrams lost on the way.
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
