//! dashboards/alerts.yml and the queries of dashboards/grafana-prometheus.json, tested with
//! promtool and with the names in statsd_exporter.yml.

use std::collections::BTreeSet;
use std::fs;

use serde_json::{json, Value};

use crate::support::found::{found, TOP};
use crate::support::servers::process::command_of;

const ALERTS: &str = "dashboards/alerts.yml";
const CASES: &str = "tests/data/alerts.yml";
const DASHBOARD: &str = "dashboards/grafana-prometheus.json";

fn read(path: &str) -> String {
    fs::read_to_string(format!("{}/{path}", TOP)).unwrap()
}

/// The plugin's names in a text.
fn names(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("flux_")).collect()
}

/// The names in statsd_exporter.yml, with the three of a histogram.
fn mapped() -> BTreeSet<String> {
    let mapping = read("dashboards/statsd_exporter.yml");
    let lines = mapping.lines().filter_map(|line| line.trim().strip_prefix("name: "));
    let mut mapped: BTreeSet<String> = lines.map(str::to_owned).collect();
    assert!(mapped.remove("flux_plugin_${1}_total"));
    for telemetry in ["datagrams", "send_errors", "repairs", "panics", "resyncs"] {
        mapped.insert(format!("flux_plugin_{telemetry}_total"));
    }
    for histogram in ["flux_job_wait_seconds", "flux_job_state_seconds"] {
        assert!(mapped.remove(histogram));
        for part in ["bucket", "sum", "count"] {
            mapped.insert(format!("{histogram}_{part}"));
        }
    }
    mapped
}

/// The queries of the dashboard, with the titles of their panels.
fn queries() -> Vec<(String, String)> {
    let dashboard: Value = serde_json::from_str(&read(DASHBOARD)).unwrap();
    let mut queries = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
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
    let (alerts, mapped) = (read(ALERTS), mapped());
    let queries = queries();
    let mut asked = names(&alerts);
    assert!(asked.len() >= 4, "{asked:?}");
    asked.extend(queries.iter().flat_map(|(_, query)| names(query)));
    for name in &asked {
        assert!(mapped.contains(*name), "{name} is not among {mapped:?}");
    }
    // The dashboard draws the cores of users, and nothing of banks, of the status of queues and
    // of ages.
    let undrawn = |name: &str| {
        let prefixes = [
            "flux_user_jobs",
            "flux_bank_",
            "flux_queue_",
            "flux_scheduler_",
            "flux_pending_oldest",
            "flux_drain_oldest",
            "flux_housekeeping_oldest",
        ];
        name != "flux_queue_jobs" && prefixes.iter().any(|prefix| name.starts_with(prefix))
    };
    let sum = |name: &str| name.ends_with("_sum") || name == "flux_job_state_seconds_count";
    for name in mapped.iter().filter(|name| !undrawn(name) && !sum(name)) {
        assert!(asked.contains(name.as_str()), "{name} is in no query");
    }
}

#[test]
fn each_alert_is_tested() {
    let (alerts, cases) = (read(ALERTS), read(CASES));
    let of = |text: &str, key: &str| -> BTreeSet<String> {
        let values = text.split(key).skip(1);
        values
            .map(|rest| rest.split(|c: char| !c.is_alphanumeric()).next().unwrap().into())
            .collect()
    };
    let (alerts, tested) = (of(&alerts, "- alert: "), of(&cases, "alertname: "));
    assert!(alerts.len() >= 5, "{alerts:?}");
    assert_eq!(alerts, tested);
}

#[test]
#[cfg_attr(not(have_prometheus), ignore = "needs Debian's prometheus: scripts/test")]
fn promtool_accepts_the_alerts_and_they_fire_in_time() {
    promtool(&["check", "rules", ALERTS]);
    promtool(&["test", "rules", CASES]);
}

/// A query with the values that Grafana uses for its variables.
fn filled(query: &str) -> String {
    let times = [("$__rate_interval", "1m"), ("$__interval", "1m"), ("$__range", "5m")];
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
    // One value every ten seconds. After five minutes the plugin sends nothing.
    let series = [
        ("flux_plugin_resyncs_total", "0+1x30 30x600"),
        ("flux_jobs{state=\"RUN\"}", "7x20 9x0 7x49"),
        ("flux_resources{resource=\"cores\",use=\"allocated\"}", "48x70"),
        ("flux_resources{resource=\"cores\",use=\"total\"}", "64x70"),
        ("flux_resources{resource=\"gpus\",use=\"allocated\"}", "0x70"),
        ("flux_resources{resource=\"gpus\",use=\"total\"}", "0x70"),
        ("flux_jobs_ended_total{result=\"completed\"}", "0+20x70"),
        ("flux_jobs_ended_total{result=\"failed\"}", "0+10x70"),
        ("flux_job_wait_seconds_bucket{le=\"1\"}", "0+5x70"),
        ("flux_job_wait_seconds_bucket{le=\"10\"}", "0+10x70"),
        ("flux_job_wait_seconds_bucket{le=\"+Inf\"}", "0+10x70"),
    ];
    let mut series: Vec<_> =
        series.map(|(series, values)| (series.to_owned(), values.to_owned())).into();
    // After two minutes the last user has almost no cores.
    let labels = |user: i64| format!("{{resource=\"cores\",use=\"allocated\",user=\"{user}\"}}");
    let user = |user: i64| format!("flux_user_resources{}", labels(user));
    series.extend((1..=10).map(|it| (user(it), format!("{}x70", 10 * it))));
    series.push((user(11), "110x11 1x60".to_owned()));
    let run = "{state=\"RUN\"}";
    let cores: Vec<_> = (2..=11)
        .map(|it| json!({"labels": labels(it), "value": if it == 11 { 1 } else { 10 * it }}))
        .collect();
    let one = |labels: &str, value: f64| json!([{"labels": labels, "value": value}]);
    let cases = [
        ("The plugin: age of the last resync", 0, "4m", one("{}", 0.0)),
        ("The plugin: age of the last resync", 0, "6m50s", one("{}", 110.0)),
        // Without values for an hour, and for longer.
        ("The plugin: age of the last resync", 0, "1h4m50s", one("{}", 3590.0)),
        ("The plugin: age of the last resync", 0, "1h30m", one("{}", 3600.0)),
        // Eleven users have cores; the last one had most before, the first one has least.
        ("Cores, the ten users that hold most", 0, "4m", json!(cores)),
        // A peak between two points of the graph is drawn.
        ("Active jobs", 4, "4m", one(run, 9.0)),
        ("Now", 4, "4m", one("flux_jobs{state=\"RUN\"}", 7.0)),
        ("How full: allocated of all there is", 0, "4m", one("{resource=\"cores\"}", 75.0)),
        // Without GPUs there is no share of them.
        ("How full: allocated of all there is", 2, "4m", json!([])),
        ("Jobs submitted, started and ended", 2, "4m", one("{}", 3.0)),
        ("Jobs that end, by result", 0, "4m", one("{result=\"completed\"}", 120.0)),
        ("Exceptions, by type", 0, "4m", one("{}", 0.0)),
        ("How long jobs waited, from submit to run", 1, "4m", one("{}", 1.0)),
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
