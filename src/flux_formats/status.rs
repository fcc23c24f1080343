//! What `resource.status` answers: how many nodes, cores and GPUs there are, and
//! which of them are out of use.
//!
//! Flux answers it from 0.49 on (and before), without asking the job manager or the
//! scheduler. The rules are those of its resource module (status.c): the scheduler
//! has all nodes but the excluded ones, and those of them are down that are
//! offline, torpid or drained. By them `flux resource list` added to its numbers.

use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::resources::{counted, ranges};

/// What there is for jobs. Excluded nodes are not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResourceStatus {
    /// Nodes: `flux resource list --states=all`.
    pub nodes: u32,
    /// Nodes that take no new jobs: `flux resource list --states=down`.
    pub nodes_down: u32,
    /// Nodes that somebody drained, jobs on them or not:
    /// `flux resource status --states=drain`.
    pub nodes_drained: u32,
    /// Cores.
    pub cores: u32,
    /// Cores of nodes that are down.
    pub cores_down: u32,
    /// GPUs.
    pub gpus: u32,
}

impl ResourceStatus {
    /// Nodes that take jobs: `flux resource list --states=up`.
    pub fn nodes_up(&self) -> u32 {
        self.nodes - self.nodes_down
    }
}

/// What is said of a rank.
const EXCLUDED: u8 = 1;
const DOWN: u8 = 2;
const DRAINED: u8 = 4;
const COUNTED: u8 = 8;

/// What an answer added to. `None` if it is not understood.
pub fn resource_status(answer: &str) -> Option<ResourceStatus> {
    let Pruned(answer) = serde_json::from_slice(answer.as_bytes()).ok()?;
    let idset = |of: &Value, key: &str| Some(of.get(key)?.as_str()?.to_owned());
    // Old Flux, as 0.49, does not say it; nor has each node a GPU.
    let optional = |of: &Value, key: &str| match of.get(key) {
        None => Some(String::new()),
        Some(_) => idset(of, key),
    };
    let mut marks = Marks::default();
    marks.add(&idset(&answer, "exclude")?, EXCLUDED)?;
    marks.add(&idset(&answer, "offline")?, DOWN)?;
    marks.add(&optional(&answer, "torpid")?, DOWN)?;
    for drained in answer.get("drain")?.as_object()?.keys() {
        marks.add(drained, DOWN | DRAINED)?;
    }
    let mut resource_status = ResourceStatus::default();
    let drained = marks.0.iter().filter(|&marks| marks & DRAINED != 0);
    resource_status.nodes_drained = u32::try_from(drained.count()).ok()?;
    for entry in answer.get("R")?.get("execution")?.get("R_lite")?.as_array()? {
        let children = entry.get("children").filter(|children| children.is_object())?;
        let each = |kind: &str| counted(&optional(children, kind)?);
        let (cores, gpus) = (each("core")?, each("gpu")?);
        marks.each(&idset(entry, "rank")?, |marks| {
            if *marks & EXCLUDED != 0 {
                return;
            }
            // A rank may be in several entries.
            let nodes = u32::from(*marks & COUNTED == 0);
            *marks |= COUNTED;
            let add = |sum: &mut u32, number: u32| *sum = sum.saturating_add(number);
            add(&mut resource_status.nodes, nodes);
            add(&mut resource_status.cores, cores);
            add(&mut resource_status.gpus, gpus);
            if *marks & DOWN != 0 {
                add(&mut resource_status.nodes_down, nodes);
                add(&mut resource_status.cores_down, cores);
            }
        })?;
    }
    Some(resource_status)
}

/// The objects, arrays and texts of an answer, without the scheduler's part of R:
/// with Fluxion, before Flux 0.84, that is its whole graph.
struct Pruned(Value);

impl<'de> Deserialize<'de> for Pruned {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Pruning)
    }
}

struct Pruning;

impl<'de> Visitor<'de> for Pruning {
    type Value = Pruned;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Pruned, A::Error> {
        let mut object = Map::new();
        while let Some(key) = members.next_key::<String>()? {
            if key == "scheduling" {
                members.next_value::<IgnoredAny>()?;
            } else {
                object.insert(key, members.next_value::<Pruned>()?.0);
            }
        }
        Ok(Pruned(Value::Object(object)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Pruned, A::Error> {
        let mut array = Vec::new();
        while let Some(Pruned(item)) = items.next_element()? {
            array.push(item);
        }
        Ok(Pruned(Value::Array(array)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Pruned, E> {
        Ok(Pruned(Value::String(text.to_owned())))
    }

    // Nobody asks what they are.

    fn visit_bool<E>(self, _: bool) -> Result<Pruned, E> {
        Ok(Pruned(Value::Null))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Pruned, E> {
        Ok(Pruned(Value::Null))
    }

    fn visit_u64<E>(self, _: u64) -> Result<Pruned, E> {
        Ok(Pruned(Value::Null))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Pruned, E> {
        Ok(Pruned(Value::Null))
    }

    fn visit_unit<E>(self) -> Result<Pruned, E> {
        Ok(Pruned(Value::Null))
    }
}

/// What is said of each rank.
#[derive(Default)]
struct Marks(Vec<u8>);

impl Marks {
    fn add(&mut self, idset: &str, mark: u8) -> Option<()> {
        self.each(idset, |marks| *marks |= mark)
    }

    fn each(&mut self, idset: &str, mut body: impl FnMut(&mut u8)) -> Option<()> {
        ranges(idset, &mut |first, last| {
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
    use serde_json::json;

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

    fn answer(r: Value, sets: [&str; 3], drained: &[&str]) -> Value {
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
    fn a_machine_is_counted_as_flux_resource_list_does() {
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
        let mut old = answer(eight(), ["2", "", ""], &[]);
        old.as_object_mut().unwrap().remove("torpid");
        let table = [
            (answer(eight(), ["", "", ""], &[]), all),
            (answer(with_scheduling, ["", "", ""], &[]), all),
            (answer(eight(), ["1-3", "", ""], &[]), down(3)),
            (answer(eight(), ["0-7", "", ""], &[]), down(8)),
            (old, down(1)),
            // In two sets, and down once.
            (
                answer(eight(), ["2", "", "2-3"], &["2,4"]),
                ResourceStatus { nodes_drained: 2, ..down(3) },
            ),
            (
                answer(eight(), ["", "", ""], &["0-1", "4"]),
                ResourceStatus { nodes_drained: 3, ..down(3) },
            ),
            // An excluded node is neither there nor down.
            (
                answer(eight(), ["6-7", "7", ""], &[]),
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
                answer(eight(), ["", "0-7", ""], &["7"]),
                ResourceStatus { nodes_drained: 1, ..ResourceStatus::default() },
            ),
            (
                answer(twice, ["1", "", ""], &[]),
                ResourceStatus {
                    nodes: 2,
                    nodes_down: 1,
                    cores: 10,
                    cores_down: 6,
                    ..ResourceStatus::default()
                },
            ),
            // Brokers that R does not name, as a login node.
            (answer(eight(), ["[8-11]", "", ""], &[]), all),
            (answer(r(json!([])), ["", "", ""], &[]), ResourceStatus::default()),
        ];
        for (answer, wanted) in table {
            let resource_status = resource_status(&answer.to_string());
            assert_eq!(resource_status, Some(wanted), "{answer}");
            assert_eq!(wanted.nodes_up() + wanted.nodes_down, wanted.nodes);
        }
    }

    #[test]
    fn what_is_not_understood_is_no_number() {
        let right = answer(eight(), ["1", "2", "3"], &["4"]);
        assert!(resource_status(&right.to_string()).is_some());
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
        for answer in table {
            assert_eq!(resource_status(&answer), None, "{answer}");
        }
    }
}
