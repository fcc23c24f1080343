//! Loads and removals of the plugin.

use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};

use crate::support::artifact::{plugin, NAME};
use crate::support::broker::{Broker, Setup, ENDLESS, SIMULATED};
use crate::support::found::TOP;
use crate::support::receiver::Receiver;
use crate::support::{counts, Counts};

scenarios!(load:
    a_late_load_counts_the_jobs_of_a_live_instance,
    a_removal_leaves_no_gauge_and_no_code_behind,
    a_renamed_copy_is_refused_until_the_first_one_is_removed,
    a_second_load_is_refused_and_changes_nothing,
);

#[test]
#[cfg_attr(not(have_flux), ignore = "needs flux on PATH")]
fn the_plugin_loads_from_the_configuration() {
    let mut receiver = Receiver::start();
    receiver.begin(counts(&[]));
    let broker = Setup::new(receiver.endpoint()).plugin(plugin(), "resync = 0").start();
    broker.submit(&[SIMULATED, "--cc=1-5"]);
    broker.drain();
    let seen = broker.assert_true(&mut receiver);
    assert_eq!(seen.gauges["INACTIVE"], 5);
    broker.end();
}

/// The example of the packages, with the path of the plugin or of a file that does not exist.
#[test]
#[cfg_attr(not(have_flux), ignore = "needs flux on PATH")]
fn the_plugin_loads_from_rc1_d_and_a_failure_is_logged() {
    let receiver = Receiver::start();
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("rc1.d/90-state-counts");
    fs::create_dir(folder.path().join("rc1.d")).unwrap();
    let example = format!("{}/packaging/rc1.d-state-counts", TOP);
    fs::copy(&example, &script).unwrap();
    let example = fs::read_to_string(example).unwrap();
    for (path, works) in [(plugin().to_str().unwrap(), true), ("/no/such/plugin.so", false)] {
        fs::write(&script, example.replace("load state-counts.so", &format!("load {path}")))
            .unwrap();
        let setup = Setup::new(receiver.endpoint()).brokers(2).scripts(folder.path());
        let broker = setup.table(json!({"state-counts": {"period": 0}})).start();
        assert_eq!(broker.flux(&["jobtap", "list"]).contains(NAME), works);
        let log = broker.flux(&["dmesg"]);
        assert_eq!(log.contains("state-counts.err[0]: not loaded: "), !works, "{log}");
        match works {
            true => broker.end(),
            false => broker.end_with_complaints(),
        }
    }
}

/// A file that is removed at the end of the test.
struct Passing(PathBuf);

impl Drop for Passing {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
#[cfg_attr(
    not(all(have_flux, have_plugin_path)),
    ignore = "needs flux on PATH, leave to write in its plugin path, and scripts/test"
)]
fn the_plugin_loads_from_the_plugin_path() {
    let mut receiver = Receiver::start();
    let broker = Setup::new(receiver.endpoint()).start();
    // The plugin path of the installed Flux, with a name of this test.
    let name = format!("state-counts-test-{}.so", std::process::id());
    let path = broker.flux(&["config", "builtin", "jobtap_pluginpath"]);
    let file = Passing(Path::new(path.split(':').next().unwrap()).join(&name));
    fs::copy(plugin(), &file.0).unwrap_or_else(|error| panic!("{}: {error}", file.0.display()));
    broker.flux(&["jobtap", "load", &name]);
    broker.submit(&[SIMULATED]);
    broker.drain();
    broker.assert_true(&mut receiver);
    broker.end();
}

/// Removes and loads the plugin from one process, because `flux jobtap` takes 0.3 s. Prints
/// the number of active jobs at the end.
const RELOAD: &str = "
import sys, json, flux, time
handle = flux.Flux()
request = {'remove': sys.argv[1], 'load': sys.argv[2], 'conf': json.loads(sys.argv[3])}
for number in range(100):
    handle.rpc('job-manager.jobtap', request).get()
    time.sleep(0.02)
print(handle.rpc('job-manager.stats-get').get()['active_jobs'])
";

#[test]
#[cfg_attr(not(have_flux), ignore = "needs flux on PATH")]
fn a_hundred_reloads_under_load_lose_no_job() {
    // With absolute values, and with increments only.
    for (word, conf) in [("resync=1h", r#"{"resync": "1h"}"#), ("resync=0", r#"{"resync": 0}"#)] {
        let (broker, mut receiver) = Broker::loaded(word);
        // 64 jobs run at a time: together they take longer than the reloads.
        broker.submit(&["--setattr=exec.test.run_duration=300ms", "--cc=1-1500", "--quiet"]);
        let file = plugin().to_str().unwrap();
        let left = broker.flux(&["python", "-c", RELOAD, NAME, file, conf]);
        assert_ne!(left, "0", "there was a load to reload under until the end");
        broker.drain();
        let seen = broker.assert_true(&mut receiver);
        assert_eq!(seen.gauges["INACTIVE"], 1500);
        broker.end();
    }
}

#[test]
#[cfg_attr(not(have_flux), ignore = "needs flux on PATH")]
fn a_shutdown_leaves_no_running_jobs_in_the_gauges() {
    let (broker, mut receiver) = Broker::loaded("resync=1h");
    broker.submit(&[SIMULATED, "--cc=1-3"]);
    broker.drain();
    broker.submit(&[ENDLESS, "--cc=1-2"]);
    broker.wait_stats(|stats| stats["RUN"] == 2);
    broker.assert_true(&mut receiver);
    broker.end();
    let seen = receiver.seen();
    assert_eq!(seen.gauges, counts(&[("INACTIVE", 5)]), "3, and 2 cancelled by the shutdown");
    assert_eq!(seen.negative(), Counts::new());
}
