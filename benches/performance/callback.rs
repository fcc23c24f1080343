//! Item 1: a transition's whole callback, in a host, beside a handler that only
//! unpacks it, beside flux-core's own statsd client, and beside one raw send.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use serde_json::{json, Value};

use super::alternate::{Contestant, Samples};
use super::drain::Drain;
use super::report::Report;
use super::support::artifact::plugin;
use super::support::compiled::compiled;
use super::support::counted::{aggregated, immediate};
use super::support::jobs::there_and_back;
use super::support::standin::{noop_plugin, program, Standin};
use super::{plot, Options};

/// New processes a measurement: where code and data happen to lie matters.
const LAUNCHES: usize = 4;
const ROUNDS: usize = 15;
/// Calls a sample: of a callback that sends, and of one that does not.
const SENDING: u64 = 4_000;
const QUIET: u64 = 40_000;

const NOOP: &str = "a handler that only unpacks";
const AGGREGATED: &str = "state-counts, aggregated";
const IMMEDIATE: &str = "state-counts, immediate";
const FRIPP_AGGREGATED: &str = "flux_stats_gauge_inc in C, period 1 s";
const FRIPP_IMMEDIATE: &str = "flux_stats_gauge_inc in C, period 0";
const SEND: &str = "a handler that unpacks, and one raw send of the same bytes";
const TIGHT: &str = "the same raw send, in a loop and in no host";

struct Candidate {
    name: &'static str,
    plugin: PathBuf,
    conf: Value,
    calls: u64,
}

pub fn measure(report: &mut Report, options: Options) {
    let candidate = |name, plugin: &Path, conf, calls| Candidate {
        name,
        plugin: plugin.to_owned(),
        conf,
        calls,
    };
    let sender = compiled("benches/plugins/send.c", "send.so", &["-shared", "-fPIC"]);
    let mut candidates = vec![
        candidate(NOOP, noop_plugin(), json!({}), QUIET),
        candidate(AGGREGATED, plugin(), aggregated(), QUIET),
        candidate(IMMEDIATE, plugin(), immediate(), SENDING),
        candidate(SEND, &sender, json!({}), SENDING),
    ];
    let samples = in_host(program(), &candidates);
    goals(report, "stand-in host", &samples);
    if options.docs {
        plot::bars("callback-standin.svg", "A callback in the stand-in host", &samples.medians());
    }

    let Some(host) = flux_host() else {
        let why = "needs the headers of flux-core (pkg-config or FLUX_PREFIX)";
        return report
            .leave_out("callbacks through flux_plugin_call, and flux_stats_gauge_inc", why);
    };
    let fripp = flux_compiled("benches/plugins/fripp.c", "fripp.so", &["-shared", "-fPIC"]);
    let fripp = fripp.expect("there are headers");
    candidates.push(candidate(FRIPP_AGGREGATED, &fripp, json!({"period": 1.0}), QUIET));
    candidates.push(candidate(FRIPP_IMMEDIATE, &fripp, json!({"period": 0.0}), SENDING));
    let samples = in_host(&host, &candidates);
    goals(report, "flux_plugin_call", &samples);
    report.figure(
        "flux_plugin_call: flux_stats_gauge_inc, period 1 s, over the no-op handler",
        nanoseconds(samples.difference(FRIPP_AGGREGATED, NOOP)),
    );
    let ratio = samples.ratio(IMMEDIATE, FRIPP_IMMEDIATE);
    report.goal(
        "flux_plugin_call: immediate, of flux_stats_gauge_inc with period 0",
        format!("{ratio:.2}"),
        "at most 0.55",
        ratio <= 0.55,
    );
    if options.docs {
        plot::bars("callback-flux.svg", "A callback by flux_plugin_call", &samples.medians());
    }
}

/// Measures the candidates, each loaded into a host process of its own.
fn in_host(host: &Path, candidates: &[Candidate]) -> Samples {
    let drain = Drain::start();
    let endpoint = drain.address().to_string();
    let calls = there_and_back();
    let mut samples = Samples::default();
    for _ in 0..LAUNCHES {
        let mut contestants = Vec::new();
        for candidate in candidates {
            let mut host = Standin::spawn(Command::new(host), Some(&endpoint));
            host.load(&candidate.plugin, candidate.conf.clone()).unwrap();
            host.advance(0.1);
            let name = candidate.plugin.file_name().unwrap().to_str().unwrap();
            let calls = &calls;
            contestants.push(Contestant::new(candidate.name, move || {
                host.repeat(name, candidate.calls, calls)
            }));
        }
        contestants.push(Contestant::new(TIGHT, raw_send(&drain)));
        samples.add(ROUNDS, &mut contestants);
    }
    samples
}

/// Sends the datagrams of the same transitions, and does nothing else.
fn raw_send(drain: &Drain) -> impl FnMut() -> f64 {
    let datagrams: [&[u8]; 2] = [
        b"flux.job.state.SCHED:+1|g\nflux.job.state.PRIORITY:-1|g",
        b"flux.job.state.PRIORITY:+1|g\nflux.job.state.SCHED:-1|g",
    ];
    let socket = drain.sender();
    move || {
        let start = Instant::now();
        for turn in 0..SENDING as usize {
            let _ = socket.send(datagrams[turn % 2]);
        }
        start.elapsed().as_secs_f64() * 1e9 / SENDING as f64
    }
}

fn goals(report: &mut Report, host: &str, samples: &Samples) {
    for (name, median) in samples.medians() {
        report.figure(&format!("{host}: {name}"), nanoseconds(median));
    }
    let over = samples.difference(AGGREGATED, NOOP);
    report.goal(
        &format!("{host}: aggregated, over the no-op handler"),
        nanoseconds(over),
        "at most 25 ns",
        over <= 25.0,
    );
    let over = samples.difference(IMMEDIATE, SEND);
    report.goal(
        &format!("{host}: immediate, over the handler with one raw send"),
        nanoseconds(over),
        "at most 100 ns",
        over <= 100.0,
    );
}

fn nanoseconds(figure: f64) -> String {
    format!("{figure:.0} ns")
}

/// The host on libflux-core, where there is one.
fn flux_host() -> Option<PathBuf> {
    let libraries = ["-rdynamic", "-lflux-core", "-ljansson"];
    flux_compiled("benches/host/flux.c", "flux-host", &libraries)
}

/// Compiles against the flux-core whose headers build.rs found.
fn flux_compiled(source: &str, name: &str, options: &[&str]) -> Option<PathBuf> {
    let includes = option_env!("STATE_COUNTS_FLUX_INCLUDES")?;
    let mut all: Vec<_> = options.iter().map(|option| option.to_string()).collect();
    for include in includes.split(':') {
        all.push(format!("-I{include}"));
        for folder in ["lib", "lib64"] {
            let folder = Path::new(include).with_file_name(folder);
            all.push(format!("-L{}", folder.display()));
            all.push(format!("-Wl,-rpath,{}", folder.display()));
        }
    }
    let options: Vec<_> = all.iter().map(String::as_str).collect();
    Some(compiled(source, name, &options))
}
