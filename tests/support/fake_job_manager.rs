//! The fake job manager (tests/fake_job_manager/fake_job_manager.c): built once, driven line by line.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::OnceLock;

use serde_json::{json, Value};

use super::artifact::{plugin, NAME};
use super::compiled::{c_plugin, compiled};
use super::log::Log;
use super::names::Names;
use super::receiver::Receiver;
use super::Counts;

/// A running host, with a thread for its job manager and no plugin yet.
pub struct FakeJobManager {
    process: Child,
    commands: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    /// What the host and its plugins print.
    log: Log,
}

/// Turns of the reactor, and the plugins' processor time in them, in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub struct Turns {
    pub count: f64,
    pub total: f64,
    pub longest: f64,
}

impl FakeJobManager {
    /// Starts one. `endpoint` is its `FLUX_FRIPP_STATSD`.
    pub fn start(endpoint: Option<&str>) -> FakeJobManager {
        Self::spawn(Command::new(program()), endpoint)
    }

    /// Starts one where names mean something of the test's own.
    pub fn start_in(names: &Names, endpoint: &str) -> FakeJobManager {
        Self::spawn(names.command(program()), Some(endpoint))
    }

    /// Starts one by `command`: under a tool that watches it, or another host
    /// that speaks the same language.
    pub fn spawn(mut command: Command, endpoint: Option<&str>) -> FakeJobManager {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).env_remove("FLUX_FRIPP_STATSD");
        if let Some(endpoint) = endpoint {
            command.env("FLUX_FRIPP_STATSD", endpoint);
        }
        let log = Log::create("host");
        let mut process = command.stderr(log.stdio()).spawn().expect("the fake job manager starts");
        FakeJobManager {
            commands: process.stdin.take(),
            answers: BufReader::new(process.stdout.take().unwrap()),
            process,
            log,
        }
    }

    /// One with our plugin loaded and started, and the receiver of its metrics.
    pub fn running(conf: Value) -> (FakeJobManager, Receiver) {
        let receiver = Receiver::start();
        let mut host = FakeJobManager::start(Some(&receiver.endpoint()));
        host.load(plugin(), conf).unwrap();
        host.advance(0.1);
        host.counts();
        (host, receiver)
    }

    /// Loads a plugin as `flux jobtap load` does, with `conf`.
    pub fn load(&mut self, path: &Path, conf: Value) -> Result<(), String> {
        self.load_as(path, conf, "live")
    }

    /// Loads a plugin; `announce` says how it hears of the jobs that are there.
    pub fn load_as(&mut self, path: &Path, conf: Value, announce: &str) -> Result<(), String> {
        let answer =
            self.ask(json!({"op": "load", "path": path, "conf": conf, "announce": announce}));
        outcome(answer)
    }

    pub fn remove(&mut self, name: &str) -> Result<(), String> {
        let answer = self.ask(json!({"op": "remove", "name": name}));
        outcome(answer)
    }

    /// The broker's configuration from now on. Plugins hear of it at their
    /// load, or at a reload.
    pub fn config(&mut self, conf: &Value) {
        self.tell(json!({"op": "config", "conf": conf}));
    }

    /// `flux config reload`; the error is a plugin's, and refuses it.
    pub fn reload(&mut self, conf: &Value) -> Result<(), String> {
        self.config(conf);
        let answer = self.ask(json!({"op": "reload"}));
        outcome(answer)
    }

    /// `flux jobtap query`.
    pub fn query(&mut self) -> Value {
        self.ask_for_query(NAME)
    }

    /// `flux jobtap query`, of the plugin under this name.
    pub fn ask_for_query(&mut self, name: &str) -> Value {
        self.ask(json!({"op": "query", "name": name}))
    }

    /// A callback, to all plugins.
    pub fn call(&mut self, topic: &str, args: &Value) {
        self.tell(json!({"op": "call", "topic": topic, "in": args}));
    }

    /// A callback that no plugin hears of: another one behaves as it should not.
    pub fn withhold(&mut self, topic: &str, args: &Value) {
        self.tell(json!({"op": "withhold", "topic": topic, "in": args}));
    }

    /// Callbacks in one turn of the reactor, each a topic and its arguments.
    pub fn turn(&mut self, calls: &[(&str, Value)]) {
        let calls: Vec<_> =
            calls.iter().map(|(topic, args)| json!({"topic": topic, "in": args})).collect();
        self.tell(json!({"op": "turn", "calls": calls}));
    }

    /// Lets time pass: timers fire, and requests are answered.
    pub fn advance(&mut self, seconds: f64) {
        self.tell(json!({"op": "advance", "seconds": seconds}));
    }

    /// How requests are answered: "answer", "hold" or "fail".
    pub fn rpc_mode(&mut self, mode: &str) {
        self.tell(json!({"op": "rpc", "mode": mode}));
    }

    /// Requests under way see the counts of this moment.
    pub fn rpc_take(&mut self) {
        self.tell(json!({"op": "rpc-take"}));
    }

    /// Requests under way are answered.
    pub fn rpc_deliver(&mut self) {
        self.tell(json!({"op": "rpc-deliver"}));
    }

    /// The host's own recount. When it is here, all before it has been done.
    pub fn counts(&mut self) -> Counts {
        let answer = self.ask(json!({"op": "counts"}));
        let counts = answer.as_object().unwrap().iter();
        let counts = counts.map(|(state, count)| (state.clone(), count.as_i64().unwrap()));
        counts.filter(|(state, _)| state != "silenced").collect()
    }

    /// The host's own recount of the queues, as `flux job stats` prints it.
    pub fn queues(&mut self) -> Value {
        self.ask(json!({"op": "queues"}))
    }

    /// What `resource.status` answers from now on; null: nobody answers it.
    pub fn resources(&mut self, answer: Value) {
        self.tell(json!({"op": "resources", "answer": answer}));
    }

    /// Callbacks that a plugin kept from the plugins behind it.
    pub fn silenced(&mut self) -> i64 {
        self.ask(json!({"op": "counts"}))["silenced"].as_i64().unwrap()
    }

    /// The log since the last look, as `(syslog level, text)`.
    pub fn log(&mut self) -> Vec<(i64, String)> {
        let answer = self.ask(json!({"op": "log"}));
        let lines = answer["log"].as_array().unwrap().iter();
        lines
            .map(|line| (line["level"].as_i64().unwrap(), line["text"].as_str().unwrap().into()))
            .collect()
    }

    /// Calls the plugin `name` alone, `count` times, with each of `calls` in
    /// turn, each in a turn of the reactor of its own; nanoseconds a call.
    pub fn repeat(&mut self, name: &str, count: u64, calls: &Value) -> f64 {
        self.repeat_in_turns(name, count, calls, 1)
    }

    /// The same within one turn of the reactor: the callback alone.
    pub fn repeat_within_a_turn(&mut self, name: &str, count: u64, calls: &Value) -> f64 {
        self.repeat_in_turns(name, count, calls, 0)
    }

    /// The same with `length` calls in each turn of the reactor; 0: all are one.
    pub fn repeat_in_turns(&mut self, name: &str, count: u64, calls: &Value, length: u64) -> f64 {
        let answer = self.ask(
            json!({"op": "repeat", "name": name, "count": count, "calls": calls, "turn": length}),
        );
        answer["nanoseconds"].as_f64().unwrap_or_else(|| panic!("{answer}"))
    }

    /// What plugins took of the reactor's turns since this was asked last; the first
    /// time it begins to be measured.
    pub fn turns(&mut self) -> Turns {
        let answer = self.ask(json!({"op": "turns"}));
        let number = |name: &str| answer[name].as_f64().unwrap();
        Turns { count: number("turns"), total: number("total"), longest: number("longest") }
    }

    /// The host's process.
    pub fn process(&self) -> u32 {
        self.process.id()
    }

    /// Whether a file of this name is still mapped in the host.
    pub fn mapped(&mut self, name: &str) -> bool {
        self.ask(json!({"op": "mapped", "name": name}))["mapped"].as_bool().unwrap()
    }

    /// How many file descriptors the host has open.
    pub fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.process.id())).expect("it runs").count()
    }

    /// Ends the host: plugins are removed, then its job manager's thread ends. Returns
    /// what it printed on stderr.
    pub fn end(mut self) -> String {
        self.commands = None;
        let status = self.process.wait().unwrap();
        assert!(status.success(), "the fake job manager ended with {status}");
        self.log.text()
    }

    /// Kills the host, as SIGKILL does a broker.
    pub fn kill(mut self) {
        self.process.kill().expect("it runs");
    }

    fn tell(&mut self, command: Value) {
        let commands = self.commands.as_mut().expect("the host runs");
        // In one write: a host under strace shall not read it in pieces.
        let line = format!("{command}\n");
        commands.write_all(line.as_bytes()).expect("the host reads its commands");
    }

    fn ask(&mut self, command: Value) -> Value {
        self.tell(command);
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("the host answers");
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("the host died, or said {line:?}"))
    }
}

impl Drop for FakeJobManager {
    fn drop(&mut self) {
        self.commands = None;
        let _ = self.process.wait();
    }
}

fn outcome(answer: Value) -> Result<(), String> {
    match answer["error"].as_str() {
        Some(error) => Err(error.to_owned()),
        None => Ok(()),
    }
}

/// The host's executable, compiled once a process.
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| compile("fake_job_manager", &[]))
}

/// The same under AddressSanitizer: the memory of the plugins in it, too, comes
/// from the sanitizer's allocator, which looks for leaks at the end.
pub fn sanitized_program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| compile("fake_job_manager-sanitized", &["-fsanitize=address", "-g"]))
}

fn compile(name: &str, options: &[&str]) -> PathBuf {
    let parts = ["tests/fake_job_manager/flux.c", "tests/fake_job_manager/jobs.c", "-rdynamic"];
    let libraries = ["-ljansson", "-ldl", "-lpthread"];
    compiled(
        "tests/fake_job_manager/fake_job_manager.c",
        name,
        &[options, &parts, &libraries].concat(),
    )
}

/// The plugin that only unpacks a transition.
pub fn noop_plugin() -> &'static Path {
    static PLUGIN: OnceLock<PathBuf> = OnceLock::new();
    PLUGIN.get_or_init(|| c_plugin("noop", "noop.so"))
}

/// The plugin that is called, and does nothing.
pub fn idle_plugin() -> &'static Path {
    static PLUGIN: OnceLock<PathBuf> = OnceLock::new();
    let options = ["-shared", "-fPIC", "-DIDLE"];
    PLUGIN.get_or_init(|| compiled("tests/fake_job_manager/noop.c", "idle.so", &options))
}
