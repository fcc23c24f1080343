//! Hosts that are found late, that move, and a name server that is dead.

use std::thread;
use std::time::{Duration, Instant};

use crate::support::artifact::{plugin, NAME};
use crate::support::fake_job_manager::FakeJobManager;
use crate::support::jobs::{live, step, CLEANUP, COURSE, INACTIVE, RUN};
use crate::support::names::Names;
use crate::support::receiver::Receiver;
use crate::support::Counts;
use serde_json::json;

/// Time passes for the host, and for the name service, until `wanted` or 10 s.
fn until(host: &mut FakeJobManager, mut wanted: impl FnMut(&mut FakeJobManager) -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !wanted(host) && Instant::now() < end {
        host.advance(1.0);
        thread::sleep(Duration::from_millis(5));
    }
}

fn state(host: &mut FakeJobManager) -> String {
    host.query()["endpoints"][0]["state"].as_str().unwrap().to_owned()
}

#[test]
#[cfg_attr(not(have_namespaces), ignore = "needs unshare to be allowed, and scripts/test")]
fn a_host_that_comes_late_and_one_that_moves_are_found() {
    let mut first = Receiver::start_at("127.0.0.1:0");
    let port = first.endpoint().rsplit_once(':').unwrap().1.to_owned();
    let mut second = Receiver::start_at(&format!("127.0.0.2:{port}"));
    for resync in [0, 3600] {
        first.begin(Counts::new());
        second.begin(Counts::new());
        let names = Names::known("");
        let mut host = FakeJobManager::start_in(&names, &format!("statsd.test:{port}"));
        host.load(plugin(), json!({"resync": resync, "lookup": "1s"})).unwrap();
        live(&mut host, 1, &COURSE);
        live(&mut host, 2, &COURSE[..5]);
        until(&mut host, |host| state(host).starts_with("host not found"));
        assert_eq!(first.seen().datagrams, 0);

        // It comes: it gets all that it missed, without a job event or a resync.
        names.set("127.0.0.1 statsd.test\n");
        until(&mut host, |host| state(host) == "ok");
        let truth = host.counts();
        let mut want = truth.clone();
        if resync == 0 {
            want.retain(|_, count| *count != 0);
        }
        assert_eq!(first.seen().gauges, want, "{}", host.query());
        // What was meant for it before it was found is no failure of its own.
        step(&mut host, 2, RUN, CLEANUP);
        host.advance(30.0);
        assert_eq!(state(&mut host), "ok");
        let log: Vec<_> = host.log().into_iter().map(|(_, text)| text).collect();
        let about = |text: &str| log.iter().filter(|line| line.contains(text)).count();
        assert_eq!(about("endpoint \"statsd.test:"), 2, "{log:?}");
        assert_eq!(about("found, at 127.0.0.1"), 1, "{log:?}");

        // It moves: the old one is taken leave of, the new one knows it all.
        names.set("127.0.0.2 statsd.test\n");
        until(&mut host, |_| second.seen().datagrams > 0);
        step(&mut host, 2, CLEANUP, INACTIVE);
        host.counts();
        let seen = second.seen().gauges;
        assert_eq!((seen["CLEANUP"], seen["INACTIVE"]), (0, 2));
        let left = if resync == 0 { 0 } else { 1 };
        let first = first.seen().gauges;
        assert_eq!((first["CLEANUP"], first["INACTIVE"]), (0, left));
        host.end();
    }
}

#[test]
#[cfg_attr(not(have_namespaces), ignore = "needs unshare to be allowed, and scripts/test")]
fn what_is_pending_when_a_host_is_found_is_not_counted_twice() {
    let mut receiver = Receiver::start();
    let port = receiver.endpoint().rsplit_once(':').unwrap().1.to_owned();
    let names = Names::known("");
    let mut host = FakeJobManager::start_in(&names, &format!("statsd.test:{port}"));
    host.load(plugin(), json!({"resync": 0, "period": "1h", "lookup": "1s"})).unwrap();
    until(&mut host, |host| state(host).starts_with("host not found"));
    live(&mut host, 1, &COURSE);
    live(&mut host, 2, &COURSE[..5]);
    names.set("127.0.0.1 statsd.test\n");
    until(&mut host, |host| state(host) == "ok");
    // The greeting holds all that the period's sums hold.
    assert_eq!(receiver.seen().gauges, Counts::from([("INACTIVE".into(), 1), ("RUN".into(), 1)]));
    step(&mut host, 2, RUN, CLEANUP);
    host.advance(3600.0);
    let truth = host.counts();
    let seen = receiver.seen();
    assert_eq!((seen.gauges["RUN"], seen.gauges["CLEANUP"]), (0, 1));
    assert_eq!((seen.gauges["INACTIVE"], seen.negative()), (truth["INACTIVE"], Counts::new()));
    host.end();
}

#[test]
#[cfg_attr(
    not(all(have_namespaces, have_ipv6)),
    ignore = "needs IPv6, unshare to be allowed, and scripts/test"
)]
fn a_server_at_a_names_second_address_is_reached() {
    let mut receiver = Receiver::start_at("127.0.0.1:0");
    let port = receiver.endpoint().rsplit_once(':').unwrap().1.to_owned();
    let names = Names::known("::1 statsd.test\n127.0.0.1 statsd.test\n");
    for resync in [0, 10] {
        receiver.forget();
        let mut host = FakeJobManager::start_in(&names, &format!("statsd.test:{port}"));
        host.load(plugin(), json!({"resync": resync})).unwrap();
        live(&mut host, 1, &COURSE);
        live(&mut host, 2, &COURSE[..5]);
        until(&mut host, |host| state(host) == "ok");
        // It is found out by sending.
        live(&mut host, 3, &COURSE[..5]);
        until(&mut host, |_| receiver.seen().datagrams > 0);
        step(&mut host, 3, RUN, CLEANUP);
        let mut truth = host.counts();
        let seen = receiver.seen();
        assert_eq!(seen.negative(), Counts::new());
        truth.retain(|state, _| resync > 0 || seen.gauges.contains_key(state));
        assert_eq!(seen.gauges, truth, "{}", host.query());
        assert_eq!((seen.gauges["RUN"], seen.gauges["CLEANUP"]), (1, 1));
        host.end();
    }
}

/// The commonest case there is: `localhost` is ::1 first, and the server listens on
/// 127.0.0.1 alone.
#[test]
#[cfg_attr(
    not(all(have_namespaces, have_ipv6)),
    ignore = "needs IPv6, unshare to be allowed, and scripts/test"
)]
fn the_address_that_does_not_refuse_is_found_before_anything_happens() {
    let mut receiver = Receiver::start_at("127.0.0.1:0");
    let port = receiver.endpoint().rsplit_once(':').unwrap().1.to_owned();
    let names = Names::known("127.0.0.9 statsd.test\n::1 statsd.test\n127.0.0.1 statsd.test\n");
    for resync in [0, 3600] {
        receiver.begin(Counts::new());
        let mut host = FakeJobManager::start_in(&names, &format!("statsd.test:{port}"));
        host.load(plugin(), json!({"resync": resync, "lookup": "1h", "verify": 0})).unwrap();
        live(&mut host, 1, &COURSE);
        live(&mut host, 2, &COURSE[..5]);
        // The look-up takes its time, of the wall's; of the host's, no check of the
        // outputs may pass, which come every 10 s.
        let mut waited = 0.0;
        while receiver.seen().datagrams == 0 && waited < 9.0 {
            host.advance(0.01);
            thread::sleep(Duration::from_millis(5));
            waited += 0.01;
        }
        let mut truth = host.counts();
        truth.retain(|_, count| resync > 0 || *count != 0);
        assert_eq!(receiver.seen().gauges, truth, "after {waited} s: {}", host.query());
        let log: Vec<_> = host.log().into_iter().map(|(_, text)| text).collect();
        assert!(!log.iter().any(|line| line.contains("fail")), "the others were tried: {log:?}");
        host.advance(11.0);
        assert_eq!(state(&mut host), "ok");
        host.end();
    }
}

/// What the endpoints of `host` are, and the log lines about the second.
fn second(host: &mut FakeJobManager) -> (String, Vec<String>) {
    let state = host.query()["endpoints"][1]["state"].as_str().unwrap().to_owned();
    let log = host.log().into_iter().map(|(_, text)| text);
    (state, log.filter(|line| line.contains("only one of them is used")).collect())
}

#[test]
#[cfg_attr(not(have_namespaces), ignore = "needs unshare to be allowed, and scripts/test")]
fn two_endpoints_that_come_to_one_address_are_sent_to_once() {
    let mut receiver = Receiver::start_at("127.0.0.1:0");
    let first = receiver.endpoint();
    let port = first.rsplit_once(':').unwrap().1.to_owned();
    let names = Names::known("127.0.0.1 one.test\n::1 both.test\n127.0.0.1 both.test\n");
    let others = ["one.test", "both.test", "0.0.0.0", "[::ffff:127.0.0.1]", "[::ffff:0.0.0.0]"];
    for (resync, other) in [0, 3600].into_iter().flat_map(|r| others.map(|other| (r, other))) {
        receiver.begin(Counts::new());
        let other = format!("{other}:{port}");
        let mut host = FakeJobManager::start_in(&names, &first);
        let conf = |endpoint: &str| json!({"state-counts": {"endpoint": endpoint, "resync": resync, "lookup": "1h"}});
        host.config(&conf(&format!("{first},{other}")));
        host.load(plugin(), json!({})).unwrap();
        let mut told = Vec::new();
        until(&mut host, |host| {
            let (state, log) = second(host);
            told.extend(log);
            state == format!("same as \"{first}\"")
        });
        live(&mut host, 1, &COURSE);
        live(&mut host, 2, &COURSE[..5]);
        let mut truth = host.counts();
        truth.retain(|_, count| resync > 0 || *count != 0);
        let gauges = |receiver: &mut Receiver| {
            let mut gauges = receiver.seen().gauges;
            gauges.retain(|_, count| resync > 0 || *count != 0);
            gauges
        };
        assert_eq!(gauges(&mut receiver), truth, "{other}, resync {resync}: {}", host.query());
        let shown = if other.starts_with('[') {
            &host.query()["endpoints"][1]["endpoint"]
        } else {
            &json!(other)
        };
        let want = format!(
            "endpoint {shown}: same as \"{first}\" (127.0.0.1:{port}): only one of them is used"
        );
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].ends_with(&want), "{told:?}, want {want}");

        // The one that sends goes: the other takes over, and nothing is lost.
        host.reload(&conf(&other)).unwrap();
        step(&mut host, 2, RUN, CLEANUP);
        host.advance(0.1);
        let mut truth = host.counts();
        truth.retain(|_, count| resync > 0 || *count != 0);
        assert_eq!(gauges(&mut receiver), truth, "{other}, resync {resync}: {}", host.query());
        assert_eq!(receiver.seen().negative(), Counts::new());
        host.end();
    }
}

#[test]
fn two_paths_of_one_socket_are_sent_to_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("statsd.sock");
    let link = folder.path().join("link.sock");
    let server = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    server.set_nonblocking(true).unwrap();
    std::os::unix::fs::symlink(&path, &link).unwrap();
    let mut host = FakeJobManager::start(None);
    let endpoints = format!("unix:{},unix:{}", path.display(), link.display());
    host.load(plugin(), json!({"endpoint": endpoints})).unwrap();
    host.advance(0.1);
    host.counts();
    let mut buffer = [0; 2048];
    let received = std::iter::from_fn(|| server.recv(&mut buffer).ok()).count();
    let endpoints = host.query()["endpoints"].clone();
    let sent = [&endpoints[0]["datagrams"], &endpoints[1]["datagrams"]];
    assert_eq!((received > 0, sent), (true, [&json!(received), &json!(0)]));
    let (state, log) = second(&mut host);
    assert_eq!((state, log.len()), (format!("same as \"unix:{}\"", path.display()), 1));
    assert_eq!(host.query()["endpoints"][1]["address"], json!(link));
    host.end();
}

#[test]
#[cfg_attr(not(have_namespaces), ignore = "needs unshare to be allowed, and scripts/test")]
fn a_dead_name_server_holds_up_nothing_and_a_removal_is_safe() {
    let names = Names::silent();
    let mut host = FakeJobManager::start_in(&names, "statsd.test:8125");
    for round in 0..3 {
        host.load(plugin(), json!({})).unwrap();
        host.advance(0.1);
        live(&mut host, round, &COURSE);
        let truth = host.counts();
        // All of this happened while the look-up was under way, and still is.
        assert_eq!(state(&mut host), "looking up");
        assert_eq!(host.query()["counts"]["INACTIVE"], truth["INACTIVE"]);
        host.remove(NAME).unwrap();
        assert!(!host.mapped(NAME), "a look-up does not pin the library");
    }
    host.end();
}

/// The texts of the log since the last look.
fn log(host: &mut FakeJobManager) -> Vec<String> {
    host.log().into_iter().map(|(_, text)| text).collect()
}

/// Host time passes in small steps, and a little of the wall's for the name service.
fn pass(host: &mut FakeJobManager, seconds: f64) {
    for _ in 0..(seconds * 50.0) as usize {
        host.advance(0.02);
        thread::sleep(Duration::from_millis(2));
    }
}

/// Where gauges are sums of several instances, an idle one sends nothing at first that
/// could be refused.
#[test]
#[cfg_attr(
    not(all(have_namespaces, have_ipv6)),
    ignore = "needs IPv6, unshare to be allowed, and scripts/test"
)]
fn an_idle_instance_finds_the_server_at_its_first_datagram() {
    let mut receiver = Receiver::start_at("127.0.0.1:0");
    let port = receiver.endpoint().rsplit_once(':').unwrap().1.to_owned();
    let names = Names::known("::1 statsd.test\n127.0.0.1 statsd.test\n");
    receiver.begin(Counts::new());
    let mut host = FakeJobManager::start_in(&names, &format!("statsd.test:{port}"));
    host.load(plugin(), json!({"resync": 0, "lookup": "1h", "verify": 0})).unwrap();
    pass(&mut host, 2.0);
    assert_eq!(receiver.seen().datagrams, 0);
    live(&mut host, 1, &COURSE[..5]);
    host.advance(1.0);
    host.counts();
    assert_eq!(receiver.seen().gauges.get("RUN"), Some(&1), "{}", host.query());
    let log = log(&mut host);
    assert!(!log.iter().any(|line| line.contains("fail")), "{log:?}");
    host.end();
}

#[test]
#[cfg_attr(not(have_namespaces), ignore = "needs unshare to be allowed, and scripts/test")]
fn two_endpoints_of_a_dead_server_fill_no_log() {
    let first = crate::support::receiver::vacant().to_string();
    let port = first.rsplit_once(':').unwrap().1.to_owned();
    let names = Names::known("127.0.0.9 both.test\n127.0.0.1 both.test\n");
    let mut host = FakeJobManager::start_in(&names, &first);
    let endpoint = format!("{first},both.test:{port}");
    host.load(plugin(), json!({"endpoint": endpoint, "resync": 5, "verify": 0})).unwrap();
    for round in 0..30 {
        live(&mut host, round, &COURSE);
        for _ in 0..20 {
            host.advance(0.5);
            thread::sleep(Duration::from_millis(2));
        }
    }
    let log = log(&mut host);
    let once = log.iter().filter(|line| line.contains("only one of them is used")).count();
    assert!(once <= 1 && log.len() < 20, "300 s: {log:#?}");
    host.end();
}

/// Where gauges are sums of several instances, a server that is left and come back to
/// would have everything added once more.
#[test]
#[cfg_attr(not(have_namespaces), ignore = "needs unshare to be allowed, and scripts/test")]
fn a_server_that_missed_a_datagram_and_is_back_is_not_left() {
    let bind = |address: String| {
        let socket = std::net::UdpSocket::bind(address).unwrap();
        socket.set_nonblocking(true).unwrap();
        socket
    };
    // The sum of the increments of CLEANUP that are there.
    let added = |server: &std::net::UdpSocket| {
        let (mut buffer, mut sum) = ([0; 2048], 0);
        while let Ok(length) = server.recv(&mut buffer) {
            for line in std::str::from_utf8(&buffer[..length]).unwrap().lines() {
                if let Some(value) = line.strip_prefix("flux.job.state.CLEANUP:") {
                    sum += value.strip_suffix("|g").unwrap().parse::<i64>().unwrap();
                }
            }
        }
        sum
    };
    let server = bind("127.0.0.1:0".to_owned());
    let address = server.local_addr().unwrap();
    let names = Names::known("127.0.0.1 statsd.test\n127.0.0.9 statsd.test\n");
    let endpoint = format!("statsd.test:{}", address.port());
    let mut host = FakeJobManager::start_in(&names, &endpoint);
    host.load(plugin(), json!({"resync": 0, "lookup": "1h", "verify": 0})).unwrap();
    pass(&mut host, 2.0);
    live(&mut host, 1, &COURSE[..5]);
    host.counts();
    drop(server);
    live(&mut host, 2, &COURSE[..4]);
    host.counts();
    let server = bind(address.to_string());
    // As long as a datagram is not sent again after another one was.
    thread::sleep(Duration::from_millis(150));
    // Refused for an earlier one, sent again, and received.
    step(&mut host, 1, RUN, CLEANUP);
    host.counts();
    let before = added(&server);
    pass(&mut host, 15.0);
    host.counts();
    let after = added(&server);
    assert!(before + after <= 1, "{before} and {after}, of one job: {}", host.query());
    host.end();
}

#[test]
fn no_value_is_sent_once_gauges_are_shared() {
    let mut receiver = Receiver::start();
    let mut host = FakeJobManager::start(Some(&receiver.endpoint()));
    let conf = |resync: u32| json!({"state-counts": {"resync": resync, "period": 5, "verify": 0}});
    host.config(&conf(8));
    host.load(plugin(), json!({})).unwrap();
    live(&mut host, 1, &COURSE[..5]);
    // A resync is due at 8 s, and leaves at 10.
    host.advance(9.0);
    let sent = |host: &mut FakeJobManager| host.query()["endpoints"][0]["datagrams"].as_u64();
    let before = sent(&mut host);
    host.reload(&conf(0)).unwrap();
    host.advance(20.0);
    assert_eq!(sent(&mut host), before, "{:?}", receiver.seen().texts);
    host.end();
}
