//! The process of a server.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// A process that is killed when it is dropped.
pub struct Process(Child);

impl Process {
    /// Starts a process; its output is in `folder`.
    pub fn start(mut command: Command, folder: &Path) -> Process {
        let log = File::create(folder.join("output")).unwrap();
        command.stdin(Stdio::null()).stderr(log.try_clone().unwrap()).stdout(log);
        let name = command.get_program().to_owned();
        Process(command.spawn().unwrap_or_else(|error| panic!("{name:?}: {error}")))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A command of packages that are unpacked at `prefix`, or installed.
pub fn command_of(prefix: &str, program: &str) -> Command {
    let mut command = Command::new(format!("{prefix}/{program}"));
    if prefix != "/usr" {
        command.env("LD_LIBRARY_PATH", libraries(prefix));
    }
    command
}

/// The system's Python with the modules of packages that are unpacked at `prefix`.
pub fn python_of(prefix: &str) -> Command {
    let mut command = Command::new("/usr/bin/python3");
    if prefix != "/usr" {
        command.env("PYTHONPATH", format!("{prefix}/lib/python3/dist-packages"));
        command.env("LD_LIBRARY_PATH", libraries(prefix));
    }
    command
}

/// The library folders of the packages, some of which are not below /usr.
fn libraries(prefix: &str) -> String {
    let mut folders = Vec::new();
    for lib in [format!("{prefix}/lib"), format!("{prefix}/../lib")] {
        let entries = fs::read_dir(&lib).into_iter().flatten().flatten();
        folders.extend(entries.map(|entry| entry.path()).filter(|path| path.is_dir()));
        folders.push(lib.into());
    }
    let folders: Vec<_> = folders.iter().map(|path| path.display().to_string()).collect();
    folders.join(":")
}

/// A TCP port that was free a moment ago.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Waits until a process listens on the port.
pub fn await_tcp(port: u16) {
    wait_for("its port", || TcpStream::connect(("127.0.0.1", port)).is_ok());
}

/// Waits until a UDP socket is bound to this address, according to /proc.
pub fn await_udp(address: SocketAddr) {
    let SocketAddr::V4(v4) = address else { panic!("{address} is not IPv4") };
    let ip = u32::from_le_bytes(v4.ip().octets());
    let line = format!(" {ip:08X}:{:04X} ", v4.port());
    wait_for("its UDP socket", || fs::read_to_string("/proc/net/udp").unwrap().contains(&line));
}

/// Waits until `is_there`.
pub fn wait_for(what: &str, mut is_there: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !is_there() {
        assert!(Instant::now() < end, "the server did not come up: {what}");
        thread::sleep(Duration::from_millis(50));
    }
}
