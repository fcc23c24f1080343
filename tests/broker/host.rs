//! A real broker as a host of scenarios.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use std::{fs, thread};

use serde_json::{json, Value};
use tempfile::TempDir;

use crate::scenarios::{Environment, Host, HostSetup, Job};
use crate::support::artifact::plugin;
use crate::support::broker::{in_an_hour, Broker, Setup, ENDLESS, SIMULATED};
use crate::support::flux::user;
use crate::support::gauges::Gauges;
use crate::support::receiver::Receiver;
use crate::support::{broker_totals, Counts};

pub struct BrokerHost {
    /// `None` during a restart.
    broker: Option<Broker>,
    receiver: Receiver,
    /// The instance keeps its KVS there.
    state: TempDir,
    environment: Option<String>,
    queues: String,
    six_nodes: bool,
    complaints_expected: bool,
}

impl BrokerHost {
    pub fn broker(&self) -> &Broker {
        self.broker.as_ref().expect("the broker runs")
    }

    fn setup(&self) -> Setup {
        let setup = Setup::new(self.environment.clone()).state(self.state.path());
        match self.six_nodes {
            false => setup.config(&self.queues),
            true => setup
                .brokers(6)
                .resource("exclude = \"5\"")
                .config("[[resource.config]]\nhosts = \"fake[1-2]\"\ngpus = \"0-1\"\n"),
        }
    }

    fn finish(&mut self) {
        let broker = self.broker.take().expect("the broker runs");
        match self.complaints_expected {
            true => broker.end_with_complaints(),
            false => broker.end(),
        }
    }
}

impl Host for BrokerHost {
    const SLACK: f64 = 10.0;

    fn start(setup: HostSetup) -> BrokerHost {
        let receiver = Receiver::start();
        let mut host = BrokerHost {
            broker: None,
            environment: match setup.environment {
                Environment::Receiver => Some(receiver.endpoint()),
                Environment::Endpoint(endpoint) => Some(endpoint.to_owned()),
                Environment::Unset => None,
            },
            receiver,
            state: tempfile::tempdir().unwrap(),
            queues: setup.queues.iter().map(|queue| format!("[queues.\"{queue}\"]\n")).collect(),
            six_nodes: setup.six_nodes,
            complaints_expected: false,
        };
        let mut broker = host.setup();
        if let Some(names) = setup.names {
            broker = broker.names(names);
        }
        host.broker = Some(broker.start());
        if !setup.queues.is_empty() {
            host.broker().flux(&["queue", "start", "--all"]);
        }
        host
    }

    fn end(mut self) {
        self.finish();
    }

    fn expect_complaints(&mut self) {
        self.complaints_expected = true;
    }

    fn receiver(&mut self) -> &mut Receiver {
        &mut self.receiver
    }

    fn log(&mut self) -> String {
        self.broker().flux(&["dmesg"])
    }

    fn load_plugin(&mut self, plugin: &Path, conf: &Value) -> Result<(), String> {
        let conf = conf.as_object().expect("a conf is an object").iter();
        let conf: Vec<_> = conf.map(|(key, value)| format!("{key}={value}")).collect();
        let conf: Vec<_> = conf.iter().map(String::as_str).collect();
        self.broker().load(plugin, &conf).map_err(|error| text_of(&error))
    }

    fn load_again(&mut self) -> String {
        self.broker().load(plugin(), &[]).unwrap_err();
        text_of(&self.broker().load_again(plugin()))
    }

    fn remove_plugin(&mut self, name: &str) {
        self.broker().remove(name);
    }

    fn is_mapped(&mut self, name: &str) -> bool {
        let maps = format!("/proc/{}/maps", self.broker().pid());
        fs::read_to_string(maps).expect("the broker is ours").contains(name)
    }

    fn query(&mut self) -> Value {
        self.broker().query()
    }

    fn reload(&mut self, table: &Value) -> Result<(), String> {
        self.broker().configure(&json!({"state-counts": table}))
    }

    fn restart(&mut self, table: &Value) {
        self.finish();
        let setup = self.setup().plugin(plugin(), "").table(json!({"state-counts": table}));
        self.broker = Some(setup.start());
    }

    fn submit(&mut self, job: Job, queue: &str, count: usize) -> Vec<String> {
        let copies = if count == 1 { "--cc=1".to_owned() } else { format!("--cc=1-{count}") };
        let labels = [format!("--queue={queue}"), format!("--setattr=bank={queue}")];
        let labels: Vec<_> = labels.iter().map(String::as_str).collect();
        let labels = if queue.is_empty() { &[] } else { &labels[..] };
        let later = in_an_hour();
        let (options, command): (&[&str], &[&str]) = match job {
            Job::Short => (&[SIMULATED], &["true"]),
            Job::Failing => (&[], &["false"]),
            Job::Limited => (&["-t0.2s"], &["sleep", "60"]),
            Job::Endless => (&[ENDLESS], &["true"]),
            Job::Held => (&[SIMULATED, "--urgency=hold"], &["true"]),
            Job::Later => (&[SIMULATED, &later], &["true"]),
        };
        let ids = self.broker().flux(&[&["submit", &copies], labels, options, command].concat());
        ids.lines().map(str::to_owned).collect()
    }

    fn populate(&mut self, each: usize) -> Counts {
        let mut expected = self.counts();
        let jobs = [
            ("INACTIVE", Job::Short),
            ("RUN", Job::Endless),
            ("SCHED", Job::Held),
            ("DEPEND", Job::Later),
        ];
        for (state, job) in jobs {
            self.submit(job, "", each);
            *expected.get_mut(state).unwrap() += each as i64;
        }
        self.wait_for(&expected);
        expected
    }

    fn cancel(&mut self, job: &str) {
        self.broker().flux(&["cancel", job]);
    }

    fn cancel_all(&mut self) {
        self.broker().flux(&["cancel", "--all"]);
    }

    fn drain(&mut self) {
        self.broker().drain();
    }

    fn move_to_queue(&mut self, job: &str, queue: &str) {
        self.broker().flux(&["update", job, &format!("queue={queue}")]);
    }

    fn raise(&mut self, job: &str, kind: &str) {
        self.broker().flux(&["job", "raise", "--severity=7", &format!("--type={kind}"), job]);
    }

    fn change_queue(&mut self, action: &str, queue: &str) {
        let mut command = vec!["queue", action];
        if !queue.is_empty() {
            command.extend(["-q", queue]);
        }
        if action == "disable" {
            // Up to 0.68 the reason is not an option.
            let with_option = [&command[..], &["-m", "closed"]].concat();
            if self.broker().try_flux(&with_option).status.success() {
                return;
            }
            command.push("closed");
        }
        self.broker().flux(&command);
    }

    fn set_scheduler(&mut self, is_loaded: bool) {
        let action = if is_loaded { "load" } else { "remove" };
        self.broker().flux(&["module", action, "sched-simple"]);
    }

    fn purge(&mut self, keep: usize) {
        self.broker().flux(&["job", "purge", "--force", &format!("--num-limit={keep}")]);
    }

    fn events(&mut self, job: &str) -> BTreeMap<String, f64> {
        let text = self.broker().flux(&["job", "eventlog", "--format=json", job]);
        let events = text.lines().map(|line| {
            let event: Value = serde_json::from_str(line).unwrap();
            (event["name"].as_str().unwrap().to_owned(), event["timestamp"].as_f64().unwrap())
        });
        events.collect()
    }

    fn user(&self) -> u32 {
        user()
    }

    fn stats(&mut self) -> Value {
        let mut stats = self.broker().stats_json();
        if !cfg!(flux_failed_alone) {
            // In this Flux, "failed" includes the jobs that were canceled or timed out.
            let number = |name: &str| stats[name].as_i64().unwrap();
            stats["failed"] = json!(number("failed") - number("canceled") - number("timeout"));
        }
        stats
    }

    fn occupy_node(&mut self) -> String {
        self.broker().submit(&[ENDLESS, "-n64"]);
        self.broker().wait_stats(|stats| stats["RUN"] == 1);
        self.broker().flux(&["resource", "list", "-s", "allocated", "-n", "-o", "{ranks}"])
    }

    fn drain_nodes(&mut self, ranks: &[&str]) {
        self.broker().flux(&["resource", "drain", &ranks.join(","), "a test"]);
    }

    fn undrain_node(&mut self, rank: &str) {
        self.broker().flux(&["resource", "undrain", rank]);
    }

    fn lose_node(&mut self, rank: &str) {
        self.broker().flux(&["overlay", "disconnect", rank]);
    }

    fn reload_resource_module(&mut self) {
        self.broker().flux(&["module", "reload", "--force", "resource"]);
        self.broker().flux(&["module", "load", "sched-simple"]);
    }

    fn resource_status(&mut self) -> Gauges {
        broker_totals::machine(self.broker())
    }

    fn pass(&mut self, seconds: f64) {
        thread::sleep(Duration::from_secs_f64(seconds));
    }
}

/// The text of an error without what the command or Python puts before it.
fn text_of(error: &str) -> String {
    let text = error.strip_prefix("flux-jobtap: ERROR: ").unwrap_or(error);
    let number = text.strip_prefix("[Errno ").and_then(|rest| rest.split_once("] "));
    number.map_or(text, |(_, text)| text).to_owned()
}
