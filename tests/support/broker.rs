//! Brokers: Flux instances that a test starts with `flux start`.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::time::{Duration, Instant, UNIX_EPOCH};
use std::{fs, thread};

use nix::sys::signal::{kill, Signal};
use nix::unistd::Pid;
use serde_json::{json, Value};
use tempfile::TempDir;

use super::artifact::{plugin, NAME};
use super::flux::{flux, forget_the_session};
use super::log::Log;
use super::names::Names;
use super::receiver::{Receiver, Seen};
use super::{counts, counts_of_job_stats, Counts};

/// A simulated job, without a process, that ends at once. (Not 0.01s: where the locale has a
/// decimal comma, a broker does not read it.)
pub const SIMULATED: &str = "--setattr=exec.test.run_duration=10ms";
/// A simulated job that runs until it is canceled.
pub const ENDLESS: &str = "--setattr=exec.test.run_duration=1h";

/// A dependency on a time in an hour. (Not --begin-time=+1h: that gives a number with a
/// fraction, which a broker does not read where the locale has a decimal comma.)
pub fn in_an_hour() -> String {
    let now = UNIX_EPOCH.elapsed().expect("it is after 1970").as_secs();
    format!("--dependency=begin-time:{}", now + 3600)
}

/// Loads a plugin, and prints the error if that fails.
const LOAD: &str = "
import sys, flux
try:
    flux.Flux().rpc('job-manager.jobtap', {'load': sys.argv[1]}).get()
except OSError as error:
    print(error)
";

/// The settings of an instance.
pub struct Setup {
    brokers: usize,
    /// TOML lines of the table `[resource]`.
    resources: String,
    /// Other TOML.
    config: String,
    /// The part of the configuration that `Broker::configure` replaces.
    table: Value,
    endpoint: Option<String>,
    /// The folder of the KVS, for a restart.
    state: Option<PathBuf>,
    /// The time after which the other brokers end when the first one was killed.
    exit_timeout: Option<&'static str>,
    /// A command that runs each broker, as an option of `flux start`.
    wrap: Option<String>,
    /// The command for flux.
    command: Command,
}

/// A running instance, which ends when it is dropped.
pub struct Broker {
    process: Child,
    /// The initial program of the instance runs until this closes.
    stdin: Option<ChildStdin>,
    uri: String,
    config: TempDir,
    /// The log and the output of the broker.
    log: Log,
}

impl Setup {
    /// One broker with 64 configured cores. `endpoint` is its `FLUX_FRIPP_STATSD`.
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

    /// Adds the part that `Broker::configure` replaces.
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

    /// When the first broker is killed, Flux waits 20 s for the others by default.
    pub fn exit_timeout(mut self, timeout: &'static str) -> Setup {
        self.exit_timeout = Some(timeout);
        self
    }

    /// Runs each broker under a command, with commas as `flux start` takes it.
    pub fn wrap(mut self, command: &str) -> Setup {
        self.wrap = Some(format!("--wrap={command}"));
        self
    }

    /// A folder with scripts in rc1.d.
    pub fn scripts(mut self, folder: &Path) -> Setup {
        self.command.env("FLUX_RC_EXTRA", folder);
        self
    }

    /// Runs the instance with this name service.
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
        // The instance goes on when it loses a broker that is not the first.
        command.arg("--test-exit-mode=leader");
        // Applies when the first broker is killed.
        command.args(self.exit_timeout.map(|timeout| format!("--test-exit-timeout={timeout}")));
        let log = Log::create("broker");
        // flux start has -S and --config-path only since 0.69.
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
    /// A broker with the plugin loaded by its path, and the receiver of its metrics.
    pub fn loaded(conf: &str) -> (Broker, Receiver) {
        let mut receiver = Receiver::start();
        // With increments only, gauges that stay 0 are not sent.
        receiver.begin(counts(&[]));
        let broker = Setup::new(receiver.endpoint()).start();
        broker.load(plugin(), &[conf]).unwrap();
        (broker, receiver)
    }

    /// Runs a flux command in the instance; its output, also if it fails.
    pub fn try_flux(&self, arguments: &[&str]) -> Output {
        flux().args(arguments).env("FLUX_URI", &self.uri).output().expect("flux is on PATH")
    }

    /// Runs a flux command that must succeed; its standard output.
    pub fn flux(&self, arguments: &[&str]) -> String {
        let output = self.try_flux(arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "flux {arguments:?}: {error}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// `flux jobtap load`; the error is its error output.
    pub fn load(&self, plugin: &Path, conf: &[&str]) -> Result<(), String> {
        let plugin = plugin.to_str().unwrap();
        let output = self.try_flux(&[&["jobtap", "load", plugin], conf].concat());
        match output.status.success() {
            true => Ok(()),
            false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        }
    }

    /// Loads a plugin that is loaded already; the error text of Flux. Not with flux jobtap,
    /// which prints "not found" if errno, which Flux does not set in this case, happens to be
    /// ENOENT.
    pub fn load_again(&self, plugin: &Path) -> String {
        self.flux(&["python", "-c", LOAD, plugin.to_str().unwrap()])
    }

    pub fn remove(&self, name: &str) {
        self.flux(&["jobtap", "remove", name]);
    }

    /// Replaces the table of the configuration, and reloads it; the error is the output of
    /// `flux config reload`.
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

    /// The eventlog of a job, when it has this event: it is written a little after the event.
    pub fn eventlog(&self, job: &str, event: &str) -> String {
        self.flux(&["job", "wait-event", "--quiet", "--timeout=60", job, event]);
        self.flux(&["job", "eventlog", job])
    }

    /// Reloads the job manager. The schedulers of Flux up to 0.55 do not find it again:
    /// running jobs then never end, nor does the instance. Kill it.
    pub fn reload_job_manager(&self) {
        // Other modules end with it; `flux job stats` needs job-list.
        self.flux(&["module", "reload", "job-manager"]);
        self.flux(&["module", "load", "job-list"]);
    }

    /// Reloads the job manager and all modules that use it. Running jobs go on or fail,
    /// depending on the version of Flux.
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

    /// The counts of `flux job stats`.
    pub fn stats(&self) -> Counts {
        counts_of_job_stats(&self.stats_json())
    }

    pub fn stats_json(&self) -> Value {
        serde_json::from_str(&self.flux(&["job", "stats"])).unwrap()
    }

    /// Waits until `wanted` accepts the broker's counts.
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

    /// Waits until no job has changed for longer than the interval between checkpoints of the
    /// KVS.
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

    /// The plugin's lines in the broker's log.
    pub fn log(&self) -> Vec<String> {
        let log = self.flux(&["dmesg"]);
        log.lines().filter(|line| line.contains("state-counts")).map(str::to_owned).collect()
    }

    /// In a quiet instance, the receiver has the counts of `flux job stats` within 5 s, no
    /// gauge was ever negative, and the plugin logged no warning or error. Load the plugin
    /// with a long resync, so that no resync corrects the gauges.
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

    /// Ends the instance, and asserts that the plugin logged no warning or error until the
    /// end.
    pub fn end(mut self) {
        self.finish();
        let log = self.log.text();
        assert!(!log.is_empty());
        assert_eq!(complaints(&log), Vec::<String>::new());
    }

    /// Ends an instance whose log has warnings or errors of the plugin.
    pub fn end_with_complaints(mut self) {
        self.finish();
    }

    /// The process of the first broker.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.flux(&["getattr", "broker.pid"]).parse().expect("a number"))
    }

    /// Stops the broker (SIGSTOP), and continues it after this time.
    pub fn pause(&self, pause: Duration) {
        let process = self.pid();
        kill(process, Signal::SIGSTOP).unwrap();
        thread::sleep(pause);
        kill(process, Signal::SIGCONT).unwrap();
    }

    /// Kills the broker, and waits for the end of `flux start`.
    pub fn kill(mut self) {
        kill(self.pid(), Signal::SIGKILL).expect("it runs");
        let status = self.process.wait().unwrap();
        assert!(!status.success(), "flux start fails when its broker is killed");
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

/// Writes the part of the configuration that can be replaced to its own file.
fn write_table(folder: &Path, table: &Value) {
    let text = toml::to_string(table).expect("it can be written as TOML");
    fs::write(folder.join("more.toml"), text).unwrap();
}

/// The plugin's warnings and errors in a broker's log.
fn complaints(log: &str) -> Vec<String> {
    let ours = log.lines().filter(|line| line.contains("state-counts: "));
    // Expected with a Flux that does not pass R to plugins.
    let without_r = "does not pass R to plugins";
    let ours = ours.filter(|line| !line.contains(".info[") && !line.contains(without_r));
    ours.map(str::to_owned).collect()
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.stdin = None;
        let _ = self.process.wait();
    }
}
