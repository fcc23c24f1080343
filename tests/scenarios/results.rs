//! The results of jobs, how long they were in each state, and their exceptions.

use serde_json::json;

use super::{Host, HostSetup, Job};
use crate::support::compiled::c_plugin;
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

/// The subscriptions of plugins to the same event messages are independent.
pub fn another_subscriber_keeps_its_exceptions<H: Host>() {
    let conf = json!({"metrics": ["states", "results"]});
    let mut host = H::start(HostSetup::default());
    let held = host.submit(Job::Held, "", 1).remove(0);
    let other = c_plugin("subscriber", "subscriber.so");
    let logged = |host: &mut H, kind: &str| {
        let log = host.log();
        log.lines().filter(|line| line.contains("subscriber: ") && line.contains(kind)).count()
    };
    let counted = |host: &mut H, kind: &str| {
        let values = host.receiver().values();
        counters(&values).get(&*format!("flux.job.exception.{kind}")).copied().unwrap_or_default()
    };
    host.load_plugin(&other, &json!({})).unwrap();
    host.load(conf.clone()).unwrap();
    host.raise(&held, "both");
    host.assert_same(5.0, |host| ((counted(host, "both"), logged(host, "both")), (1, 1)));
    host.remove();
    host.raise(&held, "theirs");
    host.assert_same(5.0, |host| (logged(host, "theirs"), 1));
    host.load(conf).unwrap();
    host.remove_plugin("subscriber.so");
    host.raise(&held, "ours");
    host.assert_same(5.0, |host| (counted(host, "ours"), 1));
    assert_eq!(logged(&mut host, "ours"), 0);
    host.cancel(&held);
    host.drain();
    host.end();
}
