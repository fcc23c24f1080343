//! The end of the plugin in a broker while changes are pending or lookups are under way, by a
//! reload of the job manager or a shutdown; and a broker that is stopped for a while.

use std::time::Duration;

use crate::support::artifact::{plugin, NAME};
use crate::support::broker::{Broker, Setup, ENDLESS, SIMULATED};
use crate::support::names::Names;
use crate::support::receiver::Receiver;
use crate::support::{counts, Counts};

/// A broker whose plugin flushes only at its end, with 10 inactive jobs, 3 running ones, and
/// pending changes.
fn pending(conf: &str) -> (Broker, Receiver) {
    let mut receiver = Receiver::start();
    let conf = format!("period = \"1h\", {conf}");
    let broker = Setup::new(receiver.endpoint()).plugin(plugin(), &conf).start();
    broker.query();
    broker.submit(&[SIMULATED, "--cc=1-10"]);
    broker.drain();
    broker.submit(&[ENDLESS, "--cc=1-3"]);
    let truth = counts(&[("INACTIVE", 10), ("RUN", 3)]);
    broker.wait_stats(|stats| *stats == truth);
    let seen = receiver.seen().gauges;
    assert_eq!(seen.get("RUN").copied().unwrap_or(0), 0, "it is pending");
    (broker, receiver)
}

/// With absolute values INACTIVE keeps its value; with shared gauges all is subtracted.
const ENDS: [(&str, bool); 2] = [(r#"resync = "1h""#, true), ("resync = 0", false)];

#[test]
#[cfg_attr(not(have_flux), ignore = "needs flux on PATH")]
fn pending_changes_are_sent_at_a_reload_of_the_job_manager() {
    for (conf, stays) in ENDS {
        let (broker, mut receiver) = pending(conf);
        broker.reload_job_manager();
        // The values of the next instance, after the final values of the previous one.
        let mut left = vec![("RUN", 3)];
        left.extend(stays.then_some(("INACTIVE", 10)));
        let left = counts(&left);
        let is_left = |gauges: &Counts| {
            left.iter().all(|(state, count)| gauges.get(state).unwrap_or(&0) == count)
        };
        let seen = receiver.wait(Duration::from_secs(10), |seen| is_left(&seen.gauges));
        assert!(is_left(&seen.gauges), "{conf}: {:?}", seen.gauges);
        assert_eq!(seen.negative(), Counts::new());
        broker.assert_log_is_clean();
        broker.kill();
    }
}

#[test]
#[cfg_attr(not(have_flux), ignore = "needs flux on PATH")]
fn pending_changes_are_sent_at_a_shutdown() {
    for (conf, stays) in ENDS {
        let (broker, mut receiver) = pending(conf);
        broker.end();
        let mut gauges = receiver.seen().gauges;
        gauges.retain(|_, count| *count != 0);
        // The shutdown canceled three jobs.
        let left = stays.then(|| ("INACTIVE".to_owned(), 13));
        assert_eq!(gauges, Counts::from_iter(left), "{conf}");
        assert_eq!(receiver.seen().negative(), Counts::new());
    }
}

#[test]
#[cfg_attr(
    not(all(have_flux, have_namespaces)),
    ignore = "needs flux on PATH, unshare to be allowed, and scripts/test"
)]
fn a_reload_of_the_job_manager_and_a_shutdown_during_a_lookup_are_clean() {
    // The name server never responds, and glibc waits for it longer than this test takes.
    let names = Names::silent_with("timeout:30 attempts:5");
    let conf = r#"endpoint = "statsd.test:8125,other.test:8125", period = "1h""#;
    for reload in [false, true] {
        let broker = Setup::new(None).names(&names).plugin(plugin(), conf).start();
        let assert_looking_up = || {
            let endpoints = broker.query()["endpoints"].clone();
            for endpoint in endpoints.as_array().unwrap() {
                assert_eq!(endpoint["state"], "looking up");
            }
        };
        assert_looking_up();
        broker.submit(&[SIMULATED, "--cc=1-10"]);
        broker.drain();
        if reload {
            broker.flux(&["module", "reload", "job-manager"]);
            assert_looking_up();
        }
        // Loads and removals during lookups.
        for _ in 0..5 {
            broker.remove(NAME);
            broker.load(plugin(), &["endpoint=third.test:8125"]).unwrap();
        }
        assert_looking_up();
        broker.end();
    }
}

#[test]
#[cfg_attr(not(have_flux), ignore = "needs flux on PATH")]
fn a_broker_that_is_stopped_and_continued_goes_on() {
    for conf in ["", r#"period = "100ms""#] {
        let mut receiver = Receiver::start();
        let broker = Setup::new(receiver.endpoint()).plugin(plugin(), conf).start();
        broker.submit(&[ENDLESS, "--cc=1-4"]);
        for _ in 0..5 {
            // The broker is stopped while jobs are submitted and end.
            broker.submit(&[SIMULATED, "--cc=1-20"]);
            // Timers of the plugin are due while it is stopped.
            broker.pause(Duration::from_millis(500));
        }
        broker.wait_stats(|stats| stats["INACTIVE"] == 100 && stats["RUN"] == 4);
        broker.assert_true(&mut receiver);
        assert_eq!(broker.log().len(), 1, "the load's line, and no other: {:?}", broker.log());
        broker.end();
    }
}
