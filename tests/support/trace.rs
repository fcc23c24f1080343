//! The recorded run: 875 jobs on a broker, and the counts of that broker.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use flate2::read::GzDecoder;
use serde_json::{json, Value};

use super::fake_job_manager::FakeJobManager;
use super::found::TOP;
use super::jobs::{described, live_as, COURSE, DEPEND, INACTIVE, RUN, SCHED};
use super::{counts_of_job_stats, Counts};

/// A recorded callback.
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

/// Replays all callbacks, with a pause before the first one and after every `interval` ones.
pub fn replay(
    host: &mut FakeJobManager,
    interval: usize,
    mut pause: impl FnMut(&mut FakeJobManager),
) {
    for (number, recorded) in callbacks().iter().enumerate() {
        if number % interval == 0 {
            pause(host);
        }
        host.call(&recorded.topic, &recorded.args);
    }
}

/// Runs some jobs more: with them, each metric of each collector is sent.
pub fn add_jobs(host: &mut FakeJobManager) {
    for (id, last) in [(1, DEPEND), (2, SCHED), (3, RUN), (4, INACTIVE)] {
        let mut job = described(id);
        job["jobspec"]["attributes"]["system"]["dependencies"] = json!([{"scheme": "afterok"}]);
        let length = 1 + COURSE.iter().position(|state| *state == last).unwrap();
        live_as(host, &job, &COURSE[..length]);
    }
    for kind in ["cancel", "timeout", "node-fail"] {
        host.raise(3, kind);
    }
}

/// The broker's own counts, before the purge or after it.
pub fn truth(moment: &str) -> Counts {
    counts_of_job_stats(&stats(moment))
}

/// The output of `flux job stats`, before the purge or after it.
pub fn stats(moment: &str) -> Value {
    let text = fs::read_to_string(data(&format!("mixed-875.{moment}.stats.json"))).unwrap();
    serde_json::from_str(&text).expect("JSON")
}

fn data(name: &str) -> PathBuf {
    Path::new(TOP).join("tests/data").join(name)
}
