//! Time of the callback of a transition in a host, compared with a handler that only unpacks
//! the arguments, with flux-core's own statsd client, and with one raw send.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{json, Value};

use super::alternate::{Contestant, Samples};
use super::drain::{roomy_socket, Drain, Reader};
use super::report::Report;
use super::support::artifact::release_plugin;
use super::support::compiled::compiled;
use super::support::costs::{aggregated, immediate};
use super::support::fake_job_manager::{noop_plugin, program, FakeJobManager};
use super::support::jobs::{announced, there_and_back};
use super::{plot, Options};

/// New processes per measurement, because the addresses of code and data affect the time.
const LAUNCHES: usize = 5;
const ROUNDS: usize = 61;
/// Datagrams for the transitions of `there_and_back`.
const DATAGRAMS: [&str; 2] = [
    "flux.job.state.SCHED:+1|g\nflux.job.state.PRIORITY:-1|g",
    "flux.job.state.PRIORITY:+1|g\nflux.job.state.SCHED:-1|g",
];
/// Calls per sample, of a callback that sends and of one that does not. A sample is shorter
/// than a time slice of the scheduler, so most samples are not interrupted.
const SENDING: u64 = 500;
const QUIET: u64 = 10_000;

const NOOP: &str = "a handler that only unpacks";
const AGGREGATED: &str = "state-counts, aggregated";
const IMMEDIATE: &str = "state-counts, immediate";
const ORIGINAL_AGGREGATED: &str = "flux_stats_gauge_inc in C, period 1 s";
const ORIGINAL_IMMEDIATE: &str = "flux_stats_gauge_inc in C, period 0";
const SEND: &str = "a handler that unpacks, and one raw send of the same bytes";
const TIGHT: &str = "the same raw send in a loop, without a host";

/// A plugin that is loaded in its own host, and the calls per sample.
struct Candidate {
    name: &'static str,
    plugin: PathBuf,
    conf: Value,
    calls: u64,
}

impl Candidate {
    fn new(name: &'static str, plugin: &Path, conf: Value, calls: u64) -> Candidate {
        Candidate { name, plugin: plugin.to_owned(), conf, calls }
    }

    /// A host with the plugin, and a job in PRIORITY.
    fn start(&self, host: &Path, endpoint: &str) -> FakeJobManager {
        let mut host = FakeJobManager::spawn(Command::new(host), Some(endpoint));
        host.load(&self.plugin, self.conf.clone()).unwrap();
        host.advance(0.1);
        host.repeat(self.file(), 1, &announced());
        host
    }

    fn file(&self) -> &str {
        self.plugin.file_name().unwrap().to_str().unwrap()
    }

    /// Panics unless the plugin sends the same datagrams as the raw sends.
    fn check(&self, host: &Path) {
        let server = roomy_socket();
        server.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let mut host = self.start(host, &server.local_addr().unwrap().to_string());
        host.repeat(self.file(), 2, &there_and_back());
        host.end();
        let mut buffer = [0; 1500];
        for datagram in DATAGRAMS {
            // The datagrams of the load and of the announced job arrive first.
            loop {
                let length = server.recv(&mut buffer).expect("both datagrams arrive");
                if &buffer[..length] == datagram.as_bytes() {
                    break;
                }
            }
        }
    }
}

pub fn measure(report: &mut Report, options: Options) {
    in_host(report, options, "fake job manager", program(), None);
    let Some(host) = flux_host() else {
        let why = "needs the headers of flux-core (FLUX_PREFIX, pkg-config or flux on PATH)";
        return report
            .leave_out("callbacks through flux_plugin_call, and flux_stats_gauge_inc", why);
    };
    let original = original_plugin();
    in_host(report, options, "flux_plugin_call", &host, original.as_deref());
}

fn in_host(
    report: &mut Report,
    options: Options,
    title: &str,
    host: &Path,
    original: Option<&Path>,
) {
    let ours = release_plugin();
    let sender = compiled("benches/plugins/send.c", "send.so", &["-shared", "-fPIC"]);
    let mut quiet = vec![
        Candidate::new(NOOP, noop_plugin(), json!({}), QUIET),
        Candidate::new(AGGREGATED, &ours, aggregated(), QUIET),
    ];
    let mut sending = vec![
        Candidate::new(SEND, &sender, json!({}), SENDING),
        Candidate::new(IMMEDIATE, &ours, immediate(), SENDING),
    ];
    sending.iter().for_each(|candidate| candidate.check(host));
    if let Some(original) = original {
        quiet.push(Candidate::new(ORIGINAL_AGGREGATED, original, json!({"period": 1.0}), QUIET));
        sending.push(Candidate::new(ORIGINAL_IMMEDIATE, original, json!({"period": 0.0}), SENDING));
    }

    // Nothing is sent, so no reader is needed, which would use the other core.
    let unread = roomy_socket();
    let quiet = samples(host, &quiet, unread.local_addr().unwrap(), None);
    let drain = Drain::start(Reader::Spins);
    let sending = samples(host, &sending, drain.address(), Some(&drain));

    let medians: Vec<_> = [quiet.medians(), sending.medians()].concat();
    for (name, median) in &medians {
        report.figure(&format!("{title}: {name}"), nanoseconds(*median));
    }
    let over = quiet.difference(AGGREGATED, NOOP);
    report.goal(
        &format!("{title}: aggregated, above the handler that only unpacks"),
        nanoseconds(over),
        "at most 25 ns",
        over <= 25.0,
    );
    if original.is_some() {
        let over = quiet.difference(ORIGINAL_AGGREGATED, NOOP);
        report.figure(
            &format!("{title}: flux_stats_gauge_inc, period 1 s, above the same"),
            nanoseconds(over),
        );
    }
    let over = sending.difference(IMMEDIATE, SEND);
    report.goal(
        &format!("{title}: immediate, above the handler with one raw send"),
        nanoseconds(over),
        "at most 100 ns",
        over <= 100.0,
    );
    if original.is_some() {
        let ratio = sending.ratio(IMMEDIATE, ORIGINAL_IMMEDIATE);
        report.goal(
            &format!("{title}: immediate, ratio to flux_stats_gauge_inc with period 0"),
            format!("{ratio:.2}"),
            "at most 0.55",
            ratio <= 0.55,
        );
    }
    if options.docs {
        let file = if original.is_some() { "callback-flux.svg" } else { "callback-standin.svg" };
        plot::bars(file, &format!("A callback, {title} (ns)"), &medians);
    }
}

/// Measures each candidate in its own process and, with a `drain`, a send in a loop.
fn samples(
    host: &Path,
    candidates: &[Candidate],
    endpoint: SocketAddr,
    drain: Option<&Drain>,
) -> Samples {
    let endpoint = endpoint.to_string();
    let calls = there_and_back();
    let mut samples = Samples::default();
    for _ in 0..LAUNCHES {
        let mut contestants = Vec::new();
        for candidate in candidates {
            let mut host = candidate.start(host, &endpoint);
            let name = candidate.file();
            let (calls, count) = (&calls, candidate.calls);
            // A plugin that sends does so at the end of a reactor loop iteration. The time
            // of the iteration is included in both figures that are compared.
            let sample = move || match count {
                SENDING => host.repeat(name, count, calls),
                _ => host.repeat_within_a_turn(name, count, calls),
            };
            contestants.push(Contestant::new(candidate.name, sample));
        }
        if let Some(drain) = drain {
            contestants.push(Contestant::new(TIGHT, raw_send(drain)));
        }
        samples.add_warm(ROUNDS, &mut contestants);
    }
    samples
}

/// Sends the datagrams of the same transitions.
fn raw_send(drain: &Drain) -> impl FnMut() -> f64 {
    let socket = drain.sender();
    move || {
        let start = Instant::now();
        for number in 0..SENDING as usize {
            let _ = socket.send(DATAGRAMS[number % 2].as_bytes());
        }
        start.elapsed().as_secs_f64() * 1e9 / SENDING as f64
    }
}

fn nanoseconds(figure: f64) -> String {
    format!("{figure:.0} ns")
}

/// The host that uses libflux-core, or `None` without flux-core's headers.
pub fn flux_host() -> Option<PathBuf> {
    let libraries = ["-rdynamic", "-lflux-core", "-ljansson"];
    flux_compiled("benches/host/flux.c", "flux-host", &libraries)
}

/// The plugin before it was written in Rust, on flux-core's statsd client.
pub fn original_plugin() -> Option<PathBuf> {
    flux_compiled("benches/plugins/original.c", "original.so", &["-shared", "-fPIC", "-O2"])
}

/// Compiles with the flux-core whose headers build.rs found, or returns `None`.
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
