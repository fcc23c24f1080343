//! Loads, jobs and removals over and over: nothing is left, nothing is used after
//! it was freed. In a plain host, whose process really loses the library's code;
//! under valgrind's memcheck; and under AddressSanitizer.

use std::fs;
use std::net::UdpSocket;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use crate::support::artifact::{plugin, release_plugin};
use crate::support::fake_job_manager::{program, sanitized_program, FakeJobManager};
use crate::support::jobs::{described, live, live_as, COURSE, INACTIVE, RUN};
use crate::support::names::Names;
use serde_json::{json, Value};
use tempfile::NamedTempFile;

/// What a cycle is like; they take turns.
const KINDS: usize = 8;

/// Somewhere to send to: a server, a dead one, and a path where nobody is.
fn endpoints(server: &UdpSocket) -> Value {
    json!([server.local_addr().unwrap().to_string(), "127.0.0.1:1", "unix:/nowhere/statsd"])
}

/// One load, some jobs, one removal; in mid-flush, with a request under way,
/// before the reactor turned, and so on.
fn cycle(host: &mut FakeJobManager, file: &Path, server: &UdpSocket, round: usize) {
    let name = file.file_name().unwrap().to_str().unwrap();
    let endpoint = endpoints(server);
    let all = json!(["states", "queues", "timings", "results", "resources", "users", "banks"]);
    let conf = match round % KINDS {
        0 => json!({"endpoint": endpoint, "metrics": all, "telemetry": true}),
        // Sums are pending when it goes.
        1 => json!({"endpoint": endpoint, "metrics": all, "period": "1h", "resync": 0}),
        2 => json!({"endpoint": endpoint, "metrics": all, "send": "values",
                    "prefix": "{cluster}.{jobid}"}),
        3 => json!({"endpoint": endpoint, "metrics": all, "dialect": "graphite",
                    "tags": {"site": "x"}}),
        _ => json!({"endpoint": endpoint, "period": 1}),
    };
    // A request is under way when it goes, or fails.
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
    // One that is updated, meets with an exception, and runs on.
    let mut job = described(ids[1]);
    live_as(host, &job, &COURSE[..5]);
    job["state"] = RUN.into();
    host.call("job.update", &job);
    host.call("job.event.exception", &job);
    // One of which nothing is told that should be.
    live(host, ids[2], &COURSE);
    host.call("job.event.exception", &json!({"id": ids[2], "state": 1}));
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
    // Nobody hears of these; the host's own table stays short.
    for id in ids {
        host.call("job.inactive-remove", &json!({"id": id, "state": INACTIVE}));
    }
}

/// Runs the cycles in this host; no descriptor is left at the end.
fn cycles(mut host: FakeJobManager, file: &Path, rounds: usize) {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    // What glibc and the host open once and keep.
    for round in 0..KINDS {
        cycle(&mut host, file, &server, round);
    }
    let before = host.descriptors();
    for round in 0..rounds {
        cycle(&mut host, file, &server, round);
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
fn cycles_leave_no_descriptor_and_no_code() {
    plain(200);
}

#[test]
#[ignore = "long"]
fn full_a_thousand_cycles_leave_no_descriptor_and_no_code() {
    plain(1000);
}

fn under_the_sanitizer(rounds: usize) {
    let mut command = Command::new(sanitized_program());
    command.env("ASAN_OPTIONS", "detect_leaks=1:exitcode=9");
    cycles(FakeJobManager::spawn(command, None), plugin(), rounds);
}

#[test]
fn cycles_are_clean_under_address_sanitizer() {
    under_the_sanitizer(50);
}

#[test]
#[ignore = "long"]
fn full_a_thousand_cycles_are_clean_under_address_sanitizer() {
    under_the_sanitizer(1000);
}

/// Adds valgrind's options, and the host, to a command that runs it.
fn memcheck(mut command: Command, report: &Path) -> Command {
    command.args(["--leak-check=full", "--errors-for-leak-kinds=none"]);
    // glibc's own way to free all at the end stumbles over its threads that look up.
    command.arg("--run-libc-freeres=no");
    command.arg(format!("--log-file={}", report.display())).arg(program());
    command
}

/// Bytes that a memcheck's report says are lost for certain.
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
    // valgrind reads all of a library's debugging information at each load; the
    // release build has none.
    cycles(FakeJobManager::spawn(command, None), &release_plugin(), rounds);
    let report = fs::read_to_string(report.path()).unwrap();
    assert_eq!(lost(&report), 0, "{report}");
    assert!(report.contains("ERROR SUMMARY: 0 errors"), "{report}");
}

#[test]
#[cfg_attr(not(have_valgrind), ignore = "needs valgrind: scripts/test")]
fn cycles_are_clean_under_memcheck() {
    under_memcheck(KINDS);
}

#[test]
#[ignore = "long"]
fn full_a_thousand_cycles_are_clean_under_memcheck() {
    under_memcheck(1000);
}

/// Removals in mid-look-up, of two names each: the name server never answers, and
/// glibc's threads give up, and write to the requests, while the host still runs.
fn look_ups(mut host: FakeJobManager, file: &Path, rounds: i64) {
    let name = file.file_name().unwrap().to_str().unwrap();
    for round in 0..rounds {
        host.load(file, json!({"endpoint": "a.test:1,b.test:1", "period": "1h"})).unwrap();
        // Some go before it was looked at, some after.
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

/// What a look-up that was called off leaves: 104 bytes in glibc 2.36
/// (getaddrinfo_a.c), and its request, of 120, which a thread of glibc's worked on.
const LEFT: u64 = 104 + 120;

#[test]
#[cfg_attr(
    not(all(have_valgrind, have_namespaces)),
    ignore = "needs valgrind, unshare to be allowed, and scripts/test"
)]
fn a_removal_in_mid_look_up_leaves_a_request_and_no_more() {
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
fn look_ups_that_end_leave_nothing() {
    let names = Names::known("127.0.0.1 statsd.test\n");
    let report = NamedTempFile::new().unwrap();
    let command = memcheck(names.command("valgrind".as_ref()), report.path());
    let mut host = FakeJobManager::spawn(command, None);
    let file = release_plugin();
    let name = file.file_name().unwrap().to_str().unwrap();
    let conf = json!({"endpoint": "statsd.test:1,nobody.test:1", "lookup": "1s"});
    host.load(&file, conf).unwrap();
    let mut answered = 0;
    while answered < 10 {
        // A look-up begins; polls see its end, some time.
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
    // One of each may have been under way at the end.
    assert!(lost(&report) <= 2 * LEFT, "{report}");
}
