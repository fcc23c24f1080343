//! Restarts of the broker, and reloads of the job manager.

use crate::support::artifact::plugin;
use crate::support::broker::{in_an_hour, Setup, ENDLESS, SIMULATED};
use crate::support::counts;
use crate::support::receiver::Receiver;

scenarios!(restart: a_restart_counts_the_inactive_and_the_active_jobs);

#[test]
#[cfg_attr(not(have_flux), ignore = "needs flux on PATH")]
fn a_reload_of_the_job_manager_keeps_the_counts_of_running_jobs() {
    let mut receiver = Receiver::start();
    let broker = Setup::new(receiver.endpoint()).plugin(plugin(), "").start();
    broker.submit(&[SIMULATED, "--cc=1-20"]);
    broker.drain();
    broker.submit(&[ENDLESS, "-n8", "--cc=1-8"]);
    broker.submit(&[ENDLESS, "-n8", "--cc=1-5"]);
    broker.submit(&[&in_an_hour()]);
    let truth = counts(&[("INACTIVE", 20), ("RUN", 8), ("SCHED", 5), ("DEPEND", 1)]);
    broker.wait_stats(|stats| *stats == truth);
    broker.assert_true(&mut receiver);
    broker.reload_job_manager();
    broker.wait_stats(|stats| *stats == truth);
    broker.assert_true(&mut receiver);
    broker.flux(&["cancel", "--states=DEPEND,SCHED", "--all"]);
    broker.wait_stats(|stats| stats["INACTIVE"] == 26);
    broker.assert_true(&mut receiver);
    broker.kill();
}
