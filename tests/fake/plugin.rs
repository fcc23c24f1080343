//! The plugin as a job manager would meet it, through the fake job manager.

use std::thread;
use std::time::{Duration, Instant};

use crate::support::artifact::{panicking_plugin, plugin, NAME};
use crate::support::compiled::c_plugin;
use crate::support::fake_job_manager::{program, FakeJobManager};
use crate::support::jobs::{live, step, CLEANUP, COURSE, DEPEND, NEW, PRIORITY, RUN};
use crate::support::names::Names;
use crate::support::receiver::{vacant, Receiver};
use crate::support::{counts, trace, Counts};
use serde_json::json;

#[track_caller]
fn assert_true(host: &mut FakeJobManager, receiver: &mut Receiver) {
    let truth = host.counts();
    let seen = receiver.seen();
    assert_eq!(seen.gauges, truth, "received (left), recounted (right)");
    assert_eq!(seen.negative(), Counts::new());
}

#[test]
fn the_recorded_run_gives_the_recorded_brokers_counts() {
    let (mut host, mut receiver) = FakeJobManager::running(json!({}));
    let before = receiver.seen().datagrams;
    let mut changes = 0;
    let mut purging = false;
    for (number, recorded) in trace::callbacks().iter().enumerate() {
        if recorded.topic == "job.inactive-remove" && !purging {
            purging = true;
            host.counts();
            assert_eq!(receiver.seen().gauges, trace::truth("before-purge"));
        }
        host.call(&recorded.topic, &recorded.args);
        changes += match recorded.topic.as_str() {
            "job.new" | "job.inactive-remove" => 1,
            "job.state.depend" => u64::from(recorded.args["prev_state"].is_i64()),
            topic => u64::from(topic.starts_with("job.state.")),
        };
        if number % 200 == 0 {
            // The receiver keeps up, so that the kernel drops nothing.
            assert_true(&mut host, &mut receiver);
        }
    }
    assert_true(&mut host, &mut receiver);
    let seen = receiver.seen();
    assert_eq!(seen.gauges, trace::truth("after-purge"));
    assert_eq!(seen.datagrams - before, changes, "one datagram for each event that counts");
    host.end();
}

#[test]
fn a_transition_is_one_datagram_with_the_arrival_first() {
    let (mut host, mut receiver) = FakeJobManager::running(json!({}));
    receiver.forget();
    live(&mut host, 1, &[NEW, DEPEND]);
    host.counts();
    assert_eq!(
        receiver.seen().texts,
        ["flux.job.state.NEW:+1|g", "flux.job.state.DEPEND:+1|g\nflux.job.state.NEW:-1|g"]
    );
}

#[test]
fn a_plugin_loaded_late_knows_the_active_and_the_inactive_jobs() {
    let mut receiver = Receiver::start();
    let mut host = FakeJobManager::start(Some(&receiver.endpoint()));
    for (id, path) in (1..=COURSE.len()).enumerate() {
        live(&mut host, id as i64, &COURSE[..path]);
    }
    host.load(plugin(), json!({})).unwrap();
    host.advance(0.1);
    assert_true(&mut host, &mut receiver);
    assert_eq!(host.counts(), one_in_each_state());
    step(&mut host, 1, DEPEND, PRIORITY);
    assert_true(&mut host, &mut receiver);
}

fn one_in_each_state() -> Counts {
    crate::support::STATES.iter().map(|state| (state.to_string(), 1)).collect()
}

#[test]
fn a_second_load_leaves_the_first_untouched() {
    let (mut host, mut receiver) = FakeJobManager::running(json!({}));
    live(&mut host, 1, &COURSE[..5]);
    host.counts();
    let before = receiver.seen().datagrams;
    assert_eq!(host.load(plugin(), json!({})), Err("already loaded".into()));
    host.advance(0.5);
    host.counts();
    assert_eq!(receiver.seen().datagrams, before, "nothing on the wire");
    step(&mut host, 1, RUN, CLEANUP);
    assert_true(&mut host, &mut receiver);
    host.end();
}

#[test]
fn removal_leaves_no_ghost_and_no_code() {
    for conf in [json!({}), json!({"send": "values", "resync": 0}), json!({"period": 1})] {
        let (mut host, mut receiver) = FakeJobManager::running(conf.clone());
        live(&mut host, 1, &COURSE);
        live(&mut host, 2, &COURSE[..5]);
        host.remove(NAME).unwrap();
        assert_eq!(receiver.seen().gauges, counts(&[("INACTIVE", 1)]), "{conf}");
        assert_eq!(receiver.seen().negative(), Counts::new());
        assert!(!host.mapped(NAME));
        // The thread that ran the plugin ends here, without its code.
        host.end();
    }
}

#[test]
fn a_plugin_that_shares_its_names_takes_back_what_it_gave() {
    let mut receiver = Receiver::start();
    let mut hosts: Vec<_> =
        (0..2).map(|_| FakeJobManager::start(Some(&receiver.endpoint()))).collect();
    for host in &mut hosts {
        live(host, 1, &COURSE);
        live(host, 2, &COURSE[..5]);
        host.load(plugin(), json!({"resync": 0})).unwrap();
        host.advance(0.1);
        live(host, 3, &COURSE[..5]);
        host.counts();
    }
    assert_eq!(receiver.seen().gauges, {
        let mut both = Counts::new();
        both.extend([("RUN".to_owned(), 4), ("INACTIVE".to_owned(), 2)]);
        both.extend(["NEW", "DEPEND", "PRIORITY", "SCHED"].map(|state| (state.to_owned(), 0)));
        both
    });
    hosts[0].remove(NAME).unwrap();
    let seen = receiver.seen();
    assert_eq!((seen.gauges["RUN"], seen.gauges["INACTIVE"]), (2, 1));
    hosts[1].remove(NAME).unwrap();
    assert!(receiver.seen().gauges.values().all(|&count| count == 0));
}

#[test]
fn without_an_endpoint_the_plugin_loads_and_says_so() {
    let mut host = FakeJobManager::start(None);
    host.load(plugin(), json!({})).unwrap();
    live(&mut host, 1, &COURSE);
    host.advance(30.0);
    let log = host.log();
    assert_eq!(log.len(), 1, "{log:?}");
    let line =
        "no endpoint is set: no metrics are sent (expected endpoint=HOST:PORT at load or in \
                the broker's [state-counts], or FLUX_FRIPP_STATSD in its environment)";
    assert!(log[0].1.contains(line), "{log:?}");
    host.end();
}

#[test]
fn an_absent_server_fails_no_callback_and_fills_no_log() {
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

#[test]
fn broken_arguments_are_logged_once_and_harm_nobody() {
    let (mut host, mut receiver) = FakeJobManager::running(json!({}));
    host.load(&c_plugin("second", "second.so"), json!({})).unwrap();
    host.log();
    for args in
        [json!({}), json!({"state": "RUN"}), json!({"id": 9, "state": RUN, "prev_state": "x"})]
    {
        for topic in ["job.new", "job.state.run"] {
            host.call(topic, &args);
        }
    }
    live(&mut host, 1, &COURSE);
    let log: Vec<_> = host.log().into_iter().map(|(_, text)| text).collect();
    assert_eq!(
        log,
        [
            "state-counts: job.new: cannot unpack the callback's arguments: Object item not \
             found: id (further ones are not logged)",
            "state-counts: job.state: cannot unpack the callback's arguments: Object item not \
             found: id (further ones are not logged)",
            "second: a job runs",
        ]
    );
    assert_eq!(host.silenced(), 0);
    // The last of the three told job.new all that it asks for.
    assert_eq!(receiver.seen().gauges, counts(&[("RUN", 1), ("INACTIVE", 1)]));
    host.end();
}

#[test]
fn a_panic_is_logged_once_and_the_plugin_behind_goes_on() {
    let receiver = Receiver::start();
    let mut host = FakeJobManager::start(Some(&receiver.endpoint()));
    host.load(panicking_plugin(), json!({})).unwrap();
    host.load(&c_plugin("second", "second.so"), json!({})).unwrap();
    host.log();
    for id in 0..3 {
        live(&mut host, id, &COURSE);
    }
    let log: Vec<_> = host.log().into_iter().map(|(_, text)| text).collect();
    assert_eq!(log.iter().filter(|line| *line == "second: a job runs").count(), 3);
    let panics: Vec<_> = log.iter().filter(|line| line.contains("a bug")).collect();
    assert_eq!(panics.len(), 1, "{log:?}");
    assert!(
        panics[0].contains("src/flux/callback.rs") && panics[0].contains("injected by the tests")
    );
    assert_eq!(host.silenced(), 0);
    host.remove("panicking.so").unwrap();
    assert!(!host.mapped("panicking.so"), "a panic does not pin the library");
    host.end();
}

#[test]
fn a_hundred_loads_leave_no_descriptor() {
    hundred_loads(FakeJobManager::start(None), "127.0.0.1:1,[::1]:1");
}

#[test]
#[cfg_attr(not(have_namespaces), ignore = "needs unshare to be allowed, and scripts/test")]
fn a_hundred_loads_that_look_names_up_leave_no_descriptor() {
    let names = Names::known("127.0.0.1 statsd.test\n");
    let host = FakeJobManager::spawn(names.command(program()), None);
    hundred_loads(host, "statsd.test:1,no-such-host.test:1");
}

fn hundred_loads(mut host: FakeJobManager, endpoints: &str) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("statsd.sock");
    let _server = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
    host.counts();
    let before = host.descriptors();
    for round in 0..100 {
        let endpoint = format!("{endpoints},unix:{}", path.display());
        host.load(plugin(), json!({"endpoint": endpoint})).unwrap();
        host.advance(0.1);
        live(&mut host, round, &COURSE);
        host.remove(NAME).unwrap();
    }
    // A look-up that was called off may still be read by a thread of glibc's.
    let end = Instant::now() + Duration::from_secs(20);
    while host.descriptors() > before && Instant::now() < end {
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(host.descriptors(), before);
    host.end();
}
