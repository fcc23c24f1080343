//! The callbacks of jobs in the fake job manager.

use serde_json::{json, Value};

use super::fake_job_manager::FakeJobManager;
use super::trace;

// flux_job_state_t (libjob/job.h).
pub const NEW: i64 = 1;
pub const DEPEND: i64 = 2;
pub const PRIORITY: i64 = 4;
pub const SCHED: i64 = 8;
pub const RUN: i64 = 16;
pub const CLEANUP: i64 = 32;
pub const INACTIVE: i64 = 64;

/// All topics about jobs that the plugin handles.
pub const TOPICS: [&str; 10] = [
    "job.new",
    "job.state.depend",
    "job.state.priority",
    "job.state.sched",
    "job.state.run",
    "job.state.cleanup",
    "job.state.inactive",
    "job.update",
    "job.inactive-add",
    "job.inactive-remove",
];

/// The states of a job without exceptions, in order.
pub const COURSE: [i64; 7] = [NEW, DEPEND, PRIORITY, SCHED, RUN, CLEANUP, INACTIVE];

/// The callbacks of a job that enters the states of `path`. In the first one it has its
/// job.new.
pub fn live(host: &mut FakeJobManager, id: i64, path: &[i64]) {
    host.call("job.new", &json!({"id": id, "state": path[0]}));
    for pair in path.windows(2) {
        step(host, id, pair[0], pair[1]);
    }
}

/// A job in queue `batch`, with all items that a broker's callbacks have.
pub fn described(id: i64) -> Value {
    json!({
        "id": id,
        "userid": 1000,
        "t_submit": 10.0,
        "entry": {"name": "x", "timestamp": 11.0, "context": {"type": "mishap"}},
        "end_event": {"name": "finish", "context": {"status": 0}},
        "jobspec": {
            "attributes": {"system": {"queue": "batch", "bank": "physics"}},
            "resources": [{"type": "slot", "count": 2, "with": [{"type": "core", "count": 1}]}],
        },
        "R": {"version": 1, "execution": {"R_lite": [{"rank": "0", "children": {"core": "0-1"}}]}},
    })
}

/// As `live`, for a job with more items than an id.
pub fn live_as(host: &mut FakeJobManager, job: &Value, path: &[i64]) {
    host.call("job.new", &in_state(job, path[0]));
    go_on(host, job, path);
}

/// As `live_as`, without the job.new.
pub fn go_on(host: &mut FakeJobManager, job: &Value, path: &[i64]) {
    for pair in path.windows(2) {
        let mut args = in_state(job, pair[1]);
        args["prev_state"] = pair[0].into();
        host.call("job.state.any", &args);
        if pair[1] == INACTIVE {
            host.call("job.inactive-add", &args);
        }
    }
}

/// The job in this state: R exists from RUN on.
fn in_state(job: &Value, state: i64) -> Value {
    let mut args = job.clone();
    args["state"] = state.into();
    if state < RUN {
        args.as_object_mut().unwrap().remove("R");
    }
    args
}

/// The callbacks of a transition.
pub fn step(host: &mut FakeJobManager, id: i64, previous: i64, state: i64) {
    let topic = match state {
        DEPEND => "job.state.depend",
        PRIORITY => "job.state.priority",
        SCHED => "job.state.sched",
        RUN => "job.state.run",
        CLEANUP => "job.state.cleanup",
        _ => "job.state.inactive",
    };
    let args = json!({"id": id, "state": state, "prev_state": previous});
    host.call(topic, &args);
    if state == INACTIVE {
        host.call("job.inactive-add", &json!({"id": id, "state": state}));
    }
}

/// The job.new of the job of `there_and_back`, in PRIORITY, for `FakeJobManager::repeat`.
pub fn announced() -> Value {
    json!([{"topic": "job.new", "in": {"id": 1, "state": PRIORITY}}])
}

/// The transitions of that job to SCHED and back, with all items of a recorded callback.
pub fn there_and_back() -> Value {
    let recorded = trace::callbacks().into_iter();
    let sched = recorded.into_iter().find(|call| call.topic == "job.state.sched");
    let mut there = sched.expect("the recorded jobs were scheduled").args;
    there["id"] = 1.into();
    let mut back = there.clone();
    back["state"] = PRIORITY.into();
    back["prev_state"] = SCHED.into();
    json!([
        {"topic": "job.state.sched", "in": there},
        {"topic": "job.state.priority", "in": back},
    ])
}
