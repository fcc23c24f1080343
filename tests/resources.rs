//! The families resources, users and banks.

mod support;

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{json, Value};
use support::artifact::{plugin, NAME};
use support::broker::{Broker, Setup, ENDLESS, SIMULATED};
use support::jobs::{CLEANUP, COURSE, DEPEND, INACTIVE, NEW, RUN, SCHED};
use support::receiver::Receiver;
use support::standin::Standin;
use support::{trace, STATES};

type Gauges = BTreeMap<String, i64>;

const FAMILIES: &str = "states,resources,users,banks";

/// The gauges of these families, and of the queues, as a statsd server would
/// have them, without `flux.job.`; those at 0 are left out.
fn gauges(receiver: &mut Receiver) -> Gauges {
    let mut gauges = Gauges::new();
    for datagram in receiver.others() {
        for line in datagram.lines().filter(|line| line.ends_with("|g")) {
            let Some(line) = line.strip_prefix("flux.job.") else { continue };
            let (name, value) = line.split_once(':').unwrap();
            if name.starts_with("state.") {
                continue;
            }
            let value = value.strip_suffix("|g").unwrap();
            let number: i64 = value.parse().unwrap();
            let gauge = gauges.entry(name.to_owned()).or_default();
            *gauge = if value.starts_with(['+', '-']) { *gauge + number } else { number };
            assert!(*gauge >= 0, "{line} makes {name} {gauge}");
        }
    }
    gauges.retain(|_, level| *level != 0);
    gauges
}

/// How many numbers an idset has.
fn members(idset: &str) -> i64 {
    let parts = idset.split(',').map(|part| {
        let mut ends = part.split('-').map(|end| end.parse::<i64>().unwrap());
        let first = ends.next().unwrap();
        ends.next().unwrap_or(first) - first + 1
    });
    parts.sum()
}

/// A job of a user and a bank, that asks for as many cores and gets those of
/// `core` on `rank`.
fn job(id: i64, user: i64, bank: &str, cores: i64, (rank, core): (&str, &str)) -> Value {
    let resources =
        json!([{"type": "slot", "count": cores, "with": [{"type": "core", "count": 1}]}]);
    json!({
        "id": id,
        "userid": user,
        "jobspec": {"attributes": {"system": {"bank": bank}}, "resources": resources},
        "R": {"version": 1, "execution": {
            "R_lite": [{"rank": rank, "children": {"core": core}}], "nodelist": ["node"],
        }},
    })
}

/// The callbacks of a job through the states of `path`, as the broker makes them.
fn live(host: &mut Standin, job: &Value, path: &[i64]) {
    let mut args = job.clone();
    for (number, &state) in path.iter().enumerate() {
        args["state"] = state.into();
        if state < RUN {
            args.as_object_mut().unwrap().remove("R");
        } else {
            args["R"] = job["R"].clone();
        }
        if number == 0 {
            host.call("job.new", &args);
            continue;
        }
        args["prev_state"] = path[number - 1].into();
        host.call("job.state.any", &args);
        if state == INACTIVE {
            host.call("job.inactive-add", &args);
        }
    }
}

#[track_caller]
fn assert_gauges(host: &mut Standin, receiver: &mut Receiver, wanted: &[(&str, i64)]) {
    host.counts();
    let wanted: Gauges = wanted.iter().map(|&(name, level)| (name.to_owned(), level)).collect();
    assert_eq!(gauges(receiver), wanted);
}

#[test]
fn the_recorded_run_holds_what_its_jobs_hold() {
    let (mut host, mut receiver) = Standin::running(json!({"metrics": FAMILIES, "resync": 3600}));
    // By job: what it asks for, then what it holds, and its state.
    let mut jobs: BTreeMap<i64, (i64, i64)> = BTreeMap::new();
    let mut most = 0;
    for (number, recorded) in trace::callbacks().iter().enumerate() {
        host.call(&recorded.topic, &recorded.args);
        let id = recorded.args["id"].as_i64().unwrap();
        let state = recorded.args["state"].as_i64().unwrap();
        let slot = &recorded.args["jobspec"]["resources"][0];
        if recorded.topic == "job.new" {
            let each = slot["with"][0]["count"].as_i64().unwrap();
            jobs.insert(id, (slot["count"].as_i64().unwrap() * each, state));
        }
        if let Some((cores, known)) = jobs.get_mut(&id) {
            *known = state;
            if let Some(ranks) = recorded.args["R"]["execution"]["R_lite"].as_array() {
                let held = ranks.iter().map(|entry| {
                    let text = |value: &Value| members(value.as_str().unwrap());
                    text(&entry["rank"]) * text(&entry["children"]["core"])
                });
                *cores = held.sum();
            }
        }
        if number % 500 != 0 {
            continue;
        }
        let sum = |wanted: &dyn Fn(i64) -> bool| -> i64 {
            jobs.values().filter(|(_, state)| wanted(*state)).map(|(cores, _)| cores).sum()
        };
        let held = sum(&|state| state == RUN || state == CLEANUP);
        most = most.max(held);
        let mut wanted = Gauges::from([
            ("resource.cores.allocated".to_owned(), held),
            ("user-cores.0".to_owned(), held),
            ("resource.cores.requested".to_owned(), sum(&|state| state < RUN)),
            // One node, whoever shares it.
            ("resource.nodes.allocated".to_owned(), (held > 0).into()),
        ]);
        for (place, name) in STATES.iter().enumerate().take(6) {
            let count = jobs.values().filter(|(_, state)| *state == 1 << place).count();
            wanted.insert(format!("user.0.{name}"), count as i64);
        }
        wanted.retain(|_, level| *level != 0);
        host.counts();
        assert_eq!(gauges(&mut receiver), wanted, "after {number} callbacks");
    }
    assert!(most > 10, "{most} cores at most: the recording was busier");
    assert_gauges(&mut host, &mut receiver, &[]);
    let complaints: Vec<_> = host.log().into_iter().filter(|(level, _)| *level < 6).collect();
    assert_eq!(complaints, []);
    host.end();
}

#[test]
fn a_live_instance_is_known_and_a_removal_leaves_no_ghosts() {
    for conf in [
        json!({"metrics": FAMILIES}),
        json!({"metrics": FAMILIES, "send": "values", "resync": 0}),
        json!({"metrics": FAMILIES, "resync": 0}),
        json!({"metrics": FAMILIES, "period": 0.05, "resync": 3600}),
    ] {
        let mut receiver = Receiver::start();
        let mut host = Standin::start(Some(&receiver.endpoint()));
        live(&mut host, &job(1, 1001, "phys", 4, ("0", "0-3")), &COURSE[..5]);
        live(&mut host, &job(2, 1002, "phys", 8, ("0-1", "4-7")), &COURSE[..6]);
        live(&mut host, &job(3, 1002, "", 2, ("1", "0-1")), &[NEW, DEPEND]);
        live(&mut host, &job(4, 1003, "chem", 2, ("1", "0-1")), &COURSE);
        host.load(plugin(), conf.clone()).unwrap();
        host.advance(0.1);
        let wanted = [
            ("bank-cores.phys", 12),
            ("bank.phys.CLEANUP", 1),
            ("bank.phys.RUN", 1),
            ("resource.cores.allocated", 12),
            ("resource.cores.requested", 2),
            ("resource.nodes.allocated", 2),
            ("user-cores.1001", 4),
            ("user-cores.1002", 8),
            ("user.1001.RUN", 1),
            ("user.1002.CLEANUP", 1),
            ("user.1002.DEPEND", 1),
        ];
        assert_gauges(&mut host, &mut receiver, &wanted);
        // One ends, one is cancelled as it waits.
        live(&mut host, &job(2, 1002, "phys", 8, ("0-1", "4-7")), &[CLEANUP, INACTIVE]);
        live(&mut host, &job(3, 1002, "", 2, ("1", "0-1")), &[DEPEND]);
        let mut cancelled = job(3, 1002, "", 2, ("1", "0-1"));
        cancelled.as_object_mut().unwrap().remove("R");
        cancelled["prev_state"] = DEPEND.into();
        cancelled["state"] = CLEANUP.into();
        host.call("job.state.cleanup", &cancelled);
        host.advance(0.1);
        let wanted = [
            ("bank-cores.phys", 4),
            ("bank.phys.RUN", 1),
            ("resource.cores.allocated", 4),
            ("resource.nodes.allocated", 1),
            ("user-cores.1001", 4),
            ("user.1001.RUN", 1),
            ("user.1002.CLEANUP", 1),
        ];
        assert_gauges(&mut host, &mut receiver, &wanted);
        host.remove(NAME).unwrap();
        assert_gauges(&mut host, &mut receiver, &[]);
        host.end();
    }
}

#[test]
fn a_server_that_forgot_is_told_all_again() {
    let (mut host, mut receiver) = Standin::running(json!({"metrics": FAMILIES, "resync": 5}));
    live(&mut host, &job(1, 7, "x", 4, ("3", "0-3")), &COURSE[..5]);
    host.counts();
    receiver.forget();
    host.advance(5.0);
    let wanted = [
        ("bank-cores.x", 4),
        ("bank.x.RUN", 1),
        ("resource.cores.allocated", 4),
        ("resource.nodes.allocated", 1),
        ("user-cores.7", 4),
        ("user.7.RUN", 1),
    ];
    assert_gauges(&mut host, &mut receiver, &wanted);
    host.end();
}

#[test]
fn what_nobody_understands_is_logged_once_and_harms_no_other() {
    let (mut host, mut receiver) = Standin::running(json!({"metrics": FAMILIES, "resync": 3600}));
    host.log();
    let mut odd = job(1, 7, "", 1, ("0", "0"));
    odd["jobspec"]["resources"] = json!({"nodes": "many"});
    for id in 1..4 {
        odd["id"] = id.into();
        odd["R"] = json!({"execution": {"R_lite": [{"rank": "0-9999999999", "children": "x"}]}});
        live(&mut host, &odd, &COURSE[..5]);
    }
    live(&mut host, &job(4, 7, "", 4, ("0", "0-3")), &COURSE[..5]);
    let wanted = [
        ("resource.cores.allocated", 4),
        ("resource.nodes.allocated", 1),
        ("user-cores.7", 4),
        ("user.7.RUN", 4),
    ];
    assert_gauges(&mut host, &mut receiver, &wanted);
    let log = host.log();
    assert_eq!(log.len(), 2, "one for the jobspec, one for R: {log:?}");
    assert!(log[0].1.contains("jobspec: resources not understood"), "{log:?}");
    assert!(log[1].1.contains("R: not understood"), "{log:?}");
    assert_eq!(host.silenced(), 0);
    host.end();
}

#[test]
fn banks_cannot_forge_lines_in_any_dialect() {
    let table = [
        ("plain", "flux.job.bank.a_b_c_1_g.RUN:+1|g"),
        ("dogstatsd", "flux.job.bank:+1|g|#bank:a_b_c_1_g,state:RUN"),
        ("graphite", "flux.job.bank;bank=a_b_c_1_g;state=RUN:+1|g"),
        ("influxdb", "flux.job.bank,bank=a_b_c_1_g,state=RUN:+1|g"),
    ];
    for (dialect, wanted) in table {
        let conf = json!({"metrics": "resources,banks", "dialect": dialect, "resync": 3600});
        let (mut host, mut receiver) = Standin::running(conf);
        live(&mut host, &job(1, 7, "a.b\nc:1|g", 1, ("0", "0")), &[SCHED, RUN]);
        host.counts();
        let datagrams = receiver.others();
        let lines: Vec<_> = datagrams.iter().flat_map(|datagram| datagram.lines()).collect();
        assert!(lines.contains(&wanted), "{lines:?}");
        let cores = match dialect {
            "plain" => "flux.job.resource.cores.allocated:+1|g",
            "dogstatsd" => "flux.job.resource:+1|g|#resource:cores,use:allocated",
            "graphite" => "flux.job.resource;resource=cores;use=allocated:+1|g",
            _ => "flux.job.resource,resource=cores,use=allocated:+1|g",
        };
        assert!(lines.contains(&cores), "{lines:?}");
        assert!(!lines.iter().any(|line| line.contains("user")), "not wanted: {lines:?}");
        host.end();
    }
}

#[test]
fn they_are_switched_on_at_load_only_and_off_and_changed_at_any_time() {
    let mut receiver = Receiver::start();
    let mut host = Standin::start(Some(&receiver.endpoint()));
    host.load(plugin(), json!({})).unwrap();
    host.advance(0.1);
    let table = |metrics: &str| json!({"state-counts": {"metrics": metrics, "resync": 3600}});
    let refused =
        "metrics: \"resources\", \"users\" and \"banks\" can be switched on at load only \
                   (remove the plugin, and load it again)";
    assert_eq!(host.reload(&table("users")), Err(refused.into()));
    host.remove(NAME).unwrap();

    host.config(&table("states,users"));
    host.load(plugin(), json!({})).unwrap();
    host.advance(0.1);
    live(&mut host, &job(1, 7, "x", 4, ("3", "0-3")), &COURSE[..5]);
    assert_gauges(&mut host, &mut receiver, &[("user-cores.7", 4), ("user.7.RUN", 1)]);
    host.reload(&table("states,banks")).unwrap();
    assert_gauges(&mut host, &mut receiver, &[("bank-cores.x", 4), ("bank.x.RUN", 1)]);
    live(&mut host, &job(2, 8, "x", 4, ("3", "0-3")), &COURSE[..5]);
    assert_gauges(&mut host, &mut receiver, &[("bank-cores.x", 8), ("bank.x.RUN", 2)]);
    host.reload(&table("states")).unwrap();
    assert_gauges(&mut host, &mut receiver, &[]);
    host.end();
}

/// What the broker says, in the gauges' form; for GPUs that jobs wait for, what
/// `gpus` says, for no command tells them.
fn truth(broker: &Broker, gpus: i64) -> Gauges {
    let mut truth = Gauges::new();
    let resources = ["nodes.allocated", "cores.allocated", "gpus.allocated"];
    let list = ["resource", "list", "-s", "allocated", "-no", "{nnodes} {ncores} {ngpus}"];
    let held = broker.flux(&list);
    for (name, number) in resources.iter().zip(held.split_whitespace()) {
        truth.insert(format!("resource.{name}"), number.parse().unwrap());
    }
    truth.insert("resource.gpus.requested".into(), gpus);
    let format = "{userid},{bank},{state},{nnodes},{ncores}";
    let jobs = broker.flux(&["jobs", "-A", "-f", "pending,running", "-c0", "-no", format]);
    for line in jobs.lines() {
        let fields: Vec<_> = line.split(',').collect();
        let &[user, bank, state, nodes, cores] = &fields[..] else { panic!("{line}") };
        let mut add = |name: String, by: i64| *truth.entry(name).or_default() += by;
        let number = |text: &str| text.parse().unwrap_or(0);
        let holds = ["RUN", "CLEANUP"].contains(&state);
        for (kind, name) in [("user", user), ("bank", bank)] {
            if !name.is_empty() {
                add(format!("{kind}.{name}.{state}"), 1);
                add(format!("{kind}-cores.{name}"), if holds { number(cores) } else { 0 });
            }
        }
        if !holds {
            add("resource.nodes.requested".into(), number(nodes));
            add("resource.cores.requested".into(), number(cores));
        }
    }
    truth.retain(|_, level| *level != 0);
    truth
}

#[track_caller]
fn assert_true(broker: &Broker, receiver: &mut Receiver, gpus: i64) -> Gauges {
    let end = Instant::now() + Duration::from_secs(15);
    let mut wanted = truth(broker, gpus);
    let seen = |receiver: &mut Receiver| {
        let mut seen = gauges(receiver);
        seen.retain(|name, _| !name.starts_with("queue."));
        seen
    };
    while seen(receiver) != wanted && Instant::now() < end {
        thread::sleep(Duration::from_millis(100));
        wanted = truth(broker, gpus);
    }
    assert_eq!(seen(receiver), wanted, "received (left), the broker (right)");
    wanted
}

const GPUS: &str = "[[resource.config]]\nhosts = \"fake[0-3]\"\ngpus = \"0-3\"\n";

#[test]
#[cfg_attr(not(have_flux), ignore = "needs flux on PATH")]
fn a_brokers_resources_users_and_banks_are_counted() {
    let mut receiver = Receiver::start();
    let broker = Setup::new(receiver.endpoint()).brokers(4).config(GPUS).start();
    let metrics = format!("metrics={FAMILIES}");
    let bank = |name: &str| format!("--setattr=bank={name}");
    broker.submit(&[ENDLESS, "-n3", "-g1", &bank("phys")]);
    broker.submit(&[ENDLESS, "-N2", "-n2", &bank("chem")]);
    broker.submit(&[SIMULATED, "--cc=1-20", "--quiet", &bank("phys")]);
    broker.submit(&["--urgency=hold", "-N2", "-n8", "-c2", &bank("phys")]);
    broker.wait_stats(|stats| stats["RUN"] == 2 && stats["INACTIVE"] == 20);
    broker.load(plugin(), &[&metrics, "resync=1h"]).unwrap();
    let told = assert_true(&broker, &mut receiver, 0);
    assert_eq!(told["resource.gpus.allocated"], 3);
    assert_eq!(told["resource.cores.requested"], 16);
    assert_eq!(told["bank-cores.phys"], 3);

    // More wait than there is room for, with GPUs; one holds all of a node.
    let waiting = broker.submit(&["--urgency=hold", "-n2", "-g2"]);
    broker.submit(&[ENDLESS, "-N1", "--exclusive", &bank("bio")]);
    broker.submit(&[SIMULATED, "--cc=1-50", "--quiet"]);
    broker.wait_stats(|stats| stats["RUN"] == 3 && stats["INACTIVE"] == 70);
    let told = assert_true(&broker, &mut receiver, 4);
    assert_eq!((told["user.0.RUN"], told["bank.bio.RUN"]), (3, 1));
    broker.flux(&["cancel", &waiting[0]]);
    broker.wait_stats(|stats| stats["INACTIVE"] == 71);
    assert_true(&broker, &mut receiver, 0);
    broker.flux(&["job", "purge", "--force", "--num-limit=30"]);
    broker.flux(&["cancel", "--all"]);
    broker.drain();
    assert_eq!(assert_true(&broker, &mut receiver, 0), Gauges::new());
    broker.end();
}

#[test]
#[cfg_attr(not(have_flux), ignore = "needs flux on PATH")]
fn a_restart_keeps_what_jobs_ask_for() {
    let state = tempfile::tempdir().unwrap();
    let receiver = Receiver::start();
    let conf = format!("metrics = \"{FAMILIES}\", resync = 3600");
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
    let told = assert_true(&broker, &mut receiver, 0);
    assert_eq!(told["resource.cores.requested"], 20);
    broker.flux(&["cancel", "--all"]);
    broker.drain();
    assert_eq!(assert_true(&broker, &mut receiver, 0), Gauges::new());
    broker.end();
}

const QUEUES: &str = "[queues.batch]\n[queues.debug]\n[queues.long]\n\
                      [policy.jobspec.defaults.system]\nqueue = \"batch\"\n";

/// Issue 5: with every family on, a run of 20,000 jobs in three queues ends with
/// every gauge equal to the broker's.
#[test]
#[ignore = "a long run: scripts/test --full"]
fn full_every_family_is_true_after_20_000_jobs_in_three_queues() {
    let mut receiver = Receiver::start();
    let conf = "metrics = \"states,queues,timings,results,resources,users,banks\", period = \
                \"500ms\", resync = \"5s\"";
    let broker = Setup::new(receiver.endpoint()).config(QUEUES).plugin(plugin(), conf).start();
    broker.flux(&["queue", "start", "--all"]);
    let began = Instant::now();
    for (queue, count) in [("batch", 8000), ("debug", 7000), ("long", 5000)] {
        let (count, bank) = (format!("--cc=1-{count}"), format!("--setattr=bank={queue}-bank"));
        broker.submit(&[SIMULATED, "-q", queue, &count, &bank, "--quiet"]);
    }
    broker.drain();
    let seconds = began.elapsed().as_secs_f64();
    broker.assert_true(&mut receiver);
    assert_eq!(assert_true(&broker, &mut receiver, 0), Gauges::new());
    // Not all at 0.
    broker.submit(&["--urgency=hold", "-q", "long", "--cc=1-7", "-n2", "--quiet"]);
    broker.submit(&[ENDLESS, "-q", "debug", "--cc=1-5", "-n3", "--setattr=bank=x", "--quiet"]);
    broker.wait_stats(|stats| stats["RUN"] == 5);
    broker.assert_true(&mut receiver);
    let told = assert_true(&broker, &mut receiver, 0);
    let stats = broker.stats_json();
    let mut queues = gauges(&mut receiver);
    queues.retain(|name, _| name.starts_with("queue."));
    let mut wanted = Gauges::new();
    for queue in stats["queues"].as_array().unwrap() {
        for state in STATES {
            let count = queue["job_states"][state.to_lowercase()].as_i64().unwrap_or(0);
            wanted.insert(format!("queue.{}.{state}", queue["name"].as_str().unwrap()), count);
        }
    }
    wanted.retain(|_, count| *count != 0);
    assert_eq!(queues, wanted);
    let values = receiver.values();
    let count = |name: &str| -> i64 {
        let values = values.get(&format!("flux.job.result.{name}")).into_iter().flatten();
        values.map(|value| value.strip_suffix("|c").unwrap().parse::<i64>().unwrap()).sum()
    };
    assert_eq!(count("submitted"), 20_012);
    assert_eq!(count("completed"), stats["successful"].as_i64().unwrap());
    for state in ["PRIORITY", "SCHED", "RUN", "CLEANUP"] {
        let told = values[&format!("flux.job.time.{state}")].len();
        assert!(told >= 20_000, "{told} stays in {state}");
    }
    println!("20000 jobs in {seconds:.1} s, every family on; queues {queues:?}; {told:?}");
    broker.flux(&["cancel", "--all"]);
    broker.drain();
    broker.end();
}
