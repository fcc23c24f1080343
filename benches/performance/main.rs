//! Measures the costs of the plugin and compares them with goals. Run it with scripts/bench.
//!
//! Figures that are compared are measured alternately in one run, and are medians (see
//! `alternate`). Criterion is not used, because it measures one operation after the other
//! within one process.

#[path = "../../tests/support/mod.rs"]
mod support;

mod alternate;
mod broker;
mod callback;
mod compare;
mod counts;
mod drain;
mod emitter;
mod flush;
mod footprint;
mod instructions;
mod plot;
mod polls;
mod report;
mod scale;
mod thread;

use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;

use report::{Report, Table};

/// Options of the command line.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Use more jobs.
    full: bool,
    /// Write the tables and pictures to docs/.
    docs: bool,
    /// Compare the instruction counts with docs/performance.md.
    check: bool,
}

type Item = fn(&mut Report, Options);

/// Name of each item on the command line, and its table.
const ITEMS: [(&str, Table, Item); 10] = [
    ("instructions", Table::Counts, instructions::measure),
    ("thread", Table::Counts, thread::measure),
    ("counts", Table::Counts, counts::measure),
    ("footprint", Table::Counts, footprint::measure),
    ("callback", Table::Times, callback::measure),
    ("emitter", Table::Times, emitter::measure),
    ("flush", Table::Times, flush::measure),
    ("broker", Table::Times, broker::measure),
    ("scale", Table::Times, scale::measure),
    ("polls", Table::Times, polls::measure),
];

fn main() -> ExitCode {
    let mut options = Options { full: false, docs: false, check: false };
    let mut selected = Vec::new();
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            // An argument of cargo bench.
            "--bench" => (),
            "--full" => options.full = true,
            "--docs" => options.docs = true,
            "--check" => options.check = true,
            name => match ITEMS.iter().find(|(item, ..)| *item == name) {
                Some(item) => selected.push(*item),
                None => {
                    eprintln!("unknown item {name}: expected {:?}", ITEMS.map(|(name, ..)| name));
                    return ExitCode::from(2);
                }
            },
        }
    }
    if selected.is_empty() {
        selected.extend(ITEMS);
    }

    let mut report = Report::default();
    let mut failed = false;
    for (name, table, measure) in &selected {
        eprintln!("Measuring: {name}");
        report.begin(*table);
        // If an item fails, continue with the others.
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| measure(&mut report, options)));
        if outcome.is_err() {
            report.leave_out(name, "it failed (see above)");
            failed = true;
        }
    }
    for table in [Table::Counts, Table::Times] {
        let whole = ITEMS.iter().filter(|(_, of, _)| *of == table);
        let whole = whole.clone().all(|(name, ..)| selected.iter().any(|(it, ..)| it == name));
        let Some(text) = report.markdown(table) else { continue };
        println!("{text}");
        if options.docs && whole && !failed {
            report::write_docs(table, &text);
        }
    }
    if options.check {
        failed |= !compare::with_docs(&report);
    }
    if failed {
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
