//! The C programs and plugins of the tests, built by the C compiler.

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, fs};

use super::found::TOP;

/// The plugin tests/fake_job_manager/SOURCE.c, as a file of this name.
pub fn c_plugin(source: &str, name: &str) -> PathBuf {
    compiled(&format!("tests/fake_job_manager/{source}.c"), name, &["-shared", "-fPIC"])
}

/// Compiles `source` to the file `name`, with these options of the compiler.
pub fn compiled(source: &str, name: &str, options: &[&str]) -> PathBuf {
    let program = env::current_exe().unwrap();
    let folder = program.ancestors().nth(3).unwrap().join("tmp");
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join(name);
    // Another process may use an older file or compile the same source.
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let beside = folder.join(format!("{name}.{}.{count}", std::process::id()));
    let outcome = Command::new("cc")
        .args([
            "-std=gnu11",
            "-Wall",
            "-Wextra",
            "-Wno-unused-parameter",
            "-O1",
            "-Werror=implicit-function-declaration",
        ])
        // Warnings fail only in CI, which uses one version of the compiler.
        .args(env::var_os("CI").map(|_| "-Werror"))
        .args(["-I.", source, "-o"])
        .arg(&beside)
        .args(options)
        .current_dir(TOP)
        .output()
        .expect("a C compiler, cc, is installed");
    assert!(
        outcome.status.success(),
        "{source} does not compile (is libjansson-dev installed?)\n{}",
        String::from_utf8_lossy(&outcome.stderr)
    );
    fs::rename(beside, &path).unwrap();
    path
}
