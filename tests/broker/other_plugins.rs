//! Other plugins that fail, reject jobs, change them or post events from their callbacks.

use std::fs;

use serde_json::{json, Value};

use crate::host::BrokerHost;
use crate::scenarios::other_plugins::{assert_reconciled, load, lose_callbacks};
use crate::scenarios::{Host, HostSetup, Job};
use crate::support::broker::SIMULATED;
use crate::support::broker_totals::{usage, Jobspecs};
use crate::support::compiled::c_plugin;
use crate::support::gauges::{gauges_named, Gauges};

scenarios!(other_plugins:
    a_panic_is_logged_once_and_the_plugin_behind_ours_goes_on,
    another_plugin_that_fails_leaves_no_gauge_wrong,
);

#[test]
#[cfg_attr(not(have_flux), ignore = "needs flux on PATH")]
fn five_percent_of_lost_callbacks_are_corrected() {
    lose_callbacks::<BrokerHost>(400, 20);
}

#[test]
#[ignore = "long"]
fn full_five_percent_of_lost_callbacks_of_20_000_jobs_are_corrected() {
    lose_callbacks::<BrokerHost>(20_000, 20);
}

fn start() -> BrokerHost {
    let mut host = BrokerHost::start(HostSetup::default());
    host.expect_complaints();
    host
}

fn banks(host: &mut BrokerHost) -> Gauges {
    gauges_named(host.receiver(), |name| name.starts_with("bank."))
}

#[test]
#[cfg_attr(not(have_flux), ignore = "needs flux on PATH")]
fn jobs_without_system_attributes_are_counted() {
    // Flux's own .dependency-singleton returns -1 from their job.new and job.state.inactive.
    let mut host = start();
    host.broker().flux(&["module", "reload", "-f", "job-ingest", "disable-validator"]);
    load(&mut host);
    let jobspec = host.broker().flux(&["submit", "--dry-run", "true"]);
    let mut jobspec: Value = serde_json::from_str(&jobspec).unwrap();
    jobspec["attributes"].as_object_mut().unwrap().remove("system");
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), jobspec.to_string()).unwrap();
    for _ in 0..3 {
        host.broker().flux(&["job", "submit", file.path().to_str().unwrap()]);
    }
    host.drain();
    assert_reconciled(&mut host, "no attributes.system");
    host.end();
}

#[test]
#[cfg_attr(
    not(all(have_flux, flux_update)),
    ignore = "needs a Flux on PATH whose jobs that wait can be updated, and scripts/test"
)]
fn rejected_jobs_are_in_no_gauge() {
    for topic in ["job.create", "job.validate"] {
        let mut host = start();
        let updates = c_plugin("misbehaving", "updates.so");
        host.load_plugin(&updates, &json!({"update": topic})).unwrap();
        load(&mut host);
        for _ in 0..3 {
            let rejected = host.broker().try_flux(&["submit", "--dependency=nosuch:1", "true"]);
            assert!(!rejected.status.success());
        }
        // A job that is accepted has the bank of the update.
        let held = host.submit(Job::Held, "", 1).remove(0);
        let names = ["bank.default.SCHED", "bank.default.resource.cores.requested"];
        let expected = Gauges::from(names.map(|name| (name.to_owned(), 1)));
        host.assert_same(0.0, |host| (banks(host), expected.clone()));
        host.cancel(&held);
        host.drain();
        assert_reconciled(&mut host, topic);
        host.end();
    }
}

/// At its load a plugin also gets job.create of the existing jobs. (Flux 0.88 applies the
/// update of this plugin to the first job only.)
#[test]
#[cfg_attr(
    not(all(have_flux, flux_update)),
    ignore = "needs a Flux on PATH whose jobs that wait can be updated, and scripts/test"
)]
fn a_job_updated_by_a_plugin_at_its_load_is_in_its_new_bank() {
    let mut host = start();
    load(&mut host);
    host.broker().submit(&["--urgency=hold", "--setattr=bank=phys", "--cc=1-3"]);
    host.broker().wait_stats(|stats| stats["SCHED"] == 3);
    let updates = c_plugin("misbehaving", "updates.so");
    host.load_plugin(&updates, &json!({"update": "job.create"})).unwrap();
    host.assert_same(0.0, |host| {
        let mut truth = usage(host.broker(), &mut Jobspecs::default());
        truth.retain(|name, _| name.starts_with("bank."));
        let is_updated = truth.contains_key("bank.default.SCHED");
        ((banks(host), is_updated), (truth, true))
    });
    host.cancel_all();
    host.drain();
    assert_reconciled(&mut host, "updated");
    host.end();
}

#[test]
#[cfg_attr(not(have_flux), ignore = "needs flux on PATH")]
fn a_plugin_that_posts_from_its_callbacks_leaves_the_gauges_correct() {
    let releasing = c_plugin("releasing", "releasing.so");
    // Neither a resync nor a reconcile pass corrects anything.
    let conf = json!({"resync": "1h", "verify": 0, "metrics": ["states", "results", "timings"]});
    for is_first in [true, false] {
        let mut host = BrokerHost::start(HostSetup::default());
        if is_first {
            host.load_plugin(&releasing, &json!({})).unwrap();
        }
        host.load(conf.clone()).unwrap();
        if !is_first {
            host.load_plugin(&releasing, &json!({})).unwrap();
        }
        host.broker().submit(&[SIMULATED, "--dependency=releasing:x", "--cc=1-5"]);
        host.broker().wait_stats(|stats| stats["DEPEND"] == 5);
        host.assert_true();
        let last = host.submit(Job::Endless, "", 1).remove(0);
        host.broker().wait_stats(|stats| stats["INACTIVE"] == 5);
        host.assert_true();
        host.cancel(&last);
        host.drain();
        host.assert_true();
        let anomalies = host.query()["anomalies"].clone();
        let mut counts = anomalies.as_object().unwrap().values();
        assert!(counts.all(|count| *count == 0), "first: {is_first}: {anomalies}");
        host.remove();
        host.end();
    }
}
