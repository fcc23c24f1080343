//! The fake job manager (tests/fake_job_manager/fake_job_manager.c), which is compiled once
//! and reads commands.

use std::collections::BTreeMap;
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

/// A running host with a job manager thread, at first without a plugin.
pub struct FakeJobManager {
    process: Child,
    commands: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    /// The output of the host and its plugins.
    log: Log,
}

/// Iterations of the reactor loop, and the processor time of plugins in them, in nanoseconds.
#[derive(Clone, Debug)]
pub struct Turns {
    pub count: f64,
    pub total: f64,
    pub longest: f64,
    /// The iterations with a response, by its topic.
    pub responses: BTreeMap<String, Vec<f64>>,
}

impl FakeJobManager {
    /// Starts a host. `endpoint` is its `FLUX_FRIPP_STATSD`.
    pub fn start(endpoint: Option<&str>) -> FakeJobManager {
        Self::spawn(Command::new(program()), endpoint)
    }

    /// Starts a host with this name service.
    pub fn start_in(names: &Names, endpoint: &str) -> FakeJobManager {
        Self::spawn(names.command(program()), Some(endpoint))
    }

    /// Starts a host with `command`: under a tool, or another host with the same commands.
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

    /// A host with the plugin, after the first iteration of its reactor loop, and the receiver
    /// of its metrics.
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

    /// Loads a plugin. `announce` chooses the callbacks for the existing jobs.
    pub fn load_as(&mut self, path: &Path, conf: Value, announce: &str) -> Result<(), String> {
        let answer =
            self.ask(json!({"op": "load", "path": path, "conf": conf, "announce": announce}));
        outcome(answer)
    }

    pub fn remove(&mut self, name: &str) -> Result<(), String> {
        let answer = self.ask(json!({"op": "remove", "name": name}));
        outcome(answer)
    }

    /// Sets the broker's configuration, which plugins get at their load or at a reload.
    pub fn config(&mut self, conf: &Value) {
        self.tell(json!({"op": "config", "conf": conf}));
    }

    /// `flux config reload`; the error is the one of a plugin.
    pub fn reload(&mut self, conf: &Value) -> Result<(), String> {
        self.config(conf);
        let answer = self.ask(json!({"op": "reload"}));
        outcome(answer)
    }

    /// `flux jobtap query`.
    pub fn query(&mut self) -> Value {
        self.ask_for_query(NAME)
    }

    /// `flux jobtap query` for the plugin with this name.
    pub fn ask_for_query(&mut self, name: &str) -> Value {
        self.ask(json!({"op": "query", "name": name}))
    }

    /// A callback of all plugins.
    pub fn call(&mut self, topic: &str, args: &Value) {
        self.tell(json!({"op": "call", "topic": topic, "in": args}));
    }

    /// As `turn`, in a thread that is being cancelled. Returns `true` if the thread then ended as
    /// one that was cancelled.
    pub fn cancel_in_turn(&mut self, calls: &[(&str, Value)]) -> bool {
        let answer = self.ask(json!({"op": "cancel", "calls": listed(calls)}));
        answer["canceled"].as_bool().unwrap()
    }

    /// A callback that no plugin gets, as if another plugin had failed.
    pub fn withhold(&mut self, topic: &str, args: &Value) {
        self.tell(json!({"op": "withhold", "topic": topic, "in": args}));
    }

    /// An event message for the subscribers of its topic.
    pub fn publish(&mut self, topic: &str, message: &Value) {
        self.tell(json!({"op": "publish", "topic": topic, "in": message}));
    }

    /// The event message of a non-fatal exception of a job.
    pub fn raise(&mut self, job: i64, kind: &str) {
        self.publish("job-exception", &json!({"id": job, "type": kind, "severity": 7}));
    }

    /// Callbacks in one iteration of the reactor loop, each with a topic and arguments.
    pub fn turn(&mut self, calls: &[(&str, Value)]) {
        self.tell(json!({"op": "turn", "calls": listed(calls)}));
    }

    /// Lets time pass: timers fire, and requests get responses.
    pub fn advance(&mut self, seconds: f64) {
        self.tell(json!({"op": "advance", "seconds": seconds}));
    }

    /// Sets the responses to requests: "answer", "hold" or "fail".
    pub fn rpc_mode(&mut self, mode: &str) {
        self.tell(json!({"op": "rpc", "mode": mode}));
    }

    /// Sets the response of job-list: "answer", "lag" (it has no jobs) or "fail".
    pub fn job_list_mode(&mut self, mode: &str) {
        self.tell(json!({"op": "job-list", "mode": mode}));
    }

    /// The responses to held requests get the counts of this moment.
    pub fn rpc_take(&mut self) {
        self.tell(json!({"op": "rpc-take"}));
    }

    /// Held requests get their responses.
    pub fn rpc_deliver(&mut self) {
        self.tell(json!({"op": "rpc-deliver"}));
    }

    /// The host's own counts. When they arrive, all previous commands are executed.
    pub fn counts(&mut self) -> Counts {
        let answer = self.ask(json!({"op": "counts"}));
        let counts = answer.as_object().unwrap().iter();
        let counts = counts.map(|(state, count)| (state.clone(), count.as_i64().unwrap()));
        counts.filter(|(state, _)| state != "silenced").collect()
    }

    /// The host's own counts by queue, as `flux job stats` prints them.
    pub fn queues(&mut self) -> Value {
        self.ask(json!({"op": "queues"}))
    }

    /// Sets the response to `resource.status`; null: there is none.
    pub fn resources(&mut self, answer: Value) {
        self.tell(json!({"op": "resources", "answer": answer}));
    }

    /// Sets the response to a request that is not counted from jobs, by its topic and queue;
    /// null: there is none.
    pub fn respond(&mut self, topic: &str, answer: Value) {
        self.tell(json!({"op": "respond", "topic": topic, "answer": answer}));
    }

    /// The number of callbacks that did not reach all plugins, because one returned -1.
    pub fn silenced(&mut self) -> i64 {
        self.ask(json!({"op": "counts"}))["silenced"].as_i64().unwrap()
    }

    /// The log since the last call, as `(syslog level, text)`.
    pub fn log(&mut self) -> Vec<(i64, String)> {
        let answer = self.ask(json!({"op": "log"}));
        let lines = answer["log"].as_array().unwrap().iter();
        lines
            .map(|line| (line["level"].as_i64().unwrap(), line["text"].as_str().unwrap().into()))
            .collect()
    }

    /// Calls only the plugin `name`, `count` times, with each of `calls` in turn, each in its
    /// own iteration of the reactor loop. Returns nanoseconds per call.
    pub fn repeat(&mut self, name: &str, count: u64, calls: &Value) -> f64 {
        self.repeat_in_turns(name, count, calls, 1)
    }

    /// As `repeat`, with all calls in one iteration of the reactor loop.
    pub fn repeat_within_a_turn(&mut self, name: &str, count: u64, calls: &Value) -> f64 {
        self.repeat_in_turns(name, count, calls, 0)
    }

    /// As `repeat`, with `length` calls in each iteration of the reactor loop; 0: all in one.
    pub fn repeat_in_turns(&mut self, name: &str, count: u64, calls: &Value, length: u64) -> f64 {
        let answer = self.ask(
            json!({"op": "repeat", "name": name, "count": count, "calls": calls, "turn": length}),
        );
        answer["nanoseconds"].as_f64().unwrap_or_else(|| panic!("{answer}"))
    }

    /// The iterations since the last call. The first call starts the measurement.
    pub fn turns(&mut self) -> Turns {
        let answer = self.ask(json!({"op": "turns"}));
        let number = |name: &str| answer[name].as_f64().unwrap();
        let of_topic = |(topic, times): (&String, &Value)| {
            (topic.clone(), times.as_array().unwrap().iter().filter_map(Value::as_f64).collect())
        };
        Turns {
            count: number("turns"),
            total: number("total"),
            longest: number("longest"),
            responses: answer["responses"]
                .as_object()
                .into_iter()
                .flatten()
                .map(of_topic)
                .collect(),
        }
    }

    /// The process of the host.
    pub fn process(&self) -> u32 {
        self.process.id()
    }

    /// Returns `true` if a file of this name is mapped into the host.
    pub fn mapped(&mut self, name: &str) -> bool {
        self.ask(json!({"op": "mapped", "name": name}))["mapped"].as_bool().unwrap()
    }

    /// The number of open file descriptors of the host.
    pub fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.process.id())).expect("it runs").count()
    }

    /// Ends the host: plugins are removed, then the job manager thread ends. Returns the
    /// host's stderr.
    pub fn end(mut self) -> String {
        self.commands = None;
        let status = self.process.wait().unwrap();
        assert!(status.success(), "the fake job manager ended with {status}");
        self.log.text()
    }

    /// Kills the host with SIGKILL.
    pub fn kill(mut self) {
        self.process.kill().expect("it runs");
    }

    fn tell(&mut self, command: Value) {
        let commands = self.commands.as_mut().expect("the host runs");
        // In one write, so that a host under strace reads it at once.
        let line = format!("{command}\n");
        commands.write_all(line.as_bytes()).expect("the host reads its commands");
    }

    fn ask(&mut self, command: Value) -> Value {
        self.tell(command);
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("the host answers");
        serde_json::from_str(&line).unwrap_or_else(|_| panic!("the host died, or printed {line:?}"))
    }
}

impl Drop for FakeJobManager {
    fn drop(&mut self) {
        self.commands = None;
        let _ = self.process.wait();
    }
}

fn listed(calls: &[(&str, Value)]) -> Value {
    calls.iter().map(|(topic, args)| json!({"topic": topic, "in": args})).collect()
}

fn outcome(answer: Value) -> Result<(), String> {
    match answer["error"].as_str() {
        Some(error) => Err(error.to_owned()),
        None => Ok(()),
    }
}

/// The executable of the host, compiled once per process.
pub fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| compile("fake_job_manager", &[]))
}

/// The executable with AddressSanitizer. The plugins also use the sanitizer's allocator, which
/// searches for leaks at the end.
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

/// A plugin that only unpacks the arguments of a transition.
pub fn noop_plugin() -> &'static Path {
    static PLUGIN: OnceLock<PathBuf> = OnceLock::new();
    PLUGIN.get_or_init(|| c_plugin("noop", "noop.so"))
}

/// A plugin that does nothing when it is called.
pub fn idle_plugin() -> &'static Path {
    static PLUGIN: OnceLock<PathBuf> = OnceLock::new();
    let options = ["-shared", "-fPIC", "-DIDLE"];
    PLUGIN.get_or_init(|| compiled("tests/fake_job_manager/noop.c", "idle.so", &options))
}
