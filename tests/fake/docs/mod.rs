//! Files and tests that the documents name exist, and the manual pages are complete and valid.

mod metrics;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use state_counts::collectors::COLLECTORS;
use state_counts::config::KEYS;

use crate::support::all_collectors;
use crate::support::found::{found, TOP};

/// The names of tests in backquotes after the name of a Rust file: fake/load.rs `a_name`.
fn named(text: &str) -> Vec<(&str, &str)> {
    let (mut file, mut named) = (None, Vec::new());
    for (number, part) in text.split('`').enumerate() {
        if number % 2 == 1 {
            let is_test =
                part.contains('_') && part.chars().all(|c| c.is_alphanumeric() || "_…".contains(c));
            named.extend(file.filter(|_| is_test).map(|file| (file, part)));
        } else if let Some(last) = part.split_whitespace().rfind(|word| word.ends_with(".rs")) {
            file = Some(last.trim_start_matches('('));
        } else if part.contains('|') {
            file = None;
        }
    }
    named
}

#[test]
fn each_test_that_the_documents_name_exists() {
    let (mut count, mut missing) = (0, Vec::new());
    for doc in ["reliability.md"] {
        let text = fs::read_to_string(Path::new(TOP).join("docs").join(doc)).unwrap();
        for (file, test) in text.lines().flat_map(named) {
            count += 1;
            let paths = ["tests", "src"].map(|folder| Path::new(TOP).join(folder).join(file));
            let source = paths.iter().find_map(|path| fs::read_to_string(path).ok());
            // A name may be cut.
            let found = |source: String| match test.strip_suffix('…') {
                Some(start) => source.contains(&format!("fn {start}")),
                // Scenarios are generic.
                None => ["(", "<H: Host>("]
                    .iter()
                    .any(|end| source.contains(&format!("fn {test}{end}"))),
            };
            if !source.is_some_and(found) {
                missing.push(format!("{doc}: {file} {test}"));
            }
        }
    }
    assert!(count > 40, "{count}");
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

#[test]
fn each_test_file_that_the_documents_name_exists() {
    let documents = fs::read_dir(Path::new(TOP).join("docs")).unwrap().map(|it| it.unwrap().path());
    let own = ["README.md", "CONTRIBUTING.md"].map(|name| Path::new(TOP).join(name));
    let (mut count, mut missing) = (0, Vec::new());
    for path in documents.chain(own).filter(|path| path.extension().is_some_and(|it| it == "md")) {
        let text = fs::read_to_string(&path).unwrap();
        let in_path = |c: char| c.is_alphanumeric() || "_/.".contains(c);
        for name in text.split(|c: char| !in_path(c)).filter(|name| name.ends_with(".rs")) {
            let name = name.trim_start_matches("../");
            // Other names are examples, or files of other projects.
            let ours = ["tests/", "fake/", "broker/", "scenarios/", "external/", "benches/"];
            if !ours.iter().any(|folder| name.starts_with(folder)) {
                continue;
            }
            count += 1;
            if !["", "tests"].iter().any(|at| Path::new(TOP).join(at).join(name).exists()) {
                missing.push(format!("{}: {name}", path.display()));
            }
        }
    }
    assert!(count > 40, "{count}");
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

/// The manual pages in the man path.
pub const PAGES: [&str; 3] = [
    "man1/flux-jobtap-state-counts.1",
    "man5/flux-config-state-counts.5",
    "man7/flux-state-counts.7",
];

/// The sources of the manual pages.
fn manual() -> String {
    let sources = ["flux-jobtap-state-counts", "flux-config-state-counts"]
        .map(|name| Path::new(TOP).join("docs").join(name).with_extension("rst"));
    sources.map(|path| fs::read_to_string(path).unwrap()).concat()
}

/// Each key and each collector has a paragraph.
#[test]
fn the_manual_describes_each_key_and_each_collector() {
    let text = manual();
    for word in KEYS.iter().map(|key| key.name).chain(all_collectors()) {
        assert!(text.contains(&format!("\n{word}\n   ")), "{word}");
    }
}

#[test]
fn the_manual_lists_each_tag_of_the_collectors() {
    let manual = manual();
    let end = manual.find("are the plugin's own").expect("the list's end");
    let start = manual[..end].rfind(". ").expect("the sentence's start");
    // *state*, *queue*, … and *scheme*
    let listed: BTreeSet<_> = manual[start..end].split('*').skip(1).step_by(2).collect();
    let own: BTreeSet<_> =
        COLLECTORS.iter().flat_map(|collector| collector.tags).copied().collect();
    assert_eq!(listed, own);
}

/// Writes the manual pages below a folder.
fn write_pages(folder: &Path) {
    let output = Command::new(format!("{TOP}/scripts/manual")).arg(folder).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let paths = PAGES.map(|page| format!("{}\n", folder.join(page).display()));
    assert_eq!(String::from_utf8(output.stdout).unwrap(), paths.concat());
}

#[test]
fn the_manual_pages_render_without_a_warning_of_rst2man() {
    let folder = tempfile::tempdir().unwrap();
    write_pages(folder.path());
    for page in &PAGES[..2] {
        let text = fs::read_to_string(folder.path().join(page)).unwrap();
        let (name, section) = page.rsplit(['/']).next().unwrap().rsplit_once('.').unwrap();
        // Versions of rst2man differ in quotes and case.
        let title = text.lines().find(|line| line.starts_with(".TH ")).unwrap();
        let words: Vec<_> = title.split(' ').map(|word| word.trim_matches('"')).collect();
        assert_eq!((words[1].to_lowercase().as_str(), words[2]), (name, section), "{title}");
    }
}

#[test]
#[cfg_attr(not(have_mandoc), ignore = "needs mandoc, and scripts/test")]
fn mandoc_accepts_the_manual_pages() {
    let folder = tempfile::tempdir().unwrap();
    write_pages(folder.path());
    let mandoc = |arguments: &[&str]| {
        let mut mandoc = Command::new(Path::new(&found("STATE_COUNTS_MANDOC")).join("bin/mandoc"));
        let output = mandoc.args(arguments).current_dir(folder.path()).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    for page in &PAGES[..2] {
        let problems = mandoc(&["-Tlint", "-Wwarning", page]);
        // These are rst2man's, and change nothing on the page.
        let known = ["missing date", "skipping paragraph macro", "unknown font"];
        let is_known = |line: &&str| known.iter().any(|text| line.contains(text));
        assert_eq!(problems.lines().find(|line| !is_known(line)), None, "{problems}");
    }
    assert_eq!(mandoc(&["-Tutf8", PAGES[2]]), mandoc(&["-Tutf8", PAGES[0]]));
}

#[test]
fn the_design_shows_the_shortest_collector() {
    let read = |path: &str| fs::read_to_string(Path::new(TOP).join(path)).unwrap();
    let states = read("src/collectors/states.rs");
    let design = read("docs/design.md");
    assert!(design.contains(&format!("```rust\n{states}```\n")));
    assert!(design.lines().count() <= 120, "a page to read at once");
}

/// The commands of the README, a file that runs each of them, and a part of the file.
const COMMANDS: [(&str, &str, &str); 8] = [
    ("scripts/demo", "scripts/fresh", "$user scripts/demo"),
    ("scripts/test", "scripts/fresh", "$user scripts/test"),
    ("scripts/install", "tests/support/install.rs", "scripts/install"),
    ("flux jobtap load", "tests/support/broker.rs", "[\"jobtap\", \"load\", plugin]"),
    ("flux jobtap query", "tests/support/broker.rs", "[\"jobtap\", \"query\", NAME]"),
    (
        "install -D -m 755 packaging/rc1.d-state-counts",
        "tests/fake/rc1_example.rs",
        "packaging/rc1.d-state-counts",
    ),
    ("tar -xzf", "tests/fake/package.rs", "\"-xf\", &tarball"),
    // apt calls dpkg.
    ("apt install", "tests/fake/package.rs", "[\"dpkg\", \"--install\""),
];

#[test]
fn each_command_of_the_readme_is_run_by_a_test() {
    let read = |path: &str| fs::read_to_string(Path::new(TOP).join(path)).unwrap();
    let readme = read("README.md");
    let (mut commands, mut is_script) = (Vec::new(), false);
    for line in readme.lines() {
        match line {
            "```sh" => is_script = true,
            "```" => is_script = false,
            _ if is_script => commands.push(line),
            _ if line.contains("flux-state-counts") => commands.extend(line.split('`').nth(1)),
            _ => (),
        }
    }
    // Documented as not tested.
    commands.retain(|command| !command.starts_with("dnf "));
    assert!(commands.len() > 8, "{commands:?}");
    for command in commands {
        let known = COMMANDS.iter().find(|(start, ..)| command.starts_with(start));
        let (_, path, part) = known.unwrap_or_else(|| panic!("no test runs {command}"));
        assert!(read(path).contains(part), "{path} does not run {command}");
    }
}

#[test]
fn each_link_of_the_documents_leads_to_a_file() {
    let top = Path::new(TOP);
    let folders = ["", "docs", "docs/reports", "packaging"].map(|folder| top.join(folder));
    let (mut count, mut broken) = (0, Vec::new());
    for folder in folders {
        let files = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
        for path in files.filter(|path| path.extension().is_some_and(|it| it == "md")) {
            let text = fs::read_to_string(&path).unwrap();
            for link in text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next()) {
                if link.is_empty() || link.starts_with("http") {
                    continue;
                }
                count += 1;
                if !folder.join(link).exists() {
                    broken.push(format!("{}: {link}", path.display()));
                }
            }
        }
    }
    assert!(count > 40, "{count}");
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// The two stacks name functions that exist, innermost first.
#[test]
fn the_design_names_functions_of_the_sources() {
    let read = |path: &str| fs::read_to_string(Path::new(TOP).join(path)).unwrap();
    let design = read("docs/design.md");
    let stacks = design.split("```").nth(1).expect("the stacks");
    let frames: Vec<_> = stacks.lines().filter(|line| !line.is_empty()).collect();
    assert_eq!(frames.len(), 24);
    for frame in frames {
        let mut words = frame.split_whitespace();
        let (name, path) = (words.next().unwrap(), words.next().unwrap());
        let name = name.trim_end_matches("::{closure}").rsplit("::").next().unwrap();
        let source = read(&format!("src/{path}"));
        let is_found = |end: &&str| source.contains(&format!("fn {name}{end}"));
        assert!(["(", "<"].iter().any(is_found), "{frame}");
    }
}
