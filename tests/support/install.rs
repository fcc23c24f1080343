//! Runs scripts/install.

use std::path::Path;
use std::process::{Command, Output};

use super::found::TOP;

/// Installs below `destdir`.
pub fn install(destdir: &Path, arguments: &[&str]) -> Output {
    // With a restrictive umask.
    Command::new("sh")
        .args(["-c", "umask 077; exec scripts/install \"$@\"", "sh"])
        .args(arguments)
        .env("DESTDIR", destdir)
        .current_dir(TOP)
        .output()
        .expect("scripts/install is executable")
}
