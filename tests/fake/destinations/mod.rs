//! Endpoints, and what is sent to each of them.

use std::os::unix::net::UnixDatagram;

use serde_json::json;

use crate::support::artifact::plugin;
use crate::support::fake_job_manager::FakeJobManager;
use crate::support::jobs::{live, step, CLEANUP, COURSE, INACTIVE, RUN};
use crate::support::receiver::Receiver;
use crate::support::Counts;

mod disturbances;
mod lookup;
mod paths;
mod send_errors;

scenarios!(destinations:
    a_unix_server_that_is_stopped_has_all_values_at_the_end,
    a_unix_server_that_restarts_has_all_values_at_the_end,
    a_unix_server_that_takes_over_the_path_has_all_values_at_the_end,
);

const TABLE: &str = "state-counts";

#[test]
fn several_endpoints_get_all_metrics_and_a_dead_one_affects_no_other() {
    several_endpoints([Receiver::start(), Receiver::start()]);
}

#[test]
#[cfg_attr(not(have_ipv6), ignore = "needs an IPv6 loopback, and scripts/test")]
fn ipv4_and_ipv6_endpoints_get_all_metrics() {
    several_endpoints([Receiver::start(), Receiver::start_at("[::1]:0")]);
}

fn several_endpoints(mut receivers: [Receiver; 2]) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("statsd.sock");
    let local = UnixDatagram::bind(&path).unwrap();
    let endpoints = json!([
        receivers[0].endpoint(),
        "127.0.0.1:1",
        "unix:/no/such/socket",
        receivers[1].endpoint(),
        format!("unix:{}", path.display()),
    ]);
    let mut host = FakeJobManager::start(None);
    // The unread socket has room for only a few datagrams.
    host.load(plugin(), json!({"endpoint": endpoints, "resync": "1h"})).unwrap();
    host.advance(0.1);
    live(&mut host, 1, &COURSE[..5]);
    let truth = host.counts();
    for receiver in &mut receivers {
        assert_eq!(receiver.seen().gauges, truth);
        assert_eq!(receiver.seen().negative(), Counts::new());
    }
    let mut buffer = [0; 2048];
    let length = local.recv(&mut buffer).unwrap();
    assert!(buffer[..length].starts_with(b"flux.job.state.NEW:0|g\n"));

    // Failures are logged once, and counted.
    host.advance(60.0);
    let log: Vec<_> = host.log().into_iter().map(|(_, text)| text).collect();
    let about = |endpoint: &str| log.iter().filter(|text| text.contains(endpoint)).count();
    assert_eq!(about("endpoint \"127.0.0.1:1\": sends fail: ECONNREFUSED"), 1, "{log:?}");
    assert_eq!(about("endpoint \"unix:/no/such/socket\": sends fail"), 1, "{log:?}");
    assert_eq!(log.len(), 3, "these, and the line at load: {log:?}");
    let query = host.query();
    let states: Vec<_> = (0..5).map(|n| query["endpoints"][n]["state"].clone()).collect();
    assert_eq!(states, ["ok", "failing", "failing", "ok", "ok"]);
    assert!(query["endpoints"][1]["errors"]["ECONNREFUSED"].as_u64().unwrap() > 0);
    host.end();
}

#[test]
fn a_server_that_starts_late_at_a_unix_path_gets_all_values() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("statsd.sock");
    // The configuration, and the start of the first datagram.
    let table = [
        (json!({"resync": 0}), "flux.job.state.RUN:+1|g"),
        (json!({"resync": 0, "period": "1h"}), "flux.job.state.RUN:+1|g"),
        (json!({"resync": "1h"}), "flux.job.state.NEW:0|g\n"),
    ];
    for (mut conf, start) in table {
        conf["endpoint"] = json!(format!("unix:{}", path.display()));
        let mut host = FakeJobManager::start(None);
        host.load(plugin(), conf).unwrap();
        host.advance(0.1);
        live(&mut host, 1, &COURSE[..5]);
        let errors = host.query()["endpoints"][0]["errors"].clone();
        assert!(errors["ENOENT"].as_u64() > Some(0) || errors == json!({}), "{errors}");
        let server = UnixDatagram::bind(&path).unwrap();
        server.set_nonblocking(true).unwrap();
        // The first datagram contains the present values, including these changes.
        step(&mut host, 1, RUN, CLEANUP);
        step(&mut host, 1, CLEANUP, INACTIVE);
        live(&mut host, 2, &COURSE[..5]);
        host.advance(10.0);
        host.counts();
        let mut buffer = [0; 2048];
        let length = server.recv(&mut buffer).expect("first values");
        let text = std::str::from_utf8(&buffer[..length]).unwrap();
        assert!(text.starts_with(start), "{text}");
        assert!(text.contains("RUN:1|g") || text.contains("RUN:+1|g"), "{text}");
        assert!(server.recv(&mut buffer).is_err(), "that was all");
        assert_eq!(host.query()["endpoints"][0]["state"], "ok");
        host.end();
        std::fs::remove_file(&path).unwrap();
    }
}

#[test]
fn an_absent_endpoint_does_not_end_the_periods_of_others() {
    let mut receiver = Receiver::start();
    let endpoints = json!([receiver.endpoint(), "unix:/no/such/socket"]);
    let mut host = FakeJobManager::start(None);
    host.load(plugin(), json!({"endpoint": endpoints, "period": "1m", "resync": 0})).unwrap();
    host.advance(0.1);
    for id in 0..3 {
        live(&mut host, id, &COURSE[..5]);
        host.advance(15.0); // Past a beat.
    }
    assert_eq!(receiver.seen().datagrams, 0);
    // Nor is anything sent at a reload that changes neither names nor endpoints.
    host.reload(&json!({TABLE: {"lookup": "2m"}})).unwrap();
    host.counts();
    assert_eq!(receiver.seen().datagrams, 0);
    host.advance(15.0);
    host.counts();
    let seen = receiver.seen();
    assert_eq!((seen.gauges["RUN"], seen.datagrams), (3, 1));
    host.end();
}

#[test]
fn two_paths_of_one_socket_are_one_destination() {
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

/// The state of the second endpoint, and the log lines about it.
fn second(host: &mut FakeJobManager) -> (String, Vec<String>) {
    let state = host.query()["endpoints"][1]["state"].as_str().unwrap().to_owned();
    let log = host.log().into_iter().map(|(_, text)| text);
    (state, log.filter(|line| line.contains("only one of them is used")).collect())
}
