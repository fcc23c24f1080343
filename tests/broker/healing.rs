//! Gauges that come right again: after loss, after restarts, summed over periods.

use std::time::Duration;

use crate::support::artifact::plugin;
use crate::support::broker::{in_an_hour, Broker, Setup, ENDLESS, SIMULATED};
use crate::support::lossy_proxy::LossyProxy;
use crate::support::receiver::Receiver;
use crate::support::{counts, Counts};

/// A broker with the plugin loaded behind a path that loses 5 of 100 datagrams.
fn lossy(conf: &[&str]) -> (Broker, Receiver, LossyProxy) {
    let receiver = Receiver::start();
    let relay = LossyProxy::start(&receiver.endpoint(), 5, 11);
    let broker = Setup::new(relay.endpoint()).start();
    broker.load(plugin(), conf).unwrap();
    (broker, receiver, relay)
}

#[test]
#[cfg_attr(not(have_flux), ignore = "needs flux on PATH")]
fn a_broker_behind_a_lossy_path_is_right_after_a_resync() {
    run_lossy(&["resync=1"], Duration::from_secs(1), 500);
}

#[test]
#[ignore = "long"]
fn full_twenty_thousand_jobs_behind_a_lossy_path() {
    let healed = run_lossy(&["resync=10"], Duration::from_secs(10), 20_000);
    let (broker, mut receiver, relay) = lossy(&["resync=0"]);
    broker.submit(&[SIMULATED, "--cc=1-20000", "--quiet"]);
    broker.drain();
    let drifted = receiver.seen_behind(&relay.endpoint()).gauges;
    println!("with resync    {healed:?}");
    println!("without resync {drifted:?}, {} datagrams lost", relay.dropped());
    assert_ne!(drifted, broker.stats(), "5 % of loss leave a drift");
}

/// Runs `jobs` jobs; the gauges are true after the first resync that arrives.
fn run_lossy(conf: &[&str], resync: Duration, jobs: usize) -> Counts {
    let (broker, mut receiver, relay) = lossy(conf);
    broker.submit(&[SIMULATED, &format!("--cc=1-{jobs}"), "--quiet"]);
    broker.drain();
    let truth = broker.stats();
    println!("after the last event: {:?}", receiver.seen_behind(&relay.endpoint()).gauges);
    // One more interval for each resync that is lost.
    let mut lost = relay.dropped();
    println!("{lost} datagrams lost");
    loop {
        let seen = receiver.wait(resync + Duration::from_secs(1), |seen| seen.gauges == truth);
        if seen.gauges == truth || relay.dropped() == lost {
            assert_eq!(seen.gauges, truth, "received (left), flux job stats (right)");
            broker.assert_log_is_clean();
            return seen.gauges;
        }
        lost = relay.dropped();
    }
}

#[test]
#[cfg_attr(not(have_flux), ignore = "needs flux on PATH")]
fn a_restarted_broker_counts_its_inactive_and_active_jobs() {
    let (inactive, active) = (2000, 50);
    let mut receiver = Receiver::start();
    let state = tempfile::tempdir().unwrap();
    let setup = || Setup::new(receiver.endpoint()).plugin(plugin(), "").state(state.path()).start();
    let broker = setup();
    broker.submit(&[SIMULATED, &format!("--cc=1-{inactive}"), "--quiet"]);
    broker.drain();
    // Held, waiting for a time: what a shutdown does not cancel.
    let half = active / 2;
    broker.submit(&["--urgency=hold", &format!("--cc=1-{half}"), "--quiet"]);
    broker.submit(&[&in_an_hour(), &format!("--cc=1-{half}"), "--quiet"]);
    let truth = counts(&[("INACTIVE", inactive), ("SCHED", half), ("DEPEND", half)]);
    broker.wait_stats(|stats| *stats == truth);
    broker.end();

    let next = setup();
    next.wait_stats(|stats| *stats == truth);
    next.assert_true(&mut receiver);
    // A purge, and the rest of the lives of some.
    next.flux(&["job", "purge", "--force", &format!("--num-limit={}", inactive / 4)]);
    next.flux(&["cancel", "--all"]);
    next.drain();
    let seen = next.assert_true(&mut receiver);
    assert_eq!(seen.gauges["INACTIVE"], inactive / 4 + active);
    next.end();
}

#[test]
#[cfg_attr(not(have_flux), ignore = "needs flux on PATH")]
fn a_reloaded_job_manager_goes_on_with_its_running_jobs() {
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

#[test]
#[cfg_attr(not(have_flux), ignore = "needs flux on PATH")]
fn a_period_of_a_second_sends_a_datagram_a_second_at_most() {
    run_summed(1000, 1);
}

#[test]
#[ignore = "long"]
fn full_two_batches_summed_over_seconds() {
    run_summed(10_000, 2);
}

/// Issue 3's second measurement.
fn run_summed(jobs: i64, batches: i64) {
    let mut receiver = Receiver::start();
    let broker = Setup::new(receiver.endpoint()).start();
    let start = std::time::Instant::now();
    broker.load(plugin(), &["period=1"]).unwrap();
    for _ in 0..batches {
        broker.submit(&[SIMULATED, &format!("--cc=1-{jobs}"), "--quiet"]);
        broker.drain();
    }
    let seen = broker.assert_true(&mut receiver);
    let seconds = start.elapsed().as_secs_f64();
    let minute = seen.datagrams as f64 / (seconds / 60.0);
    println!(
        "{} datagrams in {seconds:.1} s: {minute:.1} a minute; {:?}",
        seen.datagrams, seen.gauges
    );
    assert_eq!(seen.gauges, counts(&[("INACTIVE", jobs * batches)]));
    // One each second, and the ones of the load: its first values, its INACTIVE.
    assert!(seen.datagrams <= seconds as u64 + 3, "{} in {seconds} s", seen.datagrams);
    broker.end();
}
