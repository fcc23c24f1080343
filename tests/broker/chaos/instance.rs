//! One instance, through several brokers, and the four servers of its metrics.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::servers::Servers;
use super::step::{Kind, Options, Place, Step, Submission, BROKERS, QUEUES};
use crate::support::artifact::{plugin, NAME};
use crate::support::broker::{in_an_hour, Broker, Setup, ENDLESS, SIMULATED};
use crate::support::compiled::c_plugin;

/// The number of jobs that later steps can use.
const REMEMBERED: usize = 20;
/// A time limit. (It has a decimal point, so that the broker needs a locale with one.)
const LIMIT: &str = "-t0.3s";

/// The instance and its state.
pub struct Instance {
    state: TempDir,
    /// `None` during a restart.
    broker: Option<Broker>,
    pub servers: Servers,
    pub options: Options,
    misbehaving: PathBuf,
    /// `true` if it is loaded.
    misbehaves: bool,
    /// `true` if `flux jobs` shows the correct state of jobs that no longer have a priority.
    lists_waiting: bool,
    /// The last submitted jobs, the newest first.
    jobs: VecDeque<String>,
    /// The number of jobs, and of each kind of step.
    pub tally: BTreeMap<&'static str, u64>,
}

impl Instance {
    pub fn start(seed: u64) -> Instance {
        let mut instance = Instance {
            state: tempfile::tempdir().unwrap(),
            broker: None,
            servers: Servers::start(seed),
            options: Options::first(),
            misbehaving: c_plugin("misbehaving", "chaos.so"),
            misbehaves: false,
            lists_waiting: false,
            jobs: VecDeque::new(),
            tally: BTreeMap::new(),
        };
        instance.start_broker();
        instance.broker().flux(&["queue", "start", "--all"]);
        instance.lists_waiting = instance.asks_whether_it_lists_waiting();
        instance
    }

    /// Returns `true` if job-list shows a job in PRIORITY that was in SCHED, whose urgency
    /// changed, and for which another plugin has no priority. Up to 0.78 at least, it shows
    /// SCHED, while the job manager and this plugin have it in PRIORITY.
    fn asks_whether_it_lists_waiting(&self) -> bool {
        let broker = self.broker();
        let job = broker.submit(&["-q", QUEUES[0], "--urgency=hold"]).remove(0);
        broker.wait_stats(|stats| stats["SCHED"] == 1);
        broker.load(&self.misbehaving, &["wait=job.state.priority"]).unwrap();
        broker.flux(&["job", "urgency", &job, "default"]);
        broker.eventlog(&job, "urgency");
        let end = Instant::now() + Duration::from_secs(2);
        let is_listed = || broker.stats()["PRIORITY"] == 1;
        while !is_listed() && Instant::now() < end {
            thread::sleep(Duration::from_millis(50));
        }
        let is_listed = is_listed();
        broker.flux(&["cancel", &job]);
        broker.drain();
        broker.remove(&self.misbehaving_name());
        is_listed
    }

    fn misbehaving_name(&self) -> String {
        let name = self.misbehaving.file_name().expect("it is a file");
        name.to_str().expect("it is ours").to_owned()
    }

    pub fn broker(&self) -> &Broker {
        self.broker.as_ref().expect("a broker runs")
    }

    pub fn end(mut self) -> BTreeMap<&'static str, u64> {
        self.broker.take().expect("a broker runs").end_with_complaints();
        std::mem::take(&mut self.tally)
    }

    pub fn count(&mut self, what: &'static str, by: u64) {
        *self.tally.entry(what).or_default() += by;
    }

    /// In the conf of the plugin, which no reload changes.
    const PREFIX: &'static str = "chaos.job.state";

    fn table(&self) -> Value {
        self.options.table(&self.servers.endpoints())
    }

    fn start_broker(&mut self) {
        let queues: String = QUEUES.iter().map(|queue| format!("[queues.{queue}]\n")).collect();
        let setup = Setup::new(None)
            .brokers(BROKERS)
            .state(self.state.path())
            .exit_timeout("1s")
            // A broker that is killed keeps what it wrote so far.
            .config(&format!("[kvs]\ncheckpoint-period = \"100ms\"\n{queues}"))
            .plugin(plugin(), &format!("prefix = \"{}\"", Self::PREFIX))
            .table(self.table());
        self.broker = Some(setup.start());
        self.misbehaves = false;
    }

    /// Runs a flux command that may fail, because of the state of the instance, or because an
    /// older Flux has another command. Returns `true` if it succeeded.
    fn may(&self, arguments: &[&str]) -> bool {
        self.broker().try_flux(arguments).status.success()
    }

    /// The job that was submitted this many jobs ago.
    fn job(&self, ago: usize) -> Option<&String> {
        self.jobs.get(ago % self.jobs.len().max(1))
    }

    fn may_with(&self, ago: usize, command: &[&str], more: &[&str]) {
        if let Some(job) = self.job(ago) {
            self.may(&[command, &[job], more].concat());
        }
    }

    pub fn act(&mut self, step: &Step) {
        match step {
            Step::Submit(submission) => self.submit(submission),
            Step::Cancel(job) => self.may_with(*job, &["cancel"], &[]),
            Step::CancelAll(states) => {
                self.may(&["cancel", "--all", &format!("--states={states}")]);
            }
            Step::Raise(job, severity) => {
                let severity = format!("--severity={severity}");
                self.may_with(*job, &["job", "raise", &severity, "--type=mishap"], &[]);
            }
            Step::Urgency(job, urgency) => {
                self.may_with(*job, &["job", "urgency"], &[&urgency.to_string()]);
            }
            Step::Move(job, queue) if cfg!(flux_update) => {
                self.may_with(*job, &["update"], &[&format!("queue={queue}")]);
            }
            Step::Move(..) => (),
            Step::Purge(keep) => {
                self.broker().flux(&["job", "purge", "--force", &format!("--num-limit={keep}")]);
            }
            Step::Queue(command, queue) => self.queue(command, queue),
            Step::Configure(options) => {
                self.options = options.clone();
                self.broker().configure(&self.table()).unwrap();
                self.servers.plugin_began_anew();
            }
            Step::LoadAgain => {
                self.broker().remove(NAME);
                self.load();
            }
            Step::ReloadModules => {
                self.broker().wait_quiet();
                self.broker().reload_modules();
                // That plugin is not in the configuration.
                self.misbehaves = false;
                self.servers.plugin_began_anew();
            }
            Step::ReloadScheduler => {
                self.broker().flux(&["module", "reload", "sched-simple"]);
            }
            Step::Misbehave(conf, place) => self.misbehave(conf, *place),
            Step::Behave => self.behave(),
            Step::CloseServer => self.servers.restarting.close(),
            Step::OpenServer => self.servers.restarting.open(),
            Step::MoveServer => {
                let Instance { broker, servers, options, .. } = self;
                let broker = broker.as_ref().expect("a broker runs");
                servers.move_calm(|servers| {
                    broker.configure(&options.table(&servers.endpoints())).unwrap();
                });
            }
            Step::UnixServer(step) => self.servers.disturb_unix(*step),
            Step::StopBroker(milliseconds) => {
                self.broker().pause(Duration::from_millis(*milliseconds));
            }
            Step::Drain(rank) => {
                self.may(&["resource", "drain", &rank.to_string(), "chaos"]);
            }
            Step::Undrain(rank) => {
                self.may(&["resource", "undrain", &rank.to_string()]);
            }
            Step::Kill => self.kill(),
            Step::Restart => {
                self.broker.take().expect("a broker runs").end_with_complaints();
                self.servers.plugin_began_anew();
                self.start_broker();
            }
        }
        self.count(name(step), 1);
    }

    fn submit(&mut self, submission: &Submission) {
        let Submission { kind, queue, bank, cores, jobs } = submission;
        let (cores, jobs) = (format!("-n{cores}"), format!("--cc=1-{jobs}"));
        let bank = bank.map(|bank| format!("--setattr=bank={bank}"));
        let mut arguments = vec!["submit", "-q", queue, &jobs];
        arguments.extend(bank.as_deref());
        let text;
        match kind {
            Kind::Short => arguments.push(SIMULATED),
            Kind::Endless => arguments.extend([ENDLESS, &cores]),
            Kind::Held => arguments.extend([SIMULATED, &cores, "--urgency=hold"]),
            Kind::Urgent(urgency) => {
                text = format!("--urgency={urgency}");
                arguments.extend([SIMULATED, &cores, &text]);
            }
            Kind::Failing => (),
            Kind::Late => arguments.extend([ENDLESS, LIMIT]),
            Kind::InAnHour => {
                text = in_an_hour();
                arguments.extend([SIMULATED, &text]);
            }
            Kind::After(scheme, ago) => {
                let Some(job) = self.job(*ago) else { return };
                text = format!("--dependency={scheme}:{job}");
                arguments.extend([SIMULATED, &cores, &text]);
            }
            Kind::Exclusive => arguments.extend([ENDLESS, "-N1", "--exclusive"]),
        }
        arguments.push(if let Kind::Failing = kind { "false" } else { "true" });
        // Some jobs are refused: the queue is disabled, the other plugin rejects them, or the
        // job of their dependency is purged.
        let output = self.broker().try_flux(&arguments);
        let ids = String::from_utf8(output.stdout).unwrap();
        let ids: Vec<_> = ids.lines().map(str::to_owned).collect();
        self.count("jobs", ids.len() as u64);
        ids.into_iter().for_each(|id| self.jobs.push_front(id));
        self.jobs.truncate(REMEMBERED);
    }

    /// In an older Flux, the queue is an option, and the reason is the last argument.
    fn queue(&self, command: &str, queue: &str) {
        let (now, older): (&[&str], &[&str]) = match command {
            "disable" => (&["-m", "chaos", queue], &["-q", queue, "chaos"]),
            _ => (&[queue], &["-q", queue]),
        };
        let worked = self.may(&[&["queue", command], now].concat())
            || self.may(&[&["queue", command], older].concat());
        assert!(worked, "flux queue {command}: {queue}");
    }

    /// Loads our plugin again.
    fn load(&mut self) {
        let prefix = format!("prefix={}", Self::PREFIX);
        self.broker().load(plugin(), &[&prefix]).unwrap();
        self.servers.plugin_began_anew();
    }

    fn behave(&mut self) {
        if std::mem::take(&mut self.misbehaves) {
            self.broker().remove(&self.misbehaving_name());
        }
    }

    fn misbehave(&mut self, conf: &str, place: Place) {
        self.behave();
        if conf.starts_with("wait=") && !self.lists_waiting {
            return self.count("left out: flux jobs does not tell who waits for a priority", 1);
        }
        if place == Place::Before {
            self.broker().remove(NAME);
        }
        self.broker().load(&self.misbehaving, &[conf]).unwrap();
        self.misbehaves = true;
        if place == Place::Before {
            self.load();
        }
    }

    /// Kills the broker when it is quiet. (If flux-core 0.88.0 is killed, or its job manager
    /// reloaded, while a job is in CLEANUP, it may fail to replay the job, with or without
    /// this plugin, and is then never idle again: "CLEANUP->INACTIVE action failed".)
    fn kill(&mut self) {
        self.broker().wait_quiet();
        self.broker.take().expect("a broker runs").kill();
        self.servers.broker_was_killed();
        self.start_broker();
    }
}

impl Drop for Instance {
    /// After a failure, the broker may not end by itself.
    fn drop(&mut self) {
        if let Some(broker) = self.broker.take() {
            broker.kill();
        }
    }
}

/// The name under which a step is counted.
fn name(step: &Step) -> &'static str {
    match step {
        Step::Submit(_) => "submissions",
        Step::Cancel(_) | Step::CancelAll(_) => "cancels",
        Step::Raise(..) => "raises",
        Step::Urgency(..) => "urgencies",
        Step::Move(..) => "moves",
        Step::Purge(_) => "purges",
        Step::Queue(..) => "queue commands",
        Step::Configure(_) => "configurations",
        Step::LoadAgain => "loads",
        Step::ReloadModules => "reloads of the job manager",
        Step::ReloadScheduler => "reloads of the scheduler",
        Step::Misbehave(..) => "plugins that fail",
        Step::Behave => "their removals",
        Step::CloseServer | Step::OpenServer => "server restarts",
        Step::MoveServer => "moved servers",
        Step::UnixServer(_) => "disturbances of the Unix server",
        Step::StopBroker(_) => "stops",
        Step::Drain(_) | Step::Undrain(_) => "drains",
        Step::Kill => "kills",
        Step::Restart => "restarts",
    }
}
