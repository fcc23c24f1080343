//! The family of gauges by queue.

use std::thread;
use std::time::{Duration, Instant};

use crate::support::artifact::{plugin, NAME};
use crate::support::broker::{Broker, Setup, ENDLESS, SIMULATED};
use crate::support::gauges::Gauges;
use crate::support::queues::{gauges, truth};
use crate::support::receiver::Receiver;
use serde_json::json;

const QUEUES: &str = "[queues.batch]\n[queues.debug]\n[queues.long]\n\
                      [policy.jobspec.defaults.system]\nqueue = \"batch\"\n";

#[track_caller]
fn assert_queues(broker: &Broker, receiver: &mut Receiver) {
    let end = Instant::now() + Duration::from_secs(10);
    let mut wanted = truth(&broker.stats_json());
    while gauges(receiver) != wanted && Instant::now() < end {
        thread::sleep(Duration::from_millis(100));
        wanted = truth(&broker.stats_json());
    }
    assert_eq!(gauges(receiver), wanted, "received (left), flux job stats (right)");
}

#[test]
#[cfg_attr(not(have_flux), ignore = "needs flux on PATH")]
fn a_brokers_queues_are_counted() {
    let mut receiver = Receiver::start();
    let broker = Setup::new(receiver.endpoint()).config(QUEUES).start();
    broker.flux(&["queue", "start", "--all"]);
    for queue in ["batch", "debug", "long"] {
        broker.submit(&[SIMULATED, "-q", queue, "--cc=1-20"]);
    }
    broker.drain();
    broker.submit(&["--urgency=hold", "-q", "long", "--cc=1-3"]);
    let load = ["metrics=states,queues", "resync=1h"];
    broker.load(plugin(), &load).unwrap();
    assert_queues(&broker, &mut receiver);
    broker.submit(&[SIMULATED, "-q", "debug", "--cc=1-50", "--quiet"]);
    broker.submit(&[ENDLESS, "-n32", "-q", "batch", "--cc=1-4"]);
    broker.wait_stats(|stats| stats["RUN"] == 2 && stats["INACTIVE"] == 110);
    assert_queues(&broker, &mut receiver);
    broker.flux(&["job", "purge", "--force", "--num-limit=30"]);
    broker.flux(&["cancel", "--all"]);
    broker.drain();
    assert_queues(&broker, &mut receiver);
    broker.end();
}

/// 64 queues with the longest names are 100 KB, which is more than one part.
#[test]
#[cfg_attr(not(have_flux), ignore = "needs flux on PATH")]
fn a_brokers_resync_in_parts_brings_every_gauge() {
    let mut receiver = Receiver::start();
    let names: Vec<_> = (0..64).map(|number| format!("{number:0>200}")).collect();
    let queues: String = names.iter().map(|name| format!("[queues.{name}]\n")).collect();
    let broker = Setup::new(receiver.endpoint()).config(&queues).start();
    let mut submit = vec!["bulksubmit", "--quiet", "--urgency=0", "--queue={}", "true", ":::"];
    submit.extend(names.iter().map(String::as_str));
    broker.flux(&submit);
    for conf in [&["metrics=queues", "resync=1"][..], &["metrics=queues", "resync=2", "period=1"]] {
        broker.load(plugin(), conf).unwrap();
        assert_queues(&broker, &mut receiver);
        receiver.forget();
        assert_queues(&broker, &mut receiver);
        broker.remove(NAME);
    }
    broker.end();
}

#[test]
#[cfg_attr(
    not(all(have_flux, flux_update)),
    ignore = "needs a Flux that moves jobs to other queues, flux update (asked by scripts/test)"
)]
fn a_brokers_job_that_is_moved_to_another_queue_is_counted_there() {
    let mut receiver = Receiver::start();
    let broker = Setup::new(receiver.endpoint()).config(QUEUES).start();
    broker.flux(&["queue", "start", "--all"]);
    let held = broker.submit(&["--urgency=hold", "-q", "long", "--cc=1-3"]);
    broker.load(plugin(), &["metrics=states,queues", "resync=1h"]).unwrap();
    assert_queues(&broker, &mut receiver);
    broker.flux(&["update", &held[0], "queue=debug"]);
    assert_queues(&broker, &mut receiver);
    let queues = gauges(&mut receiver);
    assert_eq!((queues["debug.SCHED"], queues["long.SCHED"]), (1, 2));
    broker.flux(&["cancel", "--all"]);
    broker.drain();
    assert_queues(&broker, &mut receiver);
    broker.end();
}

#[test]
#[cfg_attr(not(have_flux), ignore = "needs flux on PATH")]
fn a_brokers_reload_to_dialect_pcp_replaces_dashes() {
    let mut receiver = Receiver::start();
    let broker = Setup::new(None).config("[queues.gpu-a100]\n").start();
    broker.flux(&["queue", "start", "--all"]);
    let conf = |dialect: &str| {
        let (endpoint, metrics) = (receiver.endpoint(), json!(["states", "queues"]));
        json!({"state-counts": {
            "endpoint": endpoint, "metrics": metrics, "resync": "1h", "dialect": dialect,
        }})
    };
    let (plain, pcp) = (conf("plain"), conf("pcp"));
    broker.configure(&plain).unwrap();
    broker.submit(&[SIMULATED, "-q", "gpu-a100", "--cc=1-3", "--quiet"]);
    broker.submit(&["--urgency=hold", "-q", "gpu-a100", "--cc=1-3", "--quiet"]);
    broker.wait_stats(|stats| stats["SCHED"] == 3 && stats["INACTIVE"] == 3);
    broker.load(plugin(), &[]).unwrap();
    assert_queues(&broker, &mut receiver);
    broker.configure(&pcp).unwrap();
    // The old name keeps its number of inactive jobs.
    let expected: Gauges =
        [("gpu-a100.INACTIVE", 3), ("gpu_a100.INACTIVE", 3), ("gpu_a100.SCHED", 3)]
            .map(|(name, count)| (name.to_owned(), count))
            .into();
    let end = Instant::now() + Duration::from_secs(10);
    while gauges(&mut receiver) != expected && Instant::now() < end {
        thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(gauges(&mut receiver), expected);
    broker.flux(&["cancel", "--all"]);
    broker.drain();
    broker.end();
}
