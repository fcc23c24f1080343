//! The contents of the packages. `scripts/package --check` builds the
//! packages and runs these tests with these variables:
//!
//! - `STATE_COUNTS_PACKAGES`: the folder of the packages;
//! - `STATE_COUNTS_ROOT`: a fresh Debian 11 with a C compiler and jansson;
//! - `STATE_COUNTS_PANICKING`: the plugin, built as for the packages, that panics
//!   whenever a job reaches SCHED.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use serde_json::json;

use super::docs::PAGES;
use crate::support::artifact::NAME;
use crate::support::fake_job_manager::{program, FakeJobManager};
use crate::support::found::TOP;
use crate::support::receiver::Receiver;
use crate::support::trace;

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The output of a program, which must succeed.
fn run(program: &str, arguments: &[&str]) -> String {
    print_of(Command::new(program).args(arguments))
}

/// The output of a shell script with these arguments.
fn shell(script: &str, arguments: &[&str]) -> String {
    run("sh", &[&["-ec", script, "sh"], arguments].concat())
}

fn print_of(command: &mut Command) -> String {
    let output = command
        .current_dir(TOP)
        .env("LC_ALL", "C")
        .output()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn told(variable: &str) -> String {
    env::var(variable).unwrap_or_else(|error| panic!("{variable}: {error}"))
}

/// The packages for one architecture.
struct Packages {
    deb: String,
    rpm: String,
    tarball: String,
    machine: &'static str,
    debian_architecture: &'static str,
    /// The version of the oldest symbols of glibc.
    oldest_glibc: &'static str,
}

/// The packages of this build; the folder may have packages of earlier ones.
fn built() -> Vec<Packages> {
    let folder = told("STATE_COUNTS_PACKAGES");
    let sums = fs::read_to_string(format!("{folder}/SHA256SUMS")).unwrap();
    let mut built = Vec::new();
    for (machine, debian_architecture, oldest_glibc) in
        [("x86_64", "amd64", "GLIBC_2.2.5"), ("aarch64", "arm64", "GLIBC_2.17")]
    {
        built.push(Packages {
            deb: format!("{folder}/flux-state-counts_{VERSION}_{debian_architecture}.deb"),
            rpm: format!("{folder}/flux-state-counts-{VERSION}-1.{machine}.rpm"),
            tarball: format!("{folder}/flux-state-counts-{VERSION}-{machine}.tar.gz"),
            machine,
            debian_architecture,
            oldest_glibc,
        });
    }
    built.retain(|packages| sums.contains(&format!("{}.tar.gz", packages.machine)));
    assert!(!built.is_empty(), "{sums}");
    built
}

/// The path of the plugin in an unpacked .deb.
fn unpacked(deb: &str) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_str().unwrap();
    run("dpkg-deb", &["--extract", deb, path]);
    let plugin = format!("{path}/usr/lib/flux/job-manager/plugins/state-counts.so");
    (folder, plugin)
}

/// These columns of the lines of a long listing that are not folders, and the target of a
/// link.
fn files(listing: &str, columns: &[usize]) -> Vec<String> {
    let mut files = Vec::new();
    for line in listing.lines().filter(|line| !line.starts_with('d')) {
        let words: Vec<_> = line.split_whitespace().collect();
        let mut chosen: Vec<_> = columns.iter().map(|column| words[*column]).collect();
        if let Some(arrow) = words.iter().position(|word| *word == "->") {
            chosen.extend(&words[arrow..]);
        }
        files.push(chosen.join(" "));
    }
    files
}

/// The files that all packages contain: manual pages, documents, dashboards, and the example
/// for rc1.d.
fn common(top: &str, owner: &str) -> Vec<String> {
    let doc = format!("{top}/share/doc/flux-state-counts");
    let share = format!("{top}/share/flux-state-counts");
    let mut paths = vec![format!("-rwxr-xr-x {owner} {doc}/examples/rc1.d-state-counts")];
    paths.extend(PAGES.map(|page| format!("-rw-r--r-- {owner} {top}/share/man/{page}.gz")));
    for (folder, below) in
        [("docs", format!("{doc}/docs")), ("dashboards", format!("{share}/dashboards"))]
    {
        for entry in fs::read_dir(Path::new(TOP).join(folder)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if folder == "dashboards" || name.ends_with(".md") {
                paths.push(format!("-rw-r--r-- {owner} {below}/{name}"));
            }
        }
    }
    assert!(paths.len() > 10, "{paths:?}");
    paths
}

fn sorted(mut lines: Vec<String>) -> Vec<String> {
    lines.sort();
    lines
}

#[test]
#[cfg_attr(not(have_packages), ignore = "needs scripts/package --check")]
fn the_debian_package_contains_the_plugin_and_the_manual() {
    for Packages { deb, machine, debian_architecture, .. } in built() {
        let field = |name: &str| run("dpkg-deb", &["--field", &deb, name]);
        assert_eq!(field("Package"), "flux-state-counts");
        assert_eq!(field("Version"), VERSION);
        assert_eq!(field("Architecture"), debian_architecture);
        assert_eq!(field("Enhances"), "flux-core");
        // No dependency on Flux: the symbols come from the broker, which may not be from a
        // package.
        assert_eq!(field("Depends"), "libc6 (>= 2.28)");

        let listing = run("dpkg-deb", &["--contents", &deb]);
        let folders: Vec<_> = listing.lines().filter(|line| line.starts_with('d')).collect();
        assert!(folders.iter().all(|line| line.starts_with("drwxr-xr-x root/root")), "{folders:?}");
        let own = "-rw-r--r-- root/root ./usr/share/doc/flux-state-counts";
        let link = format!(
            "lrwxrwxrwx root/root \
             ./usr/lib/{machine}-linux-gnu/flux/job-manager/plugins/state-counts.so \
             -> ../../../../flux/job-manager/plugins/state-counts.so"
        );
        let mut expected = vec![
            format!("{own}/CHANGELOG.md"),
            format!("{own}/README.md"),
            format!("{own}/changelog.gz"),
            format!("{own}/copyright"),
            "-rwxr-xr-x root/root ./usr/lib/flux/job-manager/plugins/state-counts.so".to_owned(),
            link,
        ];
        expected.extend(common("./usr", "root/root"));
        assert_eq!(sorted(files(&listing, &[0, 1, 5])), sorted(expected));
        let (folder, _) = unpacked(&deb);
        let copyright = folder.path().join("usr/share/doc/flux-state-counts/copyright");
        let copyright = fs::read_to_string(copyright).unwrap();
        for license in ["LGPL-3", "GPL-3", "Apache-2.0"] {
            assert!(copyright.contains(&format!("/common-licenses/{license}")), "{license}");
        }
        for linked in ["itoa", "libc", "serde_json", "Rust standard library", "LLVM libunwind"] {
            assert!(copyright.contains(&format!("\n--- {linked}")), "{linked}");
        }
    }
}

#[test]
#[cfg_attr(not(have_packages), ignore = "needs scripts/package --check")]
fn the_rpm_contains_the_same_files_for_rhel() {
    for Packages { deb, rpm, machine, .. } in built() {
        let ask = |format: &str| run("rpm", &["--query", "--queryformat", format, "-p", &rpm]);
        assert_eq!(
            ask("%{NAME} %{VERSION} %{ARCH} %{LICENSE}"),
            format!("flux-state-counts {VERSION} {machine} LGPL-3.0-only")
        );
        let needed = ask("[%{REQUIRENAME} %{REQUIREVERSION}\n]");
        let needed: Vec<_> = needed.lines().filter(|line| !line.starts_with("rpmlib(")).collect();
        assert_eq!(needed, ["glibc 2.28"]);
        assert_eq!(ask("[%{RECOMMENDNAME}\n]"), "flux-core");
        assert!(ask("[%{CHANGELOGNAME}\n]").ends_with(&format!(" - {VERSION}-1")));

        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_str().unwrap();
        shell("rpm2cpio \"$1\" >\"$2/archive\"", &[&rpm, path]);
        let list = "cpio --list --verbose --numeric-uid-gid --quiet <\"$1/archive\"";
        let mut expected = [
            "-rwxr-xr-x 0 0 ./usr/lib64/flux/job-manager/plugins/state-counts.so",
            "-rw-r--r-- 0 0 ./usr/share/doc/flux-state-counts/CHANGELOG.md",
            "-rw-r--r-- 0 0 ./usr/share/doc/flux-state-counts/README.md",
            "-rw-r--r-- 0 0 ./usr/share/licenses/flux-state-counts/LICENSE",
            "-rw-r--r-- 0 0 ./usr/share/licenses/flux-state-counts/LICENSES-crates",
        ]
        .map(str::to_owned)
        .to_vec();
        expected.extend(common("./usr", "0 0"));
        assert_eq!(sorted(files(&shell(list, &[path]), &[0, 2, 3, 8])), sorted(expected));
        shell("cd \"$1\"; cpio --extract --make-directories --quiet <archive", &[path]);
        let plugin = folder.path().join("usr/lib64/flux/job-manager/plugins/state-counts.so");
        assert!(fs::read(plugin).unwrap() == fs::read(unpacked(&deb).1).unwrap());
    }
}

#[test]
#[cfg_attr(not(have_packages), ignore = "needs scripts/package --check")]
fn the_tarball_contains_the_same_files_below_a_prefix() {
    for Packages { deb, tarball, machine, .. } in built() {
        let top = format!("flux-state-counts-{VERSION}-{machine}");
        let doc = format!("{top}/share/doc/flux-state-counts");
        let mut expected = vec![
            format!("-rwxr-xr-x root/root {top}/lib/flux/job-manager/plugins/state-counts.so"),
            format!("-rw-r--r-- root/root {doc}/CHANGELOG.md"),
            format!("-rw-r--r-- root/root {doc}/LICENSE"),
            format!("-rw-r--r-- root/root {doc}/LICENSES-crates"),
            format!("-rw-r--r-- root/root {doc}/README.md"),
        ];
        expected.extend(common(&top, "root/root"));
        let listing = run("tar", &["--list", "--verbose", "--file", &tarball]);
        assert_eq!(sorted(files(&listing, &[0, 1, 5])), sorted(expected));
        let folder = tempfile::tempdir().unwrap();
        run("tar", &["-C", folder.path().to_str().unwrap(), "-xf", &tarball]);
        let plugin = folder.path().join(top).join("lib/flux/job-manager/plugins/state-counts.so");
        assert!(fs::read(plugin).unwrap() == fs::read(unpacked(&deb).1).unwrap());
    }
}

#[test]
#[cfg_attr(not(have_packages), ignore = "needs scripts/package --check")]
fn the_checksums_are_those_of_all_packages() {
    let folder = told("STATE_COUNTS_PACKAGES");
    let checked = shell("cd \"$1\"; sha256sum --check --strict SHA256SUMS", &[&folder]);
    let checked: BTreeSet<_> = checked
        .lines()
        .map(|line| format!("{folder}/{}", line.strip_suffix(": OK").expect("OK")))
        .collect();
    let packages = built().into_iter().flat_map(|built| [built.deb, built.rpm, built.tarball]);
    assert_eq!(checked, packages.collect());
}

#[test]
#[cfg_attr(not(have_packages), ignore = "needs scripts/package --check")]
fn the_packaged_plugin_needs_nothing_but_glibc_2_28() {
    for Packages { deb, oldest_glibc, .. } in built() {
        let (_folder, plugin) = unpacked(&deb);
        let exported = run("nm", &["-D", "--defined-only", "--format=just-symbols", &plugin]);
        assert_eq!(exported, "flux_plugin_init");

        // Only libraries of glibc: no libgcc_s, no Flux, no jansson.
        let dynamic = run("readelf", &["--wide", "--dynamic", &plugin]);
        let needed: Vec<_> = dynamic
            .lines()
            .filter(|line| line.contains("(NEEDED)"))
            .map(|line| line.split(['[', ']']).nth(1).unwrap())
            .collect();
        let glibc = ["libanl.so", "libc.so", "libdl.so", "libm.so", "libpthread.so", "ld-linux"];
        for library in &needed {
            assert!(glibc.iter().any(|name| library.starts_with(name)), "{library}");
        }
        assert!(needed.contains(&"libanl.so.1"), "getaddrinfo_a's, before 2.34: {needed:?}");

        let symbols = run("readelf", &["--wide", "--dyn-syms", &plugin]);
        let versioned: Vec<_> = symbols
            .lines()
            .filter_map(|line| line.split_whitespace().nth(7)?.split_once('@'))
            .collect();
        assert!(versioned.contains(&("getaddrinfo_a", oldest_glibc)), "{versioned:?}");
        for (symbol, version) in versioned {
            let minor: Option<u32> = version
                .strip_prefix("GLIBC_2.")
                .and_then(|numbers| numbers.split('.').next()?.parse().ok());
            assert!(minor.is_some_and(|minor| minor <= 28), "{symbol}@{version}");
        }

        // The path of the build is not in it.
        let bytes = fs::read(&plugin).unwrap();
        let top = fs::canonicalize(TOP).unwrap();
        for path in [told("HOME"), top.display().to_string()] {
            let found = bytes.windows(path.len().max(2)).any(|bytes| bytes == path.as_bytes());
            assert!(!found, "{path}");
        }
    }
}

/// The errors and warnings of a program that checks packages.
fn complaints(command: &mut Command) -> Vec<String> {
    let output = command.current_dir(TOP).env("LC_ALL", "C").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let lines = text.lines().filter(|line| line.contains("E: ") || line.contains("W: "));
    let lines: Vec<_> = lines.map(str::to_owned).collect();
    assert!(output.status.success() || !lines.is_empty(), "{output:?}");
    lines
}

#[test]
#[cfg_attr(
    not(all(have_packages, have_lintian)),
    ignore = "needs scripts/package --check and lintian"
)]
fn lintian_finds_no_error_in_the_debian_package() {
    for Packages { deb, .. } in built() {
        let mut lintian = Command::new("lintian");
        // The default of --maintainer has no address, which a Debian changelog requires too.
        if !run("dpkg-deb", &["--field", &deb, "Maintainer"]).contains('<') {
            lintian.arg("--suppress-tags=malformed-contact,syntax-error-in-debian-changelog");
        }
        assert_eq!(complaints(lintian.arg(&deb)), [""; 0]);
    }
}

#[test]
#[cfg_attr(
    not(all(have_packages, have_rpmlint)),
    ignore = "needs scripts/package --check and rpmlint"
)]
fn rpmlint_finds_no_error_in_the_rpm() {
    for Packages { rpm, .. } in built() {
        let mut rpmlint = Command::new("rpmlint");
        rpmlint.args(["--config", "packaging/rpmlint.toml", &rpm]);
        assert_eq!(complaints(&mut rpmlint), [""; 0]);
    }
}

/// The root of a new Debian 11, with the fake job manager compiled in it.
fn root() -> &'static str {
    static ROOT: OnceLock<String> = OnceLock::new();
    ROOT.get_or_init(|| {
        let root = told("STATE_COUNTS_ROOT");
        let compile = "
            mkdir -p \"$1/sources/tests\"
            cp -R tests/fake_job_manager \"$1/sources/tests\"
            cp wrapper.h \"$1/sources\"
            exec chroot \"$1\" sh -c 'cd /sources/tests/fake_job_manager && exec cc -std=gnu11 -O1 -I../.. \
                -o /fake_job_manager fake_job_manager.c flux.c jobs.c -rdynamic -ljansson -ldl -lpthread'";
        shell(compile, &[&root]);
        fs::write(format!("{root}/etc/hosts"), "127.0.0.1 statsd.test\n").unwrap();
        root
    })
}

/// A command in the root.
fn in_root(arguments: &[&str]) -> Command {
    // The fake job manager reads /proc.
    let script = "mount -t proc proc \"$0/proc\" && exec chroot \"$0\" \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script, root()]).args(arguments);
    command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("LC_ALL", "C");
    command
}

fn replay_the_recorded_run(host: &mut FakeJobManager) {
    trace::replay(host, 500, |host| {
        host.counts();
    });
}

/// The plugin counts the recorded run in the fake job manager that `command` starts.
fn counts_the_recorded_run(command: Command, plugin: &Path) {
    let mut receiver = Receiver::start();
    let mut host = FakeJobManager::spawn(command, Some(&receiver.endpoint()));
    host.load(plugin, json!({})).unwrap();
    host.advance(0.1);
    replay_the_recorded_run(&mut host);
    host.counts();
    let truth = trace::truth("after-purge");
    let seen = receiver.wait(Duration::from_secs(20), |seen| seen.gauges == truth);
    assert_eq!(seen.gauges, truth);
    host.remove(NAME).unwrap();
    assert!(!host.mapped(NAME));
    host.end();
}

/// The package for the architecture of this machine.
fn ours() -> Packages {
    let ours = run("dpkg", &["--print-architecture"]);
    let mut packages = built().into_iter();
    packages.find(|packages| packages.debian_architecture == ours).expect("one for this machine")
}

#[test]
#[cfg_attr(not(have_packages), ignore = "needs scripts/package --check")]
fn the_packaged_plugin_counts_the_recorded_run() {
    let (_folder, plugin) = unpacked(&ours().deb);
    counts_the_recorded_run(Command::new(program()), Path::new(&plugin));
}

#[test]
#[cfg_attr(
    not(have_root),
    ignore = "needs scripts/package --check, by root, with debootstrap and mount namespaces"
)]
fn debian_11_installs_the_package_and_its_plugin_counts_the_recorded_run() {
    fs::copy(ours().deb, format!("{}/package.deb", root())).unwrap();
    let glibc = print_of(&mut in_root(&["ldd", "--version"]));
    assert!(glibc.lines().next().unwrap().ends_with(" 2.31"), "{glibc}");
    print_of(&mut in_root(&["dpkg", "--install", "/package.deb"]));
    assert_eq!(print_of(&mut in_root(&["dpkg", "--verify", "flux-state-counts"])), "");
    let installed = print_of(&mut in_root(&["dpkg", "--listfiles", "flux-state-counts"]));
    let plugins: Vec<_> =
        installed.lines().filter(|path| path.ends_with(NAME)).map(Path::new).collect();
    assert_eq!(plugins.len(), 2, "the file, and the link to it: {installed}");

    for plugin in &plugins {
        counts_the_recorded_run(in_root(&["/fake_job_manager"]), plugin);
    }
    // Debian 11 has the lookup functions in a library of their own, libanl.
    let receiver = Receiver::start();
    let mut host = FakeJobManager::spawn(in_root(&["/fake_job_manager"]), None);
    let port = receiver.endpoint().split_off("127.0.0.1".len());
    host.load(plugins[0], json!({"endpoint": format!("statsd.test{port}")})).unwrap();
    let state = |host: &mut FakeJobManager| host.query()["endpoints"][0]["state"].clone();
    let end = Instant::now() + Duration::from_secs(20);
    while state(&mut host) != "ok" && Instant::now() < end {
        host.advance(1.0);
        thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(state(&mut host), "ok");
    host.remove(NAME).unwrap();
    host.end();

    print_of(&mut in_root(&["dpkg", "--purge", "flux-state-counts"]));
    for path in installed.lines().filter(|path| path.contains("state-counts")) {
        let left = format!("{}{path}", root());
        assert!(fs::symlink_metadata(&left).is_err(), "{left}");
    }
}

/// The packaged plugin unwinds with zig's library instead of libgcc.
#[test]
#[cfg_attr(
    not(have_root),
    ignore = "needs scripts/package --check, by root, with debootstrap and mount namespaces"
)]
fn a_panic_of_the_packaged_build_is_caught_in_debian_11() {
    fs::copy(told("STATE_COUNTS_PANICKING"), format!("{}/panicking.so", root())).unwrap();
    let receiver = Receiver::start();
    let mut host =
        FakeJobManager::spawn(in_root(&["/fake_job_manager"]), Some(&receiver.endpoint()));
    host.load(Path::new("/panicking.so"), json!({})).unwrap();
    host.log();
    replay_the_recorded_run(&mut host);
    let log: Vec<_> = host.log().into_iter().map(|(_, text)| text).collect();
    let panics: Vec<_> = log.iter().filter(|line| line.contains("a bug")).collect();
    assert_eq!(panics.len(), 1, "{log:?}");
    assert!(
        panics[0].contains("src/flux/callback.rs") && panics[0].contains("injected by the tests")
    );
    assert_eq!(host.silenced(), 0);
    host.remove("panicking.so").unwrap();
    assert!(!host.mapped("panicking.so"), "a panic does not pin the library");
    host.end();
}

#[test]
fn a_wrong_argument_is_named() {
    for (arguments, text) in [
        (&["--target", "sparc"][..], "expected x86_64 or aarch64"),
        (&["--frobnicate"], "Usage"),
        (&["one", "two"], "Usage"),
    ] {
        let command = Path::new(TOP).join("scripts/package");
        let outcome = Command::new(command).args(arguments).output().unwrap();
        assert_eq!(outcome.status.code(), Some(2), "{outcome:?}");
        assert!(String::from_utf8_lossy(&outcome.stderr).contains(text), "{outcome:?}");
    }
}

/// Each version in a file is the version of the crate.
#[test]
fn the_readme_and_the_spec_name_this_version() {
    let read = |path: &str| fs::read_to_string(Path::new(TOP).join(path)).unwrap();
    let spec = read("packaging/flux-state-counts.spec");
    assert!(spec.contains(&format!("Version:        {VERSION}\n")), "{spec}");
    assert!(spec.contains(&format!(" - {VERSION}-1\n")), "{spec}");
    assert!(spec.contains(&format!("--prefix=flux-state-counts-{VERSION}/")), "{spec}");
    let readme = read("README.md");
    let names: Vec<_> = readme
        .split(|c: char| c.is_whitespace() || "/`".contains(c))
        .filter(|word| word.starts_with("flux-state-counts") && word.contains("64"))
        .collect();
    assert!(names.len() >= 3, "{names:?}");
    for name in names {
        assert!(name["flux-state-counts".len() + 1..].starts_with(VERSION), "{name}");
    }
}

/// Log lines in the README are lines that the plugin writes.
#[test]
fn the_readme_quotes_messages_of_the_plugin() {
    let top = Path::new(TOP);
    let readme = fs::read_to_string(top.join("README.md")).unwrap();
    let (mut sources, mut folders) = (String::new(), vec![top.join("src")]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false => sources += &fs::read_to_string(path).unwrap(),
            }
        }
    }
    let sources = sources.replace("\\\"", "\"");
    let table = readme.split_once("| log line | meaning, remedy |").expect("the table").1;
    let quoted: Vec<_> = table
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .flat_map(|(quoted, _)| quoted.split('…'))
        .map(str::trim)
        .filter(|part| part.len() > 8 && !part.contains("already loaded"))
        .collect();
    assert!(quoted.len() > 3, "{quoted:?}");
    for part in quoted {
        assert!(sources.contains(part), "{part:?} is in no source file");
    }
}
