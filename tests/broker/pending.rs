//! Why jobs wait.

use serde_json::json;

use crate::host::BrokerHost;
use crate::scenarios::{Host, HostSetup};
use crate::support::broker::ENDLESS;
use crate::support::broker_totals::why_jobs_wait;
use crate::support::compiled::c_plugin;
use crate::support::gauges::{gauges_named, is_of_jobs, Gauges};

/// The receiver and the broker have these numbers. No command of the broker shows the schemes
/// of dependencies.
#[track_caller]
fn assert_pending(host: &mut BrokerHost, expected: &[(&str, i64)]) {
    let expected: Gauges = expected.iter().map(|&(name, level)| (name.to_owned(), level)).collect();
    let mut reasons = expected.clone();
    reasons.retain(|name, _| name.starts_with("pending."));
    host.assert_same(0.0, |host| {
        let received = gauges_named(host.receiver(), is_of_jobs);
        ((received, why_jobs_wait(host.broker())), (expected.clone(), reasons.clone()))
    });
}

#[test]
#[cfg_attr(not(have_flux), ignore = "needs flux on PATH")]
fn pending_jobs_are_counted_by_reason() {
    let mut host = BrokerHost::start(HostSetup::default());
    // Some jobs are submitted before the load.
    let running = host.broker().submit(&[ENDLESS, "-n64"]).remove(0);
    let held = host.broker().submit(&["--urgency=hold", "--cc=1-2"]).remove(0);
    host.broker().submit(&[&format!("--dependency=afterany:{running}"), "--cc=1-2"]);
    host.broker().wait_stats(|stats| stats["RUN"] == 1 && stats["DEPEND"] == 2);
    host.load(json!({"metrics": "pending", "resync": "1h"})).unwrap();
    let here = [("dependency.afterany", 2), ("pending.dependency", 2), ("pending.held", 2)];
    assert_pending(&mut host, &here);
    host.broker().submit(&["--begin-time=+1h", "--cc=1-3"]);
    host.broker().submit(&["--cc=1-4"]);
    host.broker().flux(&["job", "urgency", &held, "default"]);
    let more = [
        ("dependency.afterany", 2),
        ("dependency.begin-time", 3),
        ("pending.dependency", 5),
        ("pending.held", 1),
        ("pending.resources", 5),
    ];
    assert_pending(&mut host, &more);
    // Jobs without a priority, because another plugin has none yet; one of them is held.
    let waits = c_plugin("misbehaving", "waits.so");
    host.load_plugin(&waits, &json!({"wait": "job.state.priority"})).unwrap();
    host.broker().submit(&["--cc=1-3"]);
    host.broker().submit(&["--urgency=hold"]);
    let all = [
        ("dependency.afterany", 2),
        ("dependency.begin-time", 3),
        ("pending.dependency", 5),
        ("pending.held", 2),
        ("pending.priority", 3),
        ("pending.resources", 5),
    ];
    assert_pending(&mut host, &all);
    host.cancel_all();
    host.drain();
    assert_pending(&mut host, &[]);
    host.end();
}

#[test]
#[cfg_attr(not(have_flux), ignore = "needs flux on PATH")]
fn dependencies_of_plugins_are_counted_by_name() {
    let mut host = BrokerHost::start(HostSetup::default());
    let first = host.broker().submit(&[ENDLESS]).remove(0);
    host.load(json!({"metrics": "pending", "resync": "1h"})).unwrap();
    let depends = c_plugin("misbehaving", "depends.so");
    host.load_plugin(&depends, &json!({"depend": "job.state.depend"})).unwrap();
    host.broker().submit(&["--cc=1-3"]);
    // The dependency of the jobspec is satisfied later.
    host.broker().submit(&[&format!("--dependency=afterany:{first}")]);
    let here = [("dependency.afterany", 1), ("dependency.max-jobs", 4), ("pending.dependency", 4)];
    let assert_same = |host: &mut BrokerHost, expected: &[(&str, i64)]| {
        let expected: Gauges = expected.iter().map(|&(name, it)| (name.to_owned(), it)).collect();
        host.assert_same(11.0, |host| {
            (gauges_named(host.receiver(), is_of_jobs), expected.clone())
        });
    };
    assert_same(&mut host, &here);
    host.cancel(&first);
    assert_same(&mut host, &here[1..]);
    host.cancel_all();
    host.drain();
    assert_same(&mut host, &[]);
    host.end();
}

#[test]
#[cfg_attr(not(have_flux), ignore = "needs flux on PATH")]
fn the_age_of_the_oldest_job_that_waits_is_sent() {
    let queues = &["batch", "debug"];
    let mut host = BrokerHost::start(HostSetup { queues, ..HostSetup::default() });
    host.load(json!({"metrics": "queues,pending", "resync": "1h"})).unwrap();
    let submit = |host: &mut BrokerHost, options: &[&str]| host.broker().submit(options).remove(0);
    submit(&mut host, &["--queue=batch", "--urgency=hold"]);
    submit(&mut host, &[ENDLESS, "--queue=debug", "-n64"]);
    let oldest = submit(&mut host, &["--queue=debug"]);
    host.pass(2.0);
    submit(&mut host, &["--queue=debug"]);
    let submitted: f64 =
        host.broker().flux(&["jobs", "-no", "{t_submit}", &oldest]).trim().parse().unwrap();
    let ages = |host: &mut BrokerHost| gauges_named(host.receiver(), |it| it.contains("oldest_"));
    let now = || std::time::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
    // It is sent every ten seconds: a new value is younger than the one before.
    let mut received = Gauges::new();
    host.pass_until(|host| {
        received = ages(host);
        !received.is_empty()
    });
    let (first, start) = (received.clone(), now());
    host.pass_until(|host| {
        received = ages(host);
        received != first
    });
    let names: Vec<_> = received.keys().map(String::as_str).collect();
    assert_eq!(names, ["pending.oldest_seconds", "queue.debug.pending.oldest_seconds"]);
    for age in received.into_values() {
        let age = age as f64;
        assert!((start - submitted - 1.0..=now() - submitted).contains(&age), "{age}");
    }
    host.cancel_all();
    host.drain();
    host.pass_until(|host| ages(host).is_empty());
    host.end();
}
