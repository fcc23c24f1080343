//! The response to `resource.status`: the numbers of nodes, cores and GPUs, in total and not
//! available.
//!
//! In all supported versions of Flux the resource module responds without the job manager or
//! the scheduler. The rules are those of that module (status.c): all nodes except excluded
//! ones are passed to the scheduler, and a node is down if it is offline, torpid or drained.
//! The numbers equal those of `flux resource list` and `flux resource status`.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::idset::{count, each_range};
use super::Amounts;

/// The resources of an instance, without excluded nodes unless stated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResourceStatus {
    /// Nodes: `flux resource list --states=all`.
    pub nodes: u32,
    /// Nodes that accept no new jobs: `flux resource list --states=down`. The others are up.
    pub nodes_down: u32,
    /// Offline nodes, also excluded ones: `flux resource status --states=offline`.
    pub nodes_offline: u32,
    /// Excluded nodes: `flux resource status --states=exclude`.
    pub nodes_excluded: u32,
    /// The ranks of drained nodes, also excluded ones, with or without jobs, in ascending order:
    /// `flux resource status --states=drain`.
    pub drained: Vec<u32>,
    /// Seconds since the first of these nodes was drained; 0 if there is none.
    pub drain_oldest_seconds: u32,
    /// Cores.
    pub cores: u32,
    /// Cores of nodes that are down.
    pub cores_down: u32,
    /// GPUs.
    pub gpus: u32,
    /// The resources of each queue: `flux resource list -q QUEUE`.
    pub queues: Vec<(String, QueueResources)>,
}

/// The resources that a queue may use. Two queues may have the same nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueResources {
    /// The resources of all its nodes except excluded ones.
    pub total: Amounts,
    /// The resources of its nodes that accept jobs.
    pub up: Amounts,
}

/// A queue of the broker's configuration, and the properties of nodes that it requires (RFC 33).
pub type QueueRequirements = (String, Vec<String>);

/// The parts of the response that are read. Other members are skipped without a copy: before
/// Flux 0.84, R includes Fluxion's whole resource graph, which may be megabytes. Idsets have no
/// characters that JSON escapes, so that they are read in place.
#[derive(Deserialize)]
struct Response<'a> {
    #[serde(rename = "R", borrow)]
    r: R<'a>,
    exclude: &'a str,
    offline: &'a str,
    /// Flux 0.49 has no torpid nodes.
    #[serde(default)]
    torpid: &'a str,
    /// The keys are idsets of drained ranks.
    drain: BTreeMap<String, Drain>,
}

#[derive(Deserialize)]
struct Drain {
    /// Seconds since the epoch.
    timestamp: f64,
}

#[derive(Deserialize)]
struct R<'a> {
    #[serde(borrow)]
    execution: Execution<'a>,
}

#[derive(Deserialize)]
struct Execution<'a> {
    #[serde(rename = "R_lite", borrow)]
    r_lite: Vec<Entry<'a>>,
    /// The ranks with each property, as an idset.
    #[serde(default, borrow)]
    properties: BTreeMap<String, &'a str>,
}

#[derive(Deserialize)]
struct Entry<'a> {
    rank: &'a str,
    #[serde(borrow)]
    children: Children<'a>,
}

#[derive(Deserialize)]
struct Children<'a> {
    #[serde(default)]
    core: &'a str,
    #[serde(default)]
    gpu: &'a str,
}

const EXCLUDED: u8 = 1;
const DOWN: u8 = 2;
const DRAINED: u8 = 4;
const LISTED: u8 = 8;
const OFFLINE: u8 = 16;

/// A node: marks, and its cores and GPUs.
type Node = (u8, Amounts);

/// Parses the response; `now`: seconds since the epoch. `None` if it is malformed.
pub fn parse(response: &[u8], queues: &[QueueRequirements], now: f64) -> Option<ResourceStatus> {
    let Response { r, exclude, offline, torpid, drain } = serde_json::from_slice(response).ok()?;
    let Execution { r_lite, properties } = r.execution;
    let mut nodes: Vec<Node> = Vec::new();
    for entry in &r_lite {
        let (cores, gpus) = (count(entry.children.core)?, count(entry.children.gpu)?);
        // A rank may be in several entries.
        each(&mut nodes, entry.rank, |(marks, amounts)| {
            *marks |= LISTED;
            *amounts += Amounts { nodes: 0, cores, gpus };
            amounts.nodes = 1;
        })?;
    }
    let mut mark = |idset: &str, mark| each(&mut nodes, idset, |(marks, _)| *marks |= mark);
    mark(exclude, EXCLUDED)?;
    mark(offline, DOWN | OFFLINE)?;
    mark(torpid, DOWN)?;
    let mut first_drain = now;
    for (ranks, Drain { timestamp }) in &drain {
        let mut is_listed = false;
        each(&mut nodes, ranks, |(marks, _)| {
            *marks |= DOWN | DRAINED;
            is_listed |= *marks & LISTED != 0;
        })?;
        first_drain = if is_listed { first_drain.min(*timestamp) } else { first_drain };
    }
    let listed = |mark| {
        let marks = LISTED | mark;
        nodes.iter().zip(0..).filter(move |((found, _), _)| found & marks == marks)
    };
    let QueueResources { total: all, up } = sum(&nodes, std::iter::repeat(true));
    let mut nodes_with = BTreeMap::new();
    for property in queues.iter().flat_map(|(_, requires)| requires).map(|it| name_of(it)) {
        if !nodes_with.contains_key(property) {
            let mut has = vec![false; nodes.len()];
            let ranks = properties.get(property).copied().unwrap_or_default();
            each(&mut has, ranks, |has| *has = true)?;
            nodes_with.insert(property, has);
        }
    }
    let of_queue = |(name, requires): &QueueRequirements| {
        let mut has_all = vec![true; nodes.len()];
        for property in requires {
            let (has, is_excluded) = (&nodes_with[name_of(property)], property.starts_with('^'));
            has_all.iter_mut().zip(has).for_each(|(all, has)| *all &= *has != is_excluded);
        }
        (name.clone(), sum(&nodes, has_all))
    };
    Some(ResourceStatus {
        nodes: all.nodes,
        nodes_down: all.nodes - up.nodes,
        nodes_offline: listed(OFFLINE).count() as u32,
        nodes_excluded: listed(EXCLUDED).count() as u32,
        drained: listed(DRAINED).map(|(_, rank)| rank).collect(),
        drain_oldest_seconds: (now - first_drain) as u32,
        cores: all.cores,
        cores_down: all.cores - up.cores,
        gpus: all.gpus,
        queues: queues.iter().map(of_queue).collect(),
    })
}

/// The name of a property that a queue requires or excludes.
fn name_of(property: &str) -> &str {
    property.strip_prefix('^').unwrap_or(property)
}

/// The resources of the nodes that are counted, by rank, without excluded ones.
fn sum(nodes: &[Node], is_counted: impl IntoIterator<Item = bool>) -> QueueResources {
    let mut sum = QueueResources::default();
    for ((marks, amounts), is_counted) in nodes.iter().zip(is_counted) {
        if is_counted && marks & EXCLUDED == 0 {
            sum.total += *amounts;
            if marks & DOWN == 0 {
                sum.up += *amounts;
            }
        }
    }
    sum
}

/// Calls `body` with the item of each rank in `idset`; `items` grows as needed.
fn each<T: Clone + Default>(
    items: &mut Vec<T>,
    idset: &str,
    mut body: impl FnMut(&mut T),
) -> Option<()> {
    each_range(idset, &mut |first, last| {
        let (first, end) = (first as usize, last as usize + 1);
        if items.len() < end {
            items.resize(end, T::default());
        }
        items[first..end].iter_mut().for_each(&mut body);
    })
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
        let down =
            |nodes: u32| ResourceStatus { nodes_down: nodes, cores_down: 4 * nodes, ..all.clone() };
        let offline = |nodes| ResourceStatus { nodes_offline: nodes, ..down(nodes) };
        let drained = |ranks: &[u32], status| ResourceStatus {
            drained: ranks.into(),
            drain_oldest_seconds: 98,
            ..status
        };
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
            (response(eight(), ["", "", ""], &[]), all.clone()),
            (response(with_scheduling, ["", "", ""], &[]), all.clone()),
            (response(eight(), ["1-3", "", ""], &[]), offline(3)),
            (response(eight(), ["0-7", "", ""], &[]), offline(8)),
            (old, offline(1)),
            // A rank in two sets is counted as down once.
            (
                response(eight(), ["2", "", "2-3"], &["2,4"]),
                ResourceStatus { nodes_offline: 1, ..drained(&[2, 4], down(3)) },
            ),
            (response(eight(), ["", "", ""], &["0-1", "4"]), drained(&[0, 1, 4], down(3))),
            // An excluded node is not counted, also if it is down.
            (
                response(eight(), ["6-7", "7", ""], &[]),
                ResourceStatus {
                    nodes: 7,
                    nodes_down: 1,
                    cores: 28,
                    cores_down: 4,
                    gpus: 2,
                    nodes_offline: 2,
                    nodes_excluded: 1,
                    ..all.clone()
                },
            ),
            (
                response(eight(), ["", "0-7", ""], &["7"]),
                ResourceStatus { nodes_excluded: 8, ..drained(&[7], ResourceStatus::default()) },
            ),
            (
                response(twice, ["1", "", ""], &[]),
                ResourceStatus {
                    nodes: 2,
                    nodes_down: 1,
                    nodes_offline: 1,
                    cores: 10,
                    cores_down: 6,
                    ..ResourceStatus::default()
                },
            ),
            // Ranks that are not in R, such as a login node.
            (response(eight(), ["[8-11]", "", ""], &["9"]), all.clone()),
            (response(r(json!([])), ["", "", ""], &[]), ResourceStatus::default()),
        ];
        for (response, expected) in table {
            let resource_status = parse(response.to_string().as_bytes(), &[], 100.0);
            assert_eq!(resource_status, Some(expected), "{response}");
        }
    }

    /// As `flux resource list -q QUEUE`. Each row: what the queue requires, and the nodes, cores
    /// and GPUs, in total and up.
    #[test]
    fn queues_have_the_nodes_with_the_properties_that_they_require() {
        let mut r = eight();
        r["execution"]["properties"] = json!({"batch": "0-5", "big": "4-7", "none": ""});
        // 0 is excluded, 4 is drained, 7 is offline.
        let response = response(r, ["7", "0", ""], &["4"]);
        let table: &[(&[&str], _, _)] = &[
            (&[], (7, 28, 4), (5, 20, 2)),
            (&["batch"], (5, 20, 0), (4, 16, 0)),
            (&["big"], (4, 16, 4), (2, 8, 2)),
            (&["batch", "big"], (2, 8, 0), (1, 4, 0)),
            (&["^batch"], (2, 8, 4), (1, 4, 2)),
            (&["big", "^batch"], (2, 8, 4), (1, 4, 2)),
            (&["none"], (0, 0, 0), (0, 0, 0)),
            (&["unknown"], (0, 0, 0), (0, 0, 0)),
            (&["^unknown"], (7, 28, 4), (5, 20, 2)),
        ];
        for &(requires, total, up) in table {
            let queue = ("q".to_owned(), requires.iter().map(|it| it.to_string()).collect());
            let status = parse(response.to_string().as_bytes(), &[queue], 0.0).unwrap();
            let [total, up] =
                [total, up].map(|(nodes, cores, gpus)| Amounts { nodes, cores, gpus });
            let expected = vec![("q".to_owned(), QueueResources { total, up })];
            assert_eq!(status.queues, expected, "{requires:?}");
        }
    }

    #[test]
    fn a_property_is_read_only_if_a_queue_requires_it() {
        let mut r = eight();
        r["execution"]["properties"] = json!({"right": "0-5", "malformed": "5-0"});
        let response = response(r, ["", "", ""], &[]).to_string();
        for (requires, is_read) in [("right", true), ("malformed", false), ("^malformed", false)] {
            let queue = ("q".to_owned(), vec![requires.to_owned()]);
            let status = parse(response.as_bytes(), &[queue], 0.0);
            assert_eq!(status.is_some(), is_read, "{requires}");
        }
    }

    #[test]
    fn malformed_responses_are_rejected() {
        let right = response(eight(), ["1", "2", "3"], &["4"]);
        assert!(parse(right.to_string().as_bytes(), &[], 0.0).is_some());
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
            with("drain", json!({"x": {"timestamp": 1}})),
            with("drain", json!({"1": {}})),
            with("drain", json!([])),
            entry(json!(1), json!("0")),
            entry(json!("1,1"), json!("0")),
            entry(json!("1"), json!(4)),
            entry(json!("1"), json!("0-")),
            entry(json!("1048576"), json!("0")),
            with("R", r(json!([{"rank": "1"}]))),
        ];
        for response in table {
            assert_eq!(parse(response.as_bytes(), &[], 0.0), None, "{response}");
        }
    }
}
