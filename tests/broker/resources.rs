//! Gauges of all collectors equal the output of the broker's commands.

use std::thread;
use std::time::{Duration, Instant};

use crate::support::artifact::plugin;
use crate::support::broker::{Broker, Setup, ENDLESS, SIMULATED};
use crate::support::broker_totals::{states, usage, Jobspecs};
use crate::support::flux::user;
use crate::support::gauges::{gauges_named, is_of_jobs, usage_gauges, Gauges};
use crate::support::receiver::Receiver;

const COLLECTORS: &str = "states,resources,users,banks";

/// Chooses the gauges of a test, by name.
type Wanted = fn(&str) -> bool;

/// Chooses all gauges.
fn all(_: &str) -> bool {
    true
}

/// Chooses gauges that do not need R.
fn without_r(name: &str) -> bool {
    !name.ends_with(".allocated")
}

fn those(wanted: Wanted, mut gauges: Gauges) -> Gauges {
    gauges.retain(|name, _| wanted(name));
    gauges
}

#[track_caller]
fn assert_true(broker: &Broker, receiver: &mut Receiver, wanted: Wanted) -> Gauges {
    let end = Instant::now() + Duration::from_secs(15);
    let truth = || those(wanted, usage(broker, &mut Jobspecs::default()));
    let mut meant = truth();
    while those(wanted, usage_gauges(receiver)) != meant && Instant::now() < end {
        thread::sleep(Duration::from_millis(100));
        meant = truth();
    }
    assert_eq!(those(wanted, usage_gauges(receiver)), meant, "received (left), the broker (right)");
    meant
}

fn by_bank(name: &str) -> String {
    format!("--setattr=bank={name}")
}

#[test]
#[cfg_attr(not(have_flux), ignore = "needs flux on PATH")]
fn users_banks_and_requested_resources_are_counted() {
    run(without_r);
}

#[test]
#[cfg_attr(
    not(all(have_flux, flux_r)),
    ignore = "needs a Flux that passes R to plugins (scripts/test detects it)"
)]
fn resources_users_and_banks_are_counted() {
    run(all);
}

fn run(wanted: Wanted) {
    let mut receiver = Receiver::start();
    let broker = Setup::new(receiver.endpoint()).brokers(4).start();
    let metrics = format!("metrics={COLLECTORS}");
    broker.submit(&[ENDLESS, "-n3", &by_bank("phys")]);
    broker.submit(&[ENDLESS, "-N2", "-n2", &by_bank("chem")]);
    broker.submit(&[SIMULATED, "--cc=1-20", "--quiet", &by_bank("phys")]);
    broker.submit(&["--urgency=hold", "-N2", "-n8", "-c2", &by_bank("phys")]);
    broker.wait_stats(|stats| stats["RUN"] == 2 && stats["INACTIVE"] == 20);
    broker.load(plugin(), &[&metrics, "resync=1h"]).unwrap();
    let told = assert_true(&broker, &mut receiver, wanted);
    assert_eq!(told["resource.cores.requested"], 16);
    if wanted("bank.phys.resource.cores.allocated") {
        assert_eq!(told["bank.phys.resource.cores.allocated"], 3);
    }

    // More jobs wait than there are cores, and one job has a whole node.
    let waiting = broker.submit(&["--urgency=hold", "-n2"]);
    broker.submit(&[ENDLESS, "-N1", "--exclusive", &by_bank("bio")]);
    broker.submit(&["--urgency=hold", "-N2", "--exclusive"]);
    broker.submit(&[SIMULATED, "--cc=1-50", "--quiet"]);
    broker.wait_stats(|stats| stats["RUN"] == 3 && stats["INACTIVE"] == 70);
    let told = assert_true(&broker, &mut receiver, wanted);
    let running = told[&format!("user.{}.RUN", user())];
    assert_eq!((running, told["bank.bio.RUN"]), (3, 1));
    broker.flux(&["cancel", &waiting[0]]);
    broker.wait_stats(|stats| stats["INACTIVE"] == 71);
    assert_true(&broker, &mut receiver, wanted);
    broker.flux(&["job", "purge", "--force", "--num-limit=30"]);
    broker.flux(&["cancel", "--all"]);
    broker.drain();
    assert_eq!(assert_true(&broker, &mut receiver, wanted), Gauges::new());
    broker.end();
}

const GPUS: &str = "[[resource.config]]\nhosts = \"fake[0-3]\"\ngpus = \"0-3\"\n\
                    [queues.batch]\n[queues.gpu]\n\
                    [policy.jobspec.defaults.system]\nqueue = \"batch\"\n";

#[test]
#[cfg_attr(
    not(all(have_flux, flux_r, flux_gpus)),
    ignore = "needs a Flux that passes R to plugins and schedules GPUs (scripts/test detects it)"
)]
fn gpus_are_counted() {
    let mut receiver = Receiver::start();
    let broker = Setup::new(receiver.endpoint()).brokers(4).config(GPUS).start();
    broker.flux(&["queue", "start", "--all"]);
    broker.submit(&[ENDLESS, "-n3", "-g1", "--queue=gpu", &by_bank("phys")]);
    broker.wait_stats(|stats| stats["RUN"] == 1);
    broker.load(plugin(), &[&format!("metrics=queues,{COLLECTORS}"), "resync=1h"]).unwrap();
    let told = assert_true(&broker, &mut receiver, all);
    assert_eq!(told["resource.gpus.allocated"], 3);
    assert_eq!(told["queue.gpu.resource.gpus.allocated"], 3);

    // More jobs wait than there are GPUs.
    let waiting = broker.submit(&["--urgency=hold", "-n2", "-g2"]);
    broker.submit(&[SIMULATED, "--cc=1-10", "-g1", "--quiet"]);
    broker.wait_stats(|stats| stats["RUN"] == 1 && stats["INACTIVE"] == 10);
    assert_true(&broker, &mut receiver, all);
    broker.flux(&["cancel", &waiting[0]]);
    broker.wait_stats(|stats| stats["INACTIVE"] == 11);
    assert_true(&broker, &mut receiver, all);
    broker.flux(&["cancel", "--all"]);
    broker.drain();
    assert_eq!(assert_true(&broker, &mut receiver, all), Gauges::new());
    broker.end();
}

/// The update of a running job is a jobspec-update and a resource-update.
#[test]
#[cfg_attr(
    not(all(have_flux, flux_r, flux_update_running)),
    ignore = "needs a Flux that passes R to plugins and updates jobs that run (scripts/test detects it)"
)]
fn an_update_of_a_running_job_changes_no_allocation() {
    let mut receiver = Receiver::start();
    let broker = Setup::new(receiver.endpoint()).start();
    broker.load(plugin(), &[&format!("metrics={COLLECTORS}"), "resync=1h"]).unwrap();
    let timed = broker.submit(&[ENDLESS, "-n3", "-t1h", &by_bank("phys")]).remove(0);
    broker.wait_stats(|stats| stats["RUN"] == 1);
    let told = assert_true(&broker, &mut receiver, all);
    assert_eq!(told["bank.phys.resource.cores.allocated"], 3);
    broker.flux(&["update", &timed, "duration=2h"]);
    assert_eq!(assert_true(&broker, &mut receiver, all), told);
    broker.flux(&["cancel", "--all"]);
    broker.drain();
    assert_eq!(assert_true(&broker, &mut receiver, all), Gauges::new());
    broker.end();
}

#[test]
#[cfg_attr(not(have_flux), ignore = "needs flux on PATH")]
fn a_restart_keeps_requested_resources() {
    let state = tempfile::tempdir().unwrap();
    let receiver = Receiver::start();
    let conf = format!("metrics = \"{COLLECTORS}\", resync = 3600");
    let setup = |receiver: &Receiver| {
        Setup::new(receiver.endpoint()).state(state.path()).plugin(plugin(), &conf).start()
    };
    let broker = setup(&receiver);
    broker.submit(&["--urgency=hold", "-n4", "--cc=1-5", "--setattr=bank=phys", "--quiet"]);
    broker.submit(&[SIMULATED, "--cc=1-10", "--quiet"]);
    broker.wait_stats(|stats| stats["INACTIVE"] == 10);
    broker.end();
    let mut receiver = Receiver::start();
    let broker = setup(&receiver);
    let told = assert_true(&broker, &mut receiver, all);
    assert_eq!(told["resource.cores.requested"], 20);
    broker.flux(&["cancel", "--all"]);
    broker.drain();
    assert_eq!(assert_true(&broker, &mut receiver, all), Gauges::new());
    broker.end();
}

#[test]
#[cfg_attr(not(have_flux), ignore = "needs flux on PATH")]
fn a_reload_of_the_job_manager_keeps_requested_resources() {
    reload(without_r);
}

#[test]
#[cfg_attr(
    not(all(have_flux, flux_r)),
    ignore = "needs a Flux that passes R to plugins (scripts/test detects it)"
)]
fn a_reload_of_the_job_manager_keeps_allocated_resources() {
    reload(all);
}

fn reload(which: Wanted) {
    let mut receiver = Receiver::start();
    let conf = format!("metrics = \"{COLLECTORS}\", resync = 3600");
    let broker = Setup::new(receiver.endpoint()).plugin(plugin(), &conf).start();
    broker.submit(&[ENDLESS, "-n8", "--cc=1-8", "--setattr=bank=phys"]);
    broker.submit(&[ENDLESS, "-n8", "--cc=1-5"]);
    broker.wait_stats(|stats| stats["RUN"] == 8 && stats["SCHED"] == 5);
    let before = assert_true(&broker, &mut receiver, which);
    if which("resource.cores.allocated") {
        assert_eq!(before["resource.cores.allocated"], 64);
    }
    broker.reload_job_manager();
    broker.wait_stats(|stats| stats["RUN"] == 8 && stats["SCHED"] == 5);
    let mut wanted = before;
    let end = Instant::now() + Duration::from_secs(10);
    while those(which, usage_gauges(&mut receiver)) != wanted && Instant::now() < end {
        thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(those(which, usage_gauges(&mut receiver)), wanted);
    broker.flux(&["cancel", "--states=SCHED", "--all"]);
    broker.wait_stats(|stats| stats["INACTIVE"] == 5);
    wanted.retain(|name, _| !name.ends_with("resource.cores.requested"));
    wanted.remove(&format!("user.{}.SCHED", user()));
    assert_eq!(those(which, usage_gauges(&mut receiver)), wanted);
    broker.kill();
}

const QUEUES: &str = "[queues.batch]\n[queues.debug]\n[queues.long]\n\
                      [policy.jobspec.defaults.system]\nqueue = \"batch\"\n";

/// The broker's numbers for all gauges, while the instance is quiet.
fn usage_and_states(broker: &Broker) -> Gauges {
    let mut truth = usage(broker, &mut Jobspecs::default());
    truth.extend(states(broker));
    truth
}

#[track_caller]
fn assert_all_true(broker: &Broker, receiver: &mut Receiver) -> Gauges {
    let wanted = usage_and_states(broker);
    let end = Instant::now() + Duration::from_secs(30);
    while gauges_named(receiver, is_of_jobs) != wanted && Instant::now() < end {
        thread::sleep(Duration::from_millis(500));
    }
    assert_eq!(gauges_named(receiver, is_of_jobs), wanted, "received (left), the broker (right)");
    wanted
}

/// Without a resync.
#[test]
#[ignore = "long"]
fn full_all_collectors_are_correct_after_20_000_jobs_in_three_queues() {
    let mut receiver = Receiver::start();
    // The receiver does not fold gauges with this prefix.
    let conf = "metrics = \"states,queues,timings,results,resources,users,banks\", \
                prefix = \"all.job.state\", period = \"500ms\", resync = \"1h\"";
    let broker = Setup::new(receiver.endpoint()).config(QUEUES).plugin(plugin(), conf).start();
    broker.flux(&["queue", "start", "--all"]);
    let began = Instant::now();
    for (queue, count) in [("batch", 8000), ("debug", 7000), ("long", 5000)] {
        let (count, bank) = (format!("--cc=1-{count}"), format!("--setattr=bank={queue}-bank"));
        broker.submit(&[SIMULATED, "-q", queue, &count, &bank, "--quiet"]);
    }
    broker.drain();
    let seconds = began.elapsed().as_secs_f64();
    let told = assert_all_true(&broker, &mut receiver);
    assert_eq!(told["state.INACTIVE"], 20_000);
    assert_eq!(told.len(), 4, "the inactive jobs, and those of each queue: {told:?}");
    println!("20000 jobs in {seconds:.1} s, all collectors: {told:?}");
    // Some jobs more, so that not all gauges are 0.
    broker.submit(&["--urgency=hold", "-q", "long", "--cc=1-7", "-n2", "--quiet"]);
    broker.submit(&[ENDLESS, "-q", "debug", "--cc=1-5", "-n3", "--setattr=bank=x", "--quiet"]);
    broker.wait_stats(|stats| stats["RUN"] == 5);
    let told = assert_all_true(&broker, &mut receiver);
    println!("and 12 more: {told:?}");
    assert_eq!((told["resource.cores.allocated"], told["resource.cores.requested"]), (15, 14));
    let stats = broker.stats_json();
    let values = receiver.values();
    let count = |name: &str| -> i64 {
        let values = values.get(&format!("all.job.result.{name}")).into_iter().flatten();
        values.map(|value| value.strip_suffix("|c").unwrap().parse::<i64>().unwrap()).sum()
    };
    assert_eq!(count("submitted"), 20_012);
    assert_eq!(count("completed"), stats["successful"].as_i64().unwrap());
    for state in ["DEPEND", "PRIORITY", "SCHED", "RUN", "CLEANUP"] {
        let told = values[&format!("all.job.time.{state}")].len();
        assert!(told >= 20_000, "{told} stays in {state}");
    }
    broker.flux(&["cancel", "--all"]);
    broker.drain();
    assert_all_true(&broker, &mut receiver);
    broker.end();
}
