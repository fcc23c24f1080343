//! Heap allocations and system calls. tests/fake/cost.rs tests the same figures.

use serde_json::json;

use super::report::Report;
use super::support::artifact::release_plugin;
use super::support::costs::{aggregated, allocations, immediate, syscalls, Server};
use super::support::fake_job_manager::idle_plugin;
use super::Options;

pub fn measure(report: &mut Report, _: Options) {
    let plugin = release_plugin();
    let (floor, _) = allocations(idle_plugin(), &json!({}));
    for (mode, conf, calls) in [("immediate", immediate(), 1), ("aggregated", aggregated(), 0)] {
        let (counted, transitions) = allocations(&plugin, &conf);
        report.goal(
            &format!("heap allocations in {transitions} transitions, {mode}, without the host"),
            counted - floor,
            "0",
            counted == floor,
        );
        let (counted, transitions) = syscalls(&plugin, &conf, Server::Alive);
        report.goal(
            &format!("system calls in {transitions} transitions, {mode}"),
            counted,
            &format!("{}", calls * transitions),
            counted == calls * transitions,
        );
    }
    let (counted, transitions) = syscalls(&plugin, &immediate(), Server::Dead);
    let what = format!("system calls in {transitions} transitions, immediate, no server");
    report.figure(&what, counted);
}
