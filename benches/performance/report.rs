//! The table, as Markdown, and its place in docs/performance.md.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// What was measured, in order.
#[derive(Default)]
pub struct Report {
    rows: Vec<Row>,
    left_out: Vec<String>,
}

struct Row {
    what: String,
    figure: String,
    goal: String,
    verdict: &'static str,
}

impl Report {
    /// A figure that has a goal, and whether it is met.
    pub fn goal(&mut self, what: &str, figure: impl ToString, goal: &str, met: bool) {
        let verdict = if met { "met" } else { "**missed**" };
        self.push(what, figure.to_string(), goal, verdict);
    }

    /// A figure to compare others with.
    pub fn figure(&mut self, what: &str, figure: impl ToString) {
        self.push(what, figure.to_string(), "", "");
    }

    /// Something that this machine cannot measure.
    pub fn leave_out(&mut self, what: &str, why: &str) {
        eprintln!("  left out: {what}: {why}");
        self.left_out.push(format!("{what}: {why}"));
    }

    fn push(&mut self, what: &str, figure: String, goal: &str, verdict: &'static str) {
        eprintln!("  {what}: {figure} {verdict}");
        self.rows.push(Row { what: what.to_owned(), figure, goal: goal.to_owned(), verdict });
    }

    pub fn markdown(&self) -> String {
        let mut text = machine();
        text.push_str("\n| what | figure | goal | |\n|---|---|---|---|\n");
        for Row { what, figure, goal, verdict } in &self.rows {
            let _ = writeln!(text, "| {what} | {figure} | {goal} | {verdict} |");
        }
        if !self.left_out.is_empty() {
            text.push_str("\nLeft out:\n");
            for what in &self.left_out {
                let _ = writeln!(text, "- {what}");
            }
        }
        text
    }
}

/// The machine, the date and the command.
fn machine() -> String {
    let output = |command: &str, arguments: &[&str]| {
        let output = Command::new(command).args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cores = cpus.lines().filter(|line| line.starts_with("processor")).count();
    let date = output("date", &["--utc", "+%Y-%m-%d"]).unwrap_or_default();
    let kernel = output("uname", &["-sr"]).unwrap_or_default();
    let rust = output("rustc", &["--version"]).unwrap_or_default();
    let flux = output("flux", &["version"]).and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("libflux-core"))?;
        Some(format!("flux-core {}", line.split_whitespace().last()?))
    });
    let arguments: Vec<_> = env::args().skip(1).filter(|word| word != "--bench").collect();
    format!(
        "{date}, {}, {cores} cores, {kernel}, {}, {}; `{}`.\n",
        model.map_or("unknown CPU", |(_, model)| model),
        rust.split(" (").next().unwrap_or_default(),
        flux.as_deref().unwrap_or("no flux-core"),
        ["scripts/bench"]
            .into_iter()
            .chain(arguments.iter().map(String::as_str))
            .collect::<Vec<_>>()
            .join(" "),
    )
}

/// docs/ or what is below it.
pub fn docs(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(path)
}

/// Puts the table where docs/performance.md has its last one.
pub fn write_docs(table: &str) {
    const BEGIN: &str = "<!-- scripts/bench --docs writes from here -->\n";
    const END: &str = "<!-- to here -->\n";
    let path = docs("performance.md");
    let old = fs::read_to_string(&path).expect("docs/performance.md is there");
    let (before, rest) = old.split_once(BEGIN).expect("docs/performance.md has a place for it");
    let (_, after) = rest.split_once(END).expect("the place has an end");
    fs::write(&path, format!("{before}{BEGIN}{table}{END}{after}")).expect("docs is writable");
    eprintln!("Wrote {}", path.display());
}
