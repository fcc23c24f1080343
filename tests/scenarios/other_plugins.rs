//! Other plugins that fail, and our plugin when it fails.

use serde_json::{json, Value};

use super::{without_resyncs, Host, HostSetup, Job};
use crate::support::artifact::panicking_plugin;
use crate::support::compiled::c_plugin;
use crate::support::gauges::{gauges_named, is_of_jobs, Gauges};
use crate::support::jobs::TOPICS;
use crate::support::queues::is_of_states;
use crate::support::samples::counters;
use crate::support::{counts, Counts};

/// Seconds between the starts of two reconcile passes.
const VERIFY: f64 = 2.0;
/// The longest time that a reconcile pass takes in seconds. It looks up 1,400 jobs and reads up to
/// two lists of them, in slices of 400 µs of real time, in which a busy machine may process one
/// job only. The next slice begins 5 ms later.
const PASS: f64 = 3.0 * 1400.0 * 0.005;

/// The callbacks that another plugin may fail without an effect on the job.
fn topics() -> impl Iterator<Item = &'static str> {
    TOPICS.into_iter().filter(|topic| *topic != "job.update")
}

/// Loads our plugin with reconcile passes and without resyncs.
pub fn load(host: &mut impl Host) {
    let metrics = ["states", "queues", "users", "banks", "resources", "timings", "results"];
    host.load(json!({"metrics": metrics, "verify": VERIFY, "resync": "1h"})).unwrap();
}

/// After one reconcile pass all gauges are correct, and no gauge counts a job that is
/// inactive. No gauge was ever negative.
#[track_caller]
pub fn assert_reconciled(host: &mut impl Host, case: &str) {
    let passes = |host: &mut _| Host::query(host)["verify"]["checks"].as_u64().unwrap();
    let before = passes(host);
    host.assert_same(VERIFY + PASS, |host| {
        let others = gauges_named(host.receiver(), |name| {
            is_of_jobs(name) && !name.starts_with("queue.") && !name.starts_with("state.")
        });
        ((host.receiver().seen().gauges, others), (host.counts(), Gauges::new()))
    });
    assert!(passes(host) <= before + 2, "one pass in progress, and one more: {case}");
    assert_eq!(host.receiver().seen().negative(), Counts::new(), "{case}");
}

pub fn another_plugin_that_fails_leaves_no_gauge_wrong<H: Host>() {
    for is_first in [true, false] {
        let mut host = H::start(HostSetup::default());
        host.expect_complaints();
        let mut jobs = 0;
        let name = if is_first { "fails-before.so" } else { "fails-after.so" };
        let other = c_plugin("misbehaving", name);
        for topic in topics() {
            let case = format!("{topic}, loaded before ours: {is_first}");
            if is_first {
                host.load_plugin(&other, &json!({"fail": topic})).unwrap();
            }
            load(&mut host);
            if !is_first {
                host.load_plugin(&other, &json!({"fail": topic})).unwrap();
            }
            host.submit(Job::Short, "", 3);
            host.drain();
            host.purge(2);
            assert_reconciled(&mut host, &case);
            jobs += 3;
            let values = host.receiver().values();
            let counted = counters(&values);
            for name in ["flux.job.result.submitted", "flux.job.result.completed"] {
                assert_eq!(counted[name], jobs, "{name}: {case}");
            }
            if !is_first {
                assert_eq!(host.query()["verify"]["repairs"], 0, "{case}");
            }
            host.remove();
            host.remove_plugin(name);
        }
        host.end();
    }
}

/// Another plugin keeps every twentieth callback from ours, while jobs come, wait, run and
/// end; `each` jobs stay in every state that is possible. The plugin's query at the end.
pub fn lose_callbacks<H: Host>(jobs: usize, each: usize) -> Value {
    let mut host = H::start(HostSetup::default());
    host.expect_complaints();
    host.load_plugin(&c_plugin("misbehaving", "loses.so"), &json!({"lose": 5})).unwrap();
    load(&mut host);
    let mut expected = host.populate(each);
    host.submit(Job::Short, "", jobs);
    *expected.get_mut("INACTIVE").unwrap() += jobs as i64;
    host.assert_same(600.0, |host| (host.counts(), expected.clone()));
    let user = host.user();
    let active = expected.iter().filter(|(state, count)| *state != "INACTIVE" && **count > 0);
    let by_user: Gauges =
        active.map(|(state, &count)| (format!("user.{user}.{state}"), count)).collect();
    host.assert_same(VERIFY + PASS, |host| {
        let users =
            gauges_named(host.receiver(), |name| name.starts_with("user.") && is_of_states(name));
        ((host.receiver().seen().gauges, users), (host.counts(), by_user.clone()))
    });
    host.cancel_all();
    host.drain();
    host.purge(jobs / 2);
    assert_reconciled(&mut host, "after a purge");
    let query = host.query();
    println!("{jobs} jobs: {}, {}", query["anomalies"], query["verify"]);
    assert!(query["verify"]["repairs"].as_u64() > Some(0), "{query}");
    assert!(query["anomalies"]["missed_event"].as_u64() > Some(jobs as u64 / 10), "{query}");
    host.end();
    query
}

pub fn a_panic_is_logged_once_and_the_plugin_behind_ours_goes_on<H: Host>() {
    let mut host = H::start(HostSetup::default());
    host.expect_complaints();
    host.load_plugin(panicking_plugin(), &json!({})).unwrap();
    host.load_plugin(&c_plugin("second", "second.so"), &json!({})).unwrap();
    host.submit(Job::Short, "", 3);
    host.drain();
    let log = host.log();
    assert_eq!(log.matches("second: a job runs").count(), 3, "{log}");
    let panics: Vec<_> = log
        .lines()
        .filter(|line| line.contains("state-counts: a bug: job.state: panicked"))
        .collect();
    assert_eq!(panics.len(), 1, "{log}");
    let parts = ["src/flux/callback.rs", "injected by the tests"];
    assert!(parts.iter().all(|part| panics[0].contains(part)), "{panics:?}");
    host.remove_plugin("panicking.so");
    assert!(!host.is_mapped("panicking.so"), "a panic does not keep the library in memory");
    // The thread that panicked ends without the code of the plugin.
    host.restart(&without_resyncs());
    host.wait_for(&counts(&[("INACTIVE", 3)]));
    host.assert_true();
    host.end();
}
