//! The .so files that the tests load, built by cargo.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::OnceLock;
use std::{env, fs};

use super::found::TOP;

/// The file name of the installed plugin.
pub const NAME: &str = "state-counts.so";

/// The plugin that cargo built for this test run, or the one in STATE_COUNTS_PLUGIN (to test
/// one build with several Fluxes), as `state-counts.so`.
pub fn plugin() -> &'static Path {
    static PLUGIN: OnceLock<PathBuf> = OnceLock::new();
    PLUGIN.get_or_init(|| {
        if let Some(built) = env::var_os("STATE_COUNTS_PLUGIN") {
            return named(Path::new(&built), NAME);
        }
        let test = env::current_exe().expect("a test knows its own path");
        // target/PROFILE/deps/TEST, target/PROFILE/examples/EXAMPLE
        let profile = test.ancestors().nth(2).expect("cargo's folders");
        // Not the copy in the folder above, which `cargo test` does not update.
        named(&profile.join("deps/libstate_counts.so"), NAME)
    })
}

/// The release build, which scripts/install installs.
pub fn release_plugin() -> PathBuf {
    run_cargo(cargo(&RELEASE).arg("--target-dir").arg(target()));
    target().join("release/libstate_counts.so")
}

const RELEASE: [&str; 3] = ["build", "--quiet", "--release"];

/// The release build on a machine without Flux.
pub fn release_plugin_without_headers() -> PathBuf {
    let folder = target().join("without-headers");
    let mut command = cargo(&RELEASE);
    command.arg("--target-dir").arg(&folder);
    run_cargo(command.env("STATE_COUNTS_NO_HEADERS", "yes"));
    folder.join("release/libstate_counts.so")
}

/// The program of scripts/demo.
pub fn demo() -> PathBuf {
    run_cargo(&mut cargo(&["build", "--quiet", "--example", "demo"]));
    target().join("debug/examples/demo")
}

/// A build of the plugin that panics when a job reaches SCHED.
pub fn panicking_plugin() -> &'static Path {
    static PLUGIN: OnceLock<PathBuf> = OnceLock::new();
    PLUGIN.get_or_init(|| {
        let folder = target().join("panicking");
        let mut command = cargo(&["build", "--quiet", "--lib", "--features", "panic-for-tests"]);
        run_cargo(command.arg("--target-dir").arg(&folder));
        named(&folder.join("debug/libstate_counts.so"), "panicking.so")
    })
}

fn cargo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or("cargo".into()));
    command.args(arguments).current_dir(TOP);
    command
}

fn run_cargo(command: &mut Command) {
    let outcome = command.output().expect("cargo runs");
    assert!(outcome.status.success(), "{}", String::from_utf8_lossy(&outcome.stderr));
}

/// cargo's target folder.
pub fn target() -> PathBuf {
    let test = env::current_exe().expect("a test knows its own path");
    test.ancestors().nth(3).expect("cargo's folders").to_owned()
}

/// A copy of `built` with this name. A broker may have an older copy mapped, so the copy is
/// written to another file and renamed.
fn named(built: &Path, name: &str) -> PathBuf {
    let folder = target().join("tmp/plugins");
    fs::create_dir_all(&folder).expect("the target folder is writable");
    // Two tests use different files.
    static COPIES: AtomicU32 = AtomicU32::new(0);
    let copy = COPIES.fetch_add(1, Ordering::Relaxed);
    let beside = folder.join(format!("{name}.{}.{copy}", std::process::id()));
    let path = folder.join(name);
    fs::copy(built, &beside).unwrap_or_else(|error| panic!("{}: {error}", built.display()));
    fs::rename(beside, &path).expect("a rename in one folder");
    path
}
