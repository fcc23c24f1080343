//! Finds the programs and features that tests need; tests that need a missing one are ignored.
//!
//! Each one that is found sets a cfg, and adds its value to found.rs. An environment
//! variable, if set, is used instead of the search.

use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{exit, Command};
use std::{env, fs};

/// How a program or feature is found.
enum Find {
    /// By the variable only, which scripts/package sets.
    Given,
    /// A program on PATH, under one of these names.
    Program(&'static [&'static str]),
    /// The prefix of a Debian package and its program: on PATH, or unpacked by scripts/test.
    Package(&'static str, &'static str),
    /// An npm package that scripts/test installed.
    Npm(&'static str),
    /// By a function that tries it.
    Tried(fn() -> bool),
}
use Find::*;

const NEEDS: &[(&str, &str, Find)] = &[
    ("have_brubeck", "STATE_COUNTS_BRUBECK", Program(&["brubeck"])),
    ("have_statsite", "STATE_COUNTS_STATSITE", Program(&["statsite"])),
    ("have_bitly", "STATE_COUNTS_BITLY", Program(&["bitly-statsdaemon"])),
    ("have_raintank", "STATE_COUNTS_RAINTANK", Program(&["raintank-statsdaemon"])),
    ("have_veneur", "STATE_COUNTS_VENEUR", Program(&["veneur"])),
    (
        "have_exporter",
        "STATE_COUNTS_EXPORTER",
        Program(&["statsd_exporter", "prometheus-statsd-exporter"]),
    ),
    ("have_valgrind", "STATE_COUNTS_VALGRIND", Program(&["valgrind"])),
    ("have_lintian", "STATE_COUNTS_LINTIAN", Program(&["lintian"])),
    ("have_rpmlint", "STATE_COUNTS_RPMLINT", Program(&["rpmlint"])),
    ("have_netdata", "STATE_COUNTS_NETDATA", Package("netdata-core", "netdata")),
    ("have_collectd", "STATE_COUNTS_COLLECTD", Package("collectd-core", "collectd")),
    ("have_prometheus", "STATE_COUNTS_PROMETHEUS", Package("prometheus", "prometheus")),
    ("have_mandoc", "STATE_COUNTS_MANDOC", Package("mandoc", "mandoc")),
    ("have_graphite", "STATE_COUNTS_GRAPHITE", Package("graphite-web", "graphite-manage")),
    ("have_statsd", "STATE_COUNTS_STATSD", Npm("statsd")),
    ("have_carbon", "STATE_COUNTS_CARBON", Package("graphite-carbon", "carbon-cache")),
    ("have_ipv6", "STATE_COUNTS_IPV6", Tried(has_ipv6)),
    ("have_namespaces", "STATE_COUNTS_NAMESPACES", Tried(has_namespaces)),
    ("have_packages", "STATE_COUNTS_PACKAGES", Given),
    ("have_root", "STATE_COUNTS_ROOT", Given),
];

/// Names that scripts/probe-flux prints, without STATE_COUNTS_; each is a cfg in lower case.
const ANSWERS: &[&str] = &[
    "FLUX_CONFIG_FLOATS",
    "FLUX_FAILED_ALONE",
    "FLUX_GPUS",
    "FLUX_HOUSEKEEPING",
    "FLUX_R",
    "FLUX_UPDATE",
    "FLUX_UPDATE_RUNNING",
];

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=PATH");
    let mut found = Vec::new();
    for (cfg, variable, find) in NEEDS {
        println!("cargo:rustc-check-cfg=cfg({cfg})");
        println!("cargo:rerun-if-env-changed={variable}");
        let value = match env::var(variable) {
            Ok(value) => Some(value).filter(|value| !value.is_empty()),
            Err(_) => find.find(),
        };
        if let Some(value) = value {
            println!("cargo:rustc-cfg={cfg}");
            found.push((variable.to_string(), value));
        }
    }
    find_flux(&mut found);
    find_headers();

    let lines: String = found.iter().map(|it| format!("    {it:?},\n")).collect();
    let path = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    fs::write(path.join("found.rs"), format!("&[\n{lines}]\n")).expect("OUT_DIR is writable");

    // A broker defines the flux_* symbols that the rlib refers to. No test calls them.
    for kind in ["tests", "benches", "examples"] {
        println!("cargo:rustc-link-arg-{kind}=-Wl,--unresolved-symbols=ignore-in-object-files");
    }
}

impl Find {
    fn find(&self) -> Option<String> {
        let yes = |it| if it { Some("yes".to_owned()) } else { None };
        match self {
            Given => None,
            Program(names) => {
                names.iter().find_map(|name| on_path(name)).map(|path| path.display().to_string())
            }
            Package(package, program) => prefix(package, program),
            Npm(package) => {
                let folder = fetched(&format!("npm/node_modules/{package}"));
                folder.is_dir().then(|| folder.display().to_string())
            }
            Tried(works) => yes(works()),
        }
    }
}

/// The top folder of the repository.
fn top() -> PathBuf {
    let tests = env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR");
    Path::new(&tests).parent().expect("tests/ has a parent folder").to_owned()
}

/// A path below target that scripts/test creates. The script touches target/fetched after
/// each download.
fn fetched(path: &str) -> PathBuf {
    let target = top().join("target");
    let changed = target.join("fetched");
    if !changed.exists() {
        // A missing file would make cargo run this build script each time.
        let _ = fs::create_dir_all(&target).and_then(|()| fs::write(&changed, ""));
    }
    println!("cargo:rerun-if-changed={}", changed.display());
    target.join(path)
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join(name)).find(|path| path.is_file())
}

fn prefix(package: &str, program: &str) -> Option<String> {
    if let Some(path) = on_path(program).and_then(|path| path.canonicalize().ok()) {
        return Some(path.ancestors().nth(2)?.display().to_string());
    }
    let prefix = fetched(&format!("servers/{package}/usr"));
    let is_there = |folder| prefix.join(folder).join(program).exists();
    (is_there("bin") || is_there("sbin")).then(|| prefix.display().to_string())
}

fn succeeds(program: &str, arguments: &[&str]) -> bool {
    Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
}

/// True if the loopback interface has an IPv6 address.
fn has_ipv6() -> bool {
    UdpSocket::bind("[::1]:0").is_ok()
}

/// True if namespaces are allowed, in which tests run their own name service.
fn has_namespaces() -> bool {
    let inside = "mount --bind /etc /etc && \
                  exec unshare --map-user=\"$0\" --map-group=\"$1\" true";
    let id = |option| {
        let output = Command::new("id").arg(option).output().expect("id is installed");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    };
    let (user, group) = (id("-u"), id("-g"));
    let unshare = ["--map-root-user", "--mount", "--net", "sh", "-c", inside, &user, &group];
    succeeds("unshare", &unshare)
}

/// Finds the flux on PATH, if it is flux-core's, and its features.
fn find_flux(found: &mut Vec<(String, String)>) {
    println!("cargo:rustc-check-cfg=cfg(have_flux)");
    println!("cargo:rustc-check-cfg=cfg(have_plugin_path)");
    println!("cargo:rerun-if-env-changed=STATE_COUNTS_NO_BROKER");
    println!("cargo:rerun-if-changed=../scripts/probe-flux");
    for answer in ANSWERS {
        println!("cargo:rustc-check-cfg=cfg({})", answer.to_lowercase());
    }
    let Some(flux) = on_path("flux") else { return };
    // Another version may be installed at the same path.
    println!("cargo:rerun-if-changed={}", flux.display());
    if env::var_os("STATE_COUNTS_NO_BROKER").is_some_and(|it| !it.is_empty()) || !is_flux_core() {
        return;
    }
    let probe =
        Command::new(top().join("scripts/probe-flux")).output().expect("probe-flux is executable");
    if !probe.status.success() {
        eprint!("{}", String::from_utf8_lossy(&probe.stderr));
        eprintln!(
            "error: tests that need a broker cannot run (to run the others, use \
             scripts/test --no-broker or set STATE_COUNTS_NO_BROKER=yes)"
        );
        exit(1);
    }
    println!("cargo:rustc-cfg=have_flux");
    for line in String::from_utf8_lossy(&probe.stdout).lines() {
        let (name, value) = line.split_once('=').expect("NAME=VALUE");
        let answer = name.trim_start_matches("STATE_COUNTS_");
        if ANSWERS.contains(&answer) {
            println!("cargo:rustc-cfg={}", answer.to_lowercase());
        }
        found.push((name.to_owned(), value.to_owned()));
    }
    // One test writes a file to the plugin path.
    let path = Command::new("flux").args(["config", "builtin", "jobtap_pluginpath"]).output();
    let path = path.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    let folder = path.unwrap_or_default().split(':').next().unwrap_or_default().to_owned();
    if succeeds("test", &["-w", &folder]) {
        println!("cargo:rustc-cfg=have_plugin_path");
    }
}

/// Other programs, for example Flux CD, have the same name.
fn is_flux_core() -> bool {
    let version = Command::new("flux").arg("version").output();
    version.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("libflux-core"))
}

/// Finds the folders of Flux's headers, as the plugin's build.rs does, for tests/fake/headers.rs.
fn find_headers() {
    println!("cargo:rustc-check-cfg=cfg(have_flux_headers)");
    for variable in ["FLUX_PREFIX", "PKG_CONFIG", "PKG_CONFIG_PATH"] {
        println!("cargo:rerun-if-env-changed={variable}");
    }
    let set = |variable| env::var(variable).ok().filter(|value| !value.is_empty());
    let folders = match set("FLUX_PREFIX") {
        Some(prefix) => format!("{prefix}/include"),
        None => {
            let program = set("PKG_CONFIG").unwrap_or("pkg-config".to_owned());
            let output = Command::new(program).args(["--cflags-only-I", "flux-core"]).output();
            if let Some(output) = output.ok().filter(|it| it.status.success()) {
                let options = String::from_utf8_lossy(&output.stdout);
                let folders: Vec<_> = options
                    .split_whitespace()
                    .map(|option| option.trim_start_matches("-I"))
                    .collect();
                // pkg-config leaves out the compiler's own folder.
                if folders.is_empty() {
                    "/usr/include".to_owned()
                } else {
                    folders.join(":")
                }
            } else {
                let flux = on_path("flux").and_then(|flux| flux.canonicalize().ok());
                let include = flux.and_then(|flux| Some(flux.ancestors().nth(2)?.join("include")));
                let include = include.filter(|folder| folder.join("flux/core.h").is_file());
                let Some(include) = include else { return };
                include.display().to_string()
            }
        }
    };
    println!("cargo:rustc-cfg=have_flux_headers");
    println!("cargo:rustc-env=STATE_COUNTS_FLUX_INCLUDES={folders}");
}
