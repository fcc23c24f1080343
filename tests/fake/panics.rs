//! A caught panic: the gauges are correct again after one pass over the jobs.

use crate::support::artifact::panicking_plugin;
use crate::support::fake_job_manager::FakeJobManager;
use crate::support::jobs::{described, live, step, COURSE, NEW, PRIORITY, RUN, SCHED};
use crate::support::receiver::Receiver;
use serde_json::json;

/// The plugin panics at each `job.state.sched` and so misses that event. Without `verify` and
/// `resync` nothing else corrects it.
#[test]
fn gauges_are_recomputed_after_a_panic_and_panics_are_counted() {
    let mut receiver = Receiver::start();
    let mut host = FakeJobManager::start(Some(&receiver.endpoint()));
    let conf = json!({"verify": 0, "resync": 3600, "telemetry": true});
    host.load(panicking_plugin(), conf).unwrap();
    host.advance(0.1);
    for id in 0..300 {
        live(&mut host, id, &COURSE[..3]);
        step(&mut host, id, PRIORITY, SCHED);
    }
    host.counts();
    assert_eq!(receiver.seen().gauges["PRIORITY"], 300, "the events were missed");
    host.advance(15.0);
    let truth = host.counts();
    assert_eq!(truth["SCHED"], 300);
    assert_eq!(receiver.seen().gauges, truth);
    let query = host.ask_for_query("panicking.so");
    assert_eq!(query["panics"], 300);
    assert_eq!(query["counts"]["SCHED"], 300);
    let counted = receiver.values()["flux.job.plugin.panics"].clone();
    assert_eq!(counted.last().map(String::as_str), Some("300|c"));
    // A later job is counted as usual.
    live(&mut host, 1000, &[NEW]);
    let truth = host.counts();
    assert_eq!(receiver.seen().gauges, truth);
    host.end();
}

/// `flux module remove --cancel job-manager`: a system call in a callback, such as send(2),
/// would unwind the stack, and Rust would abort the process.
#[test]
fn a_canceled_job_manager_ends_after_the_callback() {
    let conf = json!({"resync": "1h", "metrics": "states,timings"});
    let (mut host, mut receiver) = FakeJobManager::running(conf);
    for turn in 0..3 {
        // A full datagram of timings, which is sent before the end of the loop iteration.
        let calls: Vec<_> = (turn * 100..turn * 100 + 100)
            .flat_map(|id| {
                let mut job = described(id);
                job["state"] = json!(SCHED);
                let mut run = job.clone();
                (run["prev_state"], run["state"]) = (json!(SCHED), json!(RUN));
                [("job.new", job), ("job.state.run", run)]
            })
            .collect();
        assert!(host.cancel_in_turn(&calls));
    }
    let truth = host.counts();
    assert_eq!((receiver.seen().gauges, truth["RUN"]), (truth, 300));
    assert_eq!(receiver.values()["flux.job.time.submit_to_run"].len(), 300);
    host.end();
}

/// A pass takes several seconds here, and each second one more job makes the plugin panic.
#[test]
fn passes_come_to_an_end_while_panics_go_on() {
    let mut receiver = Receiver::start();
    let mut host = FakeJobManager::start(Some(&receiver.endpoint()));
    host.load(panicking_plugin(), json!({"verify": "5s", "resync": 3600})).unwrap();
    host.advance(0.1);
    for id in 0..20_000 {
        live(&mut host, id, &COURSE[..3]);
    }
    // How many jobs are a slice depends on the machine: a pass takes two seconds or more.
    let mut panics = 0;
    while panics < 60 || host.ask_for_query("panicking.so")["verify"]["checks"] == 0 {
        assert!(panics < 1000, "no pass came to an end");
        step(&mut host, panics, PRIORITY, SCHED);
        host.advance(1.0);
        panics += 1;
    }
    assert_eq!(host.ask_for_query("panicking.so")["panics"], panics);
    let shown = receiver.seen().gauges;
    assert!(shown["SCHED"] > 0, "corrected while panics go on: {shown:?}");
    host.advance(120.0);
    let truth = host.counts();
    assert_eq!(receiver.seen().gauges, truth);
    host.end();
}
