//! Each dialect, read back by a reader that is not ours.

use std::process::Command;

use crate::support::tagged::{datagram, wanted};
use serde_json::{json, Value};

#[test]
#[cfg_attr(not(have_carbon), ignore = "needs Debian's graphite-carbon: scripts/test")]
fn graphites_tags_are_read_by_carbon() {
    let datagram = datagram("graphite");
    let (series, value) = datagram.split_once(':').unwrap();
    assert_eq!(value, "+1|g");
    let read = "import sys, json; from carbon.util import TaggedSeries; \
                print(json.dumps(TaggedSeries.parse(sys.argv[1]).tags))";
    let output = Command::new("/usr/bin/python3").args(["-c", read, series]).output().unwrap();
    let tags: Value = serde_json::from_slice(&output.stdout).expect("carbon reads it");
    let mut wanted = wanted();
    wanted.insert("name".into(), "jobs_on_x_y".into());
    assert_eq!(tags, json!(wanted));
}
