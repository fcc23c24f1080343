//! All collectors in statsd_exporter with the mapping of dashboards/, and in Prometheus behind
//! it.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;
use std::{fs, thread};

use serde_json::{json, Value};

use crate::support::artifact::plugin;
use crate::support::fake_job_manager::FakeJobManager;
use crate::support::found::{found, TOP};
use crate::support::mapping::{prometheus_config, Labels, Names};
use crate::support::nodes::eight_nodes;
use crate::support::receiver::Receiver;
use crate::support::servers::exporter::Exporter;
use crate::support::servers::http::get;
use crate::support::servers::process::{await_tcp, command_of, free_port, wait_for, Process};
use crate::support::servers::run::Server;
use crate::support::{all_collectors, trace};

/// Sends the metrics of the recorded run with all collectors to the exporter and to a
/// receiver.
fn send_all(exporter: &mut Exporter, dialect: &str) -> Receiver {
    let mut receiver = Receiver::start();
    let mut host = FakeJobManager::start(None);
    let mut conf = json!({
        "endpoint": [exporter.endpoint(), receiver.endpoint()], "metrics": all_collectors(),
        "period": "50ms", "telemetry": true, "resync": "1h", "dialect": dialect,
    });
    if dialect != "plain" {
        conf["tags"] = json!({"cluster": "{cluster}"});
        conf["cluster"] = json!("c-1");
    }
    host.resources(eight_nodes("7", &["0-1", "3"]));
    host.config(&json!({"queues": {"batch": {}, "debug": {}}}));
    host.respond("job-manager.queue-list", json!({"queues": ["batch", "debug"]}));
    host.respond("job-manager.queue-status debug", json!({"enable": true, "start": false}));
    let housekeeping = json!({"t_start": 1.75e9, "pending": "", "allocated": "3-4"});
    host.respond("housekeeping", json!({"running": {"ƒA": housekeeping}}));
    host.load(plugin(), conf).unwrap();
    host.advance(0.1);
    let read = |exporter: &mut Exporter, host: &mut FakeJobManager| {
        let datagrams = host.query()["endpoints"][0]["datagrams"].as_u64().unwrap();
        wait_for("all that was sent", || exporter.has_read(datagrams));
    };
    trace::replay(&mut host, 100, |host| {
        host.advance(0.05);
        read(exporter, host);
    });
    trace::add_jobs(&mut host);
    host.advance(10.0);
    read(exporter, &mut host);
    // A normal end would set the gauges to 0.
    host.kill();
    receiver.seen();
    receiver
}

#[test]
#[cfg_attr(not(have_exporter), ignore = "needs statsd_exporter on PATH")]
fn statsd_exporter_maps_each_line_of_each_collector() {
    for dialect in ["plain", "dogstatsd", "influxdb"] {
        let mut exporter = Exporter::new();
        send_all(&mut exporter, dialect);
        // The last metric that is sent.
        wait_for("its telemetry", || get(exporter.web, "/metrics").contains("\nflux_plugin_bytes"));
        let unmapped = exporter.own("statsd_exporter_events_unmapped_total");
        assert_eq!(unmapped, 0.0, "{dialect}");
        let text = get(exporter.web, "/metrics");
        let errors = ["sample_errors_total", "tag_errors_total", "events_error_total", "conflict"];
        for line in text.lines().filter(|line| errors.iter().any(|name| line.contains(name))) {
            assert!(line.starts_with('#') || line.ends_with(" 0"), "{dialect}: {line}");
        }
    }
}

/// The values of a query to Prometheus by their labels, without those of the target.
fn promql(port: u16, query: &str) -> BTreeMap<Labels, f64> {
    let encoded: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let answer = get(port, &format!("/api/v1/query?query={encoded}"));
    let answer: Value = serde_json::from_str(&answer).unwrap_or_default();
    let results = answer["data"]["result"].as_array().cloned().unwrap_or_default();
    let by_labels = results.into_iter().map(|result| {
        let mut labels: Labels = serde_json::from_value(result["metric"].clone()).unwrap();
        labels.retain(|label, _| !["instance", "job"].contains(&label.as_str()));
        (labels, result["value"][1].as_str().unwrap().parse().unwrap())
    });
    by_labels.collect()
}

/// Starts Prometheus with dashboards/prometheus.yml. Returns its port.
fn prometheus(exporter: &Exporter, dialect: &str, folder: &Path) -> (Process, u16) {
    let mut config = prometheus_config();
    config["global"]["scrape_interval"] = json!("1s");
    config["rule_files"] = json!([format!("{TOP}/dashboards/alerts.yml")]);
    let target = &mut config["scrape_configs"][0]["static_configs"][0];
    target["targets"] = json!([format!("127.0.0.1:{}", exporter.web)]);
    target["labels"] = if dialect == "plain" { json!({"cluster": "c-1"}) } else { json!({}) };
    let file = folder.join("prometheus.yml");
    fs::write(&file, config.to_string()).unwrap();
    let web = free_port();
    let mut command = command_of(found("STATE_COUNTS_PROMETHEUS"), "bin/prometheus");
    command.arg(format!("--config.file={}", file.display()));
    command.arg(format!("--web.listen-address=127.0.0.1:{web}"));
    command.arg(format!("--storage.tsdb.path={}", folder.join("data").display()));
    let process = Process::start(command, folder);
    await_tcp(web);
    (process, web)
}

/// All values of the whole chain, read with PromQL.
#[test]
#[cfg_attr(
    not(all(have_exporter, have_prometheus)),
    ignore = "needs statsd_exporter on PATH, and Debian's prometheus: scripts/test"
)]
fn prometheus_behind_statsd_exporter_has_correct_values() {
    for dialect in ["plain", "dogstatsd", "influxdb"] {
        has_correct_values(dialect);
    }
}

fn has_correct_values(dialect: &str) {
    let mut exporter = Exporter::new();
    let folder = tempfile::tempdir().unwrap();
    let (_prometheus, web) = prometheus(&exporter, dialect, folder.path());
    let mut receiver = send_all(&mut exporter, dialect);
    let names = Names::read();
    let expected = receiver.totals().into_iter().map(|(metric, total)| {
        let (metric, kind) = metric.rsplit_once(' ').unwrap();
        let mut series = names.series(dialect, metric, kind).0;
        series.insert("cluster".to_owned(), "c-1".to_owned());
        (series, total as f64)
    });
    let expected: BTreeMap<_, _> = expected.collect();
    let all = r#"{__name__=~"flux_.+", __name__!~".+_(sum|bucket)"}"#;
    wait_for("the last scrape", || {
        promql(web, all).keys().any(|it| it["__name__"] == "flux_plugin_bytes_total")
    });
    // Another scrape has everything.
    thread::sleep(Duration::from_secs(2));
    let actual = promql(web, all);
    let differs = |one: &BTreeMap<Labels, f64>, other: &BTreeMap<Labels, f64>| -> Vec<_> {
        let mut differing = Vec::new();
        for (labels, value) in
            one.iter().filter(|(labels, value)| other.get(*labels) != Some(value))
        {
            differing.push(format!("{labels:?} {value} {:?}", other.get(labels)));
        }
        differing
    };
    assert_eq!(differs(&expected, &actual), Vec::<String>::new(), "{dialect}: sent");
    assert_eq!(differs(&actual, &expected), Vec::<String>::new(), "{dialect}: in Prometheus");
    assert!(expected.len() > 150, "{}", expected.len());

    // The waiting times, of which the sum and the percentiles are computed.
    let metric = |name: &str| name.starts_with("flux.job.time") && !name.contains("queue");
    let values = receiver.values();
    let lines = values
        .iter()
        .filter(|(name, _)| metric(name))
        .flat_map(|(name, values)| values.iter().map(move |value| format!("{name}:{value}")));
    let mut waits: Vec<f64> = lines
        .filter(|line| line.contains("submit_to_run"))
        .map(|line| {
            let value = line.split_once(':').unwrap().1.split('|').next().unwrap();
            value.parse::<f64>().unwrap() / 1000.0
        })
        .collect();
    waits.sort_by(f64::total_cmp);
    let only = |query: &str| *promql(web, query).values().next().expect("one series");
    let sum = only("flux_job_wait_seconds_sum");
    assert!((sum - waits.iter().sum::<f64>()).abs() < 1e-3, "{dialect}: {sum}");
    // A percentile of a histogram can be anywhere in its bucket.
    let bounds = [0.0, 0.001, 0.01, 0.1, 0.25, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 7.5, 10.0];
    for share in [0.5, 0.9] {
        let told = only(&format!("histogram_quantile({share}, flux_job_wait_seconds_bucket)"));
        let place = (share * waits.len() as f64).ceil() as usize - 1;
        let bucket =
            bounds.windows(2).find(|pair| pair[0] < waits[place] && waits[place] <= pair[1]);
        let bucket = bucket.expect("the recorded jobs waited for less than 10 s");
        println!("{dialect}, {share}: {told} s by PromQL, {} s in truth", waits[place]);
        assert!((bucket[0]..=bucket[1]).contains(&told), "{share}: {told}, true {}", waits[place]);
    }
}
