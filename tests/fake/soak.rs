//! Many transitions while 5 % of the datagrams are lost, a server is restarted now and then,
//! and the configuration is reloaded every second.

use std::fs;
use std::net::UdpSocket;

use serde_json::json;

use crate::support::artifact::plugin;
use crate::support::fake_job_manager::FakeJobManager;
use crate::support::jobs::{described, go_on, live_as, COURSE, INACTIVE};
use crate::support::lossy_proxy::LossyProxy;
use crate::support::receiver::{vacant, Receiver};
use crate::support::Counts;

/// Jobs per second, and their transitions.
const JOBS: i64 = 100;
const TRANSITIONS: u64 = JOBS as u64 * COURSE.len() as u64;

/// The resident memory of the host, in KiB (proc(5)).
fn resident(host: &FakeJobManager) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", host.process())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("proc(5)");
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// So many jobs of each second wait until the next second, and as many run.
const STAY: i64 = 10;
/// The remaining transitions of the jobs of the last second.
const LEFT: u64 = STAY as u64 * (3 + 2);

/// The jobs of a second, most of which end in it, and the remaining jobs of the second before.
fn a_seconds_jobs(host: &mut FakeJobManager, second: i64) {
    for number in 0..JOBS {
        let here = described(second * JOBS + number);
        let before = described((second - 1) * JOBS + number);
        let (job, path) = if number < STAY {
            live_as(host, &here, &COURSE[..4]);
            (before, &COURSE[3..])
        } else if number < 2 * STAY {
            live_as(host, &here, &COURSE[..5]);
            (before, &COURSE[4..])
        } else {
            live_as(host, &here, &COURSE[..1]);
            (here, &COURSE[..])
        };
        if number >= 2 * STAY || second > 0 {
            go_on(host, &job, path);
            // Ten jobs stay; the others are purged, so that the host's own table stays short.
            if second > 0 || number >= 3 * STAY {
                host.call("job.inactive-remove", &json!({"id": job["id"], "state": INACTIVE}));
            }
        }
    }
}

/// The results of a run.
struct Life {
    seconds: u64,
    reloads: u64,
    dropped: u64,
    /// The plugin's log lines about configurations, about the health of endpoints, and others.
    lines: [u64; 3],
    /// In KiB, after a tenth of the run and at its end.
    resident: [u64; 2],
    /// The last other line.
    other: String,
}

/// The second server is started and stopped every `turn` seconds.
fn soak(transitions: u64, turn: u64) -> Life {
    let mut receiver = Receiver::start();
    let relay = LossyProxy::start(&receiver.endpoint(), 5, 20261124);
    let place = vacant();
    let endpoint = json!([relay.endpoint(), place.to_string()]);
    // The configurations, one for each second.
    let tables = [
        json!({"endpoint": endpoint}),
        json!({"endpoint": endpoint, "period": 1}),
        json!({"endpoint": endpoint, "metrics": ["states", "results", "timings"]}),
        json!({"endpoint": endpoint, "send": "values"}),
        json!({"endpoint": endpoint, "telemetry": true}),
    ];
    let mut host = FakeJobManager::start(None);
    host.config(&json!({"state-counts": tables[0]}));
    host.load(plugin(), json!({})).unwrap();
    host.advance(0.1);

    let mut life = Life {
        seconds: 0,
        reloads: 0,
        dropped: 0,
        lines: [0; 3],
        resident: [0; 2],
        other: String::new(),
    };
    let mut server = None;
    let mut heard = 0;
    while life.seconds * TRANSITIONS < transitions + LEFT {
        if life.seconds % turn == 0 {
            server = match server {
                Some(_) => {
                    assert!(heard > 0, "the second server is found each time");
                    heard = 0;
                    None
                }
                None => Some(UdpSocket::bind(place).unwrap()),
            };
            if let Some(server) = &server {
                server.set_nonblocking(true).unwrap();
            }
        }
        a_seconds_jobs(&mut host, life.seconds as i64);
        let table = &tables[life.seconds as usize % tables.len()];
        host.reload(&json!({"state-counts": table})).unwrap();
        life.reloads += 1;
        host.advance(1.0);
        for (_, text) in host.log() {
            let kind = match &text {
                text if text.contains(": version ") => 0,
                text if text.contains("sends ") => 1,
                _ => 2,
            };
            life.lines[kind] += 1;
            if kind == 2 {
                life.other = text;
            }
        }
        // Both servers are read, so that only the proxy loses datagrams.
        receiver.seen_behind(&relay.endpoint());
        let mut buffer = [0; 2048];
        while server.as_ref().is_some_and(|server| server.recv(&mut buffer).is_ok()) {
            heard += 1;
        }
        life.seconds += 1;
        if life.seconds == (transitions / TRANSITIONS / 10).max(1) {
            life.resident[0] = resident(&host);
        }
    }
    life.resident[1] = resident(&host);
    life.dropped = relay.dropped();

    // With the last configuration, the first resync that arrives corrects the gauges.
    host.reload(&json!({"state-counts": tables[0]})).unwrap();
    let mut tries = 0;
    let truth: Counts = loop {
        host.advance(10.0);
        let truth = host.counts();
        if receiver.seen_behind(&relay.endpoint()).gauges == truth {
            break truth;
        }
        tries += 1;
        assert!(tries < 10, "never true again: {}", host.query());
    };
    assert_eq!([truth["SCHED"], truth["RUN"], truth["INACTIVE"]], [STAY, STAY, STAY]);
    assert_eq!(host.silenced(), 0);
    assert_eq!(host.query()["anomalies"]["missed_event"], 0);
    host.end();
    life
}

/// The log and the memory of a run are within limits.
fn check(life: &Life) {
    println!(
        "{} transitions in {} s of {} reloads: {} datagrams dropped; lines: {} of configurations, \
         {} of health, {} others; resident {} KiB, then {} KiB",
        life.seconds * TRANSITIONS - LEFT,
        life.seconds,
        life.reloads,
        life.dropped,
        life.lines[0],
        life.lines[1],
        life.lines[2],
        life.resident[0],
        life.resident[1]
    );
    assert!(life.dropped > 0);
    // One line for the load, and at most one for each reload.
    assert!(life.lines[0] <= life.reloads + 1);
    // At least one line about a failure, and at most one per minute for each endpoint.
    assert!(life.lines[1] > 0);
    assert!(life.lines[1] <= 2 * (life.seconds / 60 + 2), "a flood of {}", life.lines[1]);
    assert_eq!(life.lines[2], 0, "{}", life.other);
    let grown = life.resident[1].saturating_sub(life.resident[0]);
    assert!(grown <= 256, "grown by {grown} KiB");
}

#[test]
fn transitions_under_faults_end_with_correct_gauges_few_log_lines_and_no_growth() {
    check(&soak(30_000, 20));
}

#[test]
#[ignore = "long"]
fn full_a_million_transitions_under_faults_end_with_correct_gauges() {
    check(&soak(1_000_000, 100));
}
