//! A statsd server as fast as one can be: it reads, and that is all.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};

/// How it waits for what comes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// As a real server. It must be woken by whoever sends.
    Sleeps,
    /// Never: it takes a core. Whether a reader that sleeps must be woken depends
    /// on how fast the sender is, so that a slower one may pay less. Without it,
    /// sends cost less, and the same for all.
    Spins,
}

/// A thread that reads until this is dropped.
pub struct Drain {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drain {
    pub fn start(reader: Reader) -> Drain {
        let socket = roomy_socket();
        socket.set_nonblocking(reader == Reader::Spins).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let address = socket.local_addr().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = thread::spawn(move || {
            let mut buffer = [0; 65536];
            while !stopped.load(Ordering::Relaxed) {
                let _ = socket.recv(&mut buffer);
            }
        });
        Drain { address, stop, thread: Some(thread) }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// A socket of the kind that ours is: connected, and never waiting.
    pub fn sender(&self) -> UdpSocket {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        socket.connect(self.address).unwrap();
        socket
    }
}

impl Drop for Drain {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// A socket on loopback that holds what comes while nobody reads.
pub fn roomy_socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback");
    // Only root may; without it, some datagrams are dropped by the kernel.
    let _ = setsockopt(&socket, sockopt::RcvBufForce, &(64 << 20));
    socket
}
