//! The resources that R (RFC 20) allocates.

use super::idset::{count, each_range};
use super::{Amounts, Json};

/// The resources that R allocates. Calls `ranks` with the first and the last rank of each
/// range. `None` if R is malformed: `ranks` may have been called by then.
pub fn allocated<J: Json>(r: J, ranks: &mut dyn FnMut(u32, u32)) -> Option<Amounts> {
    let entries = r.member(c"execution")?.member(c"R_lite")?;
    entries.item(0)?;
    let mut sum = Amounts::default();
    for entry in entries.items() {
        let mut nodes = 0;
        each_range(entry.member(c"rank")?.text()?, &mut |first, last| {
            nodes += last - first + 1;
            ranks(first, last);
        })?;
        let children = entry.member(c"children")?;
        let per_node = |key| children.member(key).map_or(Some(0), |idset| count(idset.text()?));
        let (cores, gpus) = (per_node(c"core")?, per_node(c"gpu")?);
        sum.nodes = sum.nodes.saturating_add(nodes);
        sum.cores = sum.cores.saturating_add(nodes.saturating_mul(cores));
        sum.gpus = sum.gpus.saturating_add(nodes.saturating_mul(gpus));
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn amounts(nodes: u32, cores: u32, gpus: u32) -> Option<Amounts> {
        Some(Amounts { nodes, cores, gpus })
    }

    #[test]
    fn r_allocates_the_resources_of_its_ranks() {
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
        for (list, expected, expected_ranks) in table {
            let r = json!({"version": 1, "execution": {"R_lite": list}});
            let mut ranks = Vec::new();
            let found = allocated(&r, &mut |first, last| ranks.extend(first..=last));
            assert_eq!(found, expected, "{r}");
            assert!(found.is_none() || ranks == expected_ranks, "{r}: {ranks:?}");
        }
        assert_eq!(allocated(&json!({}), &mut |_, _| ()), None);
    }
}
