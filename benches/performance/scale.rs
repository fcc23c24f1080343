//! Duration of reactor loop iterations, memory and resync size with very many jobs.

use std::net::UdpSocket;
use std::time::Duration;

use serde_json::{json, Value};

use super::footprint::resident;
use super::report::Report;
use super::support::artifact::release_plugin;
use super::support::fake_job_manager::FakeJobManager;
use super::support::jobs::{RUN, SCHED};
use super::Options;

const QUEUES: i64 = 100;
const USERS: i64 = 5_000;
const ALL: &str = "states,queues,timings,results,resources,users,banks,pending";
/// Jobs with a transition, one per reactor loop iteration.
const MOVED: i64 = 10_000;

pub fn measure(report: &mut Report, options: Options) {
    let jobs = if options.full { 1_000_000 } else { 100_000 };
    let all = format!("{jobs} jobs, {QUEUES} queues, {USERS} users, all collectors");
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let mut server = Server { socket, sent: 0 };
    let endpoint = server.socket.local_addr().unwrap().to_string();
    let mut host = FakeJobManager::start(Some(&endpoint));
    for id in 0..jobs {
        host.call("job.new", &job(id, if id % 10 == 0 { RUN } else { SCHED }));
    }
    host.counts();
    host.turns();
    let before = resident(host.process());

    host.load(&release_plugin(), json!({"metrics": ALL, "resync": 60, "verify": 60})).unwrap();
    let load = host.turns();
    let milliseconds = |time: f64| format!("{:.2} ms", time / 1e6);
    report.figure(&format!("{all}: load, in one reactor loop iteration"), milliseconds(load.total));
    report.figure(&format!("{all}: load, per job"), nanoseconds(load.total / jobs as f64));

    host.advance(0.1);
    let start = host.turns();
    let memory = (resident(host.process()) - before) as f64 * 1024.0 / jobs as f64;
    report.figure(&format!("{all}: resident memory, per job"), format!("{memory:.0} bytes"));
    report.figure(
        &format!("{all}: longest reactor loop iteration after the load"),
        milliseconds(start.longest),
    );
    let first = server.burst(&mut host);
    report.figure(&format!("{all}: first values, to a server that does not read"), first);

    for moved in 0..MOVED {
        // Distribute the jobs over the table.
        let id = moved * 7_919 % (jobs / 10) * 10 + 1;
        let mut args = job(id, RUN);
        args["prev_state"] = SCHED.into();
        args["entry"] = json!({"name": "alloc", "timestamp": 2.0});
        host.call("job.state.run", &args);
    }
    host.counts();
    let moves = host.turns();
    let each = nanoseconds(moves.total / MOVED as f64);
    report
        .figure(&format!("{all}: a reactor loop iteration with one transition and its send"), each);
    server.burst(&mut host);

    // A reconcile pass and a resync begin. The pass takes another minute.
    host.advance(61.0);
    host.counts();
    let resync = server.burst(&mut host);
    report.figure(&format!("{all}: a resync, to a server that does not read"), resync);
    host.advance(60.0);
    host.counts();
    let check = host.turns();
    let goal = "at most 1 ms";
    let longest = milliseconds(check.longest);
    let what = format!("{all}: longest reactor loop iteration in a reconcile pass and two resyncs");
    report.goal(&what, longest, goal, check.longest <= 1e6);
    let what = format!("{all}: all reactor loop iterations in a reconcile pass and two resyncs");
    report.figure(&what, milliseconds(check.total));
    host.kill();
    rare_operations(report);
}

/// Rare operations: enabling and disabling collectors, and a reconcile pass that reads the
/// job manager's list because the number of jobs differs.
fn rare_operations(report: &mut Report) {
    const JOBS: i64 = 100_000;
    let mut host = FakeJobManager::start(None);
    let conf =
        |metrics: &str| json!({"state-counts": {"metrics": metrics, "endpoint": "127.0.0.1:9"}});
    host.config(&conf("states"));
    (0..JOBS).for_each(|id| host.call("job.new", &job(id, if id % 10 == 0 { RUN } else { SCHED })));
    host.load(&release_plugin(), json!({"verify": 600})).unwrap();
    host.advance(0.1);
    host.counts();
    let mut longest = |host: &mut FakeJobManager, what: &str, seconds| {
        host.advance(seconds);
        host.counts();
        let turns = host.turns();
        let what = format!("{JOBS} jobs, longest reactor loop iteration {what}");
        let longest = format!("{:.2} ms", turns.longest / 1e6);
        report.goal(&what, longest, "at most 1 ms", turns.longest <= 1e6);
    };
    host.turns();
    host.reload(&conf(ALL)).unwrap();
    longest(&mut host, "when the other collectors are enabled", 60.0);
    host.withhold("job.new", &job(JOBS, SCHED));
    longest(&mut host, "of a reconcile pass that reads the job manager's list", 600.0);
    let verified = &host.ask_for_query("libstate_counts.so")["verify"];
    assert_eq!(verified["repairs"], 1, "expected one repair from the list: {verified}");
    host.turns();
    host.reload(&conf("states")).unwrap();
    longest(&mut host, "when the other collectors are disabled", 60.0);
    host.kill();
}

fn job(id: i64, state: i64) -> Value {
    let system = json!({
        "queue": format!("queue{}", id % QUEUES), "bank": format!("bank{}", id % USERS),
    });
    let resources = json!([{"type": "slot", "count": 1, "with": [{"type": "core", "count": 1}]}]);
    let mut job = json!({
        "id": id, "userid": 1000 + id % USERS, "t_submit": 1.0, "state": state,
        "jobspec": {"attributes": {"system": system}, "resources": resources},
    });
    if state == RUN {
        let rank = json!({"rank": (id % 10_000).to_string(), "children": {"core": "0"}});
        job["R"] = json!({"execution": {"R_lite": [rank]}});
    }
    job
}

/// A server with the default receive buffer (212,992 bytes on Linux) that reads only after
/// the plugin has sent.
struct Server {
    socket: UdpSocket,
    sent: u64,
}

impl Server {
    /// Datagrams sent since the last call, and those that did not fit in the buffer.
    fn burst(&mut self, host: &mut FakeJobManager) -> String {
        let query = host.ask_for_query("libstate_counts.so");
        let all = query["endpoints"][0]["datagrams"].as_u64().unwrap();
        let sent = all - std::mem::replace(&mut self.sent, all);
        let (mut datagrams, mut bytes) = (0, 0);
        let mut buffer = [0; 65536];
        while let Ok(length) = self.socket.recv(&mut buffer) {
            datagrams += 1;
            bytes += length;
        }
        format!("{sent} datagrams, {} of them lost; {bytes} bytes received", sent - datagrams)
    }
}

fn nanoseconds(time: f64) -> String {
    format!("{time:.0} ns")
}
