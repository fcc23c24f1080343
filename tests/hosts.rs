//! Hosts that are found late, that move, and a name server that is dead.

mod support;

use std::time::{Duration, Instant};
use std::{fs, thread};

use serde_json::json;
use support::artifact::{plugin, release_plugin, NAME};
use support::broker::{Broker, Setup, SIMULATED};
use support::jobs::{live, step, CLEANUP, COURSE, INACTIVE, RUN};
use support::names::Names;
use support::receiver::Receiver;
use support::standin::Standin;
use support::{counts, Counts};

/// Time passes for the host, and for the name service, until `wanted` or 10 s.
fn until(host: &mut Standin, mut wanted: impl FnMut(&mut Standin) -> bool) {
    let end = Instant::now() + Duration::from_secs(10);
    while !wanted(host) && Instant::now() < end {
        host.advance(1.0);
        thread::sleep(Duration::from_millis(5));
    }
}

fn state(host: &mut Standin) -> String {
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
        let mut host = Standin::start_in(&names, &format!("statsd.test:{port}"));
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
    let mut host = Standin::start_in(&names, &format!("statsd.test:{port}"));
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
#[cfg_attr(not(have_namespaces), ignore = "needs unshare to be allowed, and scripts/test")]
fn a_server_at_a_names_second_address_is_reached() {
    let mut receiver = Receiver::start_at("127.0.0.1:0");
    let port = receiver.endpoint().rsplit_once(':').unwrap().1.to_owned();
    let names = Names::known("::1 statsd.test\n127.0.0.1 statsd.test\n");
    for resync in [0, 10] {
        receiver.forget();
        let mut host = Standin::start_in(&names, &format!("statsd.test:{port}"));
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

#[test]
#[cfg_attr(not(have_namespaces), ignore = "needs unshare to be allowed, and scripts/test")]
fn a_dead_name_server_holds_up_nothing_and_a_removal_is_safe() {
    let names = Names::silent();
    let mut host = Standin::start_in(&names, "statsd.test:8125");
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

#[test]
#[ignore = "long, and needs flux on PATH: scripts/test --full"]
fn full_throughput_with_a_dead_name_server_against_without_the_plugin() {
    dead_name_server(2000, 5);
}

#[test]
#[cfg_attr(
    not(all(have_flux, have_namespaces)),
    ignore = "needs flux on PATH, unshare to be allowed, and scripts/test"
)]
fn a_broker_with_a_dead_name_server_runs_its_jobs_and_still_looks_up() {
    dead_name_server(50, 1);
}

/// Issue 4's measurement: throughput without the plugin and with it, in turns.
fn dead_name_server(jobs: usize, pairs: usize) {
    let names = Names::silent();
    // Not in the environment: flux-core's own content module would wait there.
    let broker = Setup::new(None).names(&names).start();
    let run = |broker: &Broker| {
        let start = Instant::now();
        broker.submit(&[SIMULATED, &format!("--cc=1-{jobs}"), "--quiet"]);
        broker.drain();
        jobs as f64 / start.elapsed().as_secs_f64()
    };
    // As it is installed: cargo test's own build is not optimised.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(NAME);
    fs::copy(release_plugin(), &file).unwrap();
    let run_with = |broker: &Broker| {
        broker.load(&file, &["endpoint=statsd.test:8125"]).unwrap();
        let with = run(broker);
        let address = &broker.query()["endpoints"][0]["address"];
        assert!(address.is_null(), "looked up all the time, and not found");
        broker.remove(NAME);
        with
    };
    run(&broker);
    let mut ratios = Vec::new();
    for pair in 0..pairs {
        // An instance that grows older grows slower: each goes first in turn.
        let (without, with) = match pair % 2 {
            0 => (run(&broker), run_with(&broker)),
            _ => {
                let with = run_with(&broker);
                (run(&broker), with)
            }
        };
        println!("{without:.1} jobs/s without, {with:.1} with: {:.3}", with / without);
        ratios.push(with / without);
    }
    ratios.sort_by(f64::total_cmp);
    println!("median of {pairs}: {:.3}", ratios[pairs / 2]);
    broker.end_with_complaints(); // The host was not found.
}

/// Loads the plugin where it runs, in the nested instance, and leaves its truth.
const NESTED: &str = "#!/bin/sh
flux jobtap load PLUGIN endpoint=ENDPOINT prefix='{level}.{jobid}' metrics=states,results
flux submit --cc=1-5 --setattr=exec.test.run_duration=10ms --quiet true
flux queue drain
flux submit --setattr=exec.test.run_duration=1h --quiet true
until flux job stats | grep -q '\"run\":1'; do sleep 0.1; done
sleep 1
";

#[test]
#[cfg_attr(not(have_flux), ignore = "needs flux on PATH")]
fn nested_instances_report_under_their_own_names() {
    let mut receiver = Receiver::start();
    let broker = Setup::new(None).start();
    let endpoint = format!("endpoint={}", receiver.endpoint());
    let conf = [endpoint.as_str(), "prefix={level}.{jobid}", "metrics=states,results"];
    broker.load(plugin(), &conf).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("nested.sh");
    let text = NESTED
        .replace("PLUGIN", plugin().to_str().unwrap())
        .replace("ENDPOINT", &receiver.endpoint());
    fs::write(&script, text).unwrap();
    let output = format!("--output={}", folder.path().join("output").display());
    // Its resources are pretended, as ours are. (flux batch knows --conf since 0.51.)
    fs::write(folder.path().join("inner.toml"), "[resource]\nnoverify = true\n").unwrap();
    let conf = format!("--env=FLUX_CONF_DIR={}", folder.path().display());
    let batch = ["batch", "-n1", &conf, &output, script.to_str().unwrap()];
    let id = broker.flux(&batch).replace('ƒ', "f");
    broker.drain();

    let sent = receiver.values();
    let last = |name: &str| sent.get(name).and_then(|values| values.last()).cloned();
    // What happens in one turn of the reactor is one line.
    let sum = |name: &str, before: &str, behind: &str| -> i64 {
        let values = sent.get(name).into_iter().flatten();
        let numbers = values.filter_map(|value| value.strip_prefix(before)?.strip_suffix(behind));
        numbers.map(|number| number.parse::<i64>().unwrap()).sum()
    };
    let increments = |name: &str| sum(name, "+", "|g");
    // The outer instance saw one job, the inner one six.
    assert_eq!(increments("0.top.RUN"), 1, "{sent:?}");
    assert_eq!(increments(&format!("1.{id}.RUN")), 6, "{sent:?}");
    assert_eq!(increments(&format!("1.{id}.INACTIVE")), 6, "5, and 1 at its end");
    assert_eq!(last(&format!("1.{id}.RUN")).as_deref(), Some("0|g"), "no ghost");
    // Not the state counts alone.
    let submitted = |name: &str| sum(&format!("{name}.result.submitted"), "", "|c");
    assert_eq!((submitted("0.top"), submitted(&format!("1.{id}"))), (1, 6));
    assert_eq!(broker.stats(), counts(&[("INACTIVE", 1)]));
    broker.end();
}
