//! The collectors resources, users and banks.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::{json, Value};

use crate::support::artifact::{plugin, NAME};
use crate::support::fake_job_manager::{program, FakeJobManager};
use crate::support::gauges::{usage_gauges, Gauges};
use crate::support::jobs::{go_on, live_as, CLEANUP, COURSE, DEPEND, INACTIVE, NEW, RUN};
use crate::support::receiver::Receiver;
use crate::support::{trace, STATES};

const COLLECTORS: &str = "states,resources,users,banks";

/// The number of ids in an idset.
fn members(idset: &str) -> i64 {
    let parts = idset.split(',').map(|part| {
        let mut ends = part.split('-').map(|end| end.parse::<i64>().unwrap());
        let first = ends.next().unwrap();
        ends.next().unwrap_or(first) - first + 1
    });
    parts.sum()
}

/// A job that requests a number of cores, and gets the cores `core` of `rank`.
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

#[track_caller]
fn assert_gauges(host: &mut FakeJobManager, receiver: &mut Receiver, wanted: &[(&str, i64)]) {
    host.counts();
    let wanted: Gauges = wanted.iter().map(|&(name, level)| (name.to_owned(), level)).collect();
    assert_eq!(usage_gauges(receiver), wanted);
}

#[test]
fn the_recorded_run_allocates_what_its_jobs_hold() {
    let (mut host, mut receiver) =
        FakeJobManager::running(json!({"metrics": COLLECTORS, "resync": 3600}));
    // By job: the cores that it requests, later those that it has, and its state.
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
        let holds = |state: i64| state == RUN || state == CLEANUP;
        let (held, requested) = (sum(&holds), sum(&|state| state < RUN));
        let holding = jobs.values().filter(|(cores, state)| *cores > 0 && holds(*state));
        most = most.max(held);
        let mut wanted = Gauges::from([
            ("resource.cores.allocated".to_owned(), held),
            ("user.0.resource.cores.allocated".to_owned(), held),
            ("resource.cores.requested".to_owned(), requested),
            ("user.0.resource.cores.requested".to_owned(), requested),
            // All jobs share one node: it counts once, and for a user once for each job.
            ("resource.nodes.allocated".to_owned(), (held > 0).into()),
            ("user.0.resource.nodes.allocated".to_owned(), holding.count() as i64),
        ]);
        for (place, name) in STATES.iter().enumerate().take(6) {
            let count = jobs.values().filter(|(_, state)| *state == 1 << place).count();
            wanted.insert(format!("user.0.{name}"), count as i64);
        }
        wanted.retain(|_, level| *level != 0);
        host.counts();
        assert_eq!(usage_gauges(&mut receiver), wanted, "after {number} callbacks");
    }
    assert!(most > 10, "{most} cores at most: the recording was busier");
    assert_gauges(&mut host, &mut receiver, &[]);
    let complaints: Vec<_> = host.log().into_iter().filter(|(level, _)| *level < 6).collect();
    assert_eq!(complaints, []);
    host.end();
}

#[test]
fn a_live_instance_is_counted_and_a_removal_leaves_no_gauge_behind() {
    for conf in [
        json!({"metrics": COLLECTORS}),
        json!({"metrics": COLLECTORS, "send": "values", "resync": 0}),
        json!({"metrics": COLLECTORS, "resync": 0}),
        json!({"metrics": COLLECTORS, "period": 0.05, "resync": 3600}),
    ] {
        let mut receiver = Receiver::start();
        let mut host = FakeJobManager::start(Some(&receiver.endpoint()));
        live_as(&mut host, &job(1, 1001, "phys", 4, ("0", "0-3")), &COURSE[..5]);
        live_as(&mut host, &job(2, 1002, "phys", 8, ("0-1", "4-7")), &COURSE[..6]);
        live_as(&mut host, &job(3, 1002, "", 2, ("1", "0-1")), &[NEW, DEPEND]);
        live_as(&mut host, &job(4, 1003, "chem", 2, ("1", "0-1")), &COURSE);
        host.load(plugin(), conf.clone()).unwrap();
        host.advance(0.1);
        let wanted = [
            ("bank.phys.resource.cores.allocated", 12),
            ("bank.phys.resource.nodes.allocated", 3),
            ("bank.phys.CLEANUP", 1),
            ("bank.phys.RUN", 1),
            ("resource.cores.allocated", 12),
            ("resource.cores.requested", 2),
            ("resource.nodes.allocated", 2),
            ("user.1001.resource.cores.allocated", 4),
            ("user.1001.resource.nodes.allocated", 1),
            ("user.1002.resource.cores.allocated", 8),
            ("user.1002.resource.nodes.allocated", 2),
            ("user.1001.RUN", 1),
            ("user.1002.CLEANUP", 1),
            ("user.1002.DEPEND", 1),
            ("user.1002.resource.cores.requested", 2),
        ];
        assert_gauges(&mut host, &mut receiver, &wanted);
        // A job ends, and one that waits is canceled.
        live_as(&mut host, &job(2, 1002, "phys", 8, ("0-1", "4-7")), &[CLEANUP, INACTIVE]);
        live_as(&mut host, &job(3, 1002, "", 2, ("1", "0-1")), &[DEPEND]);
        let mut cancelled = job(3, 1002, "", 2, ("1", "0-1"));
        cancelled.as_object_mut().unwrap().remove("R");
        cancelled["prev_state"] = DEPEND.into();
        cancelled["state"] = CLEANUP.into();
        host.call("job.state.cleanup", &cancelled);
        host.advance(0.1);
        let wanted = [
            ("bank.phys.resource.cores.allocated", 4),
            ("bank.phys.resource.nodes.allocated", 1),
            ("bank.phys.RUN", 1),
            ("resource.cores.allocated", 4),
            ("resource.nodes.allocated", 1),
            ("user.1001.resource.cores.allocated", 4),
            ("user.1001.resource.nodes.allocated", 1),
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
fn a_restarted_server_has_all_gauges_after_a_resync() {
    let (mut host, mut receiver) =
        FakeJobManager::running(json!({"metrics": COLLECTORS, "resync": 5}));
    live_as(&mut host, &job(1, 7, "x", 4, ("3", "0-3")), &COURSE[..5]);
    host.counts();
    receiver.forget();
    host.advance(5.0);
    let wanted = [
        ("bank.x.resource.cores.allocated", 4),
        ("bank.x.resource.nodes.allocated", 1),
        ("bank.x.RUN", 1),
        ("resource.cores.allocated", 4),
        ("resource.nodes.allocated", 1),
        ("user.7.resource.cores.allocated", 4),
        ("user.7.resource.nodes.allocated", 1),
        ("user.7.RUN", 1),
    ];
    assert_gauges(&mut host, &mut receiver, &wanted);
    host.end();
}

#[test]
fn unreadable_jobspecs_and_r_are_logged_once() {
    let (mut host, mut receiver) =
        FakeJobManager::running(json!({"metrics": COLLECTORS, "resync": 3600}));
    host.log();
    let mut odd = job(1, 7, "", 1, ("0", "0"));
    odd["jobspec"]["resources"] = json!({"nodes": "many"});
    for id in 1..4 {
        odd["id"] = id.into();
        odd["R"] = json!({"execution": {"R_lite": [{"rank": "0-9999999999", "children": "x"}]}});
        live_as(&mut host, &odd, &COURSE[..5]);
    }
    live_as(&mut host, &job(4, 7, "", 4, ("0", "0-3")), &COURSE[..5]);
    let wanted = [
        ("resource.cores.allocated", 4),
        ("resource.nodes.allocated", 1),
        ("user.7.resource.cores.allocated", 4),
        ("user.7.resource.nodes.allocated", 1),
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

/// Before 0.56, Flux does not pass R to callbacks.
#[test]
fn gauges_without_data_in_an_old_flux_are_not_sent_and_logged_once() {
    for (version, known) in [("0.55.0", false), ("0.56.0", true)] {
        let mut receiver = Receiver::start();
        let mut command = Command::new(program());
        command.env("STATE_COUNTS_HOST_VERSION", version);
        let mut host = FakeJobManager::spawn(command, Some(&receiver.endpoint()));
        let table = |resync: u32| json!({"metrics": COLLECTORS, "resync": resync});
        host.config(&json!({"state-counts": table(10)}));
        host.load(plugin(), json!({})).unwrap();
        host.advance(0.1);
        let mut running = job(1, 7, "x", 4, ("3", "0-3"));
        if !known {
            running.as_object_mut().unwrap().remove("R");
        }
        live_as(&mut host, &running, &COURSE[..5]);
        live_as(&mut host, &job(2, 7, "x", 2, ("3", "4-5")), &COURSE[..4]);
        host.advance(10.0);
        host.reload(&json!({"state-counts": table(5)})).unwrap();
        host.advance(10.0);
        host.counts();
        let sent: Vec<_> = receiver.values().into_keys().collect();
        let of_r = |name: &&String| name.ends_with(".allocated");
        let wanted = ["bank.x.", "", "user.7."].into_iter().filter(|_| known).flat_map(|of| {
            ["cores", "gpus", "nodes"].map(|it| format!("flux.job.{of}resource.{it}.allocated"))
        });
        assert_eq!(
            sent.iter().filter(of_r).cloned().collect::<Vec<_>>(),
            wanted.collect::<Vec<_>>()
        );
        let levels = usage_gauges(&mut receiver);
        let names = ["bank.x.RUN", "bank.x.SCHED", "resource.cores.requested", "user.7.RUN"];
        assert_eq!(names.map(|name| levels.get(name).copied()), [1, 1, 2, 1].map(Some));
        let warnings: Vec<_> = host.log().into_iter().filter(|(level, _)| *level < 6).collect();
        assert_eq!(warnings.len(), usize::from(!known), "{warnings:?}");
        let text = "Flux 0.55.0 does not pass R to plugins";
        assert!(warnings.iter().all(|(_, warning)| warning.contains(text)), "{warnings:?}");
        host.remove(NAME).unwrap();
        host.end();
    }
}

#[test]
fn resource_collectors_are_switched_at_any_time() {
    let mut receiver = Receiver::start();
    let mut host = FakeJobManager::start(Some(&receiver.endpoint()));
    host.load(plugin(), json!({})).unwrap();
    host.advance(0.1);
    let reload = |host: &mut FakeJobManager, metrics: &str| {
        host.reload(&json!({"state-counts": {"metrics": metrics, "resync": 3600}})).unwrap();
        // A pass takes several slices on a slow machine.
        host.advance(0.1);
    };
    // The job was submitted before the collectors were switched on.
    live_as(&mut host, &job(1, 7, "x", 4, ("3", "0-3")), &COURSE[..5]);
    assert_gauges(&mut host, &mut receiver, &[]);
    reload(&mut host, "states,users");
    assert_gauges(
        &mut host,
        &mut receiver,
        &[
            ("user.7.resource.cores.allocated", 4),
            ("user.7.resource.nodes.allocated", 1),
            ("user.7.RUN", 1),
        ],
    );
    reload(&mut host, "states,banks");
    assert_gauges(
        &mut host,
        &mut receiver,
        &[
            ("bank.x.resource.cores.allocated", 4),
            ("bank.x.resource.nodes.allocated", 1),
            ("bank.x.RUN", 1),
        ],
    );
    live_as(&mut host, &job(2, 8, "x", 4, ("3", "0-3")), &COURSE[..5]);
    assert_gauges(
        &mut host,
        &mut receiver,
        &[
            ("bank.x.resource.cores.allocated", 8),
            ("bank.x.resource.nodes.allocated", 2),
            ("bank.x.RUN", 2),
        ],
    );
    reload(&mut host, "states,resources");
    let held = [("resource.cores.allocated", 8), ("resource.nodes.allocated", 1)];
    assert_gauges(&mut host, &mut receiver, &held);
    reload(&mut host, "states");
    assert_gauges(&mut host, &mut receiver, &[]);
    // Changes from before the collectors are switched on again are counted.
    live_as(&mut host, &job(3, 9, "", 2, ("4", "0-1")), &COURSE[..5]);
    go_on(&mut host, &job(1, 7, "x", 4, ("3", "0-3")), &COURSE[4..]);
    reload(&mut host, "states,users,banks");
    let wanted = [
        ("bank.x.resource.cores.allocated", 4),
        ("bank.x.resource.nodes.allocated", 1),
        ("bank.x.RUN", 1),
        ("user.8.resource.cores.allocated", 4),
        ("user.8.resource.nodes.allocated", 1),
        ("user.9.resource.cores.allocated", 2),
        ("user.9.resource.nodes.allocated", 1),
        ("user.8.RUN", 1),
        ("user.9.RUN", 1),
    ];
    assert_gauges(&mut host, &mut receiver, &wanted);
    host.remove(NAME).unwrap();
    assert_gauges(&mut host, &mut receiver, &[]);
    host.end();
}
