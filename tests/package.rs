//! The Debian package, and the manual: what is in them.

use std::fs;
use std::path::Path;
use std::process::Command;

use state_counts::config::{Family, KEYS};

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn the_debian_package_holds_what_it_should_where_flux_looks() {
    let folder = tempfile::tempdir().unwrap();
    run("scripts/package", &[folder.path().to_str().unwrap()]);
    let file = fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
    let file = file.to_str().unwrap();
    let field = |name: &str| run("dpkg-deb", &["--field", file, name]);
    assert_eq!(field("Package"), "flux-state-counts");
    assert_eq!(field("Version"), env!("CARGO_PKG_VERSION"));
    assert_eq!(field("Architecture"), run("dpkg", &["--print-architecture"]));
    let depends = field("Depends");
    assert!(depends.contains("libc6 (>=") && depends.contains("libgcc-s1"), "{depends}");
    assert!(!depends.contains("flux"), "its symbols come from the broker: {depends}");

    let unpacked = folder.path().join("unpacked");
    run("dpkg-deb", &["--extract", file, unpacked.to_str().unwrap()]);
    let listed = run("dpkg-deb", &["--contents", file]);
    let files: Vec<_> = listed
        .lines()
        .filter(|line| !line.starts_with('d'))
        .map(|line| {
            let words: Vec<_> = line.split_whitespace().collect();
            (words[0], words[1], words[5])
        })
        .collect();
    let root = "root/root";
    assert_eq!(
        files,
        [
            ("-rwxr-xr-x", root, "./usr/lib/flux/job-manager/plugins/state-counts.so"),
            ("-rw-r--r--", root, "./usr/share/doc/flux-state-counts/README.md"),
            ("-rw-r--r--", root, "./usr/share/doc/flux-state-counts/changelog.gz"),
            ("-rw-r--r--", root, "./usr/share/doc/flux-state-counts/copyright"),
            ("-rw-r--r--", root, "./usr/share/man/man7/flux-state-counts.7.gz"),
        ]
    );
    let plugin = unpacked.join("usr/lib/flux/job-manager/plugins/state-counts.so");
    let plugin = plugin.to_str().unwrap();
    let exported = run("nm", &["-D", "--defined-only", "--format=just-symbols", plugin]);
    assert_eq!(exported, "flux_plugin_init");
}

/// Each key and family has its paragraph, and the page says nothing wrongly.
#[test]
fn the_manual_knows_every_key_and_renders_without_a_warning() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/flux-state-counts.rst");
    let text = fs::read_to_string(&source).unwrap();
    let families = Family::ALL.iter().map(|family| family.name());
    for word in KEYS.into_iter().chain(families) {
        assert!(text.contains(&format!("\n{word}\n   ")), "{word}");
    }
    run("/usr/bin/rst2man", &["--halt=warning", source.to_str().unwrap()]);
}

/// What README quotes from the log is what the plugin says.
#[test]
fn readme_quotes_what_the_plugin_says() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(top.join("README.md")).unwrap();
    let mut sources = String::new();
    for folder in ["src/plugin", "src/stats", "src/config"] {
        for file in fs::read_dir(top.join(folder)).unwrap() {
            sources += &fs::read_to_string(file.unwrap().path()).unwrap();
        }
    }
    let sources = sources.replace("\\\"", "\"");
    let table = readme.split_once("| you see | it means |").expect("the table").1;
    let quoted: Vec<_> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .flat_map(|(quoted, _)| quoted.split('…'))
        .map(str::trim)
        .filter(|part| part.len() > 8 && !part.contains("already loaded"))
        .collect();
    assert!(quoted.len() > 3, "{quoted:?}");
    for part in quoted {
        assert!(sources.contains(part), "{part:?} is said nowhere");
    }
}
