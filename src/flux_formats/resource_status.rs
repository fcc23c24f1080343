//! The response to `resource.status`: the numbers of nodes, cores and GPUs, in total and not
//! available.
//!
//! In all supported versions of Flux the resource module responds without the job manager or
//! the scheduler. The rules are those of that module (status.c): all nodes except excluded
//! ones are passed to the scheduler, and a node is down if it is offline, torpid or drained.
//! The numbers equal those of `flux resource list`.

use std::collections::BTreeMap;

use serde::de::IgnoredAny;
use serde::Deserialize;

use super::idset::{count, each_range};

/// The resources of an instance, without excluded nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResourceStatus {
    /// Nodes: `flux resource list --states=all`.
    pub nodes: u32,
    /// Nodes that accept no new jobs: `flux resource list --states=down`.
    pub nodes_down: u32,
    /// Drained nodes, with or without jobs: `flux resource status --states=drain`.
    pub nodes_drained: u32,
    /// Cores.
    pub cores: u32,
    /// Cores of nodes that are down.
    pub cores_down: u32,
    /// GPUs.
    pub gpus: u32,
}

impl ResourceStatus {
    /// Nodes that accept jobs: `flux resource list --states=up`.
    pub fn nodes_up(&self) -> u32 {
        self.nodes - self.nodes_down
    }
}

/// The parts of the response that are read. Other members are skipped without a copy: before
/// Flux 0.84, R includes Fluxion's whole resource graph, which may be megabytes.
#[derive(Deserialize)]
struct Response {
    #[serde(rename = "R")]
    r: R,
    exclude: String,
    offline: String,
    /// Flux 0.49 has no torpid nodes.
    #[serde(default)]
    torpid: String,
    /// The keys are idsets of drained ranks.
    drain: BTreeMap<String, IgnoredAny>,
}

#[derive(Deserialize)]
struct R {
    execution: Execution,
}

#[derive(Deserialize)]
struct Execution {
    #[serde(rename = "R_lite")]
    r_lite: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    rank: String,
    children: Children,
}

#[derive(Deserialize)]
struct Children {
    #[serde(default)]
    core: String,
    #[serde(default)]
    gpu: String,
}

const EXCLUDED: u8 = 1;
const DOWN: u8 = 2;
const DRAINED: u8 = 4;
const LISTED: u8 = 8;

/// Parses the response. `None` if it is malformed.
pub fn parse(response: &[u8]) -> Option<ResourceStatus> {
    let response: Response = serde_json::from_slice(response).ok()?;
    let mut ranks = RankMarks::default();
    ranks.mark(&response.exclude, EXCLUDED)?;
    ranks.mark(&response.offline, DOWN)?;
    ranks.mark(&response.torpid, DOWN)?;
    for drained in response.drain.keys() {
        ranks.mark(drained, DOWN | DRAINED)?;
    }
    let mut status = ResourceStatus::default();
    for entry in &response.r.execution.r_lite {
        let (cores, gpus) = (count(&entry.children.core)?, count(&entry.children.gpu)?);
        // A rank may be in several entries.
        ranks.each(&entry.rank, |marks| {
            *marks |= LISTED;
            if *marks & EXCLUDED == 0 {
                status.cores = status.cores.saturating_add(cores);
                status.gpus = status.gpus.saturating_add(gpus);
                if *marks & DOWN != 0 {
                    status.cores_down = status.cores_down.saturating_add(cores);
                }
            }
        })?;
    }
    let nodes =
        |mask: u8, marks| ranks.0.iter().filter(|&found| found & mask == marks).count() as u32;
    status.nodes = nodes(LISTED | EXCLUDED, LISTED);
    status.nodes_down = nodes(LISTED | EXCLUDED | DOWN, LISTED | DOWN);
    status.nodes_drained = nodes(DRAINED, DRAINED);
    Some(status)
}

/// The marks of each rank.
#[derive(Default)]
struct RankMarks(Vec<u8>);

impl RankMarks {
    fn mark(&mut self, idset: &str, mark: u8) -> Option<()> {
        self.each(idset, |marks| *marks |= mark)
    }

    fn each(&mut self, idset: &str, mut body: impl FnMut(&mut u8)) -> Option<()> {
        each_range(idset, &mut |first, last| {
            let (first, end) = (first as usize, last as usize + 1);
            if self.0.len() < end {
                self.0.resize(end, 0);
            }
            self.0[first..end].iter_mut().for_each(&mut body);
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{json, Value};

    fn r(entries: Value) -> Value {
        json!({"version": 1, "execution": {"R_lite": entries, "nodelist": ["n[0-7]"]}})
    }

    /// Eight nodes of four cores; the last two have two GPUs, too.
    fn eight() -> Value {
        r(json!([
            {"rank": "0-5", "children": {"core": "0-3"}},
            {"rank": "6-7", "children": {"core": "0-3", "gpu": "0-1"}},
        ]))
    }

    fn response(r: Value, sets: [&str; 3], drained: &[&str]) -> Value {
        let [offline, exclude, torpid] = sets;
        let info = json!({"timestamp": 1.5, "reason": "a \"reason\""});
        let drain: serde_json::Map<_, _> =
            drained.iter().map(|&ranks| (ranks.to_owned(), info.clone())).collect();
        json!({
            "R": r, "drain": drain, "online": "not read", "offline": offline,
            "exclude": exclude, "torpid": torpid,
        })
    }

    #[test]
    fn numbers_equal_those_of_flux_resource_list() {
        let all = ResourceStatus { nodes: 8, cores: 32, gpus: 4, ..ResourceStatus::default() };
        let down = |nodes: u32| ResourceStatus { nodes_down: nodes, cores_down: 4 * nodes, ..all };
        let with_scheduling = {
            let mut r = eight();
            r["scheduling"] = json!({"graph": {"nodes": [1, 2, {"deep": [[]]}]}});
            r["execution"]["properties"] = json!({"debug": "0-3"});
            r
        };
        let twice = r(json!([
            {"rank": "0-1", "children": {"core": "0-3"}},
            {"rank": "1", "children": {"core": "4-5"}},
        ]));
        let mut old = response(eight(), ["2", "", ""], &[]);
        old.as_object_mut().unwrap().remove("torpid");
        let table = [
            (response(eight(), ["", "", ""], &[]), all),
            (response(with_scheduling, ["", "", ""], &[]), all),
            (response(eight(), ["1-3", "", ""], &[]), down(3)),
            (response(eight(), ["0-7", "", ""], &[]), down(8)),
            (old, down(1)),
            // A rank in two sets is counted as down once.
            (
                response(eight(), ["2", "", "2-3"], &["2,4"]),
                ResourceStatus { nodes_drained: 2, ..down(3) },
            ),
            (
                response(eight(), ["", "", ""], &["0-1", "4"]),
                ResourceStatus { nodes_drained: 3, ..down(3) },
            ),
            // An excluded node is not counted, also if it is down.
            (
                response(eight(), ["6-7", "7", ""], &[]),
                ResourceStatus {
                    nodes: 7,
                    nodes_down: 1,
                    cores: 28,
                    cores_down: 4,
                    gpus: 2,
                    ..all
                },
            ),
            (
                response(eight(), ["", "0-7", ""], &["7"]),
                ResourceStatus { nodes_drained: 1, ..ResourceStatus::default() },
            ),
            (
                response(twice, ["1", "", ""], &[]),
                ResourceStatus {
                    nodes: 2,
                    nodes_down: 1,
                    cores: 10,
                    cores_down: 6,
                    ..ResourceStatus::default()
                },
            ),
            // Ranks that are not in R, such as a login node.
            (response(eight(), ["[8-11]", "", ""], &[]), all),
            (response(r(json!([])), ["", "", ""], &[]), ResourceStatus::default()),
        ];
        for (response, expected) in table {
            let resource_status = parse(response.to_string().as_bytes());
            assert_eq!(resource_status, Some(expected), "{response}");
            assert_eq!(expected.nodes_up() + expected.nodes_down, expected.nodes);
        }
    }

    #[test]
    fn malformed_responses_are_rejected() {
        let right = response(eight(), ["1", "2", "3"], &["4"]);
        assert!(parse(right.to_string().as_bytes()).is_some());
        let with = |key: &str, value: Value| {
            let mut wrong = right.clone();
            wrong[key] = value;
            wrong.to_string()
        };
        let without = |key: &str| {
            let mut wrong = right.clone();
            wrong.as_object_mut().unwrap().remove(key);
            wrong.to_string()
        };
        let entry = |rank: Value, core: Value| {
            with("R", r(json!([{"rank": rank, "children": {"core": core}}])))
        };
        let table = [
            String::new(),
            "{}".to_owned(),
            "[]".to_owned(),
            right.to_string().replacen('}', "", 1),
            without("R"),
            without("drain"),
            without("offline"),
            without("exclude"),
            with("R", Value::Null),
            with("R", json!({"execution": {}})),
            with("torpid", Value::Null),
            with("offline", json!(3)),
            with("offline", json!("3-1")),
            with("exclude", json!("a")),
            with("torpid", json!("0-9999999999")),
            with("drain", json!({"x": {}})),
            with("drain", json!([])),
            entry(json!(1), json!("0")),
            entry(json!("1,1"), json!("0")),
            entry(json!("1"), json!(4)),
            entry(json!("1"), json!("0-")),
            entry(json!("1048576"), json!("0")),
            with("R", r(json!([{"rank": "1"}]))),
        ];
        for response in table {
            assert_eq!(parse(response.as_bytes()), None, "{response}");
        }
    }
}
