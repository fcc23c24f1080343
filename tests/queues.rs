//! The family of gauges by queue.

mod support;

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{json, Value};
use support::artifact::{plugin, NAME};
use support::broker::{Broker, Setup, ENDLESS, SIMULATED};
use support::jobs::{live_as, COURSE, INACTIVE, NEW, PRIORITY, RUN, SCHED};
use support::levels::levels;
use support::receiver::Receiver;
use support::standin::Standin;
use support::{trace, STATES};

type Gauges = BTreeMap<String, i64>;

/// The gauges by queue, as a statsd server would have them; those at 0 are left
/// out.
fn gauges(receiver: &mut Receiver) -> Gauges {
    let mut gauges = Gauges::new();
    for datagram in receiver.others() {
        for line in datagram.lines() {
            let Some(line) = line.strip_prefix("flux.job.queue.") else { continue };
            let (name, value) = line.split_once(':').unwrap();
            let value = value.strip_suffix("|g").unwrap();
            let number: i64 = value.parse().unwrap();
            let gauge = gauges.entry(name.to_owned()).or_default();
            *gauge = if value.starts_with(['+', '-']) { *gauge + number } else { number };
            assert!(*gauge >= 0, "{line} makes {name} {gauge}");
        }
    }
    gauges.retain(|_, count| *count != 0);
    gauges
}

/// What `flux job stats` says of the queues, in the same form.
fn truth(stats: &Value) -> Gauges {
    let mut truth = Gauges::new();
    for queue in stats["queues"].as_array().unwrap() {
        for state in STATES {
            let count = queue["job_states"][state.to_lowercase()].as_i64().unwrap_or(0);
            truth.insert(format!("{}.{state}", queue["name"].as_str().unwrap()), count);
        }
    }
    truth.retain(|_, count| *count != 0);
    truth
}

fn conf() -> Value {
    json!({"metrics": ["states", "queues"], "resync": 3600})
}

fn job(id: i64, state: i64, previous: Option<i64>, queue: &str) -> Value {
    let jobspec = json!({"attributes": {"system": {"queue": queue}}});
    let mut job = json!({"id": id, "state": state, "jobspec": jobspec});
    if let Some(previous) = previous {
        job["prev_state"] = json!(previous);
    }
    job
}

/// A job's callbacks through the states of `path`, in one queue.
fn live(host: &mut Standin, id: i64, path: &[i64], queue: &str) {
    host.call("job.new", &job(id, path[0], None, queue));
    for pair in path.windows(2) {
        host.call("job.state.any", &job(id, pair[1], Some(pair[0]), queue));
        if pair[1] == INACTIVE {
            host.call("job.inactive-add", &job(id, INACTIVE, None, queue));
        }
    }
}

#[test]
fn the_recorded_run_gives_the_recorded_queues() {
    let (mut host, mut receiver) = Standin::running(conf());
    let mut purged = false;
    for (number, recorded) in trace::callbacks().iter().enumerate() {
        if recorded.topic == "job.inactive-remove" && !purged {
            purged = true;
            host.counts();
            let before = gauges(&mut receiver);
            assert_eq!(before, truth(&trace::stats("before-purge")));
            assert_eq!((before["batch.INACTIVE"], before["debug.INACTIVE"]), (674, 201));
        }
        host.call(&recorded.topic, &recorded.args);
        if number % 500 == 0 {
            let wanted = truth(&host.queues());
            assert_eq!(gauges(&mut receiver), wanted);
        }
    }
    assert!(purged);
    host.counts();
    let after: BTreeMap<_, _> = gauges(&mut receiver);
    assert_eq!(after, truth(&trace::stats("after-purge")));
    let log = host.log().into_iter().filter(|(level, _)| *level < 6).count();
    assert_eq!(log, 0);
    host.end();
}

#[test]
fn queues_of_a_live_instance_are_known_and_moves_followed() {
    let mut receiver = Receiver::start();
    let mut host = Standin::start(Some(&receiver.endpoint()));
    for id in 0..5 {
        live(&mut host, id, &COURSE, if id < 3 { "batch" } else { "debug" });
    }
    live(&mut host, 5, &COURSE[..4], "batch");
    live(&mut host, 6, &COURSE[..5], "debug");
    host.rpc_mode("hold");
    host.load(plugin(), conf()).unwrap();
    host.advance(0.1);
    // While the question travels, INACTIVE is withheld, and a job ends.
    live(&mut host, 7, &COURSE, "debug");
    host.counts();
    assert!(!gauges(&mut receiver).keys().any(|name| name.ends_with("INACTIVE")));
    host.rpc_mode("answer");
    host.rpc_take();
    host.rpc_deliver();
    host.advance(1.0);
    let wanted = truth(&host.queues());
    assert_eq!(wanted["debug.INACTIVE"], 3);
    assert_eq!(gauges(&mut receiver), wanted);

    // A job changes its queue while it waits; another as it goes back.
    host.call("job.update", &job(5, SCHED, None, "debug"));
    let wanted = truth(&host.queues());
    assert_eq!((wanted.get("batch.SCHED"), wanted["debug.SCHED"]), (None, 1));
    assert_eq!(gauges(&mut receiver), wanted);
    host.call("job.state.priority", &job(5, PRIORITY, Some(SCHED), "batch"));
    host.call("job.inactive-remove", &job(3, INACTIVE, None, "debug"));
    let wanted = truth(&host.queues());
    assert_eq!(gauges(&mut receiver), wanted);

    // A removal takes the active ones down.
    host.remove(NAME).unwrap();
    let left = gauges(&mut receiver);
    assert!(left.keys().all(|name| name.ends_with("INACTIVE")), "{left:?}");
    host.end();
}

#[test]
fn that_job_list_comes_later_is_worth_no_word_that_it_stays_away_is() {
    let mut host = Standin::start(None);
    host.rpc_mode("fail");
    host.load(plugin(), conf()).unwrap();
    let said = |host: &mut Standin, seconds: f64| {
        host.advance(seconds);
        host.log().iter().filter(|(_, text)| text.contains("job-list.job-stats: ")).count()
    };
    assert_eq!((said(&mut host, 5.0), said(&mut host, 60.0), said(&mut host, 60.0)), (0, 1, 0));
    host.end();
}

#[test]
fn a_queue_whose_name_is_too_long_hides_no_other() {
    let (mut host, mut receiver) = Standin::running(conf());
    host.log();
    let long = "q".repeat(300);
    live(&mut host, 1, &COURSE[..5], &long);
    live(&mut host, 2, &COURSE[..5], "batch");
    live(&mut host, 3, &COURSE[..5], &long);
    host.counts();
    assert_eq!(gauges(&mut receiver), Gauges::from([("batch.RUN".into(), 1)]));
    let log = host.log();
    assert_eq!(log.len(), 1, "said once: {log:?}");
    assert!(log[0].1.contains("bytes"), "{log:?}");
    host.end();
}

#[test]
fn queues_are_switched_on_and_off_at_any_time() {
    let mut receiver = Receiver::start();
    let mut host = Standin::start(Some(&receiver.endpoint()));
    host.load(plugin(), json!({})).unwrap();
    host.advance(0.1);
    let table = |metrics: Value| json!({"state-counts": {"metrics": metrics}});
    // Jobs that came before it was switched on are known at once; those that ended
    // when the broker has said how many there are.
    live(&mut host, 1, &[NEW, RUN], "batch");
    live(&mut host, 2, &COURSE, "debug");
    for _ in 0..2 {
        host.reload(&table(json!(["states", "queues"]))).unwrap();
        host.counts();
        assert_eq!(gauges(&mut receiver), [("batch.RUN".to_owned(), 1)].into());
        host.advance(1.0);
        let wanted = truth(&host.queues());
        assert_eq!(wanted["debug.INACTIVE"], 1);
        assert_eq!(gauges(&mut receiver), wanted);
        let switched_off = host.reload(&table(json!(["states"])));
        assert_eq!(switched_off, Ok(()));
        host.counts();
        let left = gauges(&mut receiver);
        assert!(left.keys().all(|name| name.ends_with("INACTIVE")), "{left:?}");
        receiver.forget();
        host.advance(10.0);
        let wanted = host.counts();
        assert_eq!(receiver.seen().gauges, wanted);
        assert_eq!(gauges(&mut receiver), Gauges::new());
    }
    host.end();
}

/// All that is counted by a name, without INACTIVE, which keeps its last value under
/// a name that goes.
fn active(receiver: &mut Receiver) -> Gauges {
    levels(receiver, |name| !name.starts_with("state.") && !name.ends_with("INACTIVE"))
}

#[test]
fn a_reload_that_replaces_dashes_makes_one_gauge_of_two_and_two_again() {
    let mut receiver = Receiver::start();
    let mut host = Standin::start(Some(&receiver.endpoint()));
    let conf = |dash: &str| {
        let metrics = json!(["states", "queues", "banks", "pending"]);
        json!({"state-counts": {"metrics": metrics, "resync": 3600, "dash": dash}})
    };
    host.config(&conf(""));
    host.load(plugin(), json!({})).unwrap();
    host.advance(0.1);
    for (id, queue, path) in
        [(1, "gpu-a100", &COURSE[..4]), (2, "gpu_a100", &COURSE[..4]), (3, "gpu-a100", &COURSE)]
    {
        let system = json!({"queue": queue, "bank": "phys-1"});
        let job = json!({"id": id, "urgency": 16, "jobspec": {"attributes": {"system": system}}});
        live_as(&mut host, &job, path);
    }
    host.advance(1.0);
    let two = Gauges::from([
        ("queue.gpu-a100.SCHED".into(), 1),
        ("queue.gpu_a100.SCHED".into(), 1),
        ("bank.phys-1.SCHED".into(), 2),
        ("pending.resources".into(), 2),
    ]);
    let one = Gauges::from([
        ("queue.gpu_a100.SCHED".into(), 2),
        ("bank.phys_1.SCHED".into(), 2),
        ("pending.resources".into(), 2),
    ]);
    for _ in 0..2 {
        host.counts();
        assert_eq!(active(&mut receiver), two);
        host.reload(&conf("_")).unwrap();
        host.advance(1.0);
        host.counts();
        assert_eq!(active(&mut receiver), one);
        assert_eq!(gauges(&mut receiver)["gpu_a100.INACTIVE"], 1);
        host.reload(&conf("")).unwrap();
        host.advance(1.0);
    }
    // What differs by nothing else is one from the beginning, too.
    host.reload(&conf("x")).unwrap();
    let job = json!({"id": 4, "jobspec": {"attributes": {"system": {"queue": "gpuxa100"}}}});
    live_as(&mut host, &job, &COURSE[..4]);
    host.counts();
    assert_eq!(active(&mut receiver)["queue.gpuxa100.SCHED"], 2);
    host.end();
}

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
fn a_brokers_reload_replaces_the_dashes_of_its_queues() {
    let mut receiver = Receiver::start();
    let queues = "[queues.gpu-a100]\n[queues.gpu_a100]\n";
    let broker = Setup::new(None).config(queues).start();
    broker.flux(&["queue", "start", "--all"]);
    let conf = |dash: &str| {
        let (endpoint, metrics) = (receiver.endpoint(), json!(["states", "queues"]));
        json!({"state-counts": {
            "endpoint": endpoint, "metrics": metrics, "resync": "1h", "dash": dash,
        }})
    };
    let (kept, replaced) = (conf(""), conf("_"));
    broker.configure(&kept).unwrap();
    for (queue, jobs) in [("gpu-a100", "--cc=1-3"), ("gpu_a100", "--cc=1-2")] {
        broker.submit(&[SIMULATED, "-q", queue, jobs, "--quiet"]);
        broker.submit(&["--urgency=hold", "-q", queue, jobs, "--quiet"]);
    }
    broker.wait_stats(|stats| stats["SCHED"] == 5 && stats["INACTIVE"] == 5);
    broker.load(plugin(), &[]).unwrap();
    assert_queues(&broker, &mut receiver);
    broker.configure(&replaced).unwrap();
    // Nobody takes back how many jobs are over.
    let wanted: Gauges =
        [("gpu-a100.INACTIVE", 3), ("gpu_a100.INACTIVE", 5), ("gpu_a100.SCHED", 5)]
            .map(|(name, count)| (name.to_owned(), count))
            .into();
    let end = Instant::now() + Duration::from_secs(10);
    while gauges(&mut receiver) != wanted && Instant::now() < end {
        thread::sleep(Duration::from_millis(100));
    }
    assert_eq!(gauges(&mut receiver), wanted);
    broker.configure(&kept).unwrap();
    assert_queues(&broker, &mut receiver);
    broker.flux(&["cancel", "--all"]);
    broker.drain();
    broker.end();
}
