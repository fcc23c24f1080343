//! The complete output of the recorded run, in each dialect.

use std::path::{Path, PathBuf};
use std::{env, fs};

use serde_json::json;

use crate::support::artifact::plugin;
use crate::support::fake_job_manager::FakeJobManager;
use crate::support::found::TOP;
use crate::support::nodes::eight_nodes;
use crate::support::receiver::Receiver;
use crate::support::{all_collectors, trace, DIALECTS};

/// With this variable, the test writes the golden files instead of comparing them.
const UPDATE: &str = "STATE_COUNTS_UPDATE_GOLDEN";

/// The golden file of a dialect. Each line is a name with its tags, a type, and the last
/// value of a gauge, the sum of a counter or the number of timings. The plugin's metrics of
/// itself have `-`: they depend on how lines are put into datagrams. So have ages: they depend on
/// the clock.
pub fn golden(dialect: &str) -> PathBuf {
    Path::new(TOP).join(format!("tests/data/golden/{dialect}.txt"))
}

#[test]
fn the_output_of_the_recorded_run_equals_the_golden_files() {
    let mut differences = Vec::new();
    for dialect in DIALECTS {
        let (path, output) = (golden(dialect), output(dialect));
        if env::var_os(UPDATE).is_some() {
            fs::write(&path, &output).unwrap();
        }
        let expected = fs::read_to_string(&path).unwrap_or_default();
        let missing = expected.lines().filter(|line| !output.lines().any(|it| it == *line));
        differences.extend(missing.map(|line| format!("{dialect}: - {line}")));
        let added = output.lines().filter(|line| !expected.lines().any(|it| it == *line));
        differences.extend(added.map(|line| format!("{dialect}: + {line}")));
    }
    assert!(
        differences.is_empty(),
        "the output (+) differs from the golden files (-):\n{}\nIf this is intended, run\n\
         {UPDATE}=yes cargo test --test fake golden::",
        differences.join("\n")
    );
}

fn output(dialect: &str) -> String {
    let mut receiver = Receiver::start();
    let mut host = FakeJobManager::start(Some(&receiver.endpoint()));
    host.resources(eight_nodes("7", &["0-1", "3"]));
    host.config(&json!({"queues": {"batch": {}, "debug": {"requires": ["debug"]}}}));
    host.respond("job-manager.queue-list", json!({"queues": ["batch", "debug"]}));
    host.respond("job-manager.queue-status debug", json!({"enable": true, "start": false}));
    let housekeeping = json!({"t_start": 1.75e9, "pending": "", "allocated": "3-4"});
    host.respond("housekeeping", json!({"running": {"ƒA": housekeeping}}));
    let conf = json!({
        "metrics": all_collectors(), "dialect": dialect, "period": 1, "telemetry": true,
    });
    host.load(plugin(), conf).unwrap();
    trace::replay(&mut host, 500, |host| {
        host.advance(1.0);
        host.counts();
        receiver.seen();
    });
    trace::add_jobs(&mut host);
    // Longer than the interval between resyncs.
    host.advance(11.0);
    host.counts();

    let varies = |metric: &str| [".plugin", ".oldest_"].iter().any(|part| metric.contains(part));
    let lines = receiver.totals().into_iter().map(|(metric, value)| match varies(&metric) {
        true => format!("{metric} -\n"),
        false => format!("{metric} {value}\n"),
    });
    lines.collect()
}
