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
mod counts;
mod drain;
mod emitter;
mod flush;
mod footprint;
mod instructions;
mod plot;
mod report;

use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;

use report::Report;

/// What the command line asks for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Longer batches of jobs in a broker, and more time for them.
    full: bool,
    /// Write what was measured into docs/.
    docs: bool,
}

type Item = fn(&mut Report, Options);

/// The items, by the name under which each can be asked for alone.
const ITEMS: [(&str, Item); 7] = [
    ("instructions", instructions::measure),
    ("callback", callback::measure),
    ("emitter", emitter::measure),
    ("counts", counts::measure),
    ("flush", flush::measure),
    ("broker", broker::measure),
    ("footprint", footprint::measure),
];

fn main() -> ExitCode {
    let mut options = Options { full: false, docs: false };
    let mut wanted = Vec::new();
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            // cargo's own.
            "--bench" => (),
            "--full" => options.full = true,
            "--docs" => options.docs = true,
            name => match ITEMS.iter().find(|(item, _)| *item == name) {
                Some(item) => wanted.push(*item),
                None => {
                    eprintln!("{name} is no item: want {:?}", ITEMS.map(|(name, _)| name));
                    return ExitCode::from(2);
                }
            },
        }
    }
    let all = wanted.is_empty();
    if all {
        wanted.extend(ITEMS);
    }

    let mut report = Report::default();
    let mut failed = false;
    for (name, measure) in wanted {
        eprintln!("Measuring: {name}");
        // What one cannot measure costs the others nothing.
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| measure(&mut report, options)));
        if outcome.is_err() {
            report.leave_out(name, "it failed, see above");
            failed = true;
        }
    }
    let text = report.markdown();
    println!("{text}");
    if failed {
        return ExitCode::FAILURE;
    }
    if options.docs && all {
        report::write_docs(&text);
    }
    ExitCode::SUCCESS
}
