//! The responses to `job-manager.stats-get` and `job-list.job-stats`.

use serde_json::Value;

use super::idset::each_range;

/// The response to `job-manager.stats-get`.
#[derive(Clone, Debug, PartialEq)]
pub struct JobManagerStats {
    /// The number of active jobs.
    pub active: u64,
    /// The number of inactive jobs that were not purged.
    pub inactive: u64,
    /// `None` before Flux 0.64.0, or if it is malformed.
    pub housekeeping: Option<Housekeeping>,
}

/// The nodes in housekeeping. The scheduler does not have them yet.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Housekeeping {
    /// The ranks, in ascending order.
    pub ranks: Vec<u32>,
    /// Seconds since the oldest housekeeping began; 0 if there is none.
    pub oldest_seconds: u32,
}

/// Parses the response to `job-manager.stats-get`; `now`: seconds since the epoch.
pub fn parse_job_manager_stats(response: &[u8], now: f64) -> Option<JobManagerStats> {
    let stats: Value = serde_json::from_slice(response).ok()?;
    Some(JobManagerStats {
        active: stats["active_jobs"].as_u64()?,
        inactive: stats["inactive_jobs"].as_u64()?,
        housekeeping: parse_housekeeping(&stats["housekeeping"]["running"], now),
    })
}

fn parse_housekeeping(running: &Value, now: f64) -> Option<Housekeeping> {
    let (mut ranks, mut start) = (Vec::new(), now);
    for job in running.as_object()?.values() {
        each_range(job["allocated"].as_str()?, &mut |first, last| ranks.extend(first..=last))?;
        start = start.min(job["t_start"].as_f64()?);
    }
    ranks.sort_unstable();
    ranks.dedup();
    Some(Housekeeping { ranks, oldest_seconds: (now - start) as u32 })
}

/// Parses the response to `job-list.job-stats`, which `flux job stats` prints: the name of each
/// queue and its numbers of jobs, by state.
pub fn parse_job_list_stats(response: &[u8]) -> Option<Vec<(String, [u64; 7])>> {
    let stats: Value = serde_json::from_slice(response).ok()?;
    let queue = |queue: &Value| {
        let mut counts = [0; 7];
        let states = ["depend", "priority", "sched", "run", "cleanup", "inactive"];
        for (count, state) in counts[1..].iter_mut().zip(states) {
            *count = queue["job_states"][state].as_u64()?;
        }
        Some((queue["name"].as_str()?.to_owned(), counts))
    };
    stats["queues"].as_array()?.iter().map(queue).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn stats(stats: Value) -> Option<JobManagerStats> {
        parse_job_manager_stats(stats.to_string().as_bytes(), 100.0)
    }

    #[test]
    fn the_numbers_of_jobs_are_read() {
        let expected = JobManagerStats { active: 1, inactive: 2, housekeeping: None };
        assert_eq!(stats(json!({"active_jobs": 1, "inactive_jobs": 2})), Some(expected));
        assert_eq!(stats(json!({"active_jobs": 1, "inactive_jobs": -2})), None);
        assert_eq!(stats(json!({"active_jobs": 1})), None);
        assert_eq!(stats(json!(1)), None);
        assert_eq!(parse_job_manager_stats(b"{", 100.0), None);
    }

    #[test]
    fn nodes_in_housekeeping_and_the_oldest_start_are_read() {
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
            let housekeeping = json!({ "running": running });
            let response =
                json!({"active_jobs": 1, "inactive_jobs": 2, "housekeeping": housekeeping});
            let stats = stats(response).unwrap();
            assert_eq!((stats.active, stats.housekeeping), (1, expected), "{housekeeping}");
        }
    }

    #[test]
    fn the_numbers_of_jobs_by_queue_are_read() {
        let states = json!({"depend": 1, "priority": 2, "sched": 3, "run": 4, "cleanup": 5,
                            "inactive": 6, "total": 21});
        let parse =
            |queues: Value| parse_job_list_stats(json!({"queues": queues}).to_string().as_bytes());
        let queues = json!([{"name": "batch", "job_states": states}, {"name": "debug", "job_states": states}]);
        let counts = [0, 1, 2, 3, 4, 5, 6];
        let expected = vec![("batch".to_owned(), counts), ("debug".to_owned(), counts)];
        assert_eq!(parse(queues), Some(expected));
        assert_eq!(parse(json!([])), Some(Vec::new()), "no queues");
        assert_eq!(parse(json!([{"name": "batch", "job_states": {}}])), None);
        assert_eq!(parse(json!([{"job_states": states}])), None);
        assert_eq!(parse_job_list_stats(b"{}"), None);
    }
}
