//! The resources that a jobspec requests (RFC 14, which includes version 1, RFC 25).

use super::{Amounts, Json};

/// The maximum number of resource vertices that are read from a jobspec.
const MAX_VERTICES: u32 = 1024;

/// The maximum depth of nested resource vertices.
const MAX_DEPTH: u32 = 16;

/// The reason why the requested resources are not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobspecError {
    /// The section `resources` is missing or malformed.
    NotUnderstood,
    /// It has more than 1,024 vertices, or is nested more than 16 levels deep.
    TooLarge,
}
use JobspecError::{NotUnderstood, TooLarge};

/// The resources that a jobspec requests; the minimum of a range. Of the `xor_slot` vertices in
/// one array, which are alternatives (Fluxion's flexible jobspecs), the first is counted: the
/// scheduler chooses one of them when the job starts.
///
/// Users write jobspecs, and a jobspec is read while the job manager waits, at transitions
/// and at each reconcile. The cost of one call is bounded: at most 1,024 vertices are read.
pub fn requested<J: Json>(jobspec: J) -> Result<Amounts, JobspecError> {
    let mut sum = Sum::default();
    sum.add(jobspec.member(c"resources").ok_or(NotUnderstood)?, 1, MAX_DEPTH)?;
    Ok(sum.amounts)
}

#[derive(Default)]
struct Sum {
    amounts: Amounts,
    /// Vertices read so far.
    vertices: u32,
}

impl Sum {
    /// Adds the vertices of an array, `times` times. `depth` is the number of levels left.
    fn add<J: Json>(&mut self, array: J, times: u64, depth: u32) -> Result<(), JobspecError> {
        let depth = depth.checked_sub(1).ok_or(TooLarge)?;
        array.item(0).ok_or(NotUnderstood)?;
        let mut has_alternative = false;
        for vertex in array.items() {
            self.vertices += 1;
            if self.vertices > MAX_VERTICES {
                return Err(TooLarge);
            }
            let count = vertex.member(c"count").and_then(minimum).ok_or(NotUnderstood)?;
            let times = times.saturating_mul(count);
            let amounts = &mut self.amounts;
            let amount = match vertex.member(c"type").ok_or(NotUnderstood)?.text() {
                Some("xor_slot") if std::mem::replace(&mut has_alternative, true) => continue,
                Some("node") => Some(&mut amounts.nodes),
                Some("core") => Some(&mut amounts.cores),
                Some("gpu") => Some(&mut amounts.gpus),
                _ => None,
            };
            if let Some(amount) = amount {
                *amount = amount.saturating_add(u32::try_from(times).unwrap_or(u32::MAX));
            }
            if let Some(with) = vertex.member(c"with") {
                self.add(with, times, depth)?;
            }
        }
        Ok(())
    }
}

/// The minimum of a count (RFC 14): an integer, an object with `min`, or a string such as
/// `2-4` or `2+`. `None` if it is malformed or 0.
fn minimum<J: Json>(count: J) -> Option<u64> {
    if let Some(text) = count.text() {
        let text = text.strip_prefix('[').unwrap_or(text);
        let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        return text[..end].parse().ok().filter(|&count| count > 0);
    }
    count.positive().or_else(|| count.member(c"min")?.positive())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{json, Value};

    fn amounts(nodes: u32, cores: u32, gpus: u32) -> Result<Amounts, JobspecError> {
        Ok(Amounts { nodes, cores, gpus })
    }

    fn vertex(kind: &str, count: Value, with: Value) -> Value {
        match with.is_null() {
            true => json!({"type": kind, "count": count}),
            false => json!({"type": kind, "count": count, "with": with}),
        }
    }

    #[test]
    #[cfg_attr(miri, ignore = "a thousand vertices take minutes in Miri")]
    fn a_jobspec_requests_the_products_of_its_counts() {
        let core = |count: Value| vertex("core", count, Value::Null);
        let gpu = |count: Value| vertex("gpu", count, Value::Null);
        let slot = |count: i64, with: Value| vertex("slot", json!(count), with);
        let one = slot(3, json!([core(json!(2))]));
        let mut deep = json!([core(json!(1))]);
        for _ in 0..100 {
            deep = json!([slot(1, deep)]);
        }
        // One slot with this many cores below it.
        let wide = |cores| json!([slot(1, vec![core(json!(1)); cores].into())]);
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
            (
                json!([
                    vertex("xor_slot", json!(3), json!([core(json!(2))])),
                    vertex("xor_slot", json!(1), json!([core(json!(9)), gpu(json!(1))])),
                    slot(1, json!([gpu(json!(4))])),
                ]),
                amounts(0, 6, 4),
            ),
            (json!([]), Err(NotUnderstood)),
            (json!("cores"), Err(NotUnderstood)),
            (Value::Null, Err(NotUnderstood)),
            (json!([{"type": "core"}]), Err(NotUnderstood)),
            (json!([{"count": 1}]), Err(NotUnderstood)),
            (json!([core(json!(0))]), Err(NotUnderstood)),
            (json!([core(json!(-1))]), Err(NotUnderstood)),
            (json!([core(json!(1.5))]), Err(NotUnderstood)),
            (json!([core(json!("many"))]), Err(NotUnderstood)),
            (json!([core(json!({"max": 2}))]), Err(NotUnderstood)),
            (json!([vertex("node", json!(1), json!({}))]), Err(NotUnderstood)),
            (deep, Err(TooLarge)),
            (wide(1023), amounts(0, 1023, 0)),
            (wide(1024), Err(TooLarge)),
        ];
        for (resources, expected) in table {
            assert_eq!(requested(&json!({"resources": resources})), expected, "{resources}");
        }
        assert_eq!(requested(&json!({})), Err(NotUnderstood));
    }
}
