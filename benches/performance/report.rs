//! The report tables in Markdown and in the documents.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use super::support::found::TOP;

/// The tables of docs/performance.md, and of docs/reports/times.md.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub enum Table {
    /// Figures that are the same on each machine.
    #[default]
    Counts,
    Times,
}

/// Measured figures, in order.
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
    /// Selects the table of the following figures.
    pub fn begin(&mut self, table: Table) {
        self.table = table;
    }

    /// Description and value of each figure.
    pub fn figures(&self) -> impl Iterator<Item = (&str, &str)> {
        self.rows.iter().map(|row| (row.what.as_str(), row.figure.as_str()))
    }

    /// Adds a figure with a goal.
    pub fn goal(&mut self, what: &str, figure: impl ToString, goal: &str, met: bool) {
        let verdict = if met { "met" } else { "**missed**" };
        self.push(what, figure.to_string(), goal, verdict);
    }

    /// Adds a figure without a goal.
    pub fn figure(&mut self, what: &str, figure: impl ToString) {
        self.push(what, figure.to_string(), "", "");
    }

    /// Adds a note about a figure that this machine cannot measure.
    pub fn leave_out(&mut self, what: &str, why: &str) {
        eprintln!("  omitted: {what}: {why}");
        self.left_out.push((self.table, format!("{what}: {why}")));
    }

    fn push(&mut self, what: &str, figure: String, goal: &str, verdict: &'static str) {
        eprintln!("  {what}: {figure} {verdict}");
        let (what, goal) = (what.to_owned(), goal.to_owned());
        self.rows.push(Row { table: self.table, what, figure, goal, verdict });
    }

    /// The table in Markdown, or `None` without figures.
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
            text.push_str("\nOmitted:\n");
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

/// Versions of the compilers and of jansson, which affect instruction counts.
pub fn toolchain() -> String {
    let rust = output("rustc", &["--version"]).unwrap_or_default();
    format!(
        "{}, gcc {}, jansson {}",
        rust.split(" (").next().unwrap_or_default(),
        output("cc", &["-dumpfullversion"]).as_deref().unwrap_or("unknown"),
        output("pkg-config", &["--modversion", "jansson"]).as_deref().unwrap_or("unknown"),
    )
}

/// Date, machine and command.
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

/// A path below docs/.
pub fn docs(path: &str) -> PathBuf {
    Path::new(TOP).join("docs").join(path)
}

const END: &str = "<!-- to here -->\n";

/// The document with the table, and the name of the table.
fn document(table: Table) -> (PathBuf, &'static str) {
    match table {
        Table::Counts => (docs("performance.md"), "counts"),
        Table::Times => (docs("reports/times.md"), "times"),
    }
}

/// Splits the document into the text before the table, the table, and the text after.
fn in_docs(table: Table) -> (String, String, String) {
    let (path, name) = document(table);
    let begin = format!("<!-- scripts/bench --docs writes the {name} from here -->\n");
    let text = fs::read_to_string(path).expect("the document exists");
    let (before, rest) = text.split_once(&begin).expect("it has a marker for the table");
    let (old, after) = rest.split_once(END).expect("the table has an end marker");
    (format!("{before}{begin}"), old.to_owned(), format!("{END}{after}"))
}

/// The table in its document.
pub fn read_docs(table: Table) -> String {
    in_docs(table).1
}

/// Replaces the table in its document.
pub fn write_docs(table: Table, text: &str) {
    let (before, _, after) = in_docs(table);
    let (path, _) = document(table);
    fs::write(&path, format!("{before}{text}{after}")).expect("docs is writable");
    eprintln!("Wrote {}", path.display());
}
