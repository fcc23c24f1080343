//! Restarts of the job manager, with the plugin in its configuration.

use serde_json::json;

use super::{Host, HostSetup, Job};
use crate::support::counts;

pub fn a_restart_counts_the_inactive_and_the_active_jobs<H: Host>() {
    const INACTIVE: i64 = 2000;
    const WAITING: i64 = 25;
    let mut host = H::start(HostSetup::default());
    host.load(json!({})).unwrap();
    host.submit(Job::Short, "", INACTIVE as usize);
    host.drain();
    // A shutdown does not cancel these jobs.
    host.submit(Job::Held, "", WAITING as usize);
    host.submit(Job::Later, "", WAITING as usize);
    let truth = counts(&[("INACTIVE", INACTIVE), ("SCHED", WAITING), ("DEPEND", WAITING)]);
    host.wait_for(&truth);

    host.restart(&json!({}));
    host.wait_for(&truth);
    host.assert_true();
    host.purge(INACTIVE as usize / 4);
    host.cancel_all();
    host.drain();
    let seen = host.assert_true();
    assert_eq!(seen.gauges["INACTIVE"], INACTIVE / 4 + 2 * WAITING);
    host.end();
}
