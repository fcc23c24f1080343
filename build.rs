//! Generates bindings for the part of flux-core's C interface that the plugin uses.
//!
//! The headers are the first that are found of
//!
//! 1. `$FLUX_PREFIX/include`; a `FLUX_PREFIX` without headers is an error;
//! 2. the folders of pkg-config's flux-core;
//! 3. `PREFIX/include`, if the `flux` on `PATH` is `PREFIX/bin/flux` (links are followed).
//!
//! Without headers, or if `STATE_COUNTS_NO_HEADERS` is set, the declarations in wrapper.h are
//! used. Nothing is linked: the broker that loads the plugin provides the symbols.

use std::env;
use std::path::{Path, PathBuf};
use std::process::exit;

/// Functions that the plugin calls. Their types are included automatically.
const FUNCTIONS: &[&str] = &[
    "flux_plugin_(add_handler|aux_set|get_conf|get_path|arg_get|arg_set|arg_unpack|arg_strerror|arg_destroy)",
    "flux_jobtap_(get_flux|error|get_job_result|job_event_posted|job_lookup)",
    "flux_(log|attr_get|get_reactor|reactor_now|aux_get|aux_set)",
    "flux_(timer|prepare|fd)_watcher_create",
    "flux_watcher_(start|stop|destroy)",
    "flux_event_(subscribe_ex|unsubscribe_ex|decode)",
    "flux_msg_handler_(create|start|destroy)",
    "flux_(rpc|rpc_get|future_then|future_incref|future_decref|future_destroy)",
    "json_(object_get|array_get|string_length|string_value|integer_value|number_value)",
    "getaddrinfo_a",
    "gai_(error|cancel|strerror)",
    "freeaddrinfo",
    "pthread_setcancelstate",
];
const TYPES: &[&str] = &["flux_job_state_t"];
const CONSTANTS: &[&str] = &[
    "FLUX_PLUGIN_ARG_(IN|OUT)",
    "FLUX_(NODEID_ANY|POLLOUT|RPC_NORESPONSE|MSGTYPE_EVENT|MATCHTAG_NONE)",
    "GAI_NOWAIT",
    "EAI_(INPROGRESS|NOTCANCELED)",
    "PTHREAD_CANCEL_DISABLE",
];

fn main() {
    println!("cargo:rerun-if-changed=wrapper.h");
    println!("cargo:rerun-if-env-changed=FLUX_PREFIX");
    println!("cargo:rerun-if-env-changed=STATE_COUNTS_NO_HEADERS");

    require_libclang();
    let mut builder = bindgen::Builder::default()
        .header("wrapper.h")
        // For getaddrinfo_a(3).
        .clang_arg("-D_GNU_SOURCE")
        .layout_tests(false)
        .prepend_enum_name(false)
        .derive_debug(false)
        .parse_callbacks(Box::new(bindgen::CargoCallbacks::new()));
    for function in FUNCTIONS {
        builder = builder.allowlist_function(function);
    }
    for name in TYPES {
        builder = builder.allowlist_type(name);
    }
    for constant in CONSTANTS {
        builder = builder.allowlist_var(constant);
    }
    if is_set("STATE_COUNTS_NO_HEADERS") {
        println!("Flux's headers are not used, because STATE_COUNTS_NO_HEADERS is set");
    } else {
        match flux_includes() {
            Ok((directories, source)) => {
                println!("Flux's headers are in {directories:?} ({source})");
                builder = builder.clang_arg("-DSTATE_COUNTS_HAVE_FLUX");
                for directory in directories {
                    builder = builder.clang_arg(format!("-I{}", directory.display()));
                }
            }
            Err(searched) => println!(
                "cargo:warning=no headers of flux-core found ({searched}): \
                 building with state-counts' own declarations"
            ),
        }
    }
    let bindings = match builder.generate() {
        Ok(bindings) => bindings,
        Err(error) => fail(&format!(
            "bindgen could not read wrapper.h (the C headers are in {PACKAGES}): {error}"
        )),
    };
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    bindings.write_to_file(out.join("bindings.rs")).expect("OUT_DIR is writable");

    // Before glibc 2.34, getaddrinfo_a(3) is in libanl.
    println!("cargo:rustc-link-lib=anl");
}

fn is_set(variable: &str) -> bool {
    env::var_os(variable).is_some_and(|value| !value.is_empty())
}

/// Folders that contain flux/core.h, and how they were found; otherwise, the places that were
/// searched.
fn flux_includes() -> Result<(Vec<PathBuf>, &'static str), String> {
    if is_set("FLUX_PREFIX") {
        let prefix = env::var_os("FLUX_PREFIX").expect("it is set");
        let include = Path::new(&prefix).join("include");
        if !include.join("flux/core.h").is_file() {
            fail(&format!(
                "FLUX_PREFIX={}: include/flux/core.h not found (expected the prefix of an installed flux-core)",
                prefix.to_string_lossy()
            ));
        }
        return Ok((vec![include], "FLUX_PREFIX"));
    }
    let package = pkg_config::Config::new()
        // The metadata would add -lflux-core, and with it a NEEDED entry to the .so.
        .cargo_metadata(false)
        .env_metadata(true)
        .probe("flux-core");
    if let Ok(library) = package {
        // pkg-config omits the compiler's default folders.
        let default = || vec![PathBuf::from("/usr/include")];
        let paths = library.include_paths;
        return Ok((if paths.is_empty() { default() } else { paths }, "pkg-config"));
    }

    println!("cargo:rerun-if-env-changed=PATH");
    let searched = "FLUX_PREFIX is not set, pkg-config does not find flux-core";
    let path = env::var_os("PATH").unwrap_or_default();
    let Some(flux) = env::split_paths(&path).map(|it| it.join("flux")).find(|it| it.is_file())
    else {
        return Err(format!("{searched}, flux is not on PATH"));
    };
    println!("cargo:rerun-if-changed={}", flux.display());
    let flux = flux.canonicalize().unwrap_or(flux);
    let include = flux.ancestors().nth(2).unwrap_or(&flux).join("include");
    if !include.join("flux/core.h").is_file() {
        let (include, flux) = (include.display(), flux.display());
        return Err(format!("{searched}, {include}/flux/core.h of {flux} does not exist"));
    }
    Ok((vec![include], "flux on PATH"))
}

/// Packages that contain libclang. scripts/setup.sh searches the output for "libclang-dev".
const PACKAGES: &str =
    "the package libclang-dev on Debian or Ubuntu, clang-devel on Fedora or RHEL";

/// Fails with the name of the package if libclang cannot be loaded; bindgen would panic.
fn require_libclang() {
    std::panic::set_hook(Box::new(|_| ()));
    let found = std::panic::catch_unwind(bindgen::clang_version);
    let _ = std::panic::take_hook();
    if found.is_err() {
        fail(&format!(
            "libclang was not found; bindgen needs it to read flux-core's headers: install \
             {PACKAGES}, or set LIBCLANG_PATH to the folder that contains libclang.so"
        ));
    }
}

fn fail(message: &str) -> ! {
    eprintln!("error: {message}");
    exit(1);
}
