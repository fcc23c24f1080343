//! Duration of the reactor loop iterations that process the broker's responses, in an instance
//! with 10,000 nodes, 50 queues and 100,000 active jobs.

use std::collections::{BTreeMap, BTreeSet};
use std::net::UdpSocket;
use std::time::Duration;

use serde_json::{json, Map, Value};

use super::drain::roomy_socket;
use super::report::Report;
use super::support::artifact::release_plugin;
use super::support::fake_job_manager::FakeJobManager;
use super::support::jobs::{DEPEND, RUN, SCHED};
use super::Options;

const ALL: &str = "states,queues,timings,results,resources,users,banks,pending";
const JOBS: usize = 100_000;
const NODES: usize = 10_000;
const QUEUES: usize = 50;

pub fn measure(report: &mut Report, _: Options) {
    let server = roomy_socket();
    server.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let mut host = FakeJobManager::start(Some(&server.local_addr().unwrap().to_string()));
    let queue = |number: usize| format!("queue{number}");
    let requires = |number: usize| {
        (queue(number), json!({"requires": [queue(number), format!("^{}", queue(QUEUES - 1))]}))
    };
    host.config(&json!({
        "queues": (0..QUEUES).map(requires).collect::<Map<_, _>>(),
        "state-counts": {"metrics": ALL, "resync": 60, "lookup": "1d"},
    }));
    let names: Vec<_> = (0..QUEUES).map(queue).collect();
    host.respond("job-manager.queue-list", json!({ "queues": names }));
    // Every third job waits for a dependency that a plugin added.
    let waits = |id: &usize| id % 3 == 0;
    for id in 0..JOBS {
        let state = match id {
            id if waits(&id) => DEPEND,
            id if id % 10 == 1 => RUN,
            _ => SCHED,
        };
        host.call("job.new", &job(id, state));
    }
    let listed = |id| json!({"id": id, "dependencies": ["max-running-jobs-user-limit"]});
    let list: Vec<_> = (0..JOBS).filter(waits).map(listed).collect();
    host.respond("job-list.list", json!({ "jobs": list }));
    let cleaned = |job: usize| {
        let ranks = format!("{}-{}", job * 10, job * 10 + 1);
        (format!("f{job}"), json!({"t_start": 1.0, "pending": ranks, "allocated": ranks}))
    };
    let running: Map<_, _> = (0..NODES / 10).map(cleaned).collect();
    host.respond("housekeeping", json!({ "running": running }));
    host.resources(nodes(1, 0));
    host.load(&release_plugin(), json!({})).unwrap();
    host.advance(60.0);
    host.turns();
    host.advance(120.0);
    let turns = host.turns();
    for (topic, times) in &turns.responses {
        add(report, topic, times);
    }
    add(report, "longest reactor loop iteration in two minutes", &[turns.longest]);
    resync(report, &mut host, &server);
    for (what, r) in [
        ("100 kinds of nodes", nodes(100, 0)),
        ("10,000 kinds of nodes", nodes(NODES, 0)),
        ("a graph of 100,000 vertices in R (before Flux 0.84)", nodes(1, 100_000)),
    ] {
        host.resources(r);
        // The interval depends on the size of the previous response.
        host.advance(5.0);
        host.turns();
        host.advance(60.0);
        add(
            report,
            &format!("resource.status, {what}"),
            &host.turns().responses["resource.status"],
        );
    }
    host.kill();
}

/// The gauges and the datagrams of a resync: the largest number of labels, apart from queues.
fn resync(report: &mut Report, host: &mut FakeJobManager, server: &UdpSocket) {
    let mut buffer = [0; 65536];
    while server.recv(&mut buffer).is_ok() {}
    host.advance(60.0);
    host.counts();
    let (mut datagrams, mut bytes, mut gauges) =
        (0, 0, BTreeMap::<String, BTreeSet<String>>::new());
    while let Ok(length) = server.recv(&mut buffer) {
        let text = String::from_utf8_lossy(&buffer[..length]);
        (datagrams, bytes) = (datagrams + 1, bytes + length);
        for line in text.lines().filter(|line| line.ends_with("|g")) {
            let name = line.split(':').next().unwrap_or_default();
            let family = name["flux.job.".len()..].split('.').next().unwrap_or_default();
            gauges.entry(family.to_owned()).or_default().insert(name.to_owned());
        }
    }
    let sum: usize = gauges.values().map(BTreeSet::len).sum();
    let of_family = gauges.iter().map(|(family, names)| format!("{family} {}", names.len()));
    let of_family = of_family.collect::<Vec<_>>().join(", ");
    let what = format!("a resync of all collectors, 100 users, 100 banks, {QUEUES} queues");
    let figure = format!("{sum} gauges ({of_family}), {datagrams} datagrams, {bytes} bytes");
    report.figure(&what, figure);
}

fn add(report: &mut Report, what: &str, times: &[f64]) {
    let mut times = times.to_vec();
    times.sort_by(f64::total_cmp);
    let [median, longest] = [times.len() / 2, times.len() - 1].map(|index| times[index] / 1e6);
    let figure = match times.len() {
        1 => format!("{longest:.3} ms"),
        count => format!("{median:.3} ms, longest of {count}: {longest:.3} ms"),
    };
    let what = format!("{JOBS} jobs, {NODES} nodes, {QUEUES} queues: {what}");
    report.goal(&what, figure, "at most 1 ms", longest <= 1.0);
}

fn job(id: usize, state: i64) -> Value {
    let system = json!({
        "queue": format!("queue{}", id % QUEUES), "bank": format!("bank{}", id % 100),
    });
    let resources = json!([{"type": "slot", "count": 1, "with": [{"type": "core", "count": 1}]}]);
    let mut job = json!({
        "id": id, "userid": 1000 + id % 100, "t_submit": 1.0, "state": state,
        "jobspec": {"attributes": {"system": system}, "resources": resources},
    });
    if state == RUN {
        let rank = json!({"rank": (id % NODES).to_string(), "children": {"core": "0"}});
        job["R"] = json!({"execution": {"R_lite": [rank]}});
    }
    job
}

/// The response to resource.status, with so many kinds of nodes, and a graph with so many
/// vertices in R. Every tenth node is offline, and another one is drained.
fn nodes(kinds: usize, vertices: usize) -> Value {
    let every_tenth = |first: usize| {
        (first..NODES).step_by(10).map(|rank| rank.to_string()).collect::<Vec<_>>().join(",")
    };
    let entry = |kind: usize| {
        let ranks = format!("{}-{}", kind * (NODES / kinds), (kind + 1) * (NODES / kinds) - 1);
        json!({"rank": ranks, "children": {"core": format!("0-{}", 63 + kind), "gpu": "0-3"}})
    };
    // A property is a quarter of the nodes, in ranges of ten.
    let property = |queue: usize| {
        let first = queue * NODES / QUEUES / 2;
        let range = |rank| format!("{rank}-{}", rank + 9);
        let ranges: Vec<_> = (first..NODES).step_by(20).take(NODES / 40).map(range).collect();
        (format!("queue{queue}"), Value::from(ranges.join(",")))
    };
    let vertex = json!({
        "id": "123456",
        "metadata": {"type": "core", "id": 17, "rank": 4711, "exclusive": true,
                     "paths": {"containment": "/cluster0/node4711/core17"}},
    });
    let mut r = json!({"version": 1, "execution": {
        "R_lite": (0..kinds).map(entry).collect::<Vec<_>>(), "nodelist": ["node[0-9999]"],
        "properties": (0..QUEUES).map(property).collect::<Map<_, _>>(),
    }});
    if vertices > 0 {
        r["scheduling"] = json!({"graph": {"nodes": vec![vertex; vertices]}});
    }
    let drain = json!({(every_tenth(1)): {"timestamp": 1.0, "reason": "a test"}});
    json!({
        "R": r, "drain": drain, "online": "", "offline": every_tenth(0), "exclude": "",
        "torpid": "",
    })
}
