//! Generates bindings for the part of flux-core's C interface that the plugin uses.
//!
//! The headers are those in `FLUX_PREFIX`, or those of pkg-config's flux-core. If neither
//! exists, the declarations in wrapper.h are used. Nothing is linked: the broker that loads
//! the plugin provides the symbols.

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

    require_libclang();
    let includes = flux_includes();
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
    match &includes {
        Some(directories) => {
            builder = builder.clang_arg("-DSTATE_COUNTS_HAVE_FLUX");
            for directory in directories {
                builder = builder.clang_arg(format!("-I{}", directory.display()));
            }
        }
        None => println!(
            "cargo:warning=no flux-core headers found (pkg-config, FLUX_PREFIX): \
             building with state-counts' own declarations"
        ),
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

/// Folders that contain flux/core.h, or `None` if no Flux is installed.
fn flux_includes() -> Option<Vec<PathBuf>> {
    if let Some(prefix) = env::var_os("FLUX_PREFIX").filter(|prefix| !prefix.is_empty()) {
        let include = Path::new(&prefix).join("include");
        if !include.join("flux/core.h").is_file() {
            fail(&format!(
                "FLUX_PREFIX={}: include/flux/core.h not found (expected the prefix of an installed flux-core)",
                prefix.to_string_lossy()
            ));
        }
        return Some(vec![include]);
    }
    pkg_config::Config::new()
        // The metadata would add -lflux-core, and with it a NEEDED entry to the .so.
        .cargo_metadata(false)
        .env_metadata(true)
        .probe("flux-core")
        .ok()
        .map(|library| library.include_paths)
        // pkg-config omits the compiler's default folders.
        .map(|paths| if paths.is_empty() { vec![PathBuf::from("/usr/include")] } else { paths })
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
