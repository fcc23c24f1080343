//! The declarations of Flux's functions in wrapper.h agree with Flux's headers.

use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::{env, fs};

use crate::support::found::TOP;

/// Compiles wrapper.h with both sets of declarations; a difference is a compile error.
#[test]
#[cfg_attr(
    not(have_flux_headers),
    ignore = "needs flux-core's headers (FLUX_PREFIX, pkg-config, flux on PATH)"
)]
fn the_fallback_declarations_agree_with_flux_core() {
    let outcome = compile("");
    assert!(outcome.status.success(), "{}", String::from_utf8_lossy(&outcome.stderr));
}

/// The test above can fail.
#[test]
#[cfg_attr(
    not(have_flux_headers),
    ignore = "needs flux-core's headers (FLUX_PREFIX, pkg-config, flux on PATH)"
)]
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

/// Runs the build script with a `flux` on PATH that may have headers beside it.
#[test]
fn the_build_script_finds_the_headers_beside_flux() {
    let folder = tempfile::tempdir().unwrap();
    let at = |path: &str| folder.path().join(path);
    for made in ["elsewhere", "flux/bin", "flux/include/flux", "bare/bin"] {
        fs::create_dir_all(at(made)).unwrap();
    }
    for made in ["flux/bin/flux", "flux/include/flux/core.h", "bare/bin/flux"] {
        fs::write(at(made), "").unwrap();
    }
    symlink(at("flux/bin/flux"), at("elsewhere/flux")).unwrap();
    let flux = at("flux").display().to_string();
    let beside = format!("[\"{flux}/include\"] (flux on PATH)");
    let bare = at("bare").display().to_string();
    for (path, prefix, expected) in [
        ("flux/bin", "", beside.as_str()),
        ("elsewhere", "", &beside),
        ("bare/bin", &flux, &format!("[\"{flux}/include\"] (FLUX_PREFIX)")),
        ("bare/bin", "", &format!("{bare}/include/flux/core.h of {bare}/bin/flux does not exist")),
        ("flux", "", "no headers of flux-core found (FLUX_PREFIX is not set, pkg-config does not find flux-core, flux is not on PATH)"),
        ("flux/bin", &bare, &format!("FLUX_PREFIX={bare}: include/flux/core.h not found")),
    ] {
        let output = Command::new(build_script())
            .current_dir(TOP)
            .env("OUT_DIR", folder.path())
            .env("PATH", at(path))
            .env("FLUX_PREFIX", prefix)
            .env("PKG_CONFIG", "/bin/false")
            .env_remove("STATE_COUNTS_NO_HEADERS")
            .output()
            .unwrap();
        // These headers are empty: bindgen fails later, after the message.
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(said.contains(expected), "{path}: {said}");
    }
}

/// The build script that cargo compiled last.
fn build_script() -> PathBuf {
    let profile = env::current_exe().unwrap();
    let built = profile.ancestors().nth(2).unwrap().join("build");
    let scripts = fs::read_dir(built).unwrap().filter_map(|folder| {
        let folder = folder.unwrap();
        let ours = folder.file_name().to_string_lossy().starts_with("state-counts-");
        let script = folder.path().join("build-script-build");
        // The tests have a build script, too; the folder of their package has a longer name.
        let tests = folder.file_name().to_string_lossy().starts_with("state-counts-tests-");
        (ours && !tests && script.is_file()).then_some(script)
    });
    scripts.max_by_key(|script| script.metadata().unwrap().modified().unwrap()).expect("built")
}
