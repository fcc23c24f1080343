//! The plugin's metrics in the server whose protocol it speaks, Etsy's statsd.

mod support;

use std::time::Duration;

use serde_json::json;
use support::artifact::plugin;
use support::broker::{Setup, ENDLESS, SIMULATED};
use support::standin::Standin;
use support::statsd::Statsd;
use support::{counts, trace};

const PATIENCE: Duration = Duration::from_secs(5);

#[test]
#[cfg_attr(not(have_statsd), ignore = "needs npm's statsd: scripts/test")]
fn the_recorded_run_ends_right_in_etsys_statsd() {
    let server = Statsd::start();
    let mut host = Standin::start(Some(&server.endpoint()));
    host.load(plugin(), json!({})).unwrap();
    host.advance(0.1);
    for (number, recorded) in trace::callbacks().iter().enumerate() {
        host.call(&recorded.topic, &recorded.args);
        if number % 100 == 0 {
            // The server reads them: its socket holds a few hundred.
            let truth = host.counts();
            assert_eq!(server.wait(PATIENCE, &truth), truth);
        }
    }
    let truth = trace::truth("after-purge");
    assert_eq!(server.wait(PATIENCE, &truth), truth);
}

#[test]
#[cfg_attr(not(all(have_flux, have_statsd)), ignore = "needs flux on PATH, and scripts/test")]
fn a_brokers_run_ends_right_in_etsys_statsd() {
    let server = Statsd::start();
    let broker = Setup::new(server.endpoint()).start();
    broker.load(plugin(), &["resync=1"]).unwrap();
    broker.submit(&[SIMULATED, "--cc=1-300", "--quiet"]);
    broker.drain();
    broker.submit(&[ENDLESS, "--cc=1-3"]);
    let truth = broker.wait_stats(|stats| stats["RUN"] == 3);
    assert_eq!(server.wait(PATIENCE, &truth), truth);
}

#[test]
#[cfg_attr(not(have_statsd), ignore = "needs npm's statsd: scripts/test")]
fn a_server_that_was_restarted_is_right_within_one_resync() {
    let server = Statsd::start();
    let address = server.address();
    let mut host = Standin::start(Some(&server.endpoint()));
    for id in 0..5 {
        host.call("job.new", &json!({"id": id, "state": 16}));
    }
    host.load(plugin(), json!({"resync": 10})).unwrap();
    host.advance(0.1);
    let truth = counts(&[("RUN", 5)]);
    assert_eq!(server.wait(PATIENCE, &truth), truth);

    drop(server);
    host.call("job.state.cleanup", &json!({"id": 1, "state": 32, "prev_state": 16}));
    host.advance(5.0);
    host.counts();
    let server = Statsd::start_at(address);
    host.advance(10.0);
    let truth = counts(&[("RUN", 4), ("CLEANUP", 1)]);
    assert_eq!(server.wait(PATIENCE, &truth), truth);
}

#[test]
#[cfg_attr(not(all(have_flux, have_statsd)), ignore = "needs flux on PATH, and scripts/test")]
fn a_server_killed_in_a_brokers_run_is_right_again_when_it_is_back() {
    let server = Statsd::start();
    let address = server.address();
    let broker = Setup::new(server.endpoint()).start();
    broker.load(plugin(), &["resync=1"]).unwrap();
    broker.submit(&[ENDLESS, "--cc=1-3"]);
    broker.submit(&[SIMULATED, "--cc=1-500", "--quiet"]);
    drop(server);
    broker.wait_stats(|stats| stats["INACTIVE"] > 100);
    let server = Statsd::start_at(address);
    let truth = broker.wait_stats(|stats| stats["INACTIVE"] == 500);
    assert_eq!(server.wait(PATIENCE, &truth), truth);
}
