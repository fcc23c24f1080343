//! A proxy that loses some datagrams.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;
use std::thread;

use super::receiver::{deepen, SYNC};

/// A proxy on loopback, which runs until the process ends.
pub struct LossyProxy {
    endpoint: String,
    dropped: Arc<AtomicU64>,
}

impl LossyProxy {
    /// Sends datagrams to `target`, except for about `percent` of 100. Their choice depends on
    /// `seed` only.
    pub fn start(target: &str, percent: u64, seed: u64) -> LossyProxy {
        let inner = UdpSocket::bind("127.0.0.1:0").expect("loopback");
        deepen(&inner);
        let outer = UdpSocket::bind("127.0.0.1:0").expect("loopback");
        outer.connect(target).expect("loopback");
        let relay = LossyProxy {
            endpoint: inner.local_addr().unwrap().to_string(),
            dropped: Arc::default(),
        };
        let dropped = relay.dropped.clone();
        thread::spawn(move || {
            let mut buffer = [0; 65536];
            let mut random = seed;
            while let Ok(length) = inner.recv(&mut buffer) {
                if &buffer[..length] == SYNC {
                    let _ = outer.send(SYNC);
                    continue;
                }
                // Knuth's MMIX generator, whose high bits are random enough.
                random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                if (random >> 33) % 100 < percent {
                    dropped.fetch_add(1, Ordering::Relaxed);
                } else {
                    let _ = outer.send(&buffer[..length]);
                }
            }
        });
        relay
    }

    /// `HOST:PORT` for `FLUX_FRIPP_STATSD`.
    pub fn endpoint(&self) -> String {
        self.endpoint.clone()
    }

    /// The number of datagrams lost so far.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}
