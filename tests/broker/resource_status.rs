//! How many nodes there are, and which of them are down or drained.

use crate::support::artifact::plugin;
use crate::support::broker::{Broker, Setup, SIMULATED};
use crate::support::gauges::{fold, gauge_of, Gauges};
use crate::support::receiver::Receiver;

scenarios!(resource_status: the_gauges_follow_the_resource_status);

/// Waits up to 20 s for these gauges.
#[track_caller]
fn assert_gauges(
    receiver: &mut Receiver,
    is_wanted: impl Fn(&str) -> bool,
    truth: impl Fn() -> Gauges,
) {
    let mut received = Gauges::new();
    for _ in 0..200 {
        for (name, value) in receiver.others().iter().flat_map(|it| it.lines()).filter_map(gauge_of)
        {
            fold(&mut received, name, value);
        }
        let wanted = received.iter().filter(|(name, level)| **level != 0 && is_wanted(name));
        let wanted: Gauges = wanted.map(|(name, level)| (name.clone(), *level)).collect();
        if wanted == truth() {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    received.retain(|name, _| is_wanted(name));
    assert_eq!(received, truth());
}

/// The resources of each queue, as `flux resource list -q` prints them.
fn queue_resources(broker: &Broker, queues: &[&str]) -> Gauges {
    let mut gauges = Gauges::new();
    let format = "{state} {nnodes} {ncores} {ngpus}";
    for queue in queues {
        let list = ["resource", "list", "-q", queue, "-s", "all,up", "-n", "-o", format];
        for line in broker.flux(&list).lines() {
            let fields: Vec<_> = line.split_whitespace().collect();
            let of_use = if fields[0] == "all" { "total" } else { fields[0] };
            for (resource, number) in ["nodes", "cores", "gpus"].iter().zip(&fields[1..]) {
                let name = format!("queue.{queue}.resource.{resource}.{of_use}");
                *gauges.entry(name).or_default() += number.parse::<i64>().unwrap();
            }
        }
    }
    gauges.retain(|_, level| *level != 0);
    gauges
}

#[test]
#[cfg_attr(
    not(all(have_flux, flux_r)),
    ignore = "needs a Flux on PATH that is not older than 0.56, and scripts/test"
)]
fn queues_have_the_resources_that_flux_resource_list_prints() {
    let mut receiver = Receiver::start();
    let setup = Setup::new(receiver.endpoint()).brokers(4).resource("exclude = \"3\"").config(
        "[[resource.config]]\nhosts = \"fake[0-1,3]\"\nproperties = [\"batch\"]\n\
         [[resource.config]]\nhosts = \"fake[1-2]\"\nproperties = [\"gpu\"]\ngpus = \"0-1\"\n\
         [queues.batch]\nrequires = [\"batch\"]\n[queues.gpu]\nrequires = [\"gpu\"]\n\
         [queues.both]\nrequires = [\"batch\", \"gpu\"]\n[queues.any]\n\
         [queues.other]\nrequires = [\"^gpu\"]\n",
    );
    let broker = setup.start();
    let queues = ["batch", "gpu", "both", "any", "other"];
    broker.load(plugin(), &["metrics=queues", "resync=1h"]).unwrap();
    let is_resource = |name: &str| name.contains(".resource.") && is_of_status(name);
    assert_gauges(&mut receiver, is_resource, || queue_resources(&broker, &queues));
    let all = queue_resources(&broker, &queues);
    let of = |name: &str| all.get(&format!("queue.{name}")).copied().unwrap_or(0);
    let nodes = ["batch", "gpu", "both", "any", "other"]
        .map(|it| of(&format!("{it}.resource.nodes.total")));
    assert_eq!(nodes, [2, 2, 1, 3, 1], "{all:?}");
    broker.flux(&["resource", "drain", "1", "a test"]);
    assert_gauges(&mut receiver, is_resource, || queue_resources(&broker, &queues));
    assert_eq!(queue_resources(&broker, &queues).get("queue.both.resource.nodes.up"), None);
    broker.end();
}

fn is_of_status(name: &str) -> bool {
    name.ends_with(".total") || name.ends_with(".up")
}

#[test]
#[cfg_attr(
    not(flux_housekeeping),
    ignore = "needs a Flux with housekeeping (scripts/test detects it)"
)]
fn nodes_in_housekeeping_are_counted() {
    let mut receiver = Receiver::start();
    let setup = Setup::new(receiver.endpoint()).brokers(2);
    let broker =
        setup.config("[job-manager.housekeeping]\ncommand = [\"sleep\", \"3600\"]\n").start();
    broker.load(plugin(), &["metrics=resources", "resync=1h"]).unwrap();
    broker.flux(&["run", "-N2", SIMULATED, "true"]);
    let uses = ["allocated", "drained", "draining", "housekeeping"];
    let is_wanted = |name: &str| {
        name.starts_with("resource.nodes.") && uses.iter().any(|it| name.ends_with(it))
    };
    // The scheduler does not have these nodes; no job has them.
    let gauges = |list: &[(&str, i64)]| -> Gauges {
        list.iter().map(|(name, level)| (format!("resource.nodes.{name}"), *level)).collect()
    };
    assert_gauges(&mut receiver, is_wanted, || gauges(&[("housekeeping", 2)]));
    broker.flux(&["resource", "drain", "1", "a test"]);
    let status = ["resource", "status", "-s", "draining", "-n", "-o", "{nnodes}"];
    assert_eq!(broker.flux(&status).trim(), "1");
    assert_gauges(&mut receiver, is_wanted, || gauges(&[("draining", 1), ("housekeeping", 2)]));
    broker.flux(&["housekeeping", "kill", "--all"]);
    assert_gauges(&mut receiver, is_wanted, || gauges(&[("drained", 1)]));
    broker.end();
}
