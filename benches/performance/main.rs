//! The performance table: what the plugin costs, beside what it may cost.
//!
//! Everything that is compared is measured in one run, in turn, and told as a
//! median (see `alternate`). Criterion measures one thing after another and
//! within one process; most of what is compared here lives in processes of its
//! own. Run it with scripts/bench.

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
mod report;
mod scale;
mod thread;

use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;

use report::{Report, Table};

/// What the command line asks for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Longer batches of jobs in a broker, and more time for them.
    full: bool,
    /// Write what was measured into docs/.
    docs: bool,
    /// Compare the instructions with those in docs/.
    check: bool,
}

type Item = fn(&mut Report, Options);

/// The items, by the name under which each can be asked for alone, and the table that
/// each is a part of.
const ITEMS: [(&str, Table, Item); 9] = [
    ("instructions", Table::Counts, instructions::measure),
    ("thread", Table::Counts, thread::measure),
    ("counts", Table::Counts, counts::measure),
    ("footprint", Table::Counts, footprint::measure),
    ("callback", Table::Times, callback::measure),
    ("emitter", Table::Times, emitter::measure),
    ("flush", Table::Times, flush::measure),
    ("broker", Table::Times, broker::measure),
    ("scale", Table::Times, scale::measure),
];

fn main() -> ExitCode {
    let mut options = Options { full: false, docs: false, check: false };
    let mut wanted = Vec::new();
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            // cargo's own.
            "--bench" => (),
            "--full" => options.full = true,
            "--docs" => options.docs = true,
            "--check" => options.check = true,
            name => match ITEMS.iter().find(|(item, ..)| *item == name) {
                Some(item) => wanted.push(*item),
                None => {
                    eprintln!("{name} is no item: want {:?}", ITEMS.map(|(name, ..)| name));
                    return ExitCode::from(2);
                }
            },
        }
    }
    if wanted.is_empty() {
        wanted.extend(ITEMS);
    }

    let mut report = Report::default();
    let mut failed = false;
    for (name, table, measure) in &wanted {
        eprintln!("Measuring: {name}");
        report.begin(*table);
        // What one cannot measure costs the others nothing.
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| measure(&mut report, options)));
        if outcome.is_err() {
            report.leave_out(name, "it failed, see above");
            failed = true;
        }
    }
    for table in [Table::Counts, Table::Times] {
        let whole = ITEMS.iter().filter(|(_, of, _)| *of == table);
        let whole = whole.clone().all(|(name, ..)| wanted.iter().any(|(it, ..)| it == name));
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
