//! Datagrams that are lost.

use serde_json::json;

use super::{Environment, Host, HostSetup, Job};
use crate::support::lossy_proxy::LossyProxy;
use crate::support::Counts;

pub fn the_first_resync_that_arrives_corrects_what_was_lost<H: Host>() {
    for percent in [1, 5, 30] {
        lose_datagrams::<H>(percent, 500, 1);
    }
}

/// Runs jobs behind a path that loses datagrams, with a resync every so many seconds. The
/// gauges at the end.
pub fn lose_datagrams<H: Host>(percent: u64, jobs: usize, resync: u32) -> Counts {
    let mut host = H::start(HostSetup { environment: Environment::Unset, ..HostSetup::default() });
    let path = LossyProxy::start(&host.receiver().endpoint(), percent, 7);
    host.load(json!({"endpoint": path.endpoint(), "resync": resync})).unwrap();
    for _ in 0..10 {
        host.submit(Job::Short, "", jobs / 10);
        host.drain();
        host.receiver().seen_behind(&path.endpoint());
    }
    let truth = host.counts();
    let drifted = host.receiver().seen_behind(&path.endpoint()).gauges;
    if H::SLACK == 0.0 {
        assert_ne!(drifted, truth, "{percent} %: no resync yet");
    }
    // A resync may be lost, too.
    for resyncs in 1.. {
        let lost = path.dropped();
        host.pass(f64::from(resync) + H::SLACK.min(1.0));
        let gauges = host.receiver().seen_behind(&path.endpoint()).gauges;
        if gauges == truth || path.dropped() == lost {
            println!("{percent} %: {lost} datagrams lost, correct after {resyncs} resyncs");
            assert_eq!(gauges, truth, "received (left), the host's (right)");
            break;
        }
    }
    host.end();
    truth
}
