//! The recorded run: 875 jobs on a real broker, and what that broker counted.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use serde_json::Value;

use super::found::TOP;
use super::{counts_of_job_stats, Counts};

/// One recorded callback.
pub struct Recorded {
    /// Seconds since the epoch.
    pub time: f64,
    pub topic: String,
    pub args: Value,
}

/// The callbacks, in order.
pub fn callbacks() -> Vec<Recorded> {
    let file = fs::File::open(data("mixed-875.jsonl.gz")).expect("the trace is in tests/data");
    BufReader::new(GzDecoder::new(file))
        .lines()
        .map(|line| {
            let mut object: Value = serde_json::from_str(&line.unwrap()).expect("JSON");
            Recorded {
                time: object["t"].as_f64().unwrap(),
                topic: object["topic"].as_str().unwrap().to_owned(),
                args: object["in"].take(),
            }
        })
        .collect()
}

/// The broker's own counts, before the purge and after it.
pub fn truth(moment: &str) -> Counts {
    counts_of_job_stats(&stats(moment))
}

/// What `flux job stats` printed, before the purge and after it.
pub fn stats(moment: &str) -> Value {
    let text = fs::read_to_string(data(&format!("mixed-875.{moment}.stats.json"))).unwrap();
    serde_json::from_str(&text).expect("JSON")
}

fn data(name: &str) -> PathBuf {
    Path::new(TOP).join("tests/data").join(name)
}
