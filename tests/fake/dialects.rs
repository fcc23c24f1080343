//! Each dialect, read back by a reader that is not ours.

use crate::support::tagged::{datagram, wanted, Tags};
use influxdb_line_protocol::parse_lines;
use statsd_parser::Metric;

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
