//! Names that have a meaning in the dialect of Graphite, read by carbon. The other dialects
//! are read in tests/fake/dialects.rs.

use std::io::Write;
use std::process::Stdio;

use serde_json::{json, Value};

use crate::support::found::found;
use crate::support::hostile::{chunks, lines, meant, read, value, Tags};
use crate::support::servers::process::python_of;

#[test]
#[cfg_attr(not(have_carbon), ignore = "needs Debian's graphite-carbon: scripts/test")]
fn hostile_names_are_read_correctly_by_carbon() {
    chunks().for_each(carbon_reads);
}

fn carbon_reads(names: &[&str]) {
    let lines = lines("graphite", names);
    let series: Vec<_> = lines.iter().map(|line| line.split_once(':').unwrap().0).collect();
    let script = "import sys, json; from carbon.util import TaggedSeries; \
                  json.dump([TaggedSeries.parse(it).tags for it in json.load(sys.stdin)], sys.stdout)";
    let mut python = python_of(found("STATE_COUNTS_CARBON"))
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    python.stdin.take().unwrap().write_all(json!(series).to_string().as_bytes()).unwrap();
    let output = python.wait_with_output().unwrap();
    let parsed: Vec<Tags> = serde_json::from_slice::<Value>(&output.stdout)
        .and_then(serde_json::from_value)
        .expect("carbon reads them");
    assert_eq!(parsed.len(), lines.len());
    let mut parsed = parsed.into_iter();
    let read = read(&lines, |line| {
        let mut tags = parsed.next().unwrap();
        let name = tags.remove("name").unwrap();
        let (value, kind) = value(&format!("x:{}", line.split_once(':').unwrap().1));
        ((name, tags, kind), value)
    });
    assert_eq!(read, meant("graphite", names));
}
