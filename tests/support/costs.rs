//! The cost of a transition in heap allocations, counted by glibc's memusage(1), and in system
//! calls, counted by strace(1).

use std::fs;
use std::net::UdpSocket;
use std::path::Path;
use std::process::Command;

use serde_json::{json, Value};
use tempfile::NamedTempFile;

use super::fake_job_manager::{program, FakeJobManager};
use super::jobs::{announced, there_and_back, COURSE};
use super::receiver::vacant;

/// The number of jobs for the measurement of memory.
const JOBS: i64 = 2_000;

/// Transitions before the measurement, and in it.
const WARM: u64 = 10_000;
const COUNTED: u64 = 10_000;

/// The library that memusage(1) preloads; it is part of glibc.
const MEMUSAGE: &str = "libmemusage.so";

/// The state of the server at the endpoint.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Server {
    /// A socket that is not read: no send is refused.
    Alive,
    /// No socket: sends are refused.
    Dead,
}

/// Heap allocations of `COUNTED` transitions, and this number. They include those of the host:
/// compare with a plugin that allocates nothing. The result is the difference of two processes
/// that differ only in the number of transitions. On a busy machine one of them may have an
/// allocation or two more.
pub fn allocations(plugin: &Path, conf: &Value) -> (i64, u64) {
    let run = |transitions| {
        let mut command = Command::new(program());
        command.env("LD_PRELOAD", MEMUSAGE);
        let text = transit(command, plugin, conf, transitions, Server::Alive);
        // "malloc|  calls  bytes  failed", between colours.
        let calls = |function: &str| -> Option<i64> {
            let line = text.lines().find(|line| line.contains(&format!("{function}|")))?;
            line.split_once('|')?.1.split_whitespace().find_map(|word| word.parse().ok())
        };
        let functions = ["malloc", "realloc", "calloc"].map(calls);
        functions.into_iter().sum::<Option<i64>>().unwrap_or_else(|| {
            panic!("{MEMUSAGE} did not count (it comes with glibc; musl has none): {text}")
        })
    };
    (run(2 * COUNTED) - run(COUNTED), COUNTED)
}

/// The largest heap per active job, in bytes. It includes the host's own: compare with a
/// plugin that uses none. The jobs are submitted while the plugin is loaded, or exist at its
/// load.
pub fn bytes_a_job(plugin: &Path, conf: &Value, late: bool) -> i64 {
    let run = |jobs| {
        let mut command = Command::new(program());
        command.env("LD_PRELOAD", MEMUSAGE);
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut host =
            FakeJobManager::spawn(command, Some(&server.local_addr().unwrap().to_string()));
        if !late {
            host.load(plugin, conf.clone()).unwrap();
            host.advance(0.1);
        }
        for id in 0..jobs {
            submit_and_run(&mut host, id);
        }
        if late {
            host.load(plugin, conf.clone()).unwrap();
            host.advance(0.1);
        }
        host.counts();
        let text = host.end();
        let peak = text.split_once("heap peak: ").and_then(|(_, rest)| rest.split(',').next());
        peak.and_then(|peak| peak.trim().parse::<i64>().ok())
            .unwrap_or_else(|| panic!("{MEMUSAGE} did not count: {text}"))
    };
    (run(2 * JOBS) - run(JOBS)) / JOBS
}

/// A job with all data that a collector can keep.
fn submit_and_run(host: &mut FakeJobManager, id: i64) {
    let mut args = json!({
        "id": id,
        "userid": 1000 + id % 500,
        "t_submit": 1.0,
        "jobspec": {
            "attributes": {"system": {"queue": "batch", "bank": format!("bank-{}", id % 500)}},
            "resources": [{"type": "slot", "count": 1, "with": [{"type": "core", "count": 1}]}],
        },
        "R": {"execution": {"R_lite": [{"rank": "0", "children": {"core": "0"}}]}},
        "state": COURSE[3],
    });
    host.call("job.new", &args);
    args["prev_state"] = COURSE[3].into();
    args["state"] = COURSE[4].into();
    args["entry"] = json!({"name": "alloc", "timestamp": 2.0});
    host.call("job.state.run", &args);
}

/// System calls of `COUNTED` transitions, and this number: those between two responses of the
/// host, without the reads of its commands.
pub fn syscalls(plugin: &Path, conf: &Value, server: Server) -> (u64, u64) {
    let report = NamedTempFile::new().unwrap();
    let mut command = Command::new("strace");
    command.args(["-f", "-qq", "-e", "trace=!read", "-e", "signal=none", "-o"]);
    command.arg(report.path()).arg(program());
    transit(command, plugin, conf, COUNTED, server);
    let text = fs::read_to_string(report.path()).unwrap();
    // "THREAD name(arguments) = code"
    let answers: Vec<_> = text
        .lines()
        .enumerate()
        .filter(|(_, line)| line.contains(" write(1, \"{\\\"nanoseconds"))
        .map(|(number, _)| number)
        .collect();
    // The responses for job.new, for the transitions before the measurement, and for those in
    // it.
    let [_, warm, end] = answers[..] else { panic!("strace is installed, and may trace") };
    let counted = end - warm - 1;
    (counted as u64, COUNTED)
}

/// Runs a host with `plugin` through this number of transitions. Returns the host's stderr.
fn transit(
    command: Command,
    plugin: &Path,
    conf: &Value,
    transitions: u64,
    server: Server,
) -> String {
    let address = vacant();
    let _socket = (server == Server::Alive).then(|| UdpSocket::bind(address).unwrap());
    let endpoint = address.to_string();
    let mut host = FakeJobManager::spawn(command, Some(&endpoint));
    host.load(plugin, conf.clone()).unwrap();
    host.advance(0.1);
    let name = plugin.file_name().unwrap().to_str().unwrap();
    host.repeat(name, 1, &announced());
    host.repeat(name, WARM, &there_and_back());
    host.repeat(name, transitions, &there_and_back());
    host.end()
}

/// A configuration that sends each transition at once.
pub fn immediate() -> Value {
    json!({"resync": 0})
}

/// A configuration whose period is longer than a measurement.
pub fn aggregated() -> Value {
    json!({"period": 3600, "resync": 0})
}
