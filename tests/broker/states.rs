//! The number of jobs in each state.

use crate::support::artifact::plugin;
use crate::support::broker::{Broker, Setup, ENDLESS, SIMULATED};
use crate::support::receiver::Receiver;

#[test]
#[cfg_attr(not(have_flux), ignore = "needs flux on PATH")]
fn each_kind_of_job_is_counted() {
    let (broker, mut receiver) = Broker::loaded("resync=1h");
    let full = "-n64";

    // Jobs that succeed, fail, reach their time limit or depend on another job.
    let first = broker.submit(&[SIMULATED]).remove(0);
    broker.submit(&[SIMULATED, &format!("--dependency=afterok:{first}")]);
    broker.flux(&["submit", "false"]);
    broker.flux(&["submit", "-t0.2s", "sleep", "60"]);
    broker.drain();
    broker.assert_true(&mut receiver);

    // One job has all cores; others wait for it, for a dependency or for their release.
    let running = broker.submit(&[ENDLESS, full]).remove(0);
    let pending = broker.submit(&[SIMULATED, full]).remove(0);
    let urgent = broker.submit(&[SIMULATED, full]).remove(0);
    let held = broker.submit(&[SIMULATED, "--urgency=hold"]).remove(0);
    broker.submit(&[SIMULATED, &format!("--dependency=afterany:{running}")]);
    broker.wait_stats(|stats| stats["RUN"] == 1 && stats["DEPEND"] == 1);
    broker.assert_true(&mut receiver);

    // A job goes from SCHED to PRIORITY and back; jobs are canceled while pending and while
    // running.
    broker.flux(&["job", "urgency", &urgent, "20"]);
    broker.flux(&["cancel", &pending]);
    broker.assert_true(&mut receiver);
    broker.flux(&["cancel", &running]);
    broker.flux(&["job", "urgency", &held, "default"]);
    broker.drain();
    let seen = broker.assert_true(&mut receiver);
    assert_eq!(seen.gauges["INACTIVE"], 9);
    broker.end();
}

#[test]
#[cfg_attr(not(have_flux), ignore = "needs flux on PATH")]
fn an_instance_of_four_brokers_is_counted_once() {
    let mut receiver = Receiver::start();
    let broker = Setup::new(receiver.endpoint()).brokers(4).start();
    broker.load(plugin(), &["resync=1h"]).unwrap();
    broker.submit(&["-N4", "--cc=1-10", SIMULATED]);
    broker.drain();
    broker.assert_true(&mut receiver);
    broker.end();
}
