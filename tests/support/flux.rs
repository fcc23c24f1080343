//! The flux command, as the tests and the demo run it.

use std::env;
use std::process::Command;

use nix::unistd::{getegid, geteuid};

use super::found::find;

/// The answer of scripts/probe-flux where a broker has to run as another user.
const USER: &str = "STATE_COUNTS_BROKER_USER";

/// The user that brokers, and flux commands, see themselves as.
pub fn user() -> u32 {
    other().unwrap_or_else(|| geteuid().as_raw())
}

/// Their group.
pub fn group() -> u32 {
    other().unwrap_or_else(|| getegid().as_raw())
}

fn other() -> Option<u32> {
    let user = find(USER)?;
    Some(user.parse().expect("STATE_COUNTS_BROKER_USER is a number"))
}

/// A flux command, as that user and without what the caller's session set.
pub fn flux() -> Command {
    let mut command = Command::new("flux");
    if let Some(user) = other() {
        command = Command::new("unshare");
        command.args([format!("--map-user={user}"), format!("--map-group={user}")]).arg("flux");
    }
    forget_the_session(&mut command);
    command
}

/// Takes away what a Flux instance around us, or a desktop, says to flux: which
/// instance is meant, where modules and configurations are.
pub fn forget_the_session(command: &mut Command) {
    for (name, _) in env::vars_os() {
        let foreign = |name: &str| name.starts_with("FLUX_") || name.starts_with("XDG_");
        if name.to_str().is_some_and(foreign) {
            command.env_remove(name);
        }
    }
}
