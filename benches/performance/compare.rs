//! The instructions that were measured, and those in docs/performance.md.

use std::collections::BTreeMap;

use super::report::{read_docs, toolchain, Report, Table};

/// How many times as many are too many.
const TOO_MANY: f64 = 1.03;

/// Whether none takes more than it did. Says what does.
pub fn with_docs(report: &Report) -> bool {
    let committed = read_docs(Table::Counts);
    let toolchain = toolchain();
    if !committed.contains(&toolchain) {
        println!("Not compared: docs/performance.md was measured with others than {toolchain}.");
        return true;
    }
    let committed: BTreeMap<&str, f64> = committed.lines().filter_map(row).collect();
    let mut right = true;
    let mut compared = 0;
    for (what, figure) in report.figures() {
        let Some(now) = instructions(figure) else { continue };
        let Some(before) = committed.get(what) else {
            println!("{what}: not in docs/performance.md");
            right = false;
            continue;
        };
        compared += 1;
        let change = now / before;
        if change > TOO_MANY {
            println!("{what}: {now} instructions, {before} before: {change:.3} times as many");
            right = false;
        } else if change < 1.0 / TOO_MANY {
            println!("{what}: {now} instructions, {before} before: {change:.3} of them");
        }
    }
    println!("Compared {compared} figures with docs/performance.md.");
    if !right {
        println!("Make it cheaper, or say why not, and write the new ones: scripts/bench --docs instructions thread counts footprint");
    }
    right
}

/// "| what | 12 instructions | goal | verdict |"
fn row(line: &str) -> Option<(&str, f64)> {
    let mut cells = line.split('|').map(str::trim).skip(1);
    Some((cells.next()?, instructions(cells.next()?)?))
}

fn instructions(figure: &str) -> Option<f64> {
    figure.strip_suffix(" instructions")?.parse().ok()
}
