//! The results of jobs, how long they were in each state, and their exceptions.

use serde_json::json;

use super::{Host, HostSetup, Job};
use crate::support::samples::{assert_same, counters, timings};

pub fn results_and_times_are_those_of_the_host<H: Host>() {
    let mut host = H::start(HostSetup::default());
    host.load(json!({"metrics": ["states", "timings", "results"]})).unwrap();
    let job = host.submit(Job::Short, "", 1).remove(0);
    host.drain();
    let events = host.events(&job);
    let values = host.receiver().values();
    for (name, from, to) in [
        ("NEW", "submit", "validate"),
        ("SCHED", "priority", "alloc"),
        ("RUN", "alloc", "finish"),
        ("CLEANUP", "finish", "clean"),
        ("submit_to_run", "submit", "alloc"),
    ] {
        let expected = vec![(events[to] - events[from]) * 1000.0];
        assert_same(&timings(&values, &format!("flux.job.time.{name}")), expected);
    }

    host.submit(Job::Short, "", 50);
    host.submit(Job::Failing, "", 3);
    host.submit(Job::Limited, "", 2);
    let held = host.submit(Job::Held, "", 1).remove(0);
    host.raise(&held, "my:type");
    host.cancel(&held);
    host.drain();
    host.assert_true();
    let stats = host.stats();
    let values = host.receiver().values();
    let counted = counters(&values);
    for (name, key) in [
        ("completed", "successful"),
        ("failed", "failed"),
        ("canceled", "canceled"),
        ("timeout", "timeout"),
    ] {
        let counter = counted[format!("flux.job.result.{name}").as_str()];
        assert_eq!(counter, stats[key].as_i64().unwrap(), "{name}");
    }
    assert_eq!(counted["flux.job.result.submitted"], 57);
    let exceptions = |kind: &str| counted[format!("flux.job.exception.{kind}").as_str()];
    assert_eq!((exceptions("my_type"), exceptions("cancel"), exceptions("timeout")), (1, 1, 2));
    host.end();
}
