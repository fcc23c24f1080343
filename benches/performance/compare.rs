//! Compares measured instruction counts with docs/performance.md.

use std::collections::BTreeMap;

use super::report::{read_docs, toolchain, Report, Table};

/// Largest allowed ratio of a new figure to the old one.
const MAX_RATIO: f64 = 1.03;

/// Returns false and prints the figures if one is more than `MAX_RATIO` times its old value.
pub fn with_docs(report: &Report) -> bool {
    let committed = read_docs(Table::Counts);
    let toolchain = toolchain();
    if !committed.contains(&toolchain) {
        println!("Not compared: docs/performance.md was not measured with {toolchain}.");
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
        if change > MAX_RATIO {
            println!("{what}: {now} instructions, {before} before: ratio {change:.3}, too high");
            right = false;
        } else if change < 1.0 / MAX_RATIO {
            println!("{what}: {now} instructions, {before} before: ratio {change:.3}");
        }
    }
    println!("Compared {compared} figures with docs/performance.md.");
    if !right {
        println!(
            "Reduce the figures, or give a reason and write the new ones with \
             scripts/bench --docs instructions thread counts footprint"
        );
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
