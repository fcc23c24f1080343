//! What a jobspec asks for and what R allocates, in nodes, cores and GPUs.

use std::ffi::CStr;

/// JSON as it was given, looked at in place.
pub trait Json: Copy {
    /// The object's member; `None` where there is none, or no object.
    fn member(self, key: &CStr) -> Option<Self>;
    /// The array's item; `None` behind its end, or where there is no array.
    fn item(self, index: usize) -> Option<Self>;
    /// The string; `None` where there is none.
    fn text(&self) -> Option<&str>;
    /// The integer, if it is at least 1.
    fn positive(self) -> Option<u64>;
}

/// Nodes, cores and GPUs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amounts {
    /// Nodes that are asked for; 0 where only their cores are. Where R lists
    /// them, parts of nodes count as nodes.
    pub nodes: u32,
    /// Cores.
    pub cores: u32,
    /// GPUs.
    pub gpus: u32,
}

/// The greatest rank, core or GPU number that is believed. No resource_status added near
/// it, and a table with an entry for each rank is small.
const MAX_ID: u32 = (1 << 20) - 1;

/// How deep a jobspec's resources may be nested.
const MAX_DEPTH: u32 = 16;

/// What a jobspec asks for, at least (RFC 14; version 1, RFC 25, is a part of
/// it). `None` if its resources are not understood.
pub fn requested<J: Json>(jobspec: J) -> Option<Amounts> {
    let mut sum = [0; 3];
    add(jobspec.member(c"resources")?, 1, MAX_DEPTH, &mut sum)?;
    let [nodes, cores, gpus] = sum;
    Some(Amounts { nodes, cores, gpus })
}

/// Adds vertices to the sum, `times` over.
fn add<J: Json>(vertices: J, times: u64, depth: u32, sum: &mut [u32; 3]) -> Option<()> {
    let depth = depth.checked_sub(1)?;
    let mut index = 0;
    while let Some(vertex) = vertices.item(index) {
        index += 1;
        let times = times.saturating_mul(count(vertex.member(c"count")?)?);
        let kind = vertex.member(c"type")?;
        if let Some(resource) =
            ["node", "core", "gpu"].iter().position(|&one| kind.text() == Some(one))
        {
            sum[resource] = sum[resource].saturating_add(u32::try_from(times).unwrap_or(u32::MAX));
        }
        if let Some(with) = vertex.member(c"with") {
            add(with, times, depth, sum)?;
        }
    }
    // An empty array, or none at all.
    (index > 0).then_some(())
}

/// A count, or the least of a range: an integer, an object with `min`, or a text
/// as `2-4` or `2+` (RFC 14).
fn count<J: Json>(count: J) -> Option<u64> {
    if let Some(text) = count.text() {
        let text = text.trim_start_matches('[');
        let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        return text[..end].parse().ok().filter(|&count| count > 0);
    }
    count.positive().or_else(|| count.member(c"min")?.positive())
}

/// What R (RFC 20) allocates. `None` if it is not understood.
pub fn allocated<J: Json>(r: J) -> Option<Amounts> {
    let mut sum = Amounts::default();
    entries(r, &mut |entry| {
        let nodes = counted(entry.member(c"rank")?.text()?)?;
        let children = entry.member(c"children")?;
        let each = |key| children.member(key).map_or(Some(0), |idset| counted(idset.text()?));
        let (cores, gpus) = (each(c"core")?, each(c"gpu")?);
        sum.nodes = sum.nodes.saturating_add(nodes);
        sum.cores = sum.cores.saturating_add(nodes.saturating_mul(cores));
        sum.gpus = sum.gpus.saturating_add(nodes.saturating_mul(gpus));
        Some(())
    })?;
    Some(sum)
}

/// Calls `body` with the first and last of each range of ranks in an R that
/// [`allocated`] understood.
pub fn ranks<J: Json>(r: J, body: &mut dyn FnMut(u32, u32)) {
    let _ = entries(r, &mut |entry| {
        ranges(entry.member(c"rank")?.text()?, &mut |first, last| body(first, last))
    });
}

fn entries<J: Json>(r: J, body: &mut dyn FnMut(J) -> Option<()>) -> Option<()> {
    let list = r.member(c"execution")?.member(c"R_lite")?;
    let mut index = 0;
    while let Some(entry) = list.item(index) {
        body(entry)?;
        index += 1;
    }
    (index > 0).then_some(())
}

/// How many numbers an idset (RFC 22) has.
pub(super) fn counted(idset: &str) -> Option<u32> {
    let mut sum = 0;
    ranges(idset, &mut |first, last| sum += last - first + 1)?;
    Some(sum)
}

/// Calls `body` with the first and last of each range of an idset (RFC 22), as
/// `0-3,7` or `[0-3,7]`. They ascend: none is there twice.
pub(super) fn ranges(idset: &str, body: &mut dyn FnMut(u32, u32)) -> Option<()> {
    let inner = idset.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(idset);
    let mut next = 0;
    if inner.is_empty() {
        return Some(());
    }
    for part in inner.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        if first < next || last < first || last > MAX_ID {
            return None;
        }
        body(first, last);
        next = last + 1;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{json, Value};

    impl Json for &Value {
        fn member(self, key: &CStr) -> Option<Self> {
            self.get(key.to_str().unwrap())
        }
        fn item(self, index: usize) -> Option<Self> {
            self.get(index)
        }
        fn text(&self) -> Option<&str> {
            self.as_str()
        }
        fn positive(self) -> Option<u64> {
            self.as_u64().filter(|&number| number > 0)
        }
    }

    fn amounts(nodes: u32, cores: u32, gpus: u32) -> Option<Amounts> {
        Some(Amounts { nodes, cores, gpus })
    }

    fn vertex(kind: &str, count: Value, with: Value) -> Value {
        match with.is_null() {
            true => json!({"type": kind, "count": count}),
            false => json!({"type": kind, "count": count, "with": with}),
        }
    }

    #[test]
    fn a_jobspec_asks_for_what_its_vertices_multiply_to() {
        let core = |count: Value| vertex("core", count, Value::Null);
        let gpu = |count: Value| vertex("gpu", count, Value::Null);
        let slot = |count: i64, with: Value| vertex("slot", json!(count), with);
        let one = slot(3, json!([core(json!(2))]));
        let mut deep = json!([core(json!(1))]);
        for _ in 0..100 {
            deep = json!([slot(1, deep)]);
        }
        let table = [
            (json!([one]), amounts(0, 6, 0)),
            (json!([vertex("node", json!(4), json!([one]))]), amounts(4, 24, 0)),
            (json!([slot(2, json!([core(json!(1)), gpu(json!(4))]))]), amounts(0, 2, 8)),
            (
                json!([slot(2, json!([vertex("node", json!(1), json!([core(json!(8))]))]))]),
                amounts(2, 16, 0),
            ),
            (json!([one, slot(1, json!([gpu(json!(1))]))]), amounts(0, 6, 1)),
            (json!([slot(1, json!([core(json!({"min": 3, "max": 9}))]))]), amounts(0, 3, 0)),
            (json!([slot(1, json!([core(json!("4-8"))]))]), amounts(0, 4, 0)),
            (json!([slot(1, json!([core(json!("2+"))]))]), amounts(0, 2, 0)),
            (json!([vertex("rack", json!(2), json!([one]))]), amounts(0, 12, 0)),
            (json!([slot(1 << 40, json!([core(json!(1i64 << 40))]))]), amounts(0, u32::MAX, 0)),
            (json!([]), None),
            (json!("cores"), None),
            (Value::Null, None),
            (json!([{"type": "core"}]), None),
            (json!([{"count": 1}]), None),
            (json!([core(json!(0))]), None),
            (json!([core(json!(-1))]), None),
            (json!([core(json!(1.5))]), None),
            (json!([core(json!("many"))]), None),
            (json!([core(json!({"max": 2}))]), None),
            (json!([vertex("node", json!(1), json!({}))]), None),
            (deep, None),
        ];
        for (resources, wanted) in table {
            assert_eq!(requested(&json!({"resources": resources})), wanted, "{resources}");
        }
        assert_eq!(requested(&json!({})), None);
    }

    #[test]
    fn r_gives_what_its_ranks_hold() {
        let entry = |rank: &str, core: &str| json!({"rank": rank, "children": {"core": core}});
        let with_gpus = json!({"rank": "4-5", "children": {"core": "0-1", "gpu": "0,2-3"}});
        let table = [
            (json!([entry("0", "0")]), amounts(1, 1, 0), vec![0]),
            (json!([entry("0-3,7", "0-3,7")]), amounts(5, 25, 0), vec![0, 1, 2, 3, 7]),
            (json!([entry("[0-1]", "[5]")]), amounts(2, 2, 0), vec![0, 1]),
            (json!([entry("0", "0-63"), with_gpus]), amounts(3, 68, 6), vec![0, 4, 5]),
            (json!([{"rank": "1", "children": {}}]), amounts(1, 0, 0), vec![1]),
            (json!([{"rank": "1"}]), None, vec![]),
            (json!([{"rank": 1, "children": {}}]), None, vec![]),
            (json!([entry("", "0")]), amounts(0, 0, 0), vec![]),
            (json!([entry("0-4294967295", "0")]), None, vec![]),
            (json!([entry("1048576", "0")]), None, vec![]),
            (json!([entry("3-1", "0")]), None, vec![]),
            (json!([entry("1,1", "0")]), None, vec![]),
            (json!([entry("-1", "0")]), None, vec![]),
            (json!([entry("0", "a")]), None, vec![]),
            (json!([entry("0", "0-")]), None, vec![]),
            (json!([]), None, vec![]),
            (json!({}), None, vec![]),
        ];
        for (list, wanted, wanted_ranks) in table {
            let r = json!({"version": 1, "execution": {"R_lite": list}});
            assert_eq!(allocated(&r), wanted, "{r}");
            let mut found = Vec::new();
            if wanted.is_some() {
                ranks(&r, &mut |first, last| found.extend(first..=last));
            }
            assert_eq!(found, wanted_ranks, "{r}");
        }
        assert_eq!(allocated(&json!({})), None);
    }
}
