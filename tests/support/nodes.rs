//! Responses to `resource.status`.

use serde_json::{json, Value};

/// Eight nodes of four cores, the last two with two GPUs.
pub fn eight_nodes(offline: &str, drained: &[&str]) -> Value {
    let info = json!({"timestamp": 1.0, "reason": "x"});
    let drain: serde_json::Map<_, _> =
        drained.iter().map(|&ranks| (ranks.to_owned(), info.clone())).collect();
    let lite = json!([
        {"rank": "0-5", "children": {"core": "0-3"}},
        {"rank": "6-7", "children": {"core": "0-3", "gpu": "0-1"}},
    ]);
    let r = json!({"version": 1, "execution": {"R_lite": lite, "nodelist": ["n[0-7]"]}});
    json!({"R": r, "drain": drain, "online": "", "offline": offline, "exclude": "", "torpid": ""})
}
