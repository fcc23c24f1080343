//! The member `housekeeping` of the response to `job-manager.stats-get`, since Flux 0.64.0.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::idset::each_range;

/// The nodes in housekeeping. The scheduler does not have them yet.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Housekeeping {
    /// The ranks, in ascending order.
    pub ranks: Vec<u32>,
    /// Seconds since the oldest housekeeping began; 0 if there is none.
    pub oldest_seconds: u32,
}

#[derive(Deserialize)]
struct Response<'a> {
    #[serde(borrow)]
    housekeeping: Running<'a>,
}

#[derive(Deserialize)]
struct Running<'a> {
    /// By job id.
    #[serde(borrow)]
    running: BTreeMap<String, Job<'a>>,
}

#[derive(Deserialize)]
struct Job<'a> {
    /// Seconds since the epoch.
    t_start: f64,
    /// An idset.
    allocated: &'a str,
}

/// Parses the response; `now`: seconds since the epoch. `None` if it does not have the member, or
/// if the member is malformed.
pub fn parse(response: &[u8], now: f64) -> Option<Housekeeping> {
    let Response { housekeeping } = serde_json::from_slice(response).ok()?;
    let (mut ranks, mut start) = (Vec::new(), now);
    for Job { t_start, allocated } in housekeeping.running.values() {
        each_range(allocated, &mut |first, last| ranks.extend(first..=last))?;
        start = start.min(*t_start);
    }
    ranks.sort_unstable();
    ranks.dedup();
    Some(Housekeeping { ranks, oldest_seconds: (now - start) as u32 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nodes_and_the_oldest_start_are_read() {
        let job = |start: f64, allocated: &str| json!({"t_start": start, "pending": "9", "allocated": allocated});
        let known = |ranks: &[u32], oldest_seconds| {
            Some(Housekeeping { ranks: ranks.into(), oldest_seconds })
        };
        let table = [
            (json!({}), known(&[], 0)),
            (json!({"f1": job(90.5, "2-3")}), known(&[2, 3], 9)),
            // A clock that was set back.
            (json!({"f1": job(101.0, "")}), known(&[], 0)),
            // Two jobs may share a node.
            (json!({"f2": job(99.0, "0,3"), "f1": job(40.0, "3-4")}), known(&[0, 3, 4], 60)),
            (json!({"f1": {"t_start": 1.0}}), None),
            (json!({"f1": job(1.0, "x")}), None),
            (json!([]), None),
        ];
        for (running, expected) in table {
            let stats = json!({"active_jobs": 1, "housekeeping": {"running": running}});
            assert_eq!(parse(stats.to_string().as_bytes(), 100.0), expected, "{stats}");
        }
        assert_eq!(parse(br#"{"active_jobs": 1}"#, 100.0), None, "before 0.64.0");
    }
}
