//! Lookups of host names: late hosts, hosts that move, and name servers that do not respond.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::second;
use crate::support::artifact::plugin;
use crate::support::fake_job_manager::FakeJobManager;
use crate::support::jobs::{live, step, CLEANUP, COURSE, INACTIVE, RUN};
use crate::support::names::Names;
use crate::support::receiver::Receiver;
use crate::support::Counts;

scenarios!(lookup:
    #[cfg_attr(not(have_namespaces), ignore = "needs unshare to be allowed, and scripts/test")]
    a_host_that_is_not_found_is_logged_once,
    #[cfg_attr(not(have_namespaces), ignore = "needs unshare to be allowed, and scripts/test")]
    a_name_server_that_never_responds_delays_no_job_and_no_removal,
);

/// Lets time pass for the host and for the name service, until `wanted` or for 10 s.
fn until(host: &mut FakeJobManager, mut wanted: impl FnMut(&mut FakeJobManager) -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !wanted(host) && Instant::now() < end {
        host.advance(1.0);
        thread::sleep(Duration::from_millis(5));
    }
}

/// The gauges that are compared: without resyncs a gauge that is 0 need not be sent.
fn compared(mut gauges: Counts, resync: u32) -> Counts {
    gauges.retain(|_, count| resync > 0 || *count != 0);
    gauges
}

fn state(host: &mut FakeJobManager) -> String {
    host.query()["endpoints"][0]["state"].as_str().unwrap().to_owned()
}

#[test]
#[cfg_attr(not(have_namespaces), ignore = "needs unshare to be allowed, and scripts/test")]
fn names_are_looked_up_without_waiting() {
    let mut receiver = Receiver::start();
    let port = receiver.endpoint().rsplit_once(':').unwrap().1.to_owned();
    let names = Names::known("127.0.0.1 statsd.test\n");
    let endpoints = format!("statsd.test:{port},no-such-host.test:1");
    let mut host = FakeJobManager::start_in(&names, &endpoints);
    host.load(plugin(), json!({})).unwrap();
    host.advance(0.1);
    live(&mut host, 1, &COURSE[..5]);
    until(&mut host, |host| {
        let query = host.query();
        let state =
            |number: usize| query["endpoints"][number]["state"].as_str().unwrap().to_owned();
        state(0) == "ok" && state(1).starts_with("host not found: ")
    });
    let truth = host.counts();
    assert_eq!(receiver.seen().gauges, truth, "{}", host.query());
    let log = host.log();
    let missing = "endpoint \"no-such-host.test:1\": host not found: ";
    let missing: Vec<_> = log.iter().filter(|(_, text)| text.contains(missing)).collect();
    assert_eq!(missing.len(), 1, "{log:?}");
    host.advance(300.0);
    assert!(host.log().is_empty(), "logged once");
    // A lookup may be under way at the end.
    host.end();
}

#[test]
#[cfg_attr(not(have_namespaces), ignore = "needs unshare to be allowed, and scripts/test")]
fn a_late_host_and_a_moved_host_are_found() {
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

        // When the host is found, it gets all values without a job event or a resync.
        names.set("127.0.0.1 statsd.test\n");
        until(&mut host, |host| state(host) == "ok");
        let truth = host.counts();
        let mut expected = truth.clone();
        if resync == 0 {
            expected.retain(|_, count| *count != 0);
        }
        assert_eq!(first.seen().gauges, expected, "{}", host.query());
        // Changes from before the host was found are not counted as failed sends.
        step(&mut host, 2, RUN, CLEANUP);
        host.advance(30.0);
        assert_eq!(state(&mut host), "ok");
        let log: Vec<_> = host.log().into_iter().map(|(_, text)| text).collect();
        let about = |text: &str| log.iter().filter(|line| line.contains(text)).count();
        assert_eq!(about("endpoint \"statsd.test:"), 2, "{log:?}");
        assert_eq!(about("found, at 127.0.0.1"), 1, "{log:?}");

        // When the host moves, the old server gets final values, and the new one all values.
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
fn pending_changes_are_counted_once_when_a_host_is_found() {
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
    // The first values include the pending changes.
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
fn the_second_address_of_a_name_is_tried() {
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
        // A datagram that is refused makes the plugin try the second address.
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

/// As with `localhost`, which is often ::1 first, while the server listens on 127.0.0.1 only.
#[test]
#[cfg_attr(
    not(all(have_namespaces, have_ipv6)),
    ignore = "needs IPv6, unshare to be allowed, and scripts/test"
)]
fn an_address_that_does_not_refuse_is_found_without_a_job_event() {
    let mut receiver = Receiver::start_at("127.0.0.1:0");
    let port = receiver.endpoint().rsplit_once(':').unwrap().1.to_owned();
    let names = Names::known("127.0.0.9 statsd.test\n::1 statsd.test\n127.0.0.1 statsd.test\n");
    for resync in [0, 3600] {
        receiver.begin(Counts::new());
        let mut host = FakeJobManager::start_in(&names, &format!("statsd.test:{port}"));
        host.load(plugin(), json!({"resync": resync, "lookup": "1h", "verify": 0})).unwrap();
        live(&mut host, 1, &COURSE);
        live(&mut host, 2, &COURSE[..5]);
        // The lookup takes real time. In the time of the host, no check of the endpoints may
        // be due, which comes every 10 s.
        let mut waited = 0.0;
        let truth = compared(host.counts(), resync);
        let gauges = |receiver: &mut Receiver| compared(receiver.seen().gauges, resync);
        while gauges(&mut receiver) != truth && waited < 9.0 {
            host.advance(0.01);
            thread::sleep(Duration::from_millis(5));
            waited += 0.01;
        }
        assert_eq!(gauges(&mut receiver), truth, "after {waited} s: {}", host.query());
        let log: Vec<_> = host.log().into_iter().map(|(_, text)| text).collect();
        assert!(!log.iter().any(|line| line.contains("fail")), "the others were tried: {log:?}");
        host.advance(11.0);
        assert_eq!(state(&mut host), "ok");
        host.end();
    }
}

#[test]
#[cfg_attr(not(have_namespaces), ignore = "needs unshare to be allowed, and scripts/test")]
fn two_endpoints_with_the_same_address_are_one_destination() {
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
        host.advance(0.1);
        until(&mut host, |host| {
            let (state, log) = second(host);
            told.extend(log);
            state == format!("same as \"{first}\"")
        });
        live(&mut host, 1, &COURSE);
        live(&mut host, 2, &COURSE[..5]);
        let truth = compared(host.counts(), resync);
        let gauges = |receiver: &mut Receiver| compared(receiver.seen().gauges, resync);
        assert_eq!(gauges(&mut receiver), truth, "{other}, resync {resync}: {}", host.query());
        let shown = if other.starts_with('[') {
            &host.query()["endpoints"][1]["endpoint"]
        } else {
            &json!(other)
        };
        let expected = format!(
            "endpoint {shown}: same as \"{first}\" (127.0.0.1:{port}): only one of them is used"
        );
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(told[0].ends_with(&expected), "{told:?}, expected {expected}");

        // When the endpoint that is used is removed, the other one is used, and no change is
        // lost.
        host.reload(&conf(&other)).unwrap();
        step(&mut host, 2, RUN, CLEANUP);
        host.advance(0.1);
        let truth = compared(host.counts(), resync);
        assert_eq!(gauges(&mut receiver), truth, "{other}, resync {resync}: {}", host.query());
        assert_eq!(receiver.seen().negative(), Counts::new());
        host.end();
    }
}

/// The texts of the log since the last call.
fn log(host: &mut FakeJobManager) -> Vec<String> {
    host.log().into_iter().map(|(_, text)| text).collect()
}

/// Lets time pass for the host in small steps, with some real time for the name service.
fn pass(host: &mut FakeJobManager, seconds: f64) {
    for _ in 0..(seconds * 50.0) as usize {
        host.advance(0.02);
        thread::sleep(Duration::from_millis(2));
    }
}

/// With shared gauges, an idle instance has nothing to send at first that could be refused.
#[test]
#[cfg_attr(
    not(all(have_namespaces, have_ipv6)),
    ignore = "needs IPv6, unshare to be allowed, and scripts/test"
)]
fn an_idle_instance_finds_the_server_with_its_first_datagram() {
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
fn two_endpoints_of_a_dead_server_do_not_fill_the_log() {
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

/// With shared gauges, a server would get all jobs a second time if the plugin left it and
/// returned to it.
#[test]
#[cfg_attr(not(have_namespaces), ignore = "needs unshare to be allowed, and scripts/test")]
fn a_server_that_missed_one_datagram_keeps_its_destination() {
    let bind = |address: String| {
        let socket = std::net::UdpSocket::bind(address).unwrap();
        socket.set_nonblocking(true).unwrap();
        socket
    };
    // The sum of the received increments of CLEANUP.
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
    // Longer than the time between two datagrams that are sent again.
    thread::sleep(Duration::from_millis(150));
    // The send fails because of an earlier datagram, is repeated, and arrives.
    step(&mut host, 1, RUN, CLEANUP);
    host.counts();
    let before = added(&server);
    pass(&mut host, 15.0);
    host.counts();
    let after = added(&server);
    assert!(before + after <= 1, "{before} and {after}, of one job: {}", host.query());
    host.end();
}
