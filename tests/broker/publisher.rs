//! How many datagrams are sent, and gauges after lost datagrams.

use std::time::Instant;

use crate::host::BrokerHost;
use crate::scenarios::publisher::lose_datagrams;
use crate::support::artifact::plugin;
use crate::support::broker::{Setup, SIMULATED};
use crate::support::counts;
use crate::support::lossy_proxy::LossyProxy;
use crate::support::receiver::Receiver;

scenarios!(publisher: the_first_resync_that_arrives_corrects_what_was_lost);

#[test]
#[ignore = "long"]
fn full_20_000_jobs_behind_a_lossy_path() {
    let corrected = lose_datagrams::<BrokerHost>(5, 20_000, 10);
    println!("with resyncs    {corrected:?}");
    let mut receiver = Receiver::start();
    let path = LossyProxy::start(&receiver.endpoint(), 5, 11);
    let broker = Setup::new(path.endpoint()).start();
    broker.load(plugin(), &["resync=0"]).unwrap();
    broker.submit(&[SIMULATED, "--cc=1-20000", "--quiet"]);
    broker.drain();
    let drifted = receiver.seen_behind(&path.endpoint()).gauges;
    println!("without resyncs {drifted:?}, {} datagrams lost", path.dropped());
    assert_ne!(drifted, broker.stats(), "nothing corrects the gauges");
}

#[test]
#[cfg_attr(not(have_flux), ignore = "needs flux on PATH")]
fn a_burst_of_2_000_jobs_takes_less_than_4_datagrams_per_job() {
    burst(2000, 1);
}

#[test]
#[ignore = "long"]
fn full_two_bursts_of_10_000_jobs_take_less_than_4_datagrams_per_job() {
    burst(10_000, 2);
}

/// Jobs that are submitted together pass through DEPEND and PRIORITY within one iteration
/// of the reactor loop, so that these gauges are never above 0.
fn burst(jobs: i64, batches: i64) {
    let mut receiver = Receiver::start();
    let broker = Setup::new(receiver.endpoint()).start();
    // Without a resync, gauges that are 0 are not sent.
    receiver.begin(counts(&[]));
    broker.load(plugin(), &["resync=0", "verify=0"]).unwrap();
    for _ in 0..batches {
        broker.submit(&[SIMULATED, &format!("--cc=1-{jobs}"), "--quiet"]);
        broker.drain();
    }
    let jobs = jobs * batches;
    let seen = broker.assert_true(&mut receiver);
    let each = seen.datagrams as f64 / jobs as f64;
    println!("{} datagrams, {each:.2} per job; highest {:?}", seen.datagrams, seen.highest);
    assert_eq!(seen.gauges, counts(&[("INACTIVE", jobs)]));
    assert!(each < 4.0, "{} datagrams", seen.datagrams);
    for state in ["DEPEND", "PRIORITY"] {
        assert_eq!(seen.highest.get(state).copied().unwrap_or(0), 0, "{state}");
    }
    broker.end();
}

#[test]
#[cfg_attr(not(have_flux), ignore = "needs flux on PATH")]
fn a_period_of_a_second_sends_at_most_one_datagram_per_second() {
    send_sums(1000, 1);
}

#[test]
#[ignore = "long"]
fn full_two_batches_with_a_period_of_a_second() {
    send_sums(10_000, 2);
}

fn send_sums(jobs: i64, batches: i64) {
    let mut receiver = Receiver::start();
    let broker = Setup::new(receiver.endpoint()).start();
    let start = Instant::now();
    broker.load(plugin(), &["period=1"]).unwrap();
    for _ in 0..batches {
        broker.submit(&[SIMULATED, &format!("--cc=1-{jobs}"), "--quiet"]);
        broker.drain();
    }
    let seen = broker.assert_true(&mut receiver);
    let seconds = start.elapsed().as_secs_f64();
    println!("{} datagrams in {seconds:.1} s", seen.datagrams);
    assert_eq!(seen.gauges, counts(&[("INACTIVE", jobs * batches)]));
    // One per second, and those of the load: the first values, and INACTIVE.
    assert!(seen.datagrams <= seconds as u64 + 3, "{} in {seconds} s", seen.datagrams);
    broker.end();
}
