//! All collectors in statsd_exporter with the mapping of dashboards/, and in Prometheus behind
//! it.

use std::collections::BTreeMap;
use std::fs;

use serde_json::{json, Value};

use crate::support::artifact::plugin;
use crate::support::fake_job_manager::FakeJobManager;
use crate::support::found::found;
use crate::support::gauges::gauges_named;
use crate::support::nodes::eight_nodes;
use crate::support::receiver::Receiver;
use crate::support::servers::exporter::Exporter;
use crate::support::servers::http::get;
use crate::support::servers::process::{await_tcp, command_of, free_port, wait_for, Process};
use crate::support::servers::run::Server;
use crate::support::{all_collectors, trace};

/// Sends the metrics of the recorded run with all collectors to the exporter and to a
/// receiver.
fn send_all(exporter: &mut Exporter) -> Receiver {
    let mut receiver = Receiver::start();
    let mut host = FakeJobManager::start(None);
    let conf = json!({
        "endpoint": [exporter.endpoint(), receiver.endpoint()], "metrics": all_collectors(),
        "period": "50ms", "telemetry": true, "resync": "1h",
    });
    host.resources(eight_nodes("7", &["0-1", "3"]));
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
    let mut exporter = Exporter::new();
    send_all(&mut exporter);
    let own = |name: &str| exporter.own(&format!("statsd_exporter_{name}"));
    // The last metric that is sent.
    wait_for("its telemetry", || {
        get(exporter.web, "/metrics").contains("\nflux_plugin_bytes_total ")
    });
    assert_eq!(own("events_unmapped_total"), 0.0);
    let text = get(exporter.web, "/metrics");
    let errors = ["sample_errors_total", "events_error_total", "events_conflict_total"];
    for line in text.lines().filter(|line| errors.iter().any(|name| line.contains(name))) {
        assert!(line.starts_with('#') || line.ends_with(" 0"), "{line}");
    }
    for name in
        ["flux_user_resources", "flux_bank_resources", "flux_resources", "flux_plugin_bytes_total"]
    {
        assert!(text.lines().any(|line| line.starts_with(name)), "no {name}");
    }
}

/// The values of a query to Prometheus, by their labels.
fn promql(port: u16, query: &str) -> BTreeMap<String, f64> {
    let encoded: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let answer = get(port, &format!("/api/v1/query?query={encoded}"));
    let answer: Value = serde_json::from_str(&answer).unwrap_or_default();
    let results = answer["data"]["result"].as_array().cloned().unwrap_or_default();
    let own = |label: &&String| !["__name__", "instance", "job"].contains(&label.as_str());
    let by_labels = results.iter().map(|result| {
        let labels = result["metric"].as_object().unwrap();
        let values = labels.keys().filter(own).map(|label| labels[label].as_str().unwrap());
        let value = result["value"][1].as_str().unwrap().parse().unwrap();
        (values.collect::<Vec<_>>().join("."), value)
    });
    by_labels.collect()
}

/// Values of the whole chain, read with PromQL.
#[test]
#[cfg_attr(
    not(all(have_exporter, have_prometheus)),
    ignore = "needs statsd_exporter on PATH, and Debian's prometheus: scripts/test"
)]
fn prometheus_behind_statsd_exporter_has_correct_values() {
    let mut exporter = Exporter::new();
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("prometheus.yml");
    let text = format!(
        "global:\n  scrape_interval: 1s\nscrape_configs:\n  - job_name: flux\n    static_configs:\n      \
         - targets: ['127.0.0.1:{}']\n",
        exporter.web
    );
    fs::write(&config, text).unwrap();
    let web = free_port();
    let mut command = command_of(found("STATE_COUNTS_PROMETHEUS"), "bin/prometheus");
    command.arg(format!("--config.file={}", config.display()));
    command.arg(format!("--web.listen-address=127.0.0.1:{web}"));
    command.arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()));
    let _prometheus = Process::start(command, folder.path());
    await_tcp(web);

    let mut receiver = send_all(&mut exporter);
    let values = receiver.values();
    let timings = |name: &str| -> Vec<f64> {
        let mut seconds: Vec<f64> = values[name]
            .iter()
            .map(|value| value.strip_suffix("|ms").unwrap().parse::<f64>().unwrap() / 1000.0)
            .collect();
        seconds.sort_by(f64::total_cmp);
        seconds
    };
    let waits = timings("flux.job.time.submit_to_run");
    wait_for("the last scrape", || {
        promql(web, "flux_job_wait_seconds_count").get("") == Some(&(waits.len() as f64))
            && !promql(web, "flux_plugin_bytes_total").is_empty()
    });

    let truth = receiver.seen().gauges;
    let states = truth.into_iter().map(|(state, count)| (state, count as f64)).collect();
    assert_eq!(promql(web, "flux_jobs"), states);
    let levels = gauges_named(&mut receiver, |_| true);
    // Of a label, either the resources or the other gauges.
    let by = |query: &str, prefix: &str| -> BTreeMap<String, f64> {
        let is_meant = |name: &str| name.contains(".resource.") == query.contains("_resources");
        let ours = levels.iter().filter_map(|(name, level)| {
            let name = Some(name).filter(|it| is_meant(it) || prefix == "resource.")?;
            Some((name.strip_prefix(prefix)?.replace(".resource.", "."), *level as f64))
        });
        ours.collect()
    };
    for (query, prefix) in [
        ("flux_queue_jobs > 0", "queue."),
        ("flux_user_jobs > 0", "user."),
        ("flux_user_resources > 0", "user."),
        ("flux_bank_jobs > 0", "bank."),
        ("flux_bank_resources > 0", "bank."),
        ("flux_queue_resources > 0", "queue."),
        ("flux_resources > 0", "resource."),
        ("flux_jobs_pending > 0", "pending."),
        ("flux_jobs_pending_dependency > 0", "dependency."),
    ] {
        // Prometheus has the labels in alphabetical order.
        let reverse = |told: BTreeMap<String, f64>| -> BTreeMap<String, f64> {
            told.into_iter()
                .map(|(name, level)| {
                    let mut parts: Vec<_> = name.split('.').collect();
                    parts.sort_unstable();
                    (parts.join("."), level)
                })
                .collect()
        };
        assert_eq!(reverse(promql(web, query)), reverse(by(query, prefix)), "{query}");
    }
    assert!(levels["resource.nodes.down"] == 4 && levels["resource.nodes.drained"] == 3);
    let ended = ["completed", "failed", "canceled", "timeout"].map(|result| {
        let query = format!("sum(flux_jobs_ended_total{{result=\"{result}\"}})");
        (format!("result.{result}"), query)
    });
    let submitted = ("result.submitted".into(), "sum(flux_jobs_submitted_total)".into());
    let raised = values.keys().filter_map(|name| name.strip_prefix("flux.job.exception."));
    let raised = raised.map(|kind| {
        let query = format!("sum(flux_job_exceptions_total{{type=\"{kind}\"}})");
        (format!("exception.{kind}"), query)
    });
    for (name, query) in ended.into_iter().chain([submitted]).chain(raised) {
        let sent = values.get(&format!("flux.job.{name}")).into_iter().flatten();
        let sent: f64 = sent.map(|it| it.strip_suffix("|c").unwrap().parse::<f64>().unwrap()).sum();
        assert_eq!(promql(web, &query).get("").copied(), Some(sent), "{query}");
    }
    let sum = promql(web, "flux_job_wait_seconds_sum")[""];
    assert!((sum - waits.iter().sum::<f64>()).abs() < 1e-3, "{sum}");
    // A percentile of a histogram can be anywhere in its bucket.
    let bounds = [0.0, 0.1, 0.25, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 7.5, 10.0];
    for share in [0.5, 0.9] {
        let told =
            promql(web, &format!("histogram_quantile({share}, flux_job_wait_seconds_bucket)"))[""];
        let place = (share * waits.len() as f64).ceil() as usize - 1;
        let bucket =
            bounds.windows(2).find(|pair| pair[0] < waits[place] && waits[place] <= pair[1]);
        let bucket = bucket.expect("the recorded jobs waited for less than 10 s");
        println!("{share}: {told} s by PromQL, {} s in truth", waits[place]);
        assert!((bucket[0]..=bucket[1]).contains(&told), "{share}: {told}, true {}", waits[place]);
    }
}
