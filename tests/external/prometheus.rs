//! dashboards/alerts.yml and the queries of dashboards/grafana-prometheus.json, tested with
//! promtool and with the names in statsd_exporter.yml.

use std::collections::BTreeSet;
use std::fs;

use serde_json::{json, Value};

use crate::support::found::{found, TOP};
use crate::support::mapping::series;
use crate::support::servers::process::command_of;

const ALERTS: &str = "dashboards/alerts.yml";
const CASES: &str = "tests/data/alerts.yml";
const DASHBOARD: &str = "dashboards/grafana-prometheus.json";

fn read(path: &str) -> String {
    fs::read_to_string(format!("{}/{path}", TOP)).unwrap()
}

fn is_in_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || "_:".contains(c)
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !is_in_name(c))
}

/// The plugin's names in a text, without those of recording rules.
fn names(text: &str) -> BTreeSet<&str> {
    words(text).filter(|word| word.starts_with("flux_")).collect()
}

/// The names of the series in Prometheus, with the three of each histogram.
fn mapped() -> BTreeSet<String> {
    let names = series("plain").0.into_iter().map(|mut it| it.remove("__name__").unwrap());
    let all = names.flat_map(|name| match name.strip_suffix("_count") {
        None => vec![name],
        Some(histogram) => ["bucket", "sum", "count"].map(|it| format!("{histogram}_{it}")).into(),
    });
    all.collect()
}

/// The queries of the dashboard, with the titles of their panels.
fn queries() -> Vec<(String, String)> {
    let dashboard: Value = serde_json::from_str(&read(DASHBOARD)).unwrap();
    let mut queries = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap().iter().filter(|it| it["type"] != "row") {
        for target in panel["targets"].as_array().unwrap() {
            let text = |value: &Value| value.as_str().unwrap().to_owned();
            queries.push((text(&panel["title"]), text(&target["expr"])));
        }
    }
    queries
}

#[track_caller]
fn promtool(arguments: &[&str]) {
    let output = command_of(found("STATE_COUNTS_PROMETHEUS"), "bin/promtool")
        .args(arguments)
        .current_dir(TOP)
        .output()
        .expect("promtool is on PATH");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let said = text(&output.stdout) + &text(&output.stderr);
    assert!(output.status.success() && said.contains("SUCCESS"), "{arguments:?}: {said}");
}

#[test]
fn queries_use_names_of_the_mapping() {
    let (alerts, mapped, queries) = (read(ALERTS), mapped(), queries());
    let recorded: BTreeSet<_> = values(&alerts, "- record: ").collect();
    let mut asked = names(&alerts);
    assert!(asked.len() >= 20, "{asked:?}");
    asked.extend(queries.iter().flat_map(|(_, query)| names(query)));
    for name in &asked {
        assert!(mapped.contains(*name), "{name} is not among {mapped:?}");
    }
    for (_, query) in &queries {
        let rules = words(query).filter(|word| word.contains(":flux_"));
        rules.for_each(|name| assert!(recorded.contains(name), "{name} is not recorded"));
    }
    // No panel shows the job counts of users and banks, all that they request, the sums of
    // histograms, and the work of the plugin that is not a fault.
    let undrawn = |name: &str| {
        let ends = ["_sum", "_state_seconds_count", "plugin_bytes_total", "plugin_anomalies_total"];
        let by_label = name.starts_with("flux_user_") || name.starts_with("flux_bank_");
        by_label || ends.iter().any(|end| name.ends_with(end))
    };
    let parts = ["queue_cores", "queue_gpus", "queue_nodes_requested"];
    let undrawn = |name: &str| undrawn(name) || parts.iter().any(|part| name.contains(part));
    for name in mapped.iter().filter(|name| !undrawn(name)) {
        assert!(asked.contains(name.as_str()), "{name} is in no query");
    }
    for name in ["flux_user_gpus_allocated", "flux_queue_cores_allocated", "flux_queue_nodes_up"] {
        assert!(asked.contains(name), "{name} is in no query");
    }
}

#[test]
fn each_query_selects_the_cluster() {
    for (title, query) in queries() {
        let mut count = 0;
        for (start, _) in query.match_indices("flux_") {
            let selector = query[start..].trim_start_matches(is_in_name);
            assert!(selector.starts_with("{cluster=~\"$cluster\""), "{title}: {query}");
            count += 1;
        }
        assert!(count > 0, "{title}: {query}");
        // Groups that are summed keep the cluster.
        let by = query.matches(" by (").count();
        assert_eq!(by, query.matches(" by (cluster").count(), "{title}: {query}");
    }
    let dashboard: Value = serde_json::from_str(&read(DASHBOARD)).unwrap();
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let legend = target["legendFormat"].as_str().unwrap();
            assert!(legend.starts_with("{{cluster}} "), "{}: {legend}", panel["title"]);
        }
    }
}

/// The words that follow a key in YAML.
fn values<'a>(text: &'a str, key: &'a str) -> impl Iterator<Item = &'a str> {
    text.split(key).skip(1).map(|rest| rest.split([' ', '\n', ',']).next().unwrap())
}

#[test]
fn each_alert_has_a_section_in_the_document() {
    let (alerts, document) = (read(ALERTS), read("docs/alerts.md"));
    let sections: BTreeSet<_> =
        document.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    let names: BTreeSet<_> = values(&alerts, "- alert: ").collect();
    assert_eq!(sections, names);
    let urls: Vec<_> = values(&alerts, "runbook_url: ").collect();
    assert_eq!(urls.len(), names.len());
    for (url, name) in urls.iter().zip(values(&alerts, "- alert: ")) {
        let anchor = format!("/docs/alerts.md#{}", name.to_lowercase());
        assert!(url.ends_with(&anchor), "{url}: expected {anchor}");
    }
    // A summary is a constant, so that notifications can be grouped by it.
    let summaries = alerts.lines().filter_map(|line| line.trim().strip_prefix("summary: "));
    summaries.for_each(|summary| assert!(!summary.contains("{{"), "{summary}"));
}

#[test]
fn each_alert_is_tested() {
    let (alerts, cases) = (read(ALERTS), read(CASES));
    let alerts: BTreeSet<_> = values(&alerts, "- alert: ").collect();
    // Each alert is expected to fire at least once, and not to fire at least once.
    let fired = |expected: bool| -> BTreeSet<_> {
        let tested = cases.split("alertname: ").skip(1).filter_map(|rest| {
            let (name, rest) = rest.split_at(rest.find([' ', '\n']).unwrap());
            (rest.trim_start().starts_with("exp_alerts:") == expected).then_some(name)
        });
        tested.collect()
    };
    assert!(alerts.len() >= 5, "{alerts:?}");
    assert_eq!(fired(true), alerts);
    assert_eq!(fired(false), alerts);
}

#[test]
#[cfg_attr(not(have_prometheus), ignore = "needs Debian's prometheus: scripts/test")]
fn promtool_accepts_the_alerts_and_they_fire_in_time() {
    promtool(&["check", "rules", ALERTS]);
    promtool(&["test", "rules", CASES]);
}

/// A query with the values that Grafana uses for its variables.
fn filled(query: &str) -> String {
    let times = [
        ("$__rate_interval", "1m"),
        ("$__interval", "1m"),
        ("$__range", "5m"),
        ("$cluster", "a|"),
        ("$queue", ".*"),
    ];
    let query =
        times.iter().fold(query.to_owned(), |query, (name, time)| query.replace(name, time));
    assert!(!query.contains('$'), "{query}");
    query
}

/// Writes a file for promtool. JSON is YAML.
fn file(content: &Value) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::with_suffix(".yml").unwrap();
    fs::write(file.path(), content.to_string()).unwrap();
    file
}

#[test]
#[cfg_attr(not(have_prometheus), ignore = "needs Debian's prometheus: scripts/test")]
fn promtool_accepts_the_queries_of_the_dashboards() {
    // promtool checks rules only, not queries.
    let rules: Vec<_> = queries()
        .into_iter()
        .enumerate()
        .map(|(number, (_, query))| json!({"record": format!("query:{number}"), "expr": filled(&query)}))
        .collect();
    assert!(rules.len() > 40);
    let file = file(&json!({"groups": [{"name": "queries", "rules": rules}]}));
    promtool(&["check", "rules", file.path().to_str().unwrap()]);
}

#[test]
#[cfg_attr(not(have_prometheus), ignore = "needs Debian's prometheus: scripts/test")]
fn queries_of_the_dashboards_compute_the_right_numbers() {
    // One value every ten seconds. After five minutes the plugin sends nothing. Of another
    // cluster that is not selected, all values are different.
    let series = [
        ("flux_plugin_resyncs_total", "", "0+1x30 30x600"),
        ("flux_jobs", "state=\"RUN\"", "7x20 9x0 7x49"),
        ("flux_cores_allocated", "", "48x70"),
        ("flux_cores", "", "64x70"),
        ("flux_gpus_allocated", "", "0x70"),
        ("flux_gpus", "", "0x70"),
        ("flux_jobs_ended_total", "result=\"completed\"", "0+20x70"),
        ("flux_jobs_ended_total", "result=\"failed\"", "0+10x70"),
        ("flux_job_wait_seconds_bucket", "le=\"1\"", "0+5x70"),
        ("flux_job_wait_seconds_bucket", "le=\"10\"", "0+10x70"),
        ("flux_job_wait_seconds_bucket", "le=\"+Inf\"", "0+10x70"),
        ("flux_queue_cores_allocated", "queue=\"batch\"", "8x70"),
        ("flux_queue_cores_up", "queue=\"batch\"", "32x70"),
        ("flux_queue_started", "queue=\"batch\"", "0x70"),
        ("flux_queue_jobs_pending", "queue=\"batch\",reason=\"stopped\"", "3x70"),
        ("flux_queue_job_wait_seconds_bucket", "queue=\"batch\",le=\"10\"", "0+10x70"),
        ("flux_queue_job_wait_seconds_bucket", "queue=\"batch\",le=\"+Inf\"", "0+10x70"),
    ];
    let name = |metric: &str, cluster: &str, labels: &str| match labels {
        "" => format!("{metric}{{cluster=\"{cluster}\"}}"),
        _ => format!("{metric}{{cluster=\"{cluster}\",{labels}}}"),
    };
    let mut series: Vec<_> = series
        .into_iter()
        .flat_map(|(metric, labels, values)| {
            [("a", values), ("c", "1000+1x600")]
                .map(|(cluster, values)| (name(metric, cluster, labels), values.to_owned()))
        })
        .collect();
    // After two minutes the last user has almost no cores.
    let user = |user: i64| format!("user=\"{user}\"");
    let cores = |it: i64| name("flux_user_cores_allocated", "a", &user(it));
    series.extend((1..=10).map(|it| (cores(it), format!("{}x70", 10 * it))));
    series.push((cores(11), "110x11 1x60".to_owned()));
    let labels = |labels: &str| name("", "a", labels);
    let run = &name("", "a", "state=\"RUN\"");
    let cores: Vec<_> = (2..=11)
        .map(|it| {
            json!({"labels": cores(it).replace("flux_user_cores_allocated", ""),
                         "value": if it == 11 { 1 } else { 10 * it }})
        })
        .collect();
    let one = |labels: &str, value: f64| json!([{"labels": labels, "value": value}]);
    let own = &labels("");
    let batch = &labels("queue=\"batch\"");
    let cases = [
        ("The plugin: age of the last resync", 0, "4m", one(own, 0.0)),
        ("The plugin: age of the last resync", 0, "6m50s", one(own, 110.0)),
        // Without values for an hour, and for longer.
        ("The plugin: age of the last resync", 0, "1h4m50s", one(own, 3590.0)),
        ("The plugin: age of the last resync", 0, "1h30m", one(own, 3600.0)),
        // Eleven users have cores; the last one had most before, the first one has least.
        ("Cores, the ten users that hold most", 0, "4m", json!(cores)),
        // A peak between two points of the graph is drawn.
        ("Active jobs", 4, "4m", one(run, 9.0)),
        ("Now", 4, "4m", one(&format!("flux_jobs{run}"), 7.0)),
        ("How full: allocated of all there is", 0, "4m", one(own, 75.0)),
        // Without GPUs there is no share of them.
        ("How full: allocated of all there is", 2, "4m", json!([])),
        ("Jobs submitted, started and ended", 2, "4m", one(own, 3.0)),
        ("Jobs that end, by result", 0, "4m", one(&labels("result=\"completed\""), 120.0)),
        ("Exceptions, by type", 0, "4m", one("{}", 0.0)),
        ("How long jobs waited, from submit to run", 1, "4m", one(own, 1.0)),
        ("How full, by queue", 0, "4m", one(batch, 25.0)),
        (
            "Why jobs wait, by queue",
            0,
            "4m",
            one(&labels("queue=\"batch\",reason=\"stopped\""), 3.0),
        ),
        (
            "Queues that are started and enabled, and the scheduler",
            0,
            "4m",
            one(&format!("flux_queue_started{batch}"), 0.0),
        ),
        ("How long jobs waited, from submit to run, by queue", 0, "4m", one(batch, 9.0)),
    ];
    let queries = queries();
    let tests = cases.map(|(title, number, time, samples)| {
        let mut of_panel = queries.iter().filter(|(panel, _)| panel == title);
        let (_, query) = of_panel.nth(number).unwrap_or_else(|| panic!("{title}: {number}"));
        json!({"expr": filled(query), "eval_time": time, "exp_samples": samples})
    });
    let series: Vec<_> =
        series.iter().map(|(series, values)| json!({"series": series, "values": values})).collect();
    let file = file(&json!({
        "evaluation_interval": "10s",
        "tests": [{"interval": "10s", "input_series": series, "promql_expr_test": tests}],
    }));
    promtool(&["test", "rules", file.path().to_str().unwrap()]);
}
