//! Loads, jobs and removals in a loop leave nothing behind: in a process that unloads the code of
//! the library, under valgrind and under AddressSanitizer.

use std::net::UdpSocket;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};
use std::{fs, thread};

use serde_json::{json, Value};
use tempfile::NamedTempFile;

use crate::support::all_collectors;
use crate::support::artifact::{plugin, release_plugin, NAME};
use crate::support::fake_job_manager::{program, sanitized_program, FakeJobManager};
use crate::support::jobs::{described, live, live_as, COURSE, INACTIVE, RUN};
use crate::support::names::Names;

/// The kinds of cycles.
const KINDS: usize = 8;

/// A load, some jobs and a removal: with pending changes, with a request under way, before the
/// first iteration of the reactor loop, and so on.
fn cycle(host: &mut FakeJobManager, file: &Path, endpoints: &Value, round: usize) {
    let name = file.file_name().unwrap().to_str().unwrap();
    let all = json!(all_collectors());
    let conf = match round % KINDS {
        0 => json!({"endpoint": endpoints, "metrics": all, "telemetry": true}),
        // Changes are pending at the removal.
        1 => json!({"endpoint": endpoints, "metrics": all, "period": "1h", "resync": 0}),
        2 => json!({"endpoint": endpoints, "metrics": all, "send": "values",
                    "prefix": "{cluster}.{jobid}"}),
        3 => json!({"endpoint": endpoints, "metrics": all, "dialect": "graphite",
                    "tags": {"site": "x"}}),
        _ => json!({"endpoint": endpoints, "period": 1}),
    };
    // At the removal, a request is under way, has failed or has a response.
    host.rpc_mode(["answer", "answer", "hold", "fail"][round % 4]);
    if round % KINDS == 4 {
        host.load(file, json!({"endpoint": "nonsense"})).unwrap_err();
    }
    host.load(file, conf).unwrap();
    if round % KINDS == 5 {
        host.load(file, json!({})).unwrap_err();
    }
    if round % KINDS != 6 {
        host.advance(0.1);
    }
    let ids = [0, 1, 2].map(|number| 3 * round as i64 + number);
    live_as(host, &described(ids[0]), &COURSE);
    // A job that is updated and has an exception, and runs on.
    let mut job = described(ids[1]);
    live_as(host, &job, &COURSE[..5]);
    job["state"] = RUN.into();
    host.call("job.update", &job);
    host.raise(ids[1], "mishap");
    // A job whose callbacks have only its id and state.
    live(host, ids[2], &COURSE);
    host.publish("job-exception", &json!({"id": ids[2]}));
    if round % KINDS == 7 {
        host.reload(&json!({"state-counts": {"metrics": "results", "states": "l"}})).unwrap();
        host.reload(&json!({"state-counts": {"period": "nonsense"}})).unwrap_err();
        host.reload(&json!({})).unwrap();
        host.advance(30.0);
    }
    host.ask_for_query(name);
    host.log();
    host.remove(name).unwrap();
    host.rpc_mode("answer");
    // Keeps the host's own table of jobs short.
    for id in ids {
        host.call("job.inactive-remove", &json!({"id": id, "state": INACTIVE}));
    }
}

/// Runs cycles; no descriptor is left at the end.
fn cycles(mut host: FakeJobManager, file: &Path, rounds: usize) {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("statsd.sock");
    let _local = UnixDatagram::bind(&path).unwrap();
    // Two servers, two addresses and a path without one.
    let endpoints = json!([
        server.local_addr().unwrap().to_string(),
        format!("unix:{}", path.display()),
        "127.0.0.1:1",
        "[::1]:1",
        "unix:/nowhere/statsd",
    ]);
    // glibc and the host open some descriptors once, and keep them.
    for round in 0..KINDS {
        cycle(&mut host, file, &endpoints, round);
    }
    let before = host.descriptors();
    for round in 0..rounds {
        cycle(&mut host, file, &endpoints, round);
    }
    assert_eq!(host.descriptors(), before, "descriptors are left");
    assert!(!host.mapped(file.file_name().unwrap().to_str().unwrap()));
    assert_eq!(host.silenced(), 0);
    host.end();
}

fn plain(rounds: usize) {
    cycles(FakeJobManager::start(None), plugin(), rounds);
}

#[test]
fn load_cycles_leave_no_descriptor_and_no_code() {
    plain(200);
}

#[test]
#[ignore = "long"]
fn full_a_thousand_load_cycles_leave_no_descriptor_and_no_code() {
    plain(1000);
}

fn under_the_sanitizer(rounds: usize) {
    let mut command = Command::new(sanitized_program());
    command.env("ASAN_OPTIONS", "detect_leaks=1:exitcode=9");
    cycles(FakeJobManager::spawn(command, None), plugin(), rounds);
}

#[test]
fn load_cycles_are_clean_under_address_sanitizer() {
    under_the_sanitizer(50);
}

#[test]
#[ignore = "long"]
fn full_a_thousand_load_cycles_are_clean_under_address_sanitizer() {
    under_the_sanitizer(1000);
}

/// Adds options and the host to a command that runs valgrind.
fn memcheck(mut command: Command, report: &Path) -> Command {
    command.args(["--leak-check=full", "--errors-for-leak-kinds=none"]);
    // At the end, glibc would free memory that its lookup threads still use.
    command.arg("--run-libc-freeres=no");
    command.arg(format!("--log-file={}", report.display())).arg(program());
    command
}

/// The bytes that are lost according to a report of memcheck.
fn lost(report: &str) -> u64 {
    if report.contains("no leaks are possible") {
        return 0;
    }
    let count = |kind: &str| -> u64 {
        let line = report.lines().find_map(|line| line.split_once(kind)).expect(report).1;
        line.split_whitespace().next().unwrap().replace(',', "").parse().unwrap()
    };
    count("definitely lost:") + count("indirectly lost:")
}

fn under_memcheck(rounds: usize) {
    let report = NamedTempFile::new().unwrap();
    let command = memcheck(Command::new("valgrind"), report.path());
    // At each load, valgrind reads the debugging information of the library, which the release
    // build does not have.
    cycles(FakeJobManager::spawn(command, None), &release_plugin(), rounds);
    let report = fs::read_to_string(report.path()).unwrap();
    assert_eq!(lost(&report), 0, "{report}");
    assert!(report.contains("ERROR SUMMARY: 0 errors"), "{report}");
}

#[test]
#[cfg_attr(not(have_valgrind), ignore = "needs valgrind: scripts/test")]
fn load_cycles_are_clean_under_memcheck() {
    under_memcheck(KINDS);
}

#[test]
#[ignore = "long"]
fn full_a_thousand_load_cycles_are_clean_under_memcheck() {
    under_memcheck(1000);
}

/// Removals during lookups of two names. The name server never responds, so that threads of
/// glibc write to the requests later, while the host still runs.
fn look_ups(mut host: FakeJobManager, file: &Path, rounds: i64) {
    let name = file.file_name().unwrap().to_str().unwrap();
    for round in 0..rounds {
        host.load(file, json!({"endpoint": "a.test:1,b.test:1", "period": "1h"})).unwrap();
        // Some removals are before the plugin checks the lookup, some after.
        if round % 3 > 0 {
            host.advance(1.0);
        }
        live(&mut host, round, &COURSE);
        let query = host.ask_for_query(name);
        assert_eq!(query["endpoints"][0]["state"], "looking up");
        host.remove(name).unwrap();
    }
    assert!(!host.mapped(name));
    thread::sleep(Duration::from_millis(2500));
    host.end();
}

/// The bytes that a canceled lookup leaves: 104 in glibc 2.36 (getaddrinfo_a.c), and a request
/// of 120, which a thread of glibc worked on.
const LEFT: u64 = 104 + 120;

#[test]
#[cfg_attr(
    not(all(have_valgrind, have_namespaces)),
    ignore = "needs valgrind, unshare to be allowed, and scripts/test"
)]
fn a_removal_during_a_lookup_leaves_one_request() {
    const ROUNDS: i64 = 10;
    let names = Names::silent_with("timeout:1 attempts:1");
    let report = NamedTempFile::new().unwrap();
    let command = memcheck(names.command("valgrind".as_ref()), report.path());
    look_ups(FakeJobManager::spawn(command, None), &release_plugin(), ROUNDS);
    let report = fs::read_to_string(report.path()).unwrap();
    assert!(report.contains("ERROR SUMMARY: 0 errors"), "{report}");
    assert!(lost(&report) <= 2 * ROUNDS as u64 * LEFT, "{report}");
}

#[test]
#[cfg_attr(
    not(all(have_valgrind, have_namespaces)),
    ignore = "needs valgrind, unshare to be allowed, and scripts/test"
)]
fn lookups_that_end_leave_nothing() {
    let names = Names::known("127.0.0.1 statsd.test\n");
    let report = NamedTempFile::new().unwrap();
    let command = memcheck(names.command("valgrind".as_ref()), report.path());
    let mut host = FakeJobManager::spawn(command, None);
    let file = release_plugin();
    let name = file.file_name().unwrap().to_str().unwrap();
    let conf = json!({"endpoint": "statsd.test:1,unknown.test:1", "lookup": "1s"});
    host.load(&file, conf).unwrap();
    let mut answered = 0;
    while answered < 10 {
        // A lookup begins; the plugin polls for its end.
        host.advance(1.0);
        thread::sleep(Duration::from_millis(100));
        host.advance(0.5);
        let states = host.ask_for_query(name)["endpoints"].clone();
        let found = states[0]["state"] != "looking up";
        answered += i32::from(found && states[1]["state"] != "looking up");
    }
    host.remove(name).unwrap();
    host.end();
    let report = fs::read_to_string(report.path()).unwrap();
    assert!(report.contains("ERROR SUMMARY: 0 errors"), "{report}");
    // One lookup of each name may have been under way at the end.
    assert!(lost(&report) <= 2 * LEFT, "{report}");
}

#[test]
#[cfg_attr(not(have_namespaces), ignore = "needs unshare to be allowed, and scripts/test")]
fn a_hundred_loads_with_lookups_leave_no_descriptor() {
    let names = Names::known("127.0.0.1 statsd.test\n");
    let mut host = FakeJobManager::spawn(names.command(program()), None);
    host.counts();
    let before = host.descriptors();
    for round in 0..100 {
        host.load(plugin(), json!({"endpoint": "statsd.test:1,no-such-host.test:1"})).unwrap();
        host.advance(0.1);
        live(&mut host, round, &COURSE);
        host.remove(NAME).unwrap();
    }
    // A thread of glibc may still read for a lookup that was canceled.
    let end = Instant::now() + Duration::from_secs(20);
    while host.descriptors() > before && Instant::now() < end {
        thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(host.descriptors(), before);
    host.end();
}
