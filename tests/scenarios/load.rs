//! Loads and removals of the plugin.

use std::fs;

use serde_json::json;

use super::{without_resyncs, Host, HostSetup};
use crate::support::artifact::{plugin, NAME};
use crate::support::{counts, Counts};

pub fn a_late_load_counts_the_jobs_of_a_live_instance<H: Host>() {
    let mut host = H::start(HostSetup::default());
    let live = host.populate(2);
    host.load(without_resyncs()).unwrap();
    assert_eq!(host.assert_true().gauges, live);
    host.cancel_all();
    host.drain();
    host.assert_true();
    host.end();
}

pub fn a_second_load_is_refused_and_changes_nothing<H: Host>() {
    let mut host = H::start(HostSetup::default());
    host.load(without_resyncs()).unwrap();
    host.populate(1);
    let before = host.assert_true();
    let refused = host.load_again();
    assert!(refused.ends_with("already loaded"), "{refused}");
    host.pass(0.5);
    assert_eq!(host.receiver().seen().datagrams, before.datagrams, "nothing is sent");
    host.cancel_all();
    host.drain();
    host.assert_true();
    host.end();
}

/// Flux identifies plugins by their file names.
pub fn a_renamed_copy_is_refused_until_the_first_one_is_removed<H: Host>() {
    let mut host = H::start(HostSetup::default());
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy.so");
    fs::copy(plugin(), &copy).unwrap();
    let link = folder.path().join("link.so");
    std::os::unix::fs::symlink(plugin(), &link).unwrap();
    host.load(without_resyncs()).unwrap();
    host.populate(1);
    let before = host.assert_true();
    let text = format!("state-counts is already loaded from {}", plugin().display());
    // The refused copies must not remove the mark of the first one.
    for other in [&copy, &link, &copy] {
        assert_eq!(host.load_plugin(other, &json!({})), Err(text.clone()));
    }
    assert!(!host.is_mapped("copy.so"));
    host.pass(0.5);
    assert_eq!(host.receiver().seen().datagrams, before.datagrams, "nothing is sent");
    host.reload(&json!({"resync": "2h"})).unwrap();
    host.cancel_all();
    host.drain();
    host.assert_true();
    host.remove();
    host.load_plugin(&copy, &without_resyncs()).unwrap();
    host.assert_true();
    let text = format!("state-counts is already loaded from {}", copy.display());
    assert_eq!(host.load(json!({})), Err(text));
    host.remove_plugin("copy.so");
    // A load that fails leaves no mark.
    host.load(json!({"period": "soon"})).unwrap_err();
    host.load(without_resyncs()).unwrap();
    host.assert_true();
    host.end();
}

pub fn a_removal_leaves_no_gauge_and_no_code_behind<H: Host>() {
    let mut host = H::start(HostSetup::default());
    let confs = [
        without_resyncs(),
        json!({"send": "values", "resync": 0}),
        json!({"period": 1, "resync": "1h"}),
    ];
    for conf in confs {
        let truth = host.populate(2);
        host.load(conf.clone()).unwrap();
        host.pass(1.0);
        assert_eq!(host.assert_true().gauges, truth, "{conf}");
        host.remove();
        let seen = host.receiver().seen();
        let inactive = truth["INACTIVE"];
        assert_eq!(seen.gauges, counts(&[("INACTIVE", inactive)]), "{conf}");
        assert_eq!(seen.negative(), Counts::new());
        assert!(!host.is_mapped(NAME));
        host.cancel_all();
        host.drain();
        host.load(without_resyncs()).unwrap();
        host.assert_true();
        host.remove();
    }
    host.end();
}
