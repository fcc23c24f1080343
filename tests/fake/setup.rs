//! scripts/setup.sh finds missing packages by using them, and names them in one line.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::support::found::TOP;

/// A folder of programs that are used before those of PATH.
struct Machine(TempDir);

impl Machine {
    fn new(user: u32) -> Machine {
        let machine = Machine(tempfile::tempdir().unwrap());
        machine.program("id", &format!("echo {user}"));
        // apt-get writes its arguments to a file.
        machine.program("apt-get", r#"echo "$@" >>"$MACHINE/asked""#);
        machine
    }

    fn program(&self, name: &str, body: &str) {
        let path = self.path(name);
        fs::write(&path, format!("#!/bin/sh\n{body}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Sources setup.sh, and runs `script`.
    fn run(&self, script: &str) -> Output {
        self.run_with(script, &format!(":{}", std::env::var("PATH").unwrap()))
    }

    fn run_with(&self, script: &str, path: &str) -> Output {
        let top = Path::new(TOP);
        Command::new("/bin/bash")
            .args(["-euc", &format!(". scripts/setup.sh; {script}"), "scripts/any"])
            .env("PATH", format!("{}{path}", self.0.path().display()))
            .env("MACHINE", self.0.path())
            // bash writes a warning to stderr for a locale that is not installed.
            .env_remove("LC_ALL")
            .env("LANG", "C")
            .current_dir(top)
            .output()
            .expect("bash is installed")
    }

    fn asked(&self) -> String {
        fs::read_to_string(self.path("asked")).unwrap_or_default()
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn installed_packages_are_not_installed_again() {
    let machine = Machine::new(0);
    let outcome = machine.run("need_packages sh=dash '<stdint.h>=libc6-dev' /bin/sh=dash");
    assert!(outcome.status.success(), "{outcome:?}");
    assert_eq!((machine.asked(), text(&outcome.stderr)), (String::new(), ""));
}

/// Other programs have the name flux, for example the one of Flux CD.
#[test]
fn another_program_named_flux_is_not_accepted() {
    let machine = Machine::new(0);
    let has_flux = "has_flux && echo yes || echo no";
    for (body, wanted) in [
        ("echo 'libflux-core: 0.88.0'", "yes\n"),
        ("echo 'flux version 2.3.0'", "no\n"),
        ("echo 'unknown command' >&2; exit 1", "no\n"),
    ] {
        machine.program("flux", body);
        let outcome = machine.run(has_flux);
        assert_eq!((text(&outcome.stdout), text(&outcome.stderr)), (wanted, ""), "{body}");
    }
    let refused = machine.run("need_flux");
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stderr).contains("flux-core is not on PATH"));
}

#[test]
fn a_user_gets_one_line_with_the_command_to_type() {
    let needs =
        "need_packages no-such-program=one/two '<no/such.h>=three' /no/such/file=four sh=dash";
    let debian = Machine::new(1000);
    let outcome = debian.run(needs);
    assert_eq!(outcome.status.code(), Some(1));
    assert_eq!(
        text(&outcome.stderr),
        "scripts/any: packages are missing; type: sudo apt-get install one three four\n"
    );
    assert_eq!(debian.asked(), "");

    // Fedora and RHEL have no apt-get.
    let fedora = Machine::new(0);
    fs::remove_file(fedora.path("apt-get")).unwrap();
    let outcome = fedora.run_with(needs, "");
    assert_eq!(outcome.status.code(), Some(1));
    assert_eq!(
        text(&outcome.stderr),
        "scripts/any: packages are missing; type: sudo dnf install two three four dash\n"
    );
}

#[test]
fn root_installs_missing_packages_and_checks_them() {
    let machine = Machine::new(0);
    // apt-get installs the program.
    machine.program(
        "apt-get",
        r#"echo "$@" >>"$MACHINE/asked"; printf '#!/bin/sh\n' >"$MACHINE/no-such-program"; chmod +x "$MACHINE/no-such-program""#,
    );
    let outcome = machine.run("need_packages no-such-program=one sh=dash; echo on");
    assert_eq!(text(&outcome.stdout), "on\n", "{outcome:?}");
    let asked = machine.asked();
    let start = "update -qq\ninstall -y -qq --no-install-recommends -o DPkg::Pre-Install-Pkgs::=";
    assert!(asked.starts_with(start) && asked.ends_with(" one\n"), "{asked}");

    // If apt-get does not install it, there is an error, and the script ends.
    let outcome = Machine::new(0).run("need_packages no-such-program=one; echo on");
    assert_eq!(outcome.status.code(), Some(1));
    assert_eq!(text(&outcome.stdout), "");
    assert!(text(&outcome.stderr).ends_with("still missing after the installation of one\n"));
}

/// apt-get runs the hook in another folder, with the paths of the packages on stdin.
#[test]
fn packages_that_contain_services_are_not_installed() {
    let machine = Machine::new(0);
    machine.program(
        "apt-get",
        r#"[ "$1" = update ] || { cd /; echo "$MACHINE/a.deb" | sh -c "${6#*=}" || exit 100; }"#,
    );
    machine.program("dpkg-deb", r#"cat "$2""#);
    for (file, service) in [
        ("./lib/systemd/system/no-such.service", true),
        ("./usr/lib/systemd/system/no-such.socket", true),
        ("./etc/init.d/no-such", true),
        ("./etc/init.d/no-such -> other", true),
        ("./etc/init.d/", false),
        ("./usr/lib/systemd/user/no-such.service", false),
        ("./usr/share/doc/no-such.service", false),
    ] {
        let line = format!("-rw-r--r-- root/root 431 2022-10-10 10:10 {file}\n");
        fs::write(machine.path("a.deb"), line).unwrap();
        let outcome = machine.run("need_packages no-such-program=one");
        assert_eq!(outcome.status.code(), Some(if service { 100 } else { 1 }), "{outcome:?}");
        let error = text(&outcome.stderr);
        assert_eq!(error.contains("scripts/any: a.deb contains the service /"), service, "{error}");
    }
}

/// Debian's libclang-cpp14 has a file libclang-cpp.so.14, which is not libclang.
#[test]
fn libclang_is_missing_where_the_build_script_cannot_load_it() {
    let machine = Machine::new(1000);
    machine.program(
        "build",
        "echo 'error: libclang was not found: install the package libclang-dev' >&2; exit 1",
    );
    let needs = "build=(build); need_packages build=libclang-dev/clang-devel; echo on";
    let outcome = machine.run(needs);
    assert_eq!((outcome.status.code(), text(&outcome.stdout)), (Some(1), ""));
    let last = text(&outcome.stderr).lines().last().unwrap();
    assert_eq!(last, "scripts/any: packages are missing; type: sudo apt-get install libclang-dev");

    // Other errors of the build are shown unchanged.
    machine.program("build", "echo 'error: a typing mistake' >&2; exit 101");
    let outcome = machine.run(needs);
    assert_eq!((outcome.status.code(), text(&outcome.stdout)), (Some(101), ""));
    assert!(text(&outcome.stderr).ends_with("error: a typing mistake\n"), "{outcome:?}");
    machine.program("build", "");
    assert_eq!(text(&machine.run(needs).stdout), "on\n");
}

/// On a terminal, the first build shows cargo's progress bar, and no line for each crate.
#[test]
fn a_build_shows_its_progress() {
    let machine = Machine::new(1000);
    machine.program(
        "build",
        r"printf '   Compiling one v1.0.0\n    Building [=> ] 1/2: one\r   Compiling two v1.0.0\nwarning: unused\n  --> a.rs\n    Building [==>] 2/2: two\r    Finished `dev` profile\n'",
    );
    let outcome = machine.run("build | show_progress");
    assert_eq!(text(&outcome.stdout), "warning: unused\n  --> a.rs\n");
    let bars = "\r    Building [=> ] 1/2: one\r    Building [==>] 2/2: two\r\x1b[K";
    assert_eq!(text(&outcome.stderr), bars);
}

/// setup.sh searches for texts of build.rs: when libclang cannot be loaded, and when its
/// headers cannot be read.
#[test]
fn the_build_script_names_the_package_of_libclang() {
    let source = include_str!("../../build.rs");
    assert!(source.contains("package libclang-dev"));
    assert_eq!(source.matches("{PACKAGES}").count(), 2);
}

#[test]
fn a_rust_that_is_too_old_is_named_with_its_version() {
    let machine = Machine::new(0);
    machine.program("cargo", "echo cargo 1.63.0");
    let outcome = machine.run("need_packages cargo=cargo");
    assert_eq!(outcome.status.code(), Some(1));
    let error = text(&outcome.stderr);
    assert!(
        error.contains("cargo 1.63.0 (") && error.contains("expected Rust 1.85 or later"),
        "{error}"
    );
    // The error names a newer Rust; Debian 12 has packages of one.
    assert!(error.contains("cargo-web") || error.contains("https://rustup.rs"), "{error}");
    assert!(include_str!("../../Cargo.toml").contains("rust-version = \"1.85\""));
}

#[test]
fn a_server_on_path_is_used_and_a_missing_one_is_named() {
    let ask = |program: &str| {
        let machine = Machine::new(0);
        machine.program("a-server", "");
        let output = machine.run(&format!("need_server no-such-package {program}"));
        assert!(output.status.success(), "{output:?}");
        text(&output.stderr).to_owned()
    };
    assert_eq!(ask("a-server"), "");
    let said = ask("no-such-server");
    let wanted = "package no-such-package is not available: tests that need it are ignored";
    assert_eq!(said.matches(wanted).count(), 1, "{said}");
    assert!(!Path::new(TOP).join("target/servers/no-such-package").exists());
}
