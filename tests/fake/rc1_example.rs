//! packaging/rc1.d-state-counts with a flux command that logs its arguments.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::support::found::TOP;

const FLUX: &str = r#"#!/bin/sh
case "$*" in
    "getattr rank") echo "$RANK" ;;
    "getattr instance-level") echo "$LEVEL" ;;
    "config get state-counts") [ "$TABLE" = yes ] ;;
    *) echo "$*" >>"$CALLS"; [ "$1" != "$FAILS" ] || { echo "an error" >&2; exit 1; } ;;
esac
"#;

#[test]
fn the_example_loads_the_plugin_in_the_first_broker_of_an_instance_with_its_table() {
    let folder = tempfile::tempdir().unwrap();
    let (flux, calls) = (folder.path().join("flux"), folder.path().join("calls"));
    fs::write(&flux, FLUX).unwrap();
    fs::set_permissions(&flux, fs::Permissions::from_mode(0o755)).unwrap();
    let load = "jobtap load state-counts.so\n";
    let log = "logger --severity=err --appname=state-counts not loaded: an error\n";
    for (rank, level, table, fails, expected) in [
        ("0", "0", "yes", "none", load.to_owned()),
        ("1", "0", "yes", "none", String::new()),
        ("0", "1", "yes", "none", String::new()),
        ("0", "0", "no", "none", String::new()),
        // A failure must not keep the instance from starting.
        ("0", "0", "yes", "jobtap", format!("{load}{log}")),
        ("", "", "yes", "none", String::new()),
    ] {
        fs::write(&calls, "").unwrap();
        let status = Command::new(format!("{TOP}/packaging/rc1.d-state-counts"))
            .env("PATH", format!("{}:/usr/bin:/bin", folder.path().display()))
            .envs([("RANK", rank), ("LEVEL", level), ("TABLE", table), ("FAILS", fails)])
            .env("CALLS", &calls)
            .status()
            .unwrap();
        assert!(status.success(), "{rank} {level} {fails}");
        assert_eq!(fs::read_to_string(&calls).unwrap(), expected, "{rank} {level} {fails}");
    }
}
