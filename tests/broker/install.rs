//! scripts/install with a Flux.

use std::process::Command;

use crate::support::install::install;

#[test]
#[cfg_attr(not(have_flux), ignore = "needs flux on PATH")]
fn the_plugin_path_of_the_flux_on_path_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let outcome = install(folder.path(), &[]);
    assert!(outcome.status.success(), "{outcome:?}");
    let path = Command::new("flux").args(["config", "builtin", "jobtap_pluginpath"]).output();
    let path = String::from_utf8(path.unwrap().stdout).unwrap();
    let first = path.trim().split(':').next().unwrap();
    let plugin = folder.path().join(first.trim_start_matches('/')).join("state-counts.so");
    assert!(plugin.is_file(), "{}", plugin.display());
}
