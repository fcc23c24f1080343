//! Errors between the plugin and a statsd server: no callback fails or waits, a few lines are
//! logged, and all gauges are correct afterwards.

use std::net::UdpSocket;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::Path;
use std::process::Command;
use std::{fs, thread};

use nix::sys::socket::{setsockopt, sockopt};
use serde_json::{json, Value};

use crate::support::artifact::{plugin, NAME};
use crate::support::fake_job_manager::{program, FakeJobManager};
use crate::support::gauges::{fold, gauge_of, Gauges};
use crate::support::jobs::{live, COURSE};
use crate::support::receiver::{vacant, Receiver};
use crate::support::Counts;

/// The log lines about the health of the endpoints.
fn health(host: &mut FakeJobManager) -> Vec<String> {
    let log = host.log().into_iter().map(|(_, text)| text);
    log.filter(|text| !text.contains(": version ")).collect()
}

fn errors(host: &mut FakeJobManager, endpoint: usize) -> Value {
    host.query()["endpoints"][endpoint]["errors"].clone()
}

/// Waits for the first resync after which the gauges are correct; at most 100 resyncs.
fn wait_until_correct(host: &mut FakeJobManager, receiver: &mut Receiver) {
    for _ in 0..100 {
        host.advance(10.0);
        let truth = host.counts();
        if receiver.seen().gauges == truth {
            return;
        }
    }
    panic!("never true again: {}", host.query());
}

/// strace makes the first sends of the host fail.
#[test]
fn failed_sends_are_counted_by_errno_and_made_good() {
    // The errno, and the number of sends that fail. A device whose queue is full is tried
    // every 5 ms for a second, before that counts as a failure.
    let errnos = [
        ("ENOBUFS", 210),
        ("EAGAIN", 210),
        ("EMSGSIZE", 8),
        ("ENETUNREACH", 8),
        ("EHOSTUNREACH", 8),
        ("EPERM", 8),
        ("ECONNREFUSED", 8),
        ("ENOMEM", 8),
        ("EINTR", 8),
    ];
    for (errno, failing) in errnos {
        let mut receiver = Receiver::start();
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "-e", "trace=sendto", "-e", "signal=none", "-o", "/dev/null"]);
        command.arg("-e").arg(format!("inject=sendto:error={errno}:when=1..{failing}"));
        command.arg(program());
        let mut host = FakeJobManager::spawn(command, Some(&receiver.endpoint()));
        host.load(plugin(), json!({})).unwrap();
        host.advance(0.1);
        for id in 0..20 {
            live(&mut host, id, &COURSE[..5]);
        }
        host.advance(3.0);
        assert_eq!(host.query()["endpoints"][0]["state"], "failing", "{errno}");
        assert_eq!(receiver.seen().datagrams, 0, "strace is installed, and may trace");
        let lines = health(&mut host);
        assert_eq!(lines.len(), 1, "{errno}: {lines:?}");
        assert!(lines[0].contains("sends fail: "), "{lines:?}");

        for id in 20..100 {
            live(&mut host, id, &COURSE);
        }
        wait_until_correct(&mut host, &mut receiver);
        assert_eq!(host.silenced(), 0);
        let counted = errors(&mut host, 0);
        assert_eq!(counted.as_object().unwrap().len(), 1, "{counted}");
        let counted = counted[errno].as_u64().unwrap();
        assert!(counted == failing || failing == 210 && counted > 5, "{errno}: {counted}");
        assert_eq!(host.query()["endpoints"][0]["state"], "ok");
        let lines = health(&mut host);
        assert!(lines.len() == 1 && lines[0].contains("sends succeed again"), "{lines:?}");
        host.end();
    }
}

#[test]
fn a_full_unix_socket_delays_nothing_and_has_all_changes_when_it_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("statsd.sock");
    let server = UnixDatagram::bind(&path).unwrap();
    server.set_nonblocking(true).unwrap();
    let mut host = FakeJobManager::start(None);
    let endpoint = format!("unix:{}", path.display());
    host.load(plugin(), json!({"endpoint": endpoint, "resync": "1h"})).unwrap();
    host.advance(0.1);
    for id in 0..500 {
        live(&mut host, id, &COURSE);
    }
    // The host responds, so it does not wait. Nothing is lost so far.
    assert_eq!(errors(&mut host, 0), json!({}));
    assert_eq!(host.query()["endpoints"][0]["state"], "ok");
    host.advance(30.0);
    let lines = health(&mut host);
    assert!(lines.len() == 1 && lines[0].contains("sends fail: EAGAIN"), "{lines:?}");
    assert_eq!(host.query()["endpoints"][0]["state"], "failing");

    let mut gauges = Gauges::new();
    let mut buffer = [0; 2048];
    for _ in 0..3 {
        while let Ok(length) = server.recv(&mut buffer) {
            let text = std::str::from_utf8(&buffer[..length]).unwrap();
            for (name, value) in text.lines().filter_map(gauge_of) {
                assert!(fold(&mut gauges, name, value) >= 0, "{text}");
            }
        }
        // No time passes: the host waits for the socket, not for a timer.
        host.advance(0.0);
        host.counts();
    }
    let truth = host.counts();
    for (state, count) in truth {
        assert_eq!(gauges[&format!("state.{state}")], count, "{state}");
    }
    assert_eq!(host.query()["endpoints"][0]["state"], "ok");
    assert_eq!(host.silenced(), 0);
    host.end();
}

/// The absolute values in these lines.
fn values(text: &str) -> Counts {
    let lines = text.lines().filter_map(|line| {
        let (state, value) = line.strip_prefix("flux.job.state.")?.split_once(':')?;
        let value = value.strip_suffix("|g").filter(|value| !value.starts_with(['+', '-']))?;
        Some((state.to_owned(), value.parse().unwrap()))
    });
    lines.collect()
}

#[test]
fn a_udp_server_that_does_not_read_delays_nothing_and_is_correct_after_a_resync() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    server.set_nonblocking(true).unwrap();
    setsockopt(&server, sockopt::RcvBuf, &4096).unwrap();
    let mut host = FakeJobManager::start(Some(&server.local_addr().unwrap().to_string()));
    host.load(plugin(), json!({})).unwrap();
    host.advance(0.1);
    for id in 0..500 {
        live(&mut host, id, &COURSE);
    }
    host.counts();
    // The kernel accepted all datagrams, and dropped those without room in the buffer.
    assert_eq!(errors(&mut host, 0), json!({}));
    let sent = host.query()["endpoints"][0]["datagrams"].as_u64().unwrap();
    assert!(sent >= 3500, "{sent}");
    let mut buffer = [0; 2048];
    let mut read = 0;
    while server.recv(&mut buffer).is_ok() {
        read += 1;
    }
    assert!(0 < read && read < sent, "{read} of {sent}");
    host.advance(10.0);
    let truth = host.counts();
    let length = server.recv(&mut buffer).expect("a resync");
    assert_eq!(values(std::str::from_utf8(&buffer[..length]).unwrap()), truth);
    assert_eq!(health(&mut host), Vec::<String>::new());
    host.end();
}

#[test]
fn a_stream_socket_at_the_path_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("statsd.sock");
    let _listener = UnixListener::bind(&path).unwrap();
    let mut host = FakeJobManager::start(Some(&format!("unix:{}", path.display())));
    host.load(plugin(), json!({})).unwrap();
    host.advance(0.1);
    live(&mut host, 1, &COURSE);
    // The error is shown at the first failure, before the next check of the endpoints.
    let words = "EPROTOTYPE: stream socket found; expected a datagram socket";
    let lines = health(&mut host);
    assert!(lines.len() == 1 && lines[0].contains(words), "{lines:?}");
    let endpoint = host.query()["endpoints"][0].clone();
    assert_eq!((&endpoint["error"], &endpoint["state"]), (&json!(words), &json!("failing")));
    assert_eq!(endpoint["address"], json!(path));
    let counted = errors(&mut host, 0);
    assert!(counted["EPROTOTYPE"].as_u64() > Some(0), "{counted}");
    assert_eq!(counted.as_object().unwrap().len(), 1, "{counted}");
    host.end();
}

/// A server that writes what it receives to a file, and the size of each datagram to the file
/// `sizes` beside it. It ends with its parent.
const SERVER: &str = "
const parent = process.ppid;
setInterval(() => { if (process.ppid !== parent) process.exit(); }, 200);
const fs = require('fs');
const socket = require('dgram').createSocket(process.argv[3]);
socket.on('message', text => {
    fs.appendFileSync(require('path').dirname(process.argv[2]) + '/sizes', text.length + '\\n');
    fs.appendFileSync(process.argv[2], text + '\\n');
});
socket.bind(8125, () => fs.writeFileSync(process.argv[2], ''));
";

/// Two network namespaces with a cable between them: one for the server, one for the program.
/// `$0` is the test's folder. (Sends to 127.0.0.1 do not fail when an interface is down.)
const ENTER: &str = r#"
unshare --net sh -c '
    echo $$ >"$0/pid.new"; mv "$0/pid.new" "$0/pid"
    until ip link set cable1 up 2>&-; do sleep 0.02; done
    ip address add 192.0.2.2/24 dev cable1
    ip address add fe80::2/64 dev cable1 nodad 2>&-
    exec node "$0/server.js" "$0/received" "$(cat "$0/kind")"' "$0" <&- >&- &
until [ -f "$0/pid" ]; do sleep 0.02; done
ip link add cable0 type veth peer name cable1 netns "$(cat "$0/pid")" || exit 1
ip address add 192.0.2.1/24 dev cable0
ip link set cable0 up
ip address add fe80::1/64 dev cable0 nodad 2>&-
until [ -f "$0/received" ]; do sleep 0.02; done
exec "$@"
"#;

/// A host behind a cable, without a plugin. The server writes to the file `received` in the
/// folder.
fn host_behind_a_cable(folder: &Path) -> FakeJobManager {
    host_of_a_server(folder, "udp4", "192.0.2.2:8125")
}

/// As `host_behind_a_cable`, with this kind of socket.
pub fn host_of_a_server(folder: &Path, kind: &str, endpoint: &str) -> FakeJobManager {
    fs::write(folder.join("server.js"), SERVER).unwrap();
    fs::write(folder.join("kind"), kind).unwrap();
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--net", "sh", "-c", ENTER]).arg(folder).arg(program());
    let mut host = FakeJobManager::spawn(command, Some(endpoint));
    // When the host responds, the cable exists.
    host.counts();
    host
}

/// Runs ip(8) on the side of the host.
pub fn ip(host: &FakeJobManager, arguments: &str) {
    let process = host.process().to_string();
    let status = Command::new("nsenter")
        .args(["--user", "--net", "--preserve-credentials", "--target", &process, "ip"])
        .args(arguments.split(' '))
        .status();
    assert!(status.expect("nsenter is installed").success());
}

#[test]
#[cfg_attr(not(have_namespaces), ignore = "needs unshare to be allowed, and scripts/test")]
fn gauges_are_correct_after_an_interface_was_down() {
    for down_at_load in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let received = folder.path().join("received");
        let mut host = host_behind_a_cable(folder.path());
        if down_at_load {
            ip(&host, "link set cable0 down");
        }
        host.load(plugin(), json!({})).unwrap();
        host.advance(0.1);
        live(&mut host, 1, &COURSE[..5]);
        if !down_at_load {
            assert_eq!(errors(&mut host, 0), json!({}));
            ip(&host, "link set cable0 down");
        }
        for id in 2..20 {
            live(&mut host, id, &COURSE);
        }
        host.advance(60.0);
        let counted = errors(&mut host, 0);
        assert!(counted["ENETUNREACH"].as_u64() > Some(5), "{counted}");
        assert_eq!(host.query()["endpoints"][0]["state"], "failing");

        ip(&host, "link set cable0 up");
        host.advance(60.0);
        let truth = host.counts();
        wait_for(&received, |text| values(text) == truth);
        assert_eq!(host.silenced(), 0);
        host.advance(120.0);
        let lines = health(&mut host);
        assert_eq!(lines.len(), 2, "{lines:?}");
        assert!(lines[0].contains("sends fail: ENETUNREACH"), "{lines:?}");
        assert!(lines[1].contains("sends succeed again"), "{lines:?}");
        assert_eq!(host.query()["endpoints"][0]["state"], "ok");
        host.end();
    }
}

#[test]
#[cfg_attr(not(have_namespaces), ignore = "needs unshare to be allowed, and scripts/test")]
fn an_interface_that_comes_back_with_another_address_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let received = folder.path().join("received");
    let mut host = host_behind_a_cable(folder.path());
    host.load(plugin(), json!({})).unwrap();
    host.advance(0.1);
    let truth = host.counts();
    wait_for(&received, |text| values(text) == truth);

    ip(&host, "address del 192.0.2.1/24 dev cable0");
    ip(&host, "address add 192.0.2.7/24 dev cable0");
    live(&mut host, 1, &COURSE[..5]);
    let counted = errors(&mut host, 0);
    assert!(counted["ENETUNREACH"].as_u64() > Some(0), "{counted}");
    // At most one socket is created per second of real time.
    thread::sleep(std::time::Duration::from_millis(1100));
    host.advance(10.0);
    let truth = host.counts();
    wait_for(&received, |text| values(text) == truth);
    assert_eq!(host.silenced(), 0);
    host.end();
}

#[test]
#[cfg_attr(
    not(all(have_namespaces, have_ipv6)),
    ignore = "needs IPv6, unshare to be allowed, and scripts/test"
)]
fn a_link_local_address_is_reached_through_its_interface() {
    let folder = tempfile::tempdir().unwrap();
    let received = folder.path().join("received");
    let mut host = host_of_a_server(folder.path(), "udp6", "[fe80::2%cable0]:8125");
    host.load(plugin(), json!({})).unwrap();
    for _ in 0..200 {
        host.advance(0.05);
        if host.query()["endpoints"][0]["state"] == "ok" {
            break;
        }
        thread::sleep(std::time::Duration::from_millis(10));
    }
    let truth = host.counts();
    wait_for(&received, |text| values(text) == truth);
    let endpoint = host.query()["endpoints"][0].clone();
    assert_eq!(endpoint["endpoint"], "[fe80::2%cable0]:8125");
    let address = endpoint["address"].as_str().unwrap();
    assert!(address.starts_with("[fe80::2%") && address.ends_with("]:8125"), "{address}");
    host.end();
}

/// Waits until another process has written the wanted text, at most 10 s.
pub fn wait_for(file: &Path, wanted: impl Fn(&str) -> bool) {
    for _ in 0..200 {
        if wanted(&fs::read_to_string(file).unwrap()) {
            return;
        }
        thread::sleep(std::time::Duration::from_millis(50));
    }
    panic!("never came: {}", fs::read_to_string(file).unwrap());
}

/// Limits the descriptors of the host to `free` more than it has.
fn limit(host: &FakeJobManager, free: usize) {
    let folder = fs::read_dir(format!("/proc/{}/fd", host.process())).unwrap();
    let used: Vec<usize> =
        folder.map(|entry| entry.unwrap().file_name().to_str().unwrap().parse().unwrap()).collect();
    let limit = (0..).filter(|number| !used.contains(number)).nth(free).unwrap();
    let status = Command::new("prlimit")
        .args(["--pid", &host.process().to_string(), &format!("--nofile={limit}:4096")])
        .status();
    assert!(status.expect("prlimit is installed").success());
}

#[test]
fn a_load_with_too_few_descriptors_connects_the_rest_later() {
    let mut receivers = [Receiver::start(), Receiver::start()];
    let endpoints: Vec<_> = receivers.iter().map(Receiver::endpoint).collect();
    let mut command = Command::new(program());
    // For the error text of dlopen(3).
    command.env("LC_ALL", "C");
    let mut host = FakeJobManager::spawn(command, Some(&endpoints.join(",")));
    host.counts();
    limit(&host, 0);
    let refused = host.load(plugin(), json!({})).unwrap_err();
    assert!(refused.contains("Too many open files"), "by dlopen, not by us: {refused}");

    // The dynamic loader needs one descriptor, and closes it.
    limit(&host, 1);
    host.load(plugin(), json!({})).unwrap();
    host.advance(0.1);
    live(&mut host, 1, &COURSE);
    live(&mut host, 2, &COURSE[..5]);
    let truth = host.counts();
    assert_eq!(receivers[0].seen().gauges, truth);
    assert_eq!(receivers[1].seen().datagrams, 0);
    host.advance(30.0);
    let counted = errors(&mut host, 1);
    assert!(counted["EMFILE"].as_u64() > Some(7), "{counted}");
    let lines = health(&mut host);
    assert!(lines.len() == 1 && lines[0].contains("EMFILE"), "{lines:?}");

    limit(&host, 64);
    // The second server gets all values without a resync.
    host.advance(10.0);
    let truth = host.counts();
    assert_eq!(receivers[1].seen().gauges, truth);
    host.remove(NAME).unwrap();
    host.end();
}

#[test]
fn an_absent_server_fails_no_callback_and_does_not_fill_the_log() {
    let mut host = FakeJobManager::start(Some(&vacant().to_string()));
    host.load(plugin(), json!({})).unwrap();
    host.advance(0.1);
    for id in 0..200 {
        live(&mut host, id, &COURSE);
    }
    host.advance(60.0);
    assert_eq!(host.silenced(), 0);
    let log = host.log();
    assert_eq!(log.len(), 2, "one at load, one for the endpoint's health: {log:?}");
    host.end();
}
