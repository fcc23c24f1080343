//! Many jobs while 5 % of the datagrams are lost, a server is restarted now and then, a host is
//! looked up every second, each second has a new user and bank, the configuration is reloaded
//! every second with other destinations and collectors, and the plugin is loaded again now and
//! then.

use std::fs;
use std::net::UdpSocket;

use serde_json::json;

use crate::support::artifact::{plugin, NAME};
use crate::support::fake_job_manager::FakeJobManager;
use crate::support::jobs::{described, go_on, live_as, COURSE, INACTIVE};
use crate::support::lossy_proxy::LossyProxy;
use crate::support::receiver::{vacant, Receiver};
use crate::support::Counts;

/// Jobs per second, and their transitions.
const JOBS: i64 = 100;
const TRANSITIONS: u64 = JOBS as u64 * COURSE.len() as u64;

/// The plugin is loaded again after so many seconds: most of the time, all places of users and
/// banks are taken.
const LOAD_AGAIN: u64 = 307;

/// What must not grow.
struct Size {
    second: u64,
    /// The resident memory of the host, in KiB (proc(5)).
    resident: u64,
    descriptors: usize,
    /// Users, banks and exception types with a place.
    labels: Vec<u64>,
    gauges: u64,
}

impl Size {
    fn of(host: &mut FakeJobManager, second: u64) -> Size {
        let status = fs::read_to_string(format!("/proc/{}/status", host.process())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("proc(5)");
        let resident = line.trim().trim_end_matches(" kB").parse().unwrap();
        let query = host.query();
        let collectors = query["collectors"].as_object().unwrap();
        let labels = collectors.values().filter_map(|it| it["labels"]["used"].as_u64());
        let gauges = collectors.values().map(|it| it["gauges"].as_u64().unwrap()).sum();
        Size { second, resident, descriptors: host.descriptors(), labels: labels.collect(), gauges }
    }
}

/// So many jobs of each second wait until the next second, and as many run.
const STAY: i64 = 10;
/// The remaining transitions of the jobs of the last second.
const LEFT: u64 = STAY as u64 * (3 + 2);

/// The jobs of a second, most of which end in it, and the remaining jobs of the second before.
fn a_seconds_jobs(host: &mut FakeJobManager, second: i64) {
    // A user and a bank of each second.
    let labelled = |second: i64, number| {
        let mut job = described(second * JOBS + number);
        job["userid"] = (1000 + second).into();
        job["jobspec"]["attributes"]["system"]["bank"] = format!("bank-{second}").into();
        job
    };
    for number in 0..JOBS {
        let here = labelled(second, number);
        let before = labelled(second - 1, number);
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
        if number == 0 {
            // Within the interval `verify`, fewer types than there are places.
            host.raise(second * JOBS, &format!("kind-{}", second / 5));
        }
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
    loads: u64,
    dropped: u64,
    /// The plugin's log lines about configurations, about the health of endpoints, and others.
    lines: [u64; 3],
    /// At the begin, after a tenth of the run, after each quarter, and at the end.
    sizes: Vec<Size>,
    /// The last other line.
    other: String,
}

/// The second server is started and stopped every `turn` seconds.
fn soak(transitions: u64, turn: u64) -> Life {
    let mut receiver = Receiver::start();
    let relay = LossyProxy::start(&receiver.endpoint(), 5, 20261124);
    let place = vacant();
    // The third is the first one by its name.
    let name = relay.endpoint().replace("127.0.0.1", "localhost");
    let endpoint = json!([relay.endpoint(), place.to_string(), name]);
    // The configurations, one for each second.
    let labels = ["states", "users", "banks", "results"];
    let tables = [
        json!({"endpoint": endpoint, "lookup": 1, "metrics": labels}),
        json!({"endpoint": endpoint, "lookup": 1, "metrics": labels, "period": 1}),
        json!({"endpoint": endpoint, "metrics": ["states", "users", "banks", "results", "timings"]}),
        json!({"endpoint": relay.endpoint(), "metrics": labels, "send": "values"}),
        json!({"endpoint": endpoint, "metrics": labels, "telemetry": true}),
    ];
    let mut host = FakeJobManager::start(None);
    host.config(&json!({"state-counts": tables[0]}));
    host.load(plugin(), json!({})).unwrap();
    host.advance(0.1);

    let mut life = Life {
        seconds: 0,
        reloads: 0,
        loads: 1,
        dropped: 0,
        lines: [0; 3],
        sizes: Vec::new(),
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
        if life.seconds % LOAD_AGAIN == LOAD_AGAIN - 1 {
            host.remove(NAME).unwrap();
            host.load(plugin(), json!({})).unwrap();
            life.loads += 1;
        }
        host.advance(1.0);
        for (_, text) in host.log() {
            let kind = match &text {
                text if text.contains(": version ") || text.contains("only one of them") => 0,
                text if text.contains("sends ") => 1,
                _ => 2,
            };
            life.lines[kind] += 1;
            if kind == 2 {
                life.other = text;
            }
        }
        // Both servers are read, so that only the proxy loses datagrams.
        receiver.take_others(&relay.endpoint());
        let mut buffer = [0; 2048];
        while server.as_ref().is_some_and(|server| server.recv(&mut buffer).is_ok()) {
            heard += 1;
        }
        life.seconds += 1;
        let marks = [0.0, 0.1, 0.25, 0.5, 0.75, 1.0];
        let part = (life.seconds * TRANSITIONS) as f64 / transitions as f64;
        // With the first configuration.
        if life.seconds % tables.len() as u64 == 1
            && marks.get(life.sizes.len()).is_some_and(|mark| part >= *mark)
        {
            life.sizes.push(Size::of(&mut host, life.seconds));
        }
    }
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
        "{} transitions in {} s of {} reloads, {} loads: {} datagrams dropped; lines: {} of \
         configurations, {} of health, {} others",
        life.seconds * TRANSITIONS - LEFT,
        life.seconds,
        life.reloads,
        life.loads,
        life.dropped,
        life.lines[0],
        life.lines[1],
        life.lines[2],
    );
    for Size { second, resident, descriptors, labels, gauges } in &life.sizes {
        println!(
            "{second:6} s: {resident} KiB, {descriptors} descriptors, {labels:?} labels, {gauges} \
             gauges"
        );
    }
    assert!(life.dropped > 0);
    // One line for a load, at most one for each reload, and one for the name.
    assert!(life.lines[0] <= 2 * (life.reloads + life.loads));
    // At least one line about a failure, and at most one per minute for each endpoint, and two
    // for each time that the second endpoint was added again.
    assert!(life.lines[1] > 0);
    let added = life.reloads / 5;
    let most = 2 * (life.seconds / 60 + 2 + added);
    assert!(life.lines[1] <= most, "a flood of {}", life.lines[1]);
    assert_eq!(life.lines[2], 0, "{}", life.other);
    let (early, last) = (&life.sizes[1], life.sizes.last().unwrap());
    let grown = last.resident.saturating_sub(early.resident);
    assert!(grown <= 256, "grown by {grown} KiB");
    assert_eq!(last.descriptors, early.descriptors);
}

#[test]
fn transitions_under_faults_end_with_correct_gauges_few_log_lines_and_no_growth() {
    check(&soak(30_000, 20));
}

#[test]
#[ignore = "long"]
fn full_a_million_jobs_under_faults_end_with_correct_gauges_and_no_growth() {
    check(&soak(7_000_000, 100));
}
