//! A statsd server that reads datagrams and discards them.

use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};

/// How the server waits for datagrams.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// In `recv`, as a real server does. A send must wake it.
    Sleeps,
    /// By polling, which uses a core. Sends then have equal costs: with a reader that
    /// sleeps, the cost depends on whether the send must wake it.
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

    /// A connected non-blocking socket, as the plugin uses.
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

/// A loopback socket with a receive buffer of 64 MiB.
pub fn roomy_socket() -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback");
    // Only root may set this size. With a smaller buffer, the kernel drops datagrams.
    let _ = setsockopt(&socket, sockopt::RcvBufForce, &(64 << 20));
    socket
}
