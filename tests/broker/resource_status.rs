//! How many nodes there are, and which of them are down or drained.

use std::thread;
use std::time::{Duration, Instant};

use crate::support::artifact::plugin;
use crate::support::broker::{Broker, Setup, SIMULATED};
use crate::support::gauges::{gauges_named, Gauges};
use crate::support::receiver::Receiver;

scenarios!(resource_status: the_gauges_follow_the_resource_status);

/// Waits up to 20 s for these gauges.
#[track_caller]
fn assert_gauges(
    receiver: &mut Receiver,
    is_wanted: impl Fn(&str) -> bool,
    truth: impl Fn() -> Gauges,
) {
    for _ in 0..200 {
        if gauges_named(receiver, &is_wanted) == truth() {
            return;
        }
        thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(gauges_named(receiver, &is_wanted), truth());
}

/// The gauge becomes at least two seconds, and not more than the time since `start`.
#[track_caller]
fn assert_age(receiver: &mut Receiver, name: &str, start: Instant) {
    let (mut age, mut seconds) = (0, 0);
    while age < 2 && seconds < 20 {
        thread::sleep(Duration::from_millis(100));
        age = gauges_named(receiver, |it| it == name).get(name).copied().unwrap_or(0);
        seconds = start.elapsed().as_secs() as i64;
    }
    assert!((2..=seconds).contains(&age), "{name} is {age} after {seconds} s");
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

/// The nodes, cores and GPUs of a queue, in total and up.
type OfQueue<'a> = (&'a str, [i64; 3], [i64; 3]);

#[test]
#[cfg_attr(not(have_flux), ignore = "needs flux on PATH")]
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
    broker.load(plugin(), &["metrics=queues,resources", "resync=1h"]).unwrap();
    let expect = |receiver: &mut Receiver, queues: &[OfQueue]| {
        let is_wanted = |name: &str| name.starts_with("queue.") && is_of_status(name);
        // The option -q is as old as R in the arguments of callbacks.
        if cfg!(flux_r) {
            let names: Vec<_> = queues.iter().map(|(queue, ..)| *queue).collect();
            assert_gauges(receiver, is_wanted, || queue_resources(&broker, &names));
        }
        let mut gauges = Gauges::new();
        for (queue, total, up) in queues {
            for (index, resource) in ["nodes", "cores", "gpus"].iter().enumerate() {
                let name = format!("queue.{queue}.resource.{resource}");
                gauges.insert(format!("{name}.total"), total[index]);
                gauges.insert(format!("{name}.up"), up[index]);
            }
        }
        gauges.retain(|_, level| *level != 0);
        assert_gauges(receiver, is_wanted, || gauges.clone());
    };
    let one = [1, 64, 2];
    let all: [OfQueue; 5] = [
        ("batch", [2, 128, 2], [2, 128, 2]),
        ("gpu", [2, 128, 4], [2, 128, 4]),
        ("both", one, one),
        ("any", [3, 192, 4], [3, 192, 4]),
        ("other", [1, 64, 0], [1, 64, 0]),
    ];
    expect(&mut receiver, &all);
    let start = Instant::now();
    broker.flux(&["resource", "drain", "1", "a test"]);
    let without_one: [OfQueue; 5] = [
        ("batch", [2, 128, 2], [1, 64, 0]),
        ("gpu", [2, 128, 4], one),
        ("both", one, [0; 3]),
        ("any", [3, 192, 4], [2, 128, 2]),
        ("other", [1, 64, 0], [1, 64, 0]),
    ];
    expect(&mut receiver, &without_one);
    assert_age(&mut receiver, "resource.drain.oldest_seconds", start);
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
    let start = Instant::now();
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
    assert_age(&mut receiver, "housekeeping.oldest_seconds", start);
    broker.flux(&["housekeeping", "kill", "--all"]);
    assert_gauges(&mut receiver, is_wanted, || gauges(&[("drained", 1)]));
    let is_age = |name: &str| name == "housekeeping.oldest_seconds";
    assert_gauges(&mut receiver, is_age, Gauges::new);
    broker.end();
}
