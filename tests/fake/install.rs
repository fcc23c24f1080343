//! scripts/install installs, replaces and removes the plugin.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use super::docs::PAGES;
use crate::support::install::install;

#[test]
fn it_installs_replaces_and_removes() {
    let folder = tempfile::tempdir().unwrap();
    let plugins = folder.path().join("usr/lib/flux/job-manager/plugins");
    let plugin = plugins.join("state-counts.so");
    let prefix = ["--prefix", "/usr"];

    let outcome = install(folder.path(), &prefix);
    assert!(outcome.status.success(), "{outcome:?}");
    let said = String::from_utf8(outcome.stdout).unwrap();
    let pages = PAGES.map(|page| folder.path().join("usr/share/man").join(page));
    let next = "Next: flux jobtap load /usr/lib/flux/job-manager/plugins/state-counts.so endpoint=";
    let files = [&plugin].into_iter().chain(&pages);
    let installed: String = files.map(|file| format!("Installed {}\n", file.display())).collect();
    assert!(said.starts_with(&format!("{installed}{next}")), "{said}");
    let installed = plugin.metadata().unwrap();
    for (path, mode) in
        [(&plugin, 0o755), (&plugins, 0o755), (&pages[0], 0o644), (&pages[2], 0o644)]
    {
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, mode, "{path:?}");
    }

    // The old file still exists for a broker that has it mapped.
    let mapped = File::open(&plugin).unwrap();
    assert!(install(folder.path(), &prefix).status.success());
    assert_ne!(plugin.metadata().unwrap().ino(), mapped.metadata().unwrap().ino());
    assert_eq!(mapped.metadata().unwrap().len(), installed.len(), "the old one is whole");
    assert_eq!(fs::read_dir(&plugins).unwrap().count(), 1, "nothing beside it is left");

    assert!(install(folder.path(), &["--prefix", "/usr", "--uninstall"]).status.success());
    assert!(!plugin.exists() && !pages.iter().any(|page| page.exists()));
}

#[test]
fn a_wrong_argument_is_named() {
    let folder = tempfile::tempdir().unwrap();
    for (arguments, text) in
        [(&["--prefix"][..], "expected a folder"), (&["--frobnicate"], "Usage")]
    {
        let outcome = install(folder.path(), arguments);
        assert_eq!(outcome.status.code(), Some(2));
        assert!(String::from_utf8_lossy(&outcome.stderr).contains(text), "{outcome:?}");
    }
}

/// The check of the permissions is before the build. A file instead of a folder also stops root.
#[test]
fn without_permission_the_error_has_the_command_to_type() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("usr"), "").unwrap();
    let outcome = install(folder.path(), &["--prefix", "/usr"]);
    assert_eq!(outcome.status.code(), Some(1));
    let error = String::from_utf8(outcome.stderr).unwrap();
    assert!(
        error.contains("/plugins: permission denied; type: sudo env PATH=\"$PATH\" "),
        "{error}"
    );
    assert!(error.ends_with(" scripts/install --prefix /usr\n"), "{error}");
}
