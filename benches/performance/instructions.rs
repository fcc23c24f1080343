//! Instruction counts, which are the same in each run.
//!
//! Valgrind's cachegrind counts the instructions of a whole host. The difference of two runs
//! that differ only in the number of repetitions is the cost of these repetitions. It includes
//! the instructions of the fake job manager; figures of a plugin that only unpacks the two
//! integers, and of one that does nothing, are given for comparison.

use std::path::Path;
use std::process::Command;
use std::{fs, net::SocketAddr};

use serde_json::{json, Value};
use tempfile::NamedTempFile;

use super::callback::{flux_host, original_plugin};
use super::drain::roomy_socket;
use super::report::Report;
use super::support::artifact::release_plugin;
use super::support::fake_job_manager::{idle_plugin, noop_plugin, program, FakeJobManager};
use super::support::jobs::{
    announced, described, there_and_back, CLEANUP, COURSE, INACTIVE, NEW, RUN,
};
use super::Options;

/// All collectors.
const ALL: &str = "states,queues,timings,results,resources,users,banks,pending";

/// A plugin and its configuration.
#[derive(Clone, Copy)]
struct Subject<'a> {
    name: &'a str,
    plugin: &'a Path,
    conf: &'a Value,
}

pub fn measure(report: &mut Report, _: Options) {
    let ours = release_plugin();
    let (nothing, states, all) =
        (json!({}), json!({"resync": 0}), json!({"resync": 0, "metrics": ALL}));
    let unpacks = Subject { name: "unpacks only", plugin: noop_plugin(), conf: &nothing };
    let idle = Subject { name: "does nothing", plugin: idle_plugin(), conf: &nothing };
    let states = Subject { name: "states", plugin: &ours, conf: &states };
    let all = Subject { name: "all collectors", plugin: &ours, conf: &all };

    transitions(report, "fake job manager", program(), &[unpacks, states, all]);
    if let (Some(host), Some(original)) = (flux_host(), original_plugin()) {
        let conf = json!({"period": 1.0});
        let original =
            Subject { name: "flux_stats_gauge_inc in C", plugin: &original, conf: &conf };
        transitions(report, "flux_plugin_call", &host, &[unpacks, states, all, original]);
    } else {
        let why = "needs the headers of flux-core (FLUX_PREFIX, pkg-config or flux on PATH)";
        report.leave_out("instructions through flux_plugin_call", why);
    }
    for length in [1, 10, 100] {
        for subject in [states, all] {
            let calls = there_and_back();
            let each = counted(program(), subject, 1000, |host, count| {
                host.repeat(file(subject), 1, &announced());
                host.repeat_in_turns(file(subject), count, &calls, length);
            });
            let what = format!(
                "a reactor loop iteration of {length} transitions and its datagram: {}",
                subject.name
            );
            report.figure(&what, instructions(each * length as f64));
        }
    }
    let confs = ALL.split(',').skip(1).map(|name| format!("states,{name}"));
    let confs: Vec<_> = confs.map(|it| json!({"resync": 0, "metrics": it})).collect();
    let each = confs.iter().map(|conf| Subject {
        name: conf["metrics"].as_str().expect("a string"),
        plugin: &ours,
        conf,
    });
    for subject in [idle, states, all].into_iter().chain(each) {
        let life = life();
        let each = counted(program(), subject, 900, |host, count| {
            host.repeat_within_a_turn(file(subject), count, &life);
        });
        let calls = life.as_array().unwrap().len() as f64;
        let what = format!("all {calls} callbacks of a job: {}", subject.name);
        report.figure(&what, instructions(each * calls));
    }
    let each = counted(program(), all, 900, |host, count| {
        in_queues(host, 256);
        host.repeat_within_a_turn(file(all), count, &life());
    });
    let calls = life().as_array().unwrap().len() as f64;
    let what = format!("all {calls} callbacks of a job, with 256 other queues: {}", all.name);
    report.figure(&what, instructions(each * calls));
    table(report, idle, states);
    resyncs(report, &ours);
    reconciles(report, &ours);
}

/// The callback of a transition of a known job. Nothing is sent.
fn transitions(report: &mut Report, title: &str, host: &Path, subjects: &[Subject]) {
    let calls = there_and_back();
    let mut each_of = Vec::new();
    for &subject in subjects {
        let each = counted(host, subject, 10_000, |host, count| {
            host.repeat(file(subject), 1, &announced());
            host.repeat_within_a_turn(file(subject), count, &calls);
        });
        report.figure(&format!("{title}, a transition: {}", subject.name), instructions(each));
        each_of.push((subject.name, each));
    }
    let [(_, floor), (_, states), (_, all), ..] = each_of[..] else { return };
    let ratio = all / states;
    let what = format!("{title}, a transition: all collectors, ratio to states");
    report.goal(&what, format!("{ratio:.2}"), "at most 3", ratio <= 3.0);
    if let Some((name, original)) = each_of.get(3) {
        let ratio = (states - floor) / (original - floor);
        let what = format!("{title}, a transition, above unpacking: states, ratio to {name}");
        report.goal(&what, format!("{ratio:.2}"), "at most 0.80", ratio <= 0.8);
    }
}

/// A transition with a small job table and with a large one.
fn table(report: &mut Report, idle: Subject, states: Subject) {
    for jobs in [1_000, 100_000] {
        let with_jobs = |subject: Subject| {
            counted(program(), subject, 1000, |host, count| {
                for id in 2..jobs {
                    host.call("job.new", &json!({"id": id * 7919, "state": RUN}));
                }
                host.repeat(file(subject), 1, &announced());
                host.repeat_within_a_turn(file(subject), count, &there_and_back());
            })
        };
        let each = with_jobs(states) - with_jobs(idle);
        let what = format!("a transition with {jobs} active jobs, without the host: states");
        report.figure(&what, instructions(each));
    }
}

/// A resync of few gauges and of many.
fn resyncs(report: &mut Report, plugin: &Path) {
    let few = json!({"resync": 1, "verify": 0});
    let many = json!({"resync": 1, "verify": 0, "metrics": "states,queues"});
    for (queues, conf) in [(0, few), (256, many)] {
        let subject = Subject { name: "", plugin, conf: &conf };
        let each = counted(program(), subject, 100, |host, count| {
            in_queues(host, queues);
            (0..count).for_each(|_| host.advance(1.0));
        });
        let what = format!("a resync of 7 gauges and those of {queues} queues, including the host's timer and responses");
        report.figure(&what, instructions(each));
    }
}

/// One running job in each of so many queues.
fn in_queues(host: &mut FakeJobManager, queues: i64) {
    for queue in 0..queues {
        let system = json!({"queue": format!("queue-{queue}")});
        let resources = json!([{"type": "core", "count": 1}]);
        let jobspec = json!({"attributes": {"system": system}, "resources": resources});
        let job = json!({"id": 1000 + queue, "state": RUN, "jobspec": jobspec});
        host.call("job.new", &job);
    }
}

/// A reconcile pass that looks up each job.
fn reconciles(report: &mut Report, plugin: &Path) {
    let conf = json!({"resync": 0, "verify": 1});
    let subject = Subject { name: "", plugin, conf: &conf };
    const JOBS: i64 = 500;
    let each = counted(program(), subject, 20, |host, count| {
        (0..JOBS).for_each(|id| host.call("job.new", &json!({"id": id, "state": RUN})));
        (0..count).for_each(|_| host.advance(1.0));
    });
    let what = "a reconcile pass, per job, including the host's lookup";
    report.figure(what, instructions(each / JOBS as f64));
}

/// All callbacks of a job, including its purge.
fn life() -> Value {
    let call = |topic: &str, state: i64, previous: Option<i64>| {
        let mut args = described(7);
        args["state"] = state.into();
        if let Some(previous) = previous {
            args["prev_state"] = previous.into();
        }
        if !(RUN..=CLEANUP).contains(&state) {
            args.as_object_mut().unwrap().remove("R");
        }
        json!({"topic": topic, "in": args})
    };
    let mut calls = vec![call("job.new", NEW, None)];
    let topics = ["depend", "priority", "sched", "run", "cleanup", "inactive"];
    for (pair, topic) in COURSE.windows(2).zip(topics) {
        calls.push(call(&format!("job.state.{topic}"), pair[1], Some(pair[0])));
    }
    calls.push(call("job.inactive-add", INACTIVE, None));
    calls.push(call("job.inactive-remove", INACTIVE, None));
    calls.into()
}

/// Instructions of one repetition in `body`.
fn counted(
    host: &Path,
    subject: Subject,
    count: u64,
    body: impl Fn(&mut FakeJobManager, u64),
) -> f64 {
    // The datagrams are not read.
    let server = roomy_socket();
    let address = server.local_addr().unwrap();
    let run = |count| run(host, subject, address, |host| body(host, count));
    (run(3 * count) - run(count)) as f64 / (2 * count) as f64
}

/// Instructions of a host from start to end.
fn run(
    host: &Path,
    subject: Subject,
    server: SocketAddr,
    body: impl Fn(&mut FakeJobManager),
) -> u64 {
    let report = NamedTempFile::new().unwrap();
    let mut command = Command::new("valgrind");
    command.args(["--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"]);
    command.arg(format!("--log-file={}", report.path().display())).arg(host);
    let mut host = FakeJobManager::spawn(command, Some(&server.to_string()));
    host.load(subject.plugin, subject.conf.clone()).unwrap();
    host.advance(0.1);
    body(&mut host);
    host.end();
    let text = fs::read_to_string(report.path()).unwrap();
    // "==123== I   refs:      1,234,567"
    let refs = text.lines().find_map(|line| line.split_once("refs:"));
    let refs = refs.unwrap_or_else(|| panic!("expected valgrind's count: {text}")).1;
    refs.trim().replace(',', "").parse().unwrap()
}

fn file<'a>(subject: Subject<'a>) -> &'a str {
    subject.plugin.file_name().unwrap().to_str().unwrap()
}

fn instructions(figure: f64) -> String {
    format!("{figure:.0} instructions")
}
