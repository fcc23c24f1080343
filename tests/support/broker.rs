//! Real brokers: a Flux instance of the test's own, inside `flux start`.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::time::{Duration, Instant, UNIX_EPOCH};
use std::{fs, thread};

use nix::sys::signal::{kill, Signal};
use nix::unistd::Pid;
use serde_json::{json, Value};
use tempfile::TempDir;

use super::artifact::NAME;
use super::flux::{flux, forget_the_session};
use super::log::Log;
use super::names::Names;
use super::receiver::{Receiver, Seen};
use super::{counts_of_job_stats, Counts};

/// A job that the execution system only simulates: no process, and over at once.
/// (Not 0.01s: where the locale has a decimal comma, a broker does not read it.)
pub const SIMULATED: &str = "--setattr=exec.test.run_duration=10ms";
/// A simulated job that lasts until it is cancelled.
pub const ENDLESS: &str = "--setattr=exec.test.run_duration=1h";

/// A job that waits for that time. (Not --begin-time=+1h: that makes a fraction of
/// it, which a broker does not read where the locale has a decimal comma.)
pub fn in_an_hour() -> String {
    let now = UNIX_EPOCH.elapsed().expect("it is after 1970").as_secs();
    format!("--dependency=begin-time:{}", now + 3600)
}

/// Loads a plugin, and prints what Flux says if it refuses.
const LOAD: &str = "
import sys, flux
try:
    flux.Flux().rpc('job-manager.jobtap', {'load': sys.argv[1]}).get()
except OSError as error:
    print(error)
";

/// What an instance is started with.
pub struct Setup {
    brokers: usize,
    /// Lines of TOML's table `[resource]`.
    resources: String,
    /// TOML, besides the resources.
    config: String,
    /// More of it, which `Broker::configure` replaces.
    table: Value,
    endpoint: Option<String>,
    /// Where the instance keeps its KVS from one life to the next.
    state: Option<PathBuf>,
    /// How long the other brokers may live on without the first.
    exit_timeout: Option<&'static str>,
    /// What runs each broker, as an option of `flux start`.
    wrap: Option<String>,
    /// What runs flux: by default nothing but itself.
    command: Command,
}

/// A running instance; it ends when this is dropped.
pub struct Broker {
    process: Child,
    /// The instance's initial program runs until this closes.
    stdin: Option<ChildStdin>,
    uri: String,
    config: TempDir,
    /// What the broker logs and prints.
    log: Log,
}

impl Setup {
    /// One broker with 64 pretended cores, sending to `endpoint`.
    pub fn new(endpoint: impl Into<Option<String>>) -> Setup {
        Setup {
            brokers: 1,
            resources: String::new(),
            config: String::new(),
            table: json!({}),
            endpoint: endpoint.into(),
            state: None,
            exit_timeout: None,
            wrap: None,
            command: flux(),
        }
    }

    pub fn brokers(mut self, brokers: usize) -> Setup {
        self.brokers = brokers;
        self
    }

    /// Adds a line to the table `[resource]`.
    pub fn resource(mut self, line: &str) -> Setup {
        self.resources.push_str(line);
        self.resources.push('\n');
        self
    }

    pub fn config(mut self, toml: &str) -> Setup {
        self.config.push_str(toml);
        self
    }

    /// Adds what `Broker::configure` replaces.
    pub fn table(mut self, table: Value) -> Setup {
        self.table = table;
        self
    }

    /// Loads `plugin` from the configuration, with `conf` as inline TOML.
    pub fn plugin(self, plugin: &Path, conf: &str) -> Setup {
        let plugin = plugin.display();
        self.config(&format!(
            "[job-manager]\nplugins = [{{ load = \"{plugin}\", conf = {{ {conf} }} }}]\n"
        ))
    }

    pub fn state(mut self, folder: &Path) -> Setup {
        self.state = Some(folder.to_owned());
        self
    }

    /// Where the first broker is killed: by default Flux waits for the others for 20 s.
    pub fn exit_timeout(mut self, timeout: &'static str) -> Setup {
        self.exit_timeout = Some(timeout);
        self
    }

    /// Runs each broker under a command, given as `flux start` takes it: with commas.
    pub fn wrap(mut self, command: &str) -> Setup {
        self.wrap = Some(format!("--wrap={command}"));
        self
    }

    /// Runs it where names mean something of the test's own.
    pub fn names(mut self, names: &Names) -> Setup {
        self.command = names.command("flux".as_ref());
        forget_the_session(&mut self.command);
        self
    }

    pub fn start(self) -> Broker {
        let folder = tempfile::tempdir().unwrap();
        let last = self.brokers - 1;
        let resources = format!(
            "[resource]\nnoverify = true\n{}[[resource.config]]\nhosts = \"fake[0-{last}]\"\n\
             cores = \"0-63\"\n{}",
            self.resources, self.config
        );
        fs::write(folder.path().join("test.toml"), resources).unwrap();
        write_table(folder.path(), &self.table);

        let mut command = self.command;
        command.args(["start", "--test-size", &self.brokers.to_string()]);
        command.args(&self.wrap);
        // One of several may be lost, and the instance lives on.
        command.arg("--test-exit-mode=leader");
        // When the first is killed, the others are given that long.
        command.args(self.exit_timeout.map(|timeout| format!("--test-exit-timeout={timeout}")));
        let log = Log::create("broker");
        // Not -S nor --config-path, which flux start has since 0.69.
        command.arg(format!("-o,-Slog-filename={}", log.path().display()));
        if let Some(state) = &self.state {
            command.arg(format!("-o,-Sstatedir={}", state.display()));
        }
        command.args(["sh", "-c", "echo $FLUX_URI; exec cat >/dev/null"]);
        command.env("FLUX_CONF_DIR", folder.path());
        if let Some(endpoint) = &self.endpoint {
            command.env("FLUX_FRIPP_STATSD", endpoint);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log.stdio());
        let mut process = command.spawn().expect("flux is on PATH");
        let stdin = process.stdin.take();
        let mut uri = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut uri).unwrap();
        assert!(uri.starts_with("local:"), "flux start did not come up");
        Broker { process, stdin, uri: uri.trim().to_owned(), config: folder, log }
    }
}

impl Broker {
    /// Runs a flux command in the instance; its output, whatever came of it.
    pub fn try_flux(&self, arguments: &[&str]) -> Output {
        flux().args(arguments).env("FLUX_URI", &self.uri).output().expect("flux is on PATH")
    }

    /// Runs a flux command that must succeed; what it printed.
    pub fn flux(&self, arguments: &[&str]) -> String {
        let output = self.try_flux(arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "flux {arguments:?}: {error}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// `flux jobtap load`; the error is what it printed.
    pub fn load(&self, plugin: &Path, conf: &[&str]) -> Result<(), String> {
        let plugin = plugin.to_str().unwrap();
        let output = self.try_flux(&[&["jobtap", "load", plugin], conf].concat());
        match output.status.success() {
            true => Ok(()),
            false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        }
    }

    /// Loads what is loaded already, which is refused; Flux's words. Not by flux
    /// jobtap, which says "not found" instead of them if errno, which Flux does
    /// not set there, happens to be ENOENT.
    pub fn load_again(&self, plugin: &Path) -> String {
        self.flux(&["python", "-c", LOAD, plugin.to_str().unwrap()])
    }

    pub fn remove(&self, name: &str) {
        self.flux(&["jobtap", "remove", name]);
    }

    /// Adds `table` to the broker's configuration, in place of the last one, and
    /// has it read; the error is what `flux config reload` printed.
    pub fn configure(&self, table: &Value) -> Result<(), String> {
        write_table(self.config.path(), table);
        let output = self.try_flux(&["config", "reload"]);
        match output.status.success() {
            true => Ok(()),
            false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        }
    }

    /// `flux jobtap query`.
    pub fn query(&self) -> Value {
        serde_json::from_str(&self.flux(&["jobtap", "query", NAME])).unwrap()
    }

    /// Submits jobs; their ids.
    pub fn submit(&self, arguments: &[&str]) -> Vec<String> {
        let output = self.flux(&[&["submit"], arguments, &["true"]].concat());
        output.lines().map(str::to_owned).collect()
    }

    /// A job's eventlog, as soon as this event is in it: it is written a little later than
    /// the event happens.
    pub fn eventlog(&self, job: &str, event: &str) -> String {
        self.flux(&["job", "wait-event", "--quiet", "--timeout=60", job, event]);
        self.flux(&["job", "eventlog", job])
    }

    /// Reloads the job manager. Some Flux's schedulers (up to 0.55) do not find it
    /// again: jobs that run then never end, nor does the instance. Kill it.
    pub fn reload_job_manager(&self) {
        // Other modules end with it; job-list is the one that counts jobs.
        self.flux(&["module", "reload", "job-manager"]);
        self.flux(&["module", "load", "job-list"]);
    }

    /// Reloads the job manager and all that talks to it, so that each finds it again. Jobs
    /// that run go on, or fail, as this Flux has it.
    pub fn reload_modules(&self) {
        for module in ["sched-simple", "job-list", "job-exec"] {
            self.flux(&["module", "remove", module]);
        }
        self.flux(&["module", "reload", "job-manager"]);
        for module in ["job-exec", "job-list", "sched-simple"] {
            self.flux(&["module", "load", module]);
        }
    }

    /// Waits until no job is active.
    pub fn drain(&self) {
        self.flux(&["queue", "drain"]);
    }

    /// The broker's own truth, `flux job stats`.
    pub fn stats(&self) -> Counts {
        counts_of_job_stats(&self.stats_json())
    }

    pub fn stats_json(&self) -> Value {
        serde_json::from_str(&self.flux(&["job", "stats"])).unwrap()
    }

    /// Waits until the broker counts what `wanted` asks for.
    pub fn wait_stats(&self, wanted: impl Fn(&Counts) -> bool) -> Counts {
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            let stats = self.stats();
            if wanted(&stats) {
                return stats;
            }
            assert!(Instant::now() < end, "after 60 s the broker has {stats:?}");
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until nothing moves for longer than a checkpoint of the KVS takes.
    pub fn wait_quiet(&self) {
        let mut last = self.stats();
        loop {
            thread::sleep(Duration::from_millis(500));
            let now = self.wait_stats(|stats| stats["CLEANUP"] == 0);
            if now == last {
                return;
            }
            last = now;
        }
    }

    /// The lines of the broker's log that our plugins wrote.
    pub fn log(&self) -> Vec<String> {
        let log = self.flux(&["dmesg"]);
        log.lines().filter(|line| line.contains("state-counts")).map(str::to_owned).collect()
    }

    /// The quiet instance's truth is what was received, no gauge was ever below
    /// 0, and the log has no complaint of ours. Waits 5 s at most; where a resync
    /// must not be what makes it true, load the plugin with a longer one.
    pub fn assert_true(&self, receiver: &mut Receiver) -> Seen {
        let mut truth = self.stats();
        let end = Instant::now() + Duration::from_secs(5);
        let mut seen = receiver.seen();
        while seen.gauges != truth && Instant::now() < end {
            thread::sleep(Duration::from_millis(100));
            truth = self.stats();
            seen = receiver.seen();
        }
        assert_eq!(seen.gauges, truth, "received (left), flux job stats (right)");
        assert_eq!(seen.negative(), Counts::new());
        self.assert_log_is_clean();
        seen
    }

    pub fn assert_log_is_clean(&self) {
        assert_eq!(complaints(&self.log().join("\n")), Vec::<String>::new());
    }

    /// Ends the instance and waits for it. To its very end its log has no
    /// complaint of ours.
    pub fn end(mut self) {
        self.finish();
        let log = self.log.text();
        assert!(!log.is_empty());
        assert_eq!(complaints(&log), Vec::<String>::new());
    }

    /// Ends an instance in which something went wrong on purpose.
    pub fn end_with_complaints(mut self) {
        self.finish();
    }

    /// The broker's process.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.flux(&["getattr", "broker.pid"]).parse().expect("a number"))
    }

    /// Stops the broker for a while (SIGSTOP), and continues it.
    pub fn pause(&self, pause: Duration) {
        let process = self.pid();
        kill(process, Signal::SIGSTOP).unwrap();
        thread::sleep(pause);
        kill(process, Signal::SIGCONT).unwrap();
    }

    /// Kills the broker, and waits for what started it.
    pub fn kill(mut self) {
        kill(self.pid(), Signal::SIGKILL).expect("it runs");
        let status = self.process.wait().unwrap();
        assert!(!status.success(), "flux start tells that its broker was killed");
    }

    fn finish(&mut self) {
        self.stdin = None;
        let end = Instant::now() + Duration::from_secs(180);
        let status = loop {
            match self.process.try_wait().unwrap() {
                Some(status) => break status,
                None if Instant::now() < end => thread::sleep(Duration::from_millis(20)),
                None => {
                    let jobs = self.flux(&["jobs", "-A"]);
                    kill(self.pid(), Signal::SIGKILL).expect("it runs");
                    panic!("the instance does not end; its jobs:\n{jobs}");
                }
            }
        };
        assert!(status.success(), "flux start ended with {status}");
    }
}

/// The table that is replaced, in a file of its own.
fn write_table(folder: &Path, table: &Value) {
    let text = toml::to_string(table).expect("it can be written as TOML");
    fs::write(folder.join("more.toml"), text).unwrap();
}

/// The lines of a broker's log in which our plugins complain.
fn complaints(log: &str) -> Vec<String> {
    let ours = log.lines().filter(|line| line.contains("state-counts: "));
    // Of some Flux (flux_r), this is what is wanted.
    let without_r = "does not show plugins what jobs hold";
    let ours = ours.filter(|line| !line.contains(".info[") && !line.contains(without_r));
    ours.map(str::to_owned).collect()
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.stdin = None;
        let _ = self.process.wait();
    }
}
