//! How many nodes there are, and which of them are down: what the broker says.

use std::thread;
use std::time::{Duration, Instant};

use crate::support::artifact::{plugin, NAME};
use crate::support::broker::{Broker, Setup, ENDLESS};
use crate::support::broker_totals;
use crate::support::gauges::{gauges_named, Gauges};
use crate::support::receiver::Receiver;

/// Waits until the gauges are what the broker says, and `wanted`.
#[track_caller]
fn assert_brokers_word(broker: &Broker, receiver: &mut Receiver, wanted: &[(&str, i64)]) {
    let of_machine = |name: &str| {
        let name = name.strip_prefix("resource.");
        name.is_some_and(|name| !name.ends_with(".allocated") && !name.ends_with(".requested"))
    };
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let (word, seen) = (broker_totals::machine(broker), gauges_named(receiver, of_machine));
        let level = |name: &str| word.get(&format!("resource.{name}")).copied().unwrap_or(0);
        let is_there = wanted.iter().all(|&(name, wanted)| level(name) == wanted);
        if is_there && seen == word {
            return;
        }
        assert!(Instant::now() < end, "wanted {wanted:?}, the broker has {word:?}, seen {seen:?}");
        thread::sleep(Duration::from_millis(100));
    }
}

#[test]
#[cfg_attr(not(have_flux), ignore = "needs flux on PATH")]
fn the_gauges_of_the_machine_are_the_brokers_word() {
    let mut receiver = Receiver::start();
    // It is asked on its own: no resync brings what changed.
    let conf = "metrics = \"resources\", resync = 3600";
    let gpus = "[[resource.config]]\nhosts = \"fake[1-2]\"\ngpus = \"0-1\"\n";
    // From the configuration: the job manager is there before the resource module.
    let setup = Setup::new(receiver.endpoint()).brokers(6).resource("exclude = \"5\"");
    let broker = setup.config(gpus).plugin(plugin(), conf).start();
    let all = [("nodes.total", 5), ("cores.total", 320), ("gpus.total", 4), ("nodes.up", 5)];
    assert_brokers_word(&broker, &mut receiver, &all);
    // A node that a job holds is drained, and two that are idle.
    broker.submit(&[ENDLESS, "-n64"]);
    broker.wait_stats(|stats| stats["RUN"] == 1);
    let held = broker.flux(&["resource", "list", "-s", "allocated", "-n", "-o", "{ranks}"]);
    let idle = ["1", "2", "3"].into_iter().find(|&rank| rank != held).unwrap();
    broker.flux(&["resource", "drain", &format!("{held},{idle}"), "a test"]);
    let drained = [("nodes.drained", 2), ("nodes.down", 2), ("nodes.up", 3), ("cores.down", 128)];
    assert_brokers_word(&broker, &mut receiver, &drained);
    // One is lost.
    broker.flux(&["overlay", "disconnect", "4"]);
    let lost = [("nodes.drained", 2), ("nodes.down", 3), ("nodes.up", 2), ("nodes.total", 5)];
    assert_brokers_word(&broker, &mut receiver, &lost);
    broker.flux(&["resource", "undrain", &held]);
    let back = [("nodes.drained", 1), ("nodes.down", 2), ("cores.down", 128)];
    assert_brokers_word(&broker, &mut receiver, &back);
    // The answer is off for a moment, then right again.
    broker.flux(&["cancel", "--all"]);
    broker.drain();
    broker.flux(&["module", "reload", "--force", "resource"]);
    broker.flux(&["module", "load", "sched-simple"]);
    assert_brokers_word(&broker, &mut receiver, &back);
    broker.remove(NAME);
    let after = gauges_named(&mut receiver, |name| name.starts_with("resource."));
    assert_eq!(after, Gauges::new());
    broker.end();
}
