//! The fake job manager as a host of scenarios: jobs go through all their states at once.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::thread;
use std::time::Duration;

use serde_json::{json, Value};

use crate::scenarios::{Environment, Host, HostSetup, Job};
use crate::support::artifact::{plugin, NAME};
use crate::support::fake_job_manager::{program, FakeJobManager};
use crate::support::gauges::Gauges;
use crate::support::jobs::{CLEANUP, COURSE, DEPEND, INACTIVE, NEW, PRIORITY, RUN, SCHED};
use crate::support::receiver::Receiver;
use crate::support::Counts;

/// Nodes of the cluster, and the one that is excluded.
const NODES: u32 = 6;
const EXCLUDED: &str = "5";
const CORES: i64 = 64;

pub struct FakeHost {
    manager: FakeJobManager,
    receiver: Receiver,
    jobs: BTreeMap<u64, FakeJob>,
    queues: Vec<String>,
    stopped: BTreeSet<String>,
    disabled: BTreeSet<String>,
    has_scheduler: bool,
    /// Seconds since the epoch.
    clock: f64,
    /// Syslog levels and texts.
    log: Vec<(i64, String)>,
    complaints_expected: bool,
    /// Another plugin returns -1.
    other_fails: bool,
    /// Jobs by the name that `flux job stats` has for their result.
    results: BTreeMap<&'static str, i64>,
    six_nodes: bool,
    offline: BTreeSet<String>,
    drained: BTreeSet<String>,
}

struct FakeJob {
    queue: String,
    state: i64,
    job: Job,
    jobspec: Value,
    submitted: f64,
    /// The event that ends it.
    end: Value,
    events: BTreeMap<String, f64>,
}

impl FakeHost {
    /// Takes the job to the next state, by this event.
    fn step(&mut self, id: u64, state: i64, event: Value) {
        // Floating point numbers represent these times exactly.
        self.clock += 0.25;
        let job = self.jobs.get_mut(&id).expect("the job is known");
        let name = event["name"].as_str().unwrap().to_owned();
        job.events.insert(name, self.clock);
        let mut event = event;
        event["timestamp"] = self.clock.into();
        if state == CLEANUP {
            job.end = event.clone();
        }
        let mut args = json!({
            "id": id, "state": state, "prev_state": job.state, "t_submit": job.submitted,
            "urgency": job.urgency(), "entry": event, "end_event": job.end,
        });
        if state >= RUN {
            let core = id % CORES as u64;
            args["R"] = json!({"version": 1, "execution": {"R_lite": [
                {"rank": "0", "children": {"core": core.to_string()}},
            ]}});
        }
        job.state = state;
        let place = COURSE.iter().position(|it| *it == state).unwrap();
        let topic = format!("job.state.{}", crate::support::STATES[place].to_lowercase());
        self.manager.call(&topic, &args);
        if state == INACTIVE {
            self.manager.call("job.inactive-add", &args);
        }
    }

    /// Submits a job that gets as far as the state `last`.
    fn start_job(&mut self, job: Job, queue: &str, last: i64) -> u64 {
        assert!(queue.is_empty() || self.queues.iter().any(|it| it == queue), "no queue {queue}");
        let id = self.jobs.last_key_value().map_or(1, |(id, _)| id + 1);
        self.clock += 0.25;
        let slot = json!([{"type": "slot", "count": 1, "with": [{"type": "core", "count": 1}]}]);
        let system =
            if queue.is_empty() { json!({}) } else { json!({"queue": queue, "bank": queue}) };
        let jobspec = json!({"attributes": {"system": system}, "resources": slot});
        let events = BTreeMap::from([("submit".to_owned(), self.clock)]);
        let submitted = self.clock;
        let queue = queue.to_owned();
        let new = FakeJob { queue, state: NEW, job, jobspec, submitted, end: Value::Null, events };
        let args = json!({
            "id": id, "state": NEW, "t_submit": submitted, "urgency": new.urgency(),
            "jobspec": new.jobspec,
        });
        self.jobs.insert(id, new);
        self.manager.call("job.create", &args);
        self.manager.call("job.new", &args);
        for (state, event) in [
            (DEPEND, json!({"name": "validate"})),
            (PRIORITY, json!({"name": "depend"})),
            (SCHED, json!({"name": "priority"})),
            (RUN, json!({"name": "alloc"})),
        ] {
            if state <= last {
                self.step(id, state, event);
            }
        }
        if last > RUN {
            match job {
                Job::Short => self.finish(
                    id,
                    "successful",
                    json!({"name": "finish", "context": {"status": 0}}),
                    last,
                ),
                Job::Failing => self.finish(
                    id,
                    "failed",
                    json!({"name": "finish", "context": {"status": 256}}),
                    last,
                ),
                _ => self.end_by_exception(id, "timeout", last),
            }
        }
        // The socket of the receiver does not have room for the datagrams of many jobs.
        if id % 20 == 0 {
            self.manager.counts();
            self.receiver.seen();
        }
        id
    }

    fn finish(&mut self, id: u64, result: &'static str, event: Value, last: i64) {
        self.step(id, CLEANUP, event);
        if last == INACTIVE {
            *self.results.entry(result).or_default() += 1;
            self.step(id, INACTIVE, json!({"name": "clean"}));
        }
    }

    fn end_by_exception(&mut self, id: u64, kind: &'static str, last: i64) {
        let context = json!({"id": id, "type": kind, "severity": 0});
        // No message: job-exec reports the end of the time limit.
        if kind != "timeout" {
            self.manager.publish("job-exception", &context);
        }
        let event = json!({"name": "exception", "context": context});
        self.finish(id, if kind == "cancel" { "canceled" } else { kind }, event, last);
    }

    /// Sets the responses about the queues.
    fn set_queues(&mut self) {
        self.manager.respond("job-manager.queue-list", json!({"queues": self.queues}));
        let names = if self.queues.is_empty() { vec![String::new()] } else { self.queues.clone() };
        for name in names {
            let start = self.has_scheduler && !self.stopped.contains(&name);
            let mut status = json!({"enable": !self.disabled.contains(&name), "start": start});
            if !self.has_scheduler {
                status["stop_reason"] = json!("Scheduler is offline");
            }
            let topic = format!("job-manager.queue-status {name}");
            self.manager.respond(topic.trim_end(), status);
        }
        // The jobs of a queue that was started.
        for (id, _) in self.jobs_in(|state| state == SCHED) {
            let job = &self.jobs[&id];
            if job.job == Job::Endless && self.can_start(&job.queue.clone()) {
                self.step(id, RUN, json!({"name": "alloc"}));
            }
        }
    }

    fn can_start(&self, queue: &str) -> bool {
        self.has_scheduler && !self.stopped.contains(queue)
    }

    /// Sets the response to `resource.status`.
    fn set_resources(&mut self) {
        if !self.six_nodes {
            return;
        }
        let join = |ranks: &BTreeSet<String>| ranks.iter().cloned().collect::<Vec<_>>().join(",");
        let info = json!({"timestamp": 1.0, "reason": "x"});
        let drain: serde_json::Map<_, _> =
            self.drained.iter().map(|rank| (rank.clone(), info.clone())).collect();
        let lite = json!([
            {"rank": "0,3-5", "children": {"core": "0-63"}},
            {"rank": "1-2", "children": {"core": "0-63", "gpu": "0-1"}},
        ]);
        self.manager.resources(json!({
            "R": {"version": 1, "execution": {"R_lite": lite, "nodelist": ["fake[0-5]"]}},
            "drain": drain, "online": "", "offline": join(&self.offline), "exclude": EXCLUDED,
            "torpid": "",
        }));
    }
}

impl FakeJob {
    fn urgency(&self) -> i64 {
        if self.job == Job::Held {
            0
        } else {
            16
        }
    }
}

impl Host for FakeHost {
    const SLACK: f64 = 0.0;

    fn start(setup: HostSetup) -> FakeHost {
        let receiver = Receiver::start();
        let endpoint = match setup.environment {
            Environment::Receiver => Some(receiver.endpoint()),
            Environment::Endpoint(endpoint) => Some(endpoint.to_owned()),
            Environment::Unset => None,
        };
        let manager = match setup.names {
            Some(names) => FakeJobManager::spawn(names.command(program()), endpoint.as_deref()),
            None => FakeJobManager::start(endpoint.as_deref()),
        };
        let mut host = FakeHost {
            manager,
            receiver,
            jobs: BTreeMap::new(),
            queues: setup.queues.iter().map(|queue| queue.to_string()).collect(),
            stopped: BTreeSet::new(),
            disabled: BTreeSet::new(),
            has_scheduler: true,
            clock: 1e9,
            log: Vec::new(),
            complaints_expected: false,
            other_fails: false,
            results: BTreeMap::from(
                ["successful", "failed", "canceled", "timeout"].map(|it| (it, 0)),
            ),
            six_nodes: setup.six_nodes,
            offline: BTreeSet::new(),
            drained: BTreeSet::new(),
        };
        host.set_resources();
        host.set_queues();
        host
    }

    fn end(mut self) {
        self.log();
        let complaints: Vec<_> = self.log.iter().filter(|(level, _)| *level < 6).collect();
        assert!(self.complaints_expected || complaints.is_empty(), "{complaints:?}");
        // Callbacks that did not get to all plugins, because one returned -1.
        assert_eq!(self.manager.silenced() > 0, self.other_fails);
        self.manager.end();
    }

    fn expect_complaints(&mut self) {
        self.complaints_expected = true;
    }

    fn receiver(&mut self) -> &mut Receiver {
        // A response: all commands so far are executed.
        self.manager.counts();
        &mut self.receiver
    }

    fn log(&mut self) -> String {
        self.log.extend(self.manager.log());
        self.log.iter().map(|(_, text)| format!("{text}\n")).collect()
    }

    fn load_plugin(&mut self, plugin: &Path, conf: &Value) -> Result<(), String> {
        self.other_fails |= !conf["fail"].is_null() || !conf["lose"].is_null();
        self.manager.load(plugin, conf.clone())?;
        self.manager.advance(0.1);
        Ok(())
    }

    fn load_again(&mut self) -> String {
        self.manager.load(plugin(), json!({})).unwrap_err()
    }

    fn remove_plugin(&mut self, name: &str) {
        self.manager.remove(name).unwrap();
    }

    fn is_mapped(&mut self, name: &str) -> bool {
        self.manager.mapped(name)
    }

    fn query(&mut self) -> Value {
        self.manager.query()
    }

    fn reload(&mut self, table: &Value) -> Result<(), String> {
        self.manager.reload(&json!({"state-counts": table}))
    }

    fn restart(&mut self, table: &Value) {
        // The plugin may not be loaded.
        let _ = self.manager.remove(NAME);
        self.manager.config(&json!({"state-counts": table}));
        self.manager.load_as(plugin(), json!({}), "restart").unwrap();
        // As Flux does after a restart.
        for (id, _) in self.jobs_in(|state| state == SCHED) {
            self.step(id, PRIORITY, json!({"name": "restart"}));
            self.step(id, SCHED, json!({"name": "priority"}));
        }
        self.manager.advance(0.1);
    }

    fn submit(&mut self, job: Job, queue: &str, count: usize) -> Vec<String> {
        let last = match job {
            Job::Short | Job::Failing | Job::Limited => INACTIVE,
            Job::Endless if !self.can_start(queue) => SCHED,
            Job::Endless => RUN,
            Job::Held => SCHED,
            Job::Later => DEPEND,
        };
        (0..count).map(|_| self.start_job(job, queue, last).to_string()).collect()
    }

    fn populate(&mut self, each: usize) -> Counts {
        for last in COURSE {
            for _ in 0..each {
                self.start_job(Job::Short, "", last);
            }
        }
        self.manager.counts()
    }

    fn cancel(&mut self, job: &str) {
        let id = job.parse().unwrap();
        if self.jobs[&id].state < CLEANUP {
            self.end_by_exception(id, "cancel", INACTIVE);
        } else {
            self.step(id, INACTIVE, json!({"name": "clean"}));
        }
    }

    fn cancel_all(&mut self) {
        for (id, _) in self.jobs_in(|state| state != INACTIVE) {
            self.cancel(&id.to_string());
        }
    }

    fn drain(&mut self) {
        assert!(self.jobs_in(|state| state != INACTIVE).is_empty());
    }

    fn move_to_queue(&mut self, job: &str, queue: &str) {
        let id: u64 = job.parse().unwrap();
        let job = self.jobs.get_mut(&id).unwrap();
        job.jobspec["attributes"]["system"]["queue"] = queue.into();
        let args = json!({"id": id, "state": job.state, "jobspec": job.jobspec});
        self.manager.call("job.update", &args);
    }

    fn raise(&mut self, job: &str, kind: &str) {
        self.manager.raise(job.parse().unwrap(), kind);
    }

    fn change_queue(&mut self, action: &str, queue: &str) {
        let queue = queue.to_owned();
        match action {
            "stop" => self.stopped.insert(queue),
            "start" => self.stopped.remove(&queue),
            "disable" => self.disabled.insert(queue),
            "enable" => self.disabled.remove(&queue),
            _ => panic!("{action}"),
        };
        self.set_queues();
    }

    fn set_scheduler(&mut self, is_loaded: bool) {
        self.has_scheduler = is_loaded;
        self.set_queues();
    }

    fn purge(&mut self, keep: usize) {
        let inactive = self.jobs_in(|state| state == INACTIVE);
        for (id, _) in &inactive[..inactive.len().saturating_sub(keep)] {
            self.jobs.remove(id);
            self.manager.call("job.inactive-remove", &json!({"id": id, "state": INACTIVE}));
        }
    }

    fn events(&mut self, job: &str) -> BTreeMap<String, f64> {
        self.jobs[&job.parse().unwrap()].events.clone()
    }

    fn user(&self) -> u32 {
        0
    }

    fn stats(&mut self) -> Value {
        let counts = self.manager.counts();
        let counts: BTreeMap<_, _> =
            counts.iter().map(|(state, count)| (state.to_lowercase(), count)).collect();
        let mut stats = json!({"job_states": counts, "queues": self.manager.queues()["queues"]});
        for (result, count) in &self.results {
            stats[result] = (*count).into();
        }
        stats
    }

    fn occupy_node(&mut self) -> String {
        self.start_job(Job::Endless, "", RUN);
        "0".to_owned()
    }

    fn drain_nodes(&mut self, ranks: &[&str]) {
        self.drained.extend(ranks.iter().map(|rank| rank.to_string()));
        self.set_resources();
    }

    fn undrain_node(&mut self, rank: &str) {
        self.drained.remove(rank);
        self.set_resources();
    }

    fn lose_node(&mut self, rank: &str) {
        self.offline.insert(rank.to_owned());
        self.set_resources();
    }

    fn reload_resource_module(&mut self) {
        self.manager.resources(Value::Null);
        self.manager.advance(6.0);
        self.set_resources();
    }

    fn resource_status(&mut self) -> Gauges {
        let ranks: BTreeSet<_> = (0..NODES).map(|rank| rank.to_string()).collect();
        let nodes = ranks.iter().filter(|rank| *rank != EXCLUDED).count() as i64;
        let is_busy = !self.jobs_in(|state| state == RUN).is_empty();
        let down = self.offline.union(&self.drained).count() as i64;
        let gauges = [
            ("nodes.total", nodes),
            ("nodes.up", nodes - down),
            ("nodes.down", down),
            // A job of this host holds a core of node 0.
            ("nodes.drained", self.drained.iter().filter(|rank| *rank != "0").count() as i64),
            ("nodes.draining", i64::from(self.drained.contains("0") && is_busy)),
            ("nodes.offline", self.offline.len() as i64),
            ("nodes.excluded", 1),
            ("cores.total", nodes * CORES),
            ("cores.down", down * CORES),
            ("gpus.total", 4),
        ];
        let gauges = gauges.into_iter().filter(|(_, level)| *level != 0);
        gauges.map(|(name, level)| (format!("resource.{name}"), level)).collect()
    }

    fn pass(&mut self, seconds: f64) {
        self.manager.advance(seconds);
        // For the threads of the name service.
        thread::sleep(Duration::from_millis(5));
    }
}

impl FakeHost {
    fn jobs_in(&self, wanted: impl Fn(i64) -> bool) -> Vec<(u64, i64)> {
        let jobs = self.jobs.iter().map(|(id, job)| (*id, job.state));
        jobs.filter(|(_, state)| wanted(*state)).collect()
    }
}
