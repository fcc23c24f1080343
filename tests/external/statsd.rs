//! The plugin's metrics in the server whose protocol it speaks, Etsy's statsd.

use std::time::Duration;

use crate::support::artifact::plugin;
use crate::support::fake_job_manager::FakeJobManager;
use crate::support::statsd::Statsd;
use crate::support::{counts, trace};
use serde_json::json;

const PATIENCE: Duration = Duration::from_secs(5);

#[test]
#[cfg_attr(not(have_statsd), ignore = "needs npm's statsd: scripts/test")]
fn the_recorded_run_ends_right_in_etsys_statsd() {
    let server = Statsd::start();
    let mut host = FakeJobManager::start(Some(&server.endpoint()));
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
#[cfg_attr(not(have_statsd), ignore = "needs npm's statsd: scripts/test")]
fn a_server_that_was_restarted_is_right_within_one_resync() {
    let server = Statsd::start();
    let address = server.address();
    let mut host = FakeJobManager::start(Some(&server.endpoint()));
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
