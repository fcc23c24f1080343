//! Etsy's statsd, the server whose protocol it is (npm package `statsd`).

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use tempfile::TempDir;

use super::found::found;
use super::receiver::{vacant, PREFIX};
use super::Counts;

/// A running server, killed when it is dropped.
pub struct Statsd {
    process: Child,
    address: SocketAddr,
    management: SocketAddr,
    _config: TempDir,
}

impl Statsd {
    /// Starts one on free ports.
    pub fn start() -> Statsd {
        Self::start_at(vacant())
    }

    /// Starts one that receives at `address`.
    pub fn start_at(address: SocketAddr) -> Statsd {
        let management = TcpListener::bind((address.ip(), 0)).unwrap().local_addr().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("config.js");
        fs::write(
            &config,
            format!(
                "{{ address: '{}', port: {}, mgmt_address: '{}', mgmt_port: {},\n  \
                 backends: [], flushInterval: 1000 }}\n",
                address.ip(),
                address.port(),
                management.ip(),
                management.port()
            ),
        )
        .unwrap();
        let package = found("STATE_COUNTS_STATSD");
        let process = Command::new("node")
            .arg(format!("{package}/stats.js"))
            .arg(&config)
            .stdout(Stdio::null())
            .spawn()
            .expect("node is installed");
        let server = Statsd { process, address, management, _config: folder };
        let end = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(management).is_err() {
            assert!(Instant::now() < end, "statsd did not come up");
            thread::sleep(Duration::from_millis(50));
        }
        server
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn endpoint(&self) -> String {
        self.address.to_string()
    }

    /// Our gauges, as its management port prints them: a JavaScript object.
    pub fn gauges(&self) -> Counts {
        let mut stream = TcpStream::connect(self.management).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        stream.write_all(b"gauges\n").unwrap();
        let mut text = String::new();
        let mut answer = BufReader::new(stream);
        while !text.ends_with("END\n") {
            let length = answer.read_line(&mut text).expect("statsd answers");
            assert_ne!(length, 0, "statsd said {text:?}");
        }
        text.split([',', '{', '}'])
            .filter_map(|entry| {
                let (name, value) = entry.split_once("': ")?;
                let name = name.trim().strip_prefix('\'')?.strip_prefix(PREFIX)?;
                Some((name.to_owned(), value.trim().parse().expect("a gauge is a number")))
            })
            .collect()
    }

    /// Waits until its gauges are `wanted`; what they are after `patience`.
    pub fn wait(&self, patience: Duration, wanted: &Counts) -> Counts {
        let end = Instant::now() + patience;
        loop {
            let gauges = self.gauges();
            if gauges == *wanted || Instant::now() > end {
                return gauges;
            }
            thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Statsd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
