//! The plugin's metrics in the server whose protocol it speaks, Etsy's statsd.

use std::time::Duration;

use crate::support::artifact::plugin;
use crate::support::broker::{Setup, ENDLESS, SIMULATED};
use crate::support::statsd::Statsd;

const PATIENCE: Duration = Duration::from_secs(5);

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
