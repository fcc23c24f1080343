//! The declarations of Flux's functions in wrapper.h agree with Flux's headers.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use crate::support::found::TOP;

/// Compiles wrapper.h with both sets of declarations; a difference is a compile error.
#[test]
#[cfg_attr(not(have_flux_headers), ignore = "needs flux-core's headers (pkg-config, FLUX_PREFIX)")]
fn the_fallback_declarations_agree_with_flux_core() {
    let outcome = compile("");
    assert!(outcome.status.success(), "{}", String::from_utf8_lossy(&outcome.stderr));
}

/// The test above can fail.
#[test]
#[cfg_attr(not(have_flux_headers), ignore = "needs flux-core's headers (pkg-config, FLUX_PREFIX)")]
fn a_declaration_that_differs_is_a_compile_error() {
    let outcome = compile("#define flux_watcher_start(w) flux_watcher_start (w, int more)");
    assert!(!outcome.status.success());
}

/// One build works with each supported Flux (docs/compatibility.md).
#[test]
#[cfg(have_flux_headers)] // Without them it would compare a file with itself.
#[ignore = "long"]
fn full_the_plugin_is_the_same_file_with_fluxs_headers_and_without() {
    use crate::support::artifact::{release_plugin, release_plugin_without_headers};

    let read = |path| std::fs::read(path).unwrap();
    assert!(read(release_plugin()) == read(release_plugin_without_headers()), "they differ");
}

/// Compiles Flux's headers and then wrapper.h, with `between` between them.
fn compile(between: &str) -> Output {
    let includes = option_env!("STATE_COUNTS_FLUX_INCLUDES").unwrap_or_default();
    let mut compiler = Command::new("cc")
        .args(["-std=gnu11", "-Wall", "-Werror", "-fsyntax-only", "-x", "c"])
        .args(includes.split(':').map(|folder| format!("-I{folder}")))
        .args(["-I.", "-DSTATE_COUNTS_HAVE_FLUX", "-DSTATE_COUNTS_CHECK", "-"])
        .current_dir(TOP)
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a C compiler, cc, is installed");
    let source = format!(
        "#include <flux/core.h>\n#include <flux/jobtap.h>\n{between}\n#include \"wrapper.h\"\n"
    );
    let mut input = compiler.stdin.take().expect("stdin is piped");
    input.write_all(source.as_bytes()).expect("cc reads its input");
    drop(input);
    compiler.wait_with_output().expect("cc ends")
}
