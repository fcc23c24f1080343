//! Each dialect, read back by a reader that is not ours.

mod support;

use std::collections::BTreeMap;
use std::net::UdpSocket;
use std::process::Command;

use influxdb_line_protocol::parse_lines;
use serde_json::{json, Value};
use statsd_parser::Metric;
use support::artifact::plugin;
use support::jobs::RUN;
use support::standin::Standin;

type Tags = BTreeMap<String, String>;

/// What the plugin sends when a job starts to run: a name, its tags, a value.
fn datagram(dialect: &str) -> String {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut host = Standin::start(Some(&server.local_addr().unwrap().to_string()));
    // Characters that mean something in one dialect or another.
    let tags = json!({"cluster": "{cluster}", "site": "a=b,c;d#e"});
    let mut conf = json!({"dialect": dialect, "resync": 0, "prefix": "jobs,on;x=y"});
    if dialect != "plain" {
        conf["tags"] = tags;
    }
    host.load(plugin(), conf).unwrap();
    host.advance(0.1);
    host.call("job.new", &json!({"id": 1, "state": RUN}));
    let mut buffer = [0; 2048];
    let length = server.recv(&mut buffer).unwrap();
    String::from_utf8(buffer[..length].to_vec()).unwrap()
}

fn wanted() -> Tags {
    let tags = [("state", "RUN"), ("cluster", "node"), ("site", "a_b_c_d_e")];
    tags.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

#[test]
fn plain_and_dogstatsd_are_read_by_statsd_parser() {
    for (dialect, name, tags) in
        [("plain", "jobs,on;x=y.RUN", None), ("dogstatsd", "jobs_on_x_y", Some(wanted()))]
    {
        let message = statsd_parser::parse(datagram(dialect)).expect("it can be read");
        assert_eq!((message.name.as_str(), &message.tags), (name, &tags));
        let Metric::Gauge(gauge) = message.metric else { panic!("{:?}", message.metric) };
        assert_eq!(gauge.value, 1.0);
    }
}

/// The name and tags are a line protocol's series, which is how Telegraf has it.
#[test]
fn influxdbs_tags_are_read_by_its_line_protocols_parser() {
    let datagram = datagram("influxdb");
    let (series, value) = datagram.split_once(':').unwrap();
    assert_eq!(value, "+1|g");
    let line = format!("{series} value=1");
    let line = parse_lines(&line).next().unwrap().expect("it can be read");
    assert_eq!(line.series.measurement.as_str(), "jobs_on_x_y");
    let tags: Tags = line
        .series
        .tag_set
        .unwrap()
        .iter()
        .map(|(key, value)| (key.to_string(), value.to_string()))
        .collect();
    assert_eq!(tags, wanted());
}

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
