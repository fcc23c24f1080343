//! Size of the plugin on disk and in memory.

use std::fs;

use serde_json::json;

use super::drain::{Drain, Reader};
use super::report::Report;
use super::support::artifact::release_plugin;
use super::support::fake_job_manager::FakeJobManager;
use super::support::jobs::{announced, PRIORITY, SCHED};
use super::Options;

const KIB: u64 = 1024;
/// Transitions per second of the host's clock.
const STEP: u64 = 500;
/// Seconds of the warm-up, which includes a resync, and of the whole run.
const WARM: u64 = 20;
const ALL: u64 = 2_000;

pub fn measure(report: &mut Report, _: Options) {
    let plugin = release_plugin();
    let size = fs::metadata(&plugin).unwrap().len();
    report.figure("size of the .so", format!("{} KiB", size / KIB));

    let name = plugin.file_name().unwrap().to_str().unwrap();
    let drain = Drain::start(Reader::Sleeps);
    for (mode, conf) in
        [("immediate", json!({"resync": 10})), ("aggregated", json!({"period": 1, "resync": 10}))]
    {
        let mut host = FakeJobManager::start(Some(&drain.address().to_string()));
        host.load(&plugin, conf).unwrap();
        host.advance(1.0);
        host.repeat(name, 1, &announced());
        // Short arguments, so that the heap of the host does not grow after the warm-up.
        let calls = json!([
            {"topic": "job.state.sched", "in": {"id": 1, "state": SCHED, "prev_state": PRIORITY}},
            {"topic": "job.state.priority", "in": {"id": 1, "state": PRIORITY, "prev_state": SCHED}},
        ]);
        let step = |host: &mut FakeJobManager| {
            host.repeat(name, STEP, &calls);
            host.advance(1.0);
            host.counts();
        };
        (0..WARM).for_each(|_| step(&mut host));
        let before = resident(host.process());
        (WARM..ALL).for_each(|_| step(&mut host));
        let growth = resident(host.process()) as i64 - before as i64;
        let (from, to) = (WARM * STEP, ALL * STEP);
        report.goal(
            &format!("resident growth from {from} to {to} transitions, {mode}"),
            format!("{growth} KiB"),
            "0",
            growth <= 0,
        );
        host.end();
    }
}

/// Resident memory of a process in KiB. VmRSS is not used, because it is updated late.
pub fn resident(process: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{process}/smaps_rollup")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("Rss:"));
    line.unwrap().trim().trim_end_matches(" kB").parse().unwrap()
}
