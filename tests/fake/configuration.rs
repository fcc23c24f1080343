//! What an administrator may configure, by each way, and what is refused.

use std::collections::BTreeSet;
use std::net::UdpSocket;
use std::os::unix::net::UnixDatagram;
use std::thread;
use std::time::{Duration, Instant};

use crate::support::artifact::{plugin, NAME};
use crate::support::configurations::{bad, conf, good};
use crate::support::fake_job_manager::FakeJobManager;
use crate::support::jobs::{live, step, CLEANUP, COURSE, INACTIVE, RUN};
use crate::support::names::Names;
use crate::support::receiver::Receiver;
use crate::support::Counts;
use serde_json::{json, Value};
use state_counts::config::KEYS;

const TABLE: &str = "state-counts";

/// Lets the host's timers run, and real time pass, until `wanted` or 5 s.
fn until(host: &mut FakeJobManager, mut wanted: impl FnMut(&mut FakeJobManager) -> bool) {
    let end = Instant::now() + Duration::from_secs(5);
    while !wanted(host) && Instant::now() < end {
        host.advance(0.1);
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn each_mistake_is_refused_with_words_of_its_own_and_changes_nothing() {
    let table = bad();
    let words: BTreeSet<_> = table.iter().map(|(_, _, words)| words).collect();
    assert!(words.len() == table.len() && table.len() >= 60, "{} distinct", words.len());

    let mut receiver = Receiver::start();
    let mut host = FakeJobManager::start(Some(&receiver.endpoint()));
    live(&mut host, 1, &COURSE[..5]);
    for (key, value, words) in &table {
        assert!(words.len() < 160, "Flux cuts longer ones: {words}");
        assert_eq!(host.load(plugin(), json!({*key: value})), Err(words.clone()), "{value}");
        assert!(!host.mapped(NAME));
    }
    host.advance(30.0);
    host.counts();
    assert_eq!(receiver.seen().datagrams, 0);

    // The same as a table in the broker's configuration, at a reload.
    host.load(plugin(), json!({})).unwrap();
    host.advance(0.1);
    host.log();
    let before = host.query();
    for (key, value, words) in &table {
        let words = match *key == "tags" && words.contains("has no tags") {
            true => words.clone(),
            false => format!("[state-counts] {words}"),
        };
        let short: String = words.chars().take(150).collect();
        // What is right beside it is not taken either.
        let mut table = json!({"period": "1s"});
        table[*key] = value.clone();
        let refused = host.reload(&json!({TABLE: table})).unwrap_err();
        assert!(refused.starts_with(&short), "{refused}");
    }
    assert_eq!(host.query(), before, "the running configuration is untouched");
    assert!(host.log().is_empty());
    step(&mut host, 1, RUN, CLEANUP);
    let truth = host.counts();
    assert_eq!(receiver.seen().gauges, truth);
    host.end();
}

#[test]
fn a_prefix_that_gives_two_metrics_one_name_is_refused_with_both() {
    // The prefix's last part, the family that sends under that name, and as what.
    let table = [
        ("time", "timings", "timing"),
        ("exception", "results", "counter"),
        ("bank_cores", "banks", "gauge"),
    ];
    for (part, family, kind) in table {
        let conf = |metrics: Value| json!({"prefix": format!("x.{part}"), "metrics": metrics});
        for dialect in ["plain", "dogstatsd", "graphite", "influxdb"] {
            let mut host = FakeJobManager::start(None);
            let mut both = conf(json!(["states", family]));
            // With tags, each family's have keys of their own; the state's they share.
            both["dialect"] = json!(dialect);
            let refused = dialect == "plain" || family == "timings";
            let words = format!(
                "prefix: \"x.{part}\" gives a gauge of \"states\" and a {kind} of \"{family}\" \
                 the same name (expected another prefix)"
            );
            let wanted = if refused { Err(words.clone()) } else { Ok(()) };
            assert_eq!(host.load(plugin(), both.clone()), wanted, "{dialect}");
            if refused {
                // Either alone is taken, and a reload that adds the other is refused.
                host.config(&json!({TABLE: conf(json!(family))}));
                host.load(plugin(), json!({})).unwrap();
                assert_eq!(host.reload(&json!({TABLE: both})), Err(words));
            }
            host.end();
        }
    }
}

#[test]
fn what_is_no_object_is_refused() {
    let mut host = FakeJobManager::start(None);
    let words = "conf: 5 (expected an object of keys)";
    assert_eq!(host.load(plugin(), json!(5)), Err(words.into()));
    host.config(&json!({TABLE: [1]}));
    let words = "state-counts: [1] (expected a table of keys)";
    assert_eq!(host.load(plugin(), json!({})), Err(words.into()));
}

#[test]
fn a_mistake_in_the_environment_is_refused_where_it_counts() {
    let mut host = FakeJobManager::start(Some("localhost"));
    let words =
        "FLUX_FRIPP_STATSD: endpoint \"localhost\": missing \":PORT\" (expected HOST:PORT, \
                 [IPv6]:PORT or unix:PATH)";
    assert_eq!(host.load(plugin(), json!({})), Err(words.into()));
    host.load(plugin(), json!({"endpoint": "127.0.0.1:1"})).unwrap();
}

#[test]
fn every_key_is_reachable_by_each_way_and_visible() {
    let covered: BTreeSet<_> = good().iter().map(|(key, _, _)| *key).collect();
    assert_eq!(covered, BTreeSet::from(KEYS.map(|key| key.name)));
    for (key, value, shown) in good() {
        let mut host = FakeJobManager::start(None);
        host.load(plugin(), conf(key, &value)).unwrap();
        assert_eq!(host.query()["config"][key], json!({"value": shown, "from": "conf"}));
        host.remove(NAME).unwrap();

        host.config(&json!({TABLE: conf(key, &value)}));
        host.load(plugin(), json!({})).unwrap();
        let seen = json!({"value": shown, "from": "[state-counts]"});
        assert_eq!(host.query()["config"][key], seen);
        // Changed on the fly, and back.
        host.advance(0.1);
        host.reload(&json!({})).unwrap();
        assert_eq!(host.query()["config"][key]["from"], "default", "{key}");
        host.reload(&json!({TABLE: conf(key, &value)})).unwrap();
        assert_eq!(host.query()["config"][key], seen);
        host.end();
    }
    let mut host = FakeJobManager::start(Some("127.0.0.1:1"));
    host.load(plugin(), json!({})).unwrap();
    assert_eq!(host.query()["config"]["endpoint"]["from"], "FLUX_FRIPP_STATSD");
}

#[test]
fn names_are_filled_with_what_the_broker_says() {
    let table = [
        (json!({}), "flux.job.state.RUN:+1|g"),
        (json!({"states": "l"}), "flux.job.state.run:+1|g"),
        (json!({"states": "S", "prefix": "jobs"}), "jobs.R:+1|g"),
        (json!({"states": "s", "prefix": "jobs"}), "jobs.r:+1|g"),
        (json!({"prefix": "{cluster}.{rank}.{jobid}.{level}"}), "node.0.top.0.RUN:+1|g"),
        (json!({"prefix": "{hostname}"}), "node17_example_org.RUN:+1|g"),
        (json!({"prefix": "{cluster}", "cluster": "x1"}), "x1.RUN:+1|g"),
        (
            json!({"dialect": "dogstatsd", "tags": {"cluster": "{cluster}"}}),
            "flux.job.state:+1|g|#state:RUN,cluster:node",
        ),
        (json!({"dialect": "graphite"}), "flux.job.state;state=RUN:+1|g"),
        (
            json!({"dialect": "influxdb", "tags": {"site": "x"}}),
            "flux.job.state,state=RUN,site=x:+1|g",
        ),
    ];
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    for (conf, line) in table {
        let mut host = FakeJobManager::start(Some(&server.local_addr().unwrap().to_string()));
        let mut conf = conf.as_object().unwrap().clone();
        conf.insert("resync".into(), json!(0));
        host.load(plugin(), Value::Object(conf)).unwrap();
        host.advance(0.1);
        host.call("job.new", &json!({"id": 1, "state": RUN}));
        let mut buffer = [0; 2048];
        let length = server.recv(&mut buffer).unwrap();
        assert_eq!(std::str::from_utf8(&buffer[..length]).unwrap(), line);
        host.end();
        let length = server.recv(&mut buffer).unwrap();
        let farewell = line.replace("+1", "-1");
        assert_eq!(std::str::from_utf8(&buffer[..length]).unwrap(), farewell);
    }
}

#[test]
fn several_endpoints_get_everything_and_a_dead_one_hurts_no_other() {
    several_endpoints([Receiver::start(), Receiver::start()]);
}

#[test]
#[cfg_attr(not(have_ipv6), ignore = "needs an IPv6 loopback, and scripts/test")]
fn endpoints_of_ipv4_and_ipv6_get_everything() {
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
    // No more datagrams than the socket that nobody reads on holds.
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

    // Its failure is said once, and counted.
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
fn a_server_that_comes_late_at_its_path_is_greeted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("statsd.sock");
    // The greeting, and what increments are then.
    let table = [
        (json!({"resync": 0}), "flux.job.state.RUN:+1|g"),
        (json!({"resync": 0, "period": "1h"}), "flux.job.state.RUN:+1|g"),
        (json!({"resync": "1h"}), "flux.job.state.NEW:0|g\n"),
    ];
    for (mut conf, greeting) in table {
        conf["endpoint"] = json!(format!("unix:{}", path.display()));
        let mut host = FakeJobManager::start(None);
        host.load(plugin(), conf).unwrap();
        host.advance(0.1);
        live(&mut host, 1, &COURSE[..5]);
        let errors = host.query()["endpoints"][0]["errors"].clone();
        assert!(errors["ENOENT"].as_u64() > Some(0) || errors == json!({}), "{errors}");
        let server = UnixDatagram::bind(&path).unwrap();
        server.set_nonblocking(true).unwrap();
        // Not before it was greeted: what it hears first is what there is.
        step(&mut host, 1, RUN, CLEANUP);
        step(&mut host, 1, CLEANUP, INACTIVE);
        live(&mut host, 2, &COURSE[..5]);
        host.advance(10.0);
        host.counts();
        let mut buffer = [0; 2048];
        let length = server.recv(&mut buffer).expect("a greeting");
        let text = std::str::from_utf8(&buffer[..length]).unwrap();
        assert!(text.starts_with(greeting), "{text}");
        assert!(text.contains("RUN:1|g") || text.contains("RUN:+1|g"), "{text}");
        assert!(server.recv(&mut buffer).is_err(), "that was all");
        assert_eq!(host.query()["endpoints"][0]["state"], "ok");
        host.end();
        std::fs::remove_file(&path).unwrap();
    }
}

#[test]
fn an_endpoint_that_never_comes_does_not_end_the_others_periods() {
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
    // Nor does a reload that changes neither names nor ways.
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
#[cfg_attr(not(have_namespaces), ignore = "needs unshare to be allowed, and scripts/test")]
fn a_name_is_looked_up_off_the_reactors_path() {
    let mut receiver = Receiver::start();
    let port = receiver.endpoint().rsplit_once(':').unwrap().1.to_owned();
    let names = Names::known("127.0.0.1 statsd.test\n");
    let endpoints = format!("statsd.test:{port},no-such-host.test:1");
    let mut host = FakeJobManager::start_in(&names, &endpoints);
    host.load(plugin(), json!({})).unwrap();
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
    assert!(host.log().is_empty(), "said once");
    // Removed while a look-up may be under way.
    host.end();
}

#[test]
fn a_resync_within_a_long_period_is_sent_at_once() {
    let (mut host, mut receiver) =
        FakeJobManager::running(json!({"period": "1h", "resync": "10s"}));
    live(&mut host, 1, &COURSE[..5]);
    receiver.forget();
    host.advance(10.0);
    let truth = host.counts();
    assert_eq!(receiver.seen().gauges, truth);
    assert!(host.query()["last_flush"].as_f64().is_some());
    host.end();
}

#[test]
fn a_query_shows_everything() {
    let (mut host, _receiver) = FakeJobManager::running(json!({"period": 1}));
    live(&mut host, 1, &COURSE[..5]);
    host.call("job.state.cleanup", &json!({"id": 9, "state": 32, "prev_state": 8}));
    host.advance(20.0);
    let query = host.query();
    assert_eq!(query["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(query["counts"]["RUN"], 1);
    assert_eq!(query["counts"]["INACTIVE"], 0);
    assert_eq!(query["prefix"], "flux.job.state");
    assert_eq!(query["anomalies"]["missed_event"], 1);
    assert_eq!(query["resyncs"], 2);
    assert!(query["last_flush"].as_f64().unwrap() > 1.7e9);
    let endpoint = &query["endpoints"][0];
    assert_eq!(endpoint["state"], "ok");
    assert!(endpoint["datagrams"].as_u64().unwrap() >= 3);
    assert!(endpoint["bytes"].as_u64().unwrap() > 100);
    assert_eq!(endpoint["errors"], json!({}));
}

#[test]
fn telemetry_is_off_until_it_is_wanted() {
    for (wanted, count) in [(false, 0), (true, 1)] {
        let (mut host, mut receiver) =
            FakeJobManager::running(json!({"telemetry": wanted, "resync": 0}));
        live(&mut host, 1, &COURSE[..2]);
        host.advance(10.0);
        host.counts();
        let texts = receiver.others();
        let told = texts.iter().filter(|text| text.contains(".plugin.datagrams:2|c"));
        assert_eq!(told.count(), count, "{texts:?}");
        // PCP throws away what has a dash.
        assert!(!texts.iter().any(|text| text.contains('-')), "{texts:?}");
    }
}
