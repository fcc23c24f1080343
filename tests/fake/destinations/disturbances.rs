//! Servers that are stopped, killed, moved or replaced in the middle of the first values, a resync,
//! a reload and a removal, with all places of queues and banks taken.
//!
//! The test reads the sockets, so that nothing depends on the speed of a server.

use std::net::UdpSocket;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::{io, mem};

use nix::sys::socket::{setsockopt, sockopt};
use serde_json::{json, Value};
use tempfile::TempDir;

use crate::host::FakeHost;
use crate::scenarios::{Environment, Host, HostSetup, Job};
use crate::support::gauges::{fold, gauge_of, is_of_jobs, Gauges};
use crate::support::receiver::{deepen, vacant};

/// The places of queues.
const QUEUES: usize = 256;
/// Seconds within which all gauges are correct: more than a resync, a lookup and a probe.
const LIMIT: f64 = 6.0;
const STEP: f64 = 0.05;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Udp,
    Unix,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Disturbance {
    /// It does not read for a while. What a UDP socket does not hold is lost.
    Stopped,
    /// It ends. Some time later another one has its address.
    Killed,
    /// It ends, and another one has its address at once.
    Replaced,
    /// Another one takes over the path of its Unix socket, and it continues.
    TakenOver,
    /// The configuration names another server.
    Moved,
}

/// A server that is read by the test.
struct Server {
    socket: Socket,
    endpoint: String,
    gauges: Gauges,
    /// Gauges that were below 0.
    negative: Vec<String>,
}

enum Socket {
    Udp(UdpSocket),
    Unix(UnixDatagram),
}

impl Server {
    fn udp(address: &str, is_deep: bool) -> Server {
        let socket = UdpSocket::bind(address).unwrap();
        socket.set_nonblocking(true).unwrap();
        match is_deep {
            true => deepen(&socket),
            // Linux has a minimum of some datagrams.
            false => setsockopt(&socket, sockopt::RcvBuf, &0).unwrap(),
        }
        Server::new(socket.local_addr().unwrap().to_string(), Socket::Udp(socket))
    }

    fn unix(path: PathBuf) -> Server {
        let _ = std::fs::remove_file(&path);
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        Server::new(format!("unix:{}", path.display()), Socket::Unix(socket))
    }

    fn new(endpoint: String, socket: Socket) -> Server {
        Server { socket, endpoint, gauges: Gauges::new(), negative: Vec::new() }
    }

    /// What a server does not read fits from now on.
    fn deepen(&self) {
        if let Socket::Udp(socket) = &self.socket {
            deepen(socket);
        }
    }

    fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match &self.socket {
            Socket::Udp(socket) => socket.recv(buffer),
            Socket::Unix(socket) => socket.recv(buffer),
        }
    }

    /// Reads what the socket holds; the gauges of jobs that are not 0.
    fn read(&mut self) -> Gauges {
        let mut buffer = [0; 65536];
        while let Ok(length) = self.receive(&mut buffer) {
            let text = std::str::from_utf8(&buffer[..length]).unwrap();
            for (name, value) in text.lines().filter_map(gauge_of) {
                if fold(&mut self.gauges, name, value) < 0 {
                    self.negative.push(name.to_owned());
                }
            }
        }
        let mut gauges = self.gauges.clone();
        gauges.retain(|name, level| *level != 0 && is_of_jobs(name));
        gauges
    }
}

/// A host whose plugin sends to a server that is always read, and to one that is disturbed.
struct Case {
    host: FakeHost,
    calm: Server,
    server: Server,
    kind: Kind,
    disturbance: Disturbance,
    is_shared: bool,
    folder: TempDir,
    /// Servers at other paths so far.
    moves: usize,
}

impl Case {
    fn start(kind: Kind, disturbance: Disturbance, is_shared: bool) -> Case {
        let folder = tempfile::tempdir().unwrap();
        let queues: Vec<_> = (0..QUEUES).map(|number| format!("queue-{number:03}")).collect();
        let names: Vec<_> = queues.iter().map(String::as_str).collect();
        let setup =
            HostSetup { queues: &names, environment: Environment::Unset, ..HostSetup::default() };
        let mut host = FakeHost::start(setup);
        host.expect_complaints();
        names.iter().for_each(|queue| drop(host.submit(Job::Held, queue, 1)));
        let calm = Server::udp("127.0.0.1:0", true);
        let server = match kind {
            Kind::Udp => Server::udp(&vacant().to_string(), disturbance != Disturbance::Stopped),
            Kind::Unix => Server::unix(folder.path().join("0.sock")),
        };
        Case { host, calm, server, kind, disturbance, is_shared, folder, moves: 0 }
    }

    fn table(&self, endpoints: &[&Server], has_banks: bool) -> Value {
        let endpoints: Vec<_> = endpoints.iter().map(|it| &it.endpoint).collect();
        let metrics = ["states", "queues", "pending", "resources", "banks"];
        json!({"endpoint": endpoints, "metrics": metrics[..if has_banks { 5 } else { 4 }],
               "resync": if self.is_shared { 0 } else { 1 }, "lookup": 2})
    }

    fn configure(&mut self, has_banks: bool) {
        let table = self.table(&[&self.calm, &self.server], has_banks);
        self.host.reload(&table).unwrap();
    }

    /// Disturbs the server, which has not read for a while, and waits until the present one has
    /// the gauges of the calm one, and one that the plugin has left, none.
    fn settle(&mut self, has_banks: bool) {
        let mut old = None;
        match self.disturbance {
            Disturbance::Stopped => self.server.deepen(),
            Disturbance::Killed | Disturbance::Replaced => self.replace(),
            Disturbance::TakenOver => {
                let path = self.server.endpoint.strip_prefix("unix:").unwrap().into();
                old = Some(mem::replace(&mut self.server, Server::unix(path)));
            }
            Disturbance::Moved => {
                self.moves += 1;
                let new = match self.kind {
                    Kind::Udp => Server::udp(&vacant().to_string(), true),
                    Kind::Unix => {
                        Server::unix(self.folder.path().join(format!("{}.sock", self.moves)))
                    }
                };
                old = Some(mem::replace(&mut self.server, new));
                self.configure(has_banks);
            }
        }
        let mut steps = 0;
        loop {
            self.host.pass(STEP);
            // A response: the command is executed.
            self.host.receiver();
            let (expected, actual) = (self.calm.read(), self.server.read());
            let left = old.as_mut().map(Server::read).unwrap_or_default();
            if actual == expected && left.is_empty() {
                // Of shared gauges, those that are 0 are not sent.
                let least = if self.is_shared { 700 } else { 2000 };
                assert!(self.calm.gauges.len() > least);
                assert_eq!(expected["queue.queue-000.SCHED"], 1);
                break;
            }
            steps += 1;
            let wrong = expected.iter().filter(|(name, level)| actual.get(*name) != Some(level));
            let (wrong, more) = (wrong.count(), actual.len());
            assert!(
                f64::from(steps) * STEP < LIMIT,
                "{} gauges, {wrong} wrong, the server has {more}; {} left: {:?}; {}",
                expected.len(),
                left.len(),
                left.iter().next(),
                self.host.query()["endpoints"]
            );
        }
        // No increment was lost.
        let is_lossy = self.kind == Kind::Udp && self.disturbance != Disturbance::Moved;
        for server in [Some(&self.calm), Some(&self.server).filter(|_| !is_lossy), old.as_ref()] {
            assert_eq!(server.map_or(&Vec::new(), |it| &it.negative), &Vec::<String>::new());
        }
    }

    /// Another server at the same address.
    fn replace(&mut self) {
        let endpoint = self.server.endpoint.clone();
        // Closes the socket.
        self.server = Server::udp("127.0.0.1:0", true);
        if self.disturbance == Disturbance::Killed {
            self.host.pass(0.3);
            self.host.receiver();
        }
        self.server = match endpoint.strip_prefix("unix:") {
            Some(path) => Server::unix(path.into()),
            None => Server::udp(&endpoint, true),
        };
    }
}

fn disturb(kind: Kind, disturbance: Disturbance, is_shared: bool) {
    println!("{kind:?} {disturbance:?}, shared: {is_shared}");
    let mut case = Case::start(kind, disturbance, is_shared);
    case.configure(false);
    // The first values.
    case.host.load(json!({})).unwrap();
    case.settle(false);
    // A resync.
    case.host.pass(1.1);
    case.settle(false);
    // A new collector, and a removed one.
    case.configure(true);
    case.host.pass(0.1);
    case.settle(true);
    case.configure(false);
    case.host.pass(0.1);
    case.settle(false);
    // The removal of the plugin. After the next load all is correct.
    case.host.remove();
    if !is_shared {
        case.host.load(json!({})).unwrap();
        case.settle(false);
        // The removal of the destination.
        let table = case.table(&[&case.calm], false);
        case.host.reload(&table).unwrap();
        case.host.pass(0.1);
        for _ in 0..30 {
            case.host.receiver();
            case.server.read();
            case.host.pass(STEP);
        }
        case.host.receiver();
        let is_lossy = kind == Kind::Udp && disturbance == Disturbance::Stopped;
        let left = case.server.read();
        assert!(left.is_empty() || is_lossy, "{} are left: {:?}", left.len(), left.iter().next());
    }
    case.host.end();
}

#[test]
fn a_disturbed_unix_server_has_all_values_at_the_end() {
    for is_shared in [false, true] {
        for disturbance in [
            Disturbance::Stopped,
            Disturbance::Killed,
            Disturbance::Replaced,
            Disturbance::TakenOver,
            Disturbance::Moved,
        ] {
            disturb(Kind::Unix, disturbance, is_shared);
        }
    }
}

#[test]
fn a_disturbed_udp_server_has_all_values_at_the_end() {
    for disturbance in
        [Disturbance::Stopped, Disturbance::Killed, Disturbance::Replaced, Disturbance::Moved]
    {
        disturb(Kind::Udp, disturbance, false);
    }
    // Lost increments of shared gauges stay lost.
    disturb(Kind::Udp, Disturbance::Moved, true);
}
