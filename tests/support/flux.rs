//! The flux command of the tests and the demo.

use std::env;
use std::process::Command;

use nix::unistd::{getegid, geteuid};

use super::found::find;

/// Set by scripts/probe-flux if the broker has to run as another user.
const USER: &str = "STATE_COUNTS_BROKER_USER";

/// The user of brokers and flux commands.
pub fn user() -> u32 {
    other().unwrap_or_else(|| geteuid().as_raw())
}

/// The group of brokers and flux commands.
pub fn group() -> u32 {
    other().unwrap_or_else(|| getegid().as_raw())
}

fn other() -> Option<u32> {
    let user = find(USER)?;
    Some(user.parse().expect("STATE_COUNTS_BROKER_USER is a number"))
}

/// A flux command with that user, and without variables of the caller's session.
pub fn flux() -> Command {
    let mut command = Command::new("flux");
    if let Some(user) = other() {
        command = Command::new("unshare");
        command.args([format!("--map-user={user}"), format!("--map-group={user}")]).arg("flux");
    }
    forget_the_session(&mut command);
    command
}

/// Removes the variables of an enclosing Flux instance or of a desktop, which choose an
/// instance, modules and configurations.
pub fn forget_the_session(command: &mut Command) {
    for (name, _) in env::vars_os() {
        let foreign = |name: &str| name.starts_with("FLUX_") || name.starts_with("XDG_");
        if name.to_str().is_some_and(foreign) {
            command.env_remove(name);
        }
    }
}
