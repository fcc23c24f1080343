//! The expected gauges of all collectors, from the output of the broker's own commands,
//! without those that are 0.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::broker::Broker;
use super::gauges::Gauges;
use super::{queues, STATES};

/// A cache of jobspecs. It is valid only while no job changes: a plugin may change the bank of
/// any job.
#[derive(Default)]
pub struct Jobspecs(BTreeMap<String, Value>);

impl Jobspecs {
    fn get(&mut self, broker: &Broker, id: &str) -> &Value {
        self.0.entry(id.to_owned()).or_insert_with(|| {
            serde_json::from_str(&broker.flux(&["job", "info", id, "jobspec"])).unwrap()
        })
    }

    fn system(&mut self, broker: &Broker, id: &str) -> &Value {
        &self.get(broker, id)["attributes"]["system"]
    }

    /// The number of cores in the jobspec. (For a job with whole nodes, --exclusive, this is a
    /// minimum, and flux jobs does not show the number.)
    fn cores(&mut self, broker: &Broker, id: &str) -> i64 {
        sum(&self.get(broker, id)["resources"], "core")
    }

    /// The number of GPUs in the jobspec, which no command prints.
    fn gpus(&mut self, broker: &Broker, id: &str) -> i64 {
        sum(&self.get(broker, id)["resources"], "gpu")
    }

    fn queue(&mut self, broker: &Broker, id: &str) -> String {
        self.system(broker, id)["queue"].as_str().unwrap_or_default().to_owned()
    }

    /// The bank of a job, or an empty text. (flux jobs has {bank} since 0.55.)
    fn bank(&mut self, broker: &Broker, id: &str) -> String {
        self.system(broker, id)["bank"].as_str().unwrap_or_default().to_owned()
    }

    /// The schemes of the dependencies of a job.
    fn schemes(&mut self, broker: &Broker, id: &str) -> BTreeSet<String> {
        let dependencies = self.system(broker, id)["dependencies"].as_array();
        let schemes = dependencies.into_iter().flatten().filter_map(|it| it["scheme"].as_str());
        schemes.map(str::to_owned).collect()
    }
}

fn sum(resources: &Value, of_type: &str) -> i64 {
    let each = |resource: &Value| {
        let count = resource["count"].as_i64().expect("no test asks for a range");
        count * if resource["type"] == of_type { 1 } else { sum(&resource["with"], of_type) }
    };
    resources.as_array().into_iter().flatten().map(each).sum()
}

/// The collectors states and queues without resources, from `flux job stats`.
pub fn states(broker: &Broker) -> Gauges {
    let stats = broker.stats_json();
    let mut truth = Gauges::new();
    for state in STATES {
        let count = stats["job_states"][state.to_lowercase()].as_i64().unwrap_or(0);
        truth.insert(format!("state.{state}"), count);
    }
    let by_queue = queues::truth(&stats).into_iter();
    truth.extend(by_queue.map(|(name, count)| (format!("queue.{name}"), count)));
    truth.retain(|_, level| *level != 0);
    truth
}

/// The collectors resources, users and banks, and the resources of queues.
pub fn usage(broker: &Broker, jobspecs: &mut Jobspecs) -> Gauges {
    let mut truth = Gauges::new();
    let resources = ["nodes.allocated", "cores.allocated", "gpus.allocated"];
    let list = ["resource", "list", "-s", "allocated", "-no", "{nnodes} {ncores} {ngpus}"];
    let held = broker.flux(&list);
    for (name, number) in resources.iter().zip(held.split_whitespace()) {
        truth.insert(format!("resource.{name}"), number.parse().unwrap());
    }
    let format = "{id},{userid},{state},{nnodes},{ncores}";
    let jobs = broker.flux(&["jobs", "-A", "-f", "pending,running", "-c0", "-no", format]);
    for line in jobs.lines() {
        let fields: Vec<_> = line.split(',').collect();
        let &[id, user, state, nodes, cores] = &fields[..] else { panic!("{line}") };
        let (bank, queue) = (jobspecs.bank(broker, id), jobspecs.queue(broker, id));
        let mut add = |name: String, by: i64| *truth.entry(name).or_default() += by;
        let number = |text: &str| text.parse().unwrap_or(0);
        let holds = ["RUN", "CLEANUP"].contains(&state);
        let of_use = if holds { "allocated" } else { "requested" };
        let cores = cores.parse().unwrap_or_else(|_| jobspecs.cores(broker, id));
        let amounts =
            [("nodes", number(nodes)), ("cores", cores), ("gpus", jobspecs.gpus(broker, id))];
        for (kind, name) in [("user", user), ("bank", &bank), ("queue", &queue)] {
            if name.is_empty() {
                continue;
            }
            if kind != "queue" {
                add(format!("{kind}.{name}.{state}"), 1);
            }
            for (resource, amount) in amounts {
                add(format!("{kind}.{name}.resource.{resource}.{of_use}"), amount);
            }
        }
        for (resource, amount) in amounts.into_iter().filter(|_| !holds) {
            add(format!("resource.{resource}.requested"), amount);
        }
    }
    truth.retain(|_, level| *level != 0);
    truth
}

/// The resource status, from `flux resource list` and `flux resource status`.
pub fn machine(broker: &Broker) -> Gauges {
    let mut gauges = Gauges::new();
    let mut add = |name: &str, number: &str| {
        let number = number.parse::<i64>().unwrap_or_else(|_| panic!("{name}: {number:?}"));
        *gauges.entry(format!("resource.{name}")).or_default() += number;
    };
    let format = "{state} {nnodes} {ncores} {ngpus}";
    let list = broker.flux(&["resource", "list", "-s", "all,up,down", "-n", "-o", format]);
    for line in list.lines() {
        let fields: Vec<_> = line.split_whitespace().collect();
        let [state, nodes, cores, gpus] = fields[..] else { panic!("{list}") };
        let state = if state == "all" { "total" } else { state };
        add(&format!("nodes.{state}"), nodes);
        if state != "up" {
            add(&format!("cores.{state}"), cores);
        }
        if state == "total" {
            add("gpus.total", gpus);
        }
    }
    for state in ["drained", "draining", "offline", "exclude"] {
        let name = match state {
            "exclude" => "nodes.excluded".to_owned(),
            // Without R the plugin does not know which nodes have jobs.
            "draining" if !cfg!(flux_r) => "nodes.drained".to_owned(),
            _ => format!("nodes.{state}"),
        };
        let nodes = broker.flux(&["resource", "status", "-s", state, "-n", "-o", "{nnodes}"]);
        nodes.lines().for_each(|nodes| add(&name, nodes.trim()));
    }
    gauges.retain(|_, level| *level != 0);
    gauges
}

/// Prints the name of each queue, and whether it is enabled and started.
const QUEUE_STATUS: &str = "
import flux
h = flux.Flux()
for name in h.rpc('job-manager.queue-list').get()['queues'] or ['']:
    status = h.rpc('job-manager.queue-status', {'name': name} if name else {}).get()
    print(name or 'anonymous', int(status['enable']), int(status['start']))
";

/// The status of the queues. There is a scheduler.
pub fn queue_status(broker: &Broker) -> Gauges {
    let mut gauges = Gauges::from([("scheduler.ready".to_owned(), 1)]);
    for line in broker.flux(&["python", "-c", QUEUE_STATUS]).lines() {
        let [queue, enabled, started] = line.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{line}");
        };
        for (name, level) in [("enabled", enabled), ("started", started)] {
            gauges.insert(format!("queue.{queue}.{name}"), level.parse().unwrap());
        }
    }
    gauges.retain(|_, level| *level != 0);
    gauges
}

/// The reasons for which jobs wait, also by queue, from their state, urgency and priority in `flux jobs`.
pub fn why_jobs_wait(broker: &Broker) -> Gauges {
    let format = "{state}|{urgency}|{priority}|{queue}";
    let mut reasons = Gauges::new();
    let status = queue_status(broker);
    for line in broker.flux(&["jobs", "-A", "-f", "pending", "-c0", "-n", "-o", format]).lines() {
        let (line, queue) = line.rsplit_once('|').unwrap();
        let reason = match line.split('|').collect::<Vec<_>>()[..] {
            ["DEPEND", ..] => "dependency",
            ["PRIORITY" | "SCHED", "0", _] => "held",
            ["PRIORITY", ..] | ["SCHED", _, "0"] => "priority",
            ["SCHED", ..] => {
                let name = if queue.is_empty() { "anonymous" } else { queue };
                let is_started = status.contains_key(&format!("queue.{name}.started"));
                if is_started {
                    "resources"
                } else {
                    "stopped"
                }
            }
            _ => panic!("{line}"),
        };
        *reasons.entry(format!("pending.{reason}")).or_default() += 1;
        if !queue.is_empty() {
            *reasons.entry(format!("queue.{queue}.pending.{reason}")).or_default() += 1;
        }
    }
    reasons
}

/// The jobs in DEPEND, by the schemes in their jobspecs.
pub fn dependencies(broker: &Broker, jobspecs: &mut Jobspecs) -> Gauges {
    let mut waiting = Gauges::new();
    for id in broker.flux(&["jobs", "-A", "-f", "depend", "-c0", "-no", "{id}"]).lines() {
        for scheme in jobspecs.schemes(broker, id) {
            *waiting.entry(format!("dependency.{scheme}")).or_default() += 1;
        }
    }
    waiting
}

/// All gauges of all collectors, without ages and the resources of queues. No job requests GPUs.
pub fn all(broker: &Broker, jobspecs: &mut Jobspecs) -> Gauges {
    let mut truth = states(broker);
    truth.extend(usage(broker, jobspecs));
    truth.extend(queue_status(broker));
    truth.extend(machine(broker));
    truth.extend(why_jobs_wait(broker));
    truth.extend(dependencies(broker, jobspecs));
    truth
}
