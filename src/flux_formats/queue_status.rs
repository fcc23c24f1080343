//! The responses to `job-manager.queue-list` and `job-manager.queue-status`.

use serde::Deserialize;

/// The status of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueStatus {
    /// `true` if jobs can be submitted to it.
    pub is_enabled: bool,
    /// `true` if its jobs can be allocated resources. `None` without a scheduler.
    pub is_started: Option<bool>,
}

/// Parses the response to `queue-list`: the names of the queues, none if the instance has only
/// the anonymous queue.
pub fn parse_list(response: &[u8]) -> Option<Vec<String>> {
    #[derive(Deserialize)]
    struct List {
        queues: Vec<String>,
    }
    serde_json::from_slice(response).ok().map(|List { queues }| queues)
}

/// Parses the response to `queue-status`. Without a scheduler Flux reports each queue as stopped,
/// with a reason that no command sets.
pub fn parse(response: &[u8]) -> Option<QueueStatus> {
    #[derive(Deserialize)]
    struct Status {
        enable: bool,
        start: bool,
        #[serde(default)]
        stop_reason: String,
    }
    let Status { enable, start, stop_reason } = serde_json::from_slice(response).ok()?;
    let has_scheduler = start || stop_reason != "Scheduler is offline";
    Some(QueueStatus { is_enabled: enable, is_started: has_scheduler.then_some(start) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses_are_parsed() {
        let status = |is_enabled, is_started| Some(QueueStatus { is_enabled, is_started });
        let table = [
            (r#"{"enable": true, "start": true}"#, status(true, Some(true))),
            (r#"{"enable": true, "start": false}"#, status(true, Some(false))),
            (r#"{"enable": true, "start": false, "stop_reason": "x"}"#, status(true, Some(false))),
            (
                r#"{"enable": false, "disable_reason": "y", "start": false,
                    "stop_reason": "Scheduler is offline"}"#,
                status(false, None),
            ),
            (r#"{"enable": 1, "start": false}"#, None),
            (r#"{"enable": true}"#, None),
            ("", None),
        ];
        for (response, expected) in table {
            assert_eq!(parse(response.as_bytes()), expected, "{response}");
        }
        let lists = [
            (r#"{"queues": []}"#, Some(vec![])),
            (r#"{"queues": ["a", "b.c"]}"#, Some(vec!["a".to_owned(), "b.c".to_owned()])),
            (r#"{"queues": [1]}"#, None),
            ("[]", None),
        ];
        for (response, expected) in lists {
            assert_eq!(parse_list(response.as_bytes()), expected, "{response}");
        }
    }
}
