//! A statsd server at a Unix path, which can be slow, stop reading, or be replaced.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::gauges::{fold, gauge_of, Gauges};

/// The server. Its socket queues `net.unix.max_dgram_qlen` datagrams, 10 by default.
pub struct UnixServer {
    path: PathBuf,
    gauges: Arc<Mutex<Gauges>>,
    /// The gauges since the last [`UnixServer::forget_mentions`].
    mentioned: Arc<Mutex<BTreeSet<String>>>,
    is_reading: Arc<AtomicBool>,
    is_ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl UnixServer {
    /// A server at `path`, which takes over the path if another server has it. It sleeps for
    /// a millisecond before each datagram.
    pub fn start(path: &Path) -> UnixServer {
        let _ = fs::remove_file(path);
        let socket = UnixDatagram::bind(path).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
        let gauges = Arc::new(Mutex::new(Gauges::new()));
        let is_reading = Arc::new(AtomicBool::new(true));
        let is_ended = Arc::new(AtomicBool::new(false));
        let mentioned = Arc::new(Mutex::new(BTreeSet::new()));
        let (known, reads, ended) = (gauges.clone(), is_reading.clone(), is_ended.clone());
        let named = mentioned.clone();
        let thread = thread::spawn(move || {
            let mut buffer = [0; 65536];
            while !ended.load(Ordering::SeqCst) {
                thread::sleep(Duration::from_millis(1));
                if !reads.load(Ordering::SeqCst) {
                    continue;
                }
                let Ok(length) = socket.recv(&mut buffer) else { continue };
                let mut gauges = known.lock().unwrap();
                let text = std::str::from_utf8(&buffer[..length]).unwrap();
                for (name, value) in text.lines().filter_map(gauge_of) {
                    assert!(fold(&mut gauges, name, value) >= 0, "{name} after {text}");
                    named.lock().unwrap().insert(name.to_owned());
                }
            }
        });
        let path = path.to_owned();
        UnixServer { path, gauges, mentioned, is_reading, is_ended, thread: Some(thread) }
    }

    /// The endpoint for the plugin.
    pub fn endpoint(&self) -> String {
        format!("unix:{}", self.path.display())
    }

    /// Stops and continues to read, as SIGSTOP and SIGCONT do.
    pub fn set_reading(&self, is_reading: bool) {
        self.is_reading.store(is_reading, Ordering::SeqCst);
    }

    /// As [`Wire::forget_mentions`](super::wire::Wire::forget_mentions).
    pub fn forget_mentions(&self) {
        self.mentioned.lock().unwrap().clear();
    }

    /// Returns `true` if the gauge was sent since then.
    pub fn is_mentioned(&self, name: &str) -> bool {
        self.mentioned.lock().unwrap().contains(name)
    }

    /// The gauges that are not 0.
    pub fn gauges(&self) -> Gauges {
        let mut gauges = self.gauges.lock().unwrap().clone();
        gauges.retain(|_, level| *level != 0);
        gauges
    }
}

impl Drop for UnixServer {
    fn drop(&mut self) {
        self.is_ended.store(true, Ordering::SeqCst);
        let result = self.thread.take().unwrap().join();
        assert!(result.is_ok() || thread::panicking(), "a gauge was negative");
    }
}
