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

/// What `source` compiles to, under the name `name`. Options are the compiler's.
pub fn compiled(source: &str, name: &str, options: &[&str]) -> PathBuf {
    let program = env::current_exe().unwrap();
    let folder = program.ancestors().nth(3).unwrap().join("tmp");
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join(name);
    // Another process may run an older one; it, or another test, may compile it too.
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
        // A newer compiler knows more to warn of: that fails CI, which has one.
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
