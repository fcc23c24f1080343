//! The table, as Markdown, and its place in docs/performance.md.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use super::support::found::TOP;

/// The two tables of docs/performance.md.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub enum Table {
    /// What is the same on every machine and every day.
    #[default]
    Counts,
    Times,
}

/// What was measured, in order.
#[derive(Default)]
pub struct Report {
    table: Table,
    rows: Vec<Row>,
    left_out: Vec<(Table, String)>,
}

struct Row {
    table: Table,
    what: String,
    figure: String,
    goal: String,
    verdict: &'static str,
}

impl Report {
    /// What follows is for this table.
    pub fn begin(&mut self, table: Table) {
        self.table = table;
    }

    /// What was measured, and the figure.
    pub fn figures(&self) -> impl Iterator<Item = (&str, &str)> {
        self.rows.iter().map(|row| (row.what.as_str(), row.figure.as_str()))
    }

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
        self.left_out.push((self.table, format!("{what}: {why}")));
    }

    fn push(&mut self, what: &str, figure: String, goal: &str, verdict: &'static str) {
        eprintln!("  {what}: {figure} {verdict}");
        let (what, goal) = (what.to_owned(), goal.to_owned());
        self.rows.push(Row { table: self.table, what, figure, goal, verdict });
    }

    /// A table of what was measured for it, if anything was.
    pub fn markdown(&self, table: Table) -> Option<String> {
        let rows: Vec<_> = self.rows.iter().filter(|row| row.table == table).collect();
        let left_out: Vec<_> = self.left_out.iter().filter(|(of, _)| *of == table).collect();
        if rows.is_empty() && left_out.is_empty() {
            return None;
        }
        let mut text = machine();
        text.push_str("\n| what | figure | goal | |\n|---|---|---|---|\n");
        for Row { what, figure, goal, verdict, .. } in rows {
            let _ = writeln!(text, "| {what} | {figure} | {goal} | {verdict} |");
        }
        if !left_out.is_empty() {
            text.push_str("\nLeft out:\n");
            for (_, what) in left_out {
                let _ = writeln!(text, "- {what}");
            }
        }
        Some(text)
    }
}

fn output(command: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(command).args(arguments).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// What makes the code that is measured, on which the number of instructions depends.
pub fn toolchain() -> String {
    let rust = output("rustc", &["--version"]).unwrap_or_default();
    format!(
        "{}, gcc {}, jansson {}",
        rust.split(" (").next().unwrap_or_default(),
        output("cc", &["-dumpfullversion"]).as_deref().unwrap_or("unknown"),
        output("pkg-config", &["--modversion", "jansson"]).as_deref().unwrap_or("unknown"),
    )
}

/// The machine, the date and the command.
fn machine() -> String {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let cores = cpus.lines().filter(|line| line.starts_with("processor")).count();
    let date = output("date", &["--utc", "+%Y-%m-%d"]).unwrap_or_default();
    let kernel = output("uname", &["-sr"]).unwrap_or_default();
    let flux = output("flux", &["version"]).and_then(|text| {
        let line = text.lines().find(|line| line.starts_with("libflux-core"))?;
        Some(format!("flux-core {}", line.split_whitespace().last()?))
    });
    let arguments: Vec<_> = env::args().skip(1).filter(|word| word != "--bench").collect();
    format!(
        "{date}, {}, {cores} cores, {kernel}, {}, {}; `{}`.\n",
        model.map_or("unknown CPU", |(_, model)| model),
        toolchain(),
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
    Path::new(TOP).join("docs").join(path)
}

const END: &str = "<!-- to here -->\n";

/// docs/performance.md: what is before the last table, the table, and what follows.
fn in_docs(table: Table) -> (String, String, String) {
    let name = match table {
        Table::Counts => "counts",
        Table::Times => "times",
    };
    let begin = format!("<!-- scripts/bench --docs writes the {name} from here -->\n");
    let text = fs::read_to_string(docs("performance.md")).expect("docs/performance.md is there");
    let (before, rest) = text.split_once(&begin).expect("docs/performance.md has a place for it");
    let (old, after) = rest.split_once(END).expect("the place has an end");
    (format!("{before}{begin}"), old.to_owned(), format!("{END}{after}"))
}

/// The last table.
pub fn read_docs(table: Table) -> String {
    in_docs(table).1
}

/// Puts a table where docs/performance.md has its last one.
pub fn write_docs(table: Table, text: &str) {
    let (before, _, after) = in_docs(table);
    let path = docs("performance.md");
    fs::write(&path, format!("{before}{text}{after}")).expect("docs is writable");
    eprintln!("Wrote {}", path.display());
}
