//! The files in dashboards/, as far as they can be tested without the servers that read them.
//! scripts/dashboards loads them into servers.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::Command;
use std::sync::OnceLock;

use serde_json::Value;
use state_counts::jobs::State;

use super::golden::golden;
use crate::support::found::TOP;
use crate::support::mapping::{matches, series, Labels, Mapping, Names};

/// The start of all names of the plugin.
const BASE: &str = "flux.job.";

fn read(name: &str) -> String {
    fs::read_to_string(format!("{}/dashboards/{name}", TOP)).unwrap()
}

fn json(name: &str) -> Value {
    serde_json::from_str(&read(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn array(value: &Value) -> &Vec<Value> {
    value.as_array().unwrap()
}

/// The names that the plugin sends with all collectors, each with its type.
fn sent() -> &'static BTreeMap<String, String> {
    static SENT: OnceLock<BTreeMap<String, String>> = OnceLock::new();
    SENT.get_or_init(|| {
        let golden = fs::read_to_string(golden("plain")).unwrap();
        let lines = golden.lines().map(|line| {
            let [name, kind, _] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
            (name.to_owned(), kind.to_owned())
        });
        lines.collect()
    })
}

/// The names of this type that match the pattern; at least one.
#[track_caller]
fn meant(pattern: &str, kind: &str) -> BTreeSet<&'static str> {
    let is_meant = |(name, sent): &(&String, &String)| *sent == kind && matches(pattern, name);
    let names: BTreeSet<_> =
        sent().iter().filter(is_meant).map(|(name, _)| name.as_str()).collect();
    assert!(!names.is_empty(), "{pattern}: nothing that is sent, of type {kind}");
    names
}

/// A dashboard must draw all state counts, waiting and running jobs by queue, waiting and run
/// times, results, exceptions by type, reasons for waiting, resources and their users, and the
/// plugin's metrics of itself.
#[track_caller]
fn assert_enough(drawn: &BTreeSet<&str>) {
    for name in sent().keys() {
        let wanted = match name.strip_prefix(BASE).unwrap().split('.').collect::<Vec<_>>()[..] {
            ["queue", _, state] => ["SCHED", "RUN"].contains(&state),
            ["time", what] => ["SCHED", "RUN", "submit_to_run"].contains(&what),
            ["pending", "oldest_seconds" | "stopped"] => false,
            ["scheduler" | "housekeeping", _] | ["resource", "drain", _] => false,
            ["resource", "nodes", "draining" | "offline" | "excluded" | "housekeeping"] => false,
            ["state" | "exception" | "pending" | "dependency" | "result", _] => true,
            ["resource", ..] | ["user", _, "resource", "cores", "allocated"] => true,
            ["plugin", what] => !["anomalies", "bytes"].contains(&what),
            ["queue" | "user" | "bank", ..] => false,
            _ => panic!("{name}: of which collector is it?"),
        };
        assert!(!wanted || drawn.contains(name.as_str()), "{name} is not drawn");
    }
}

/// The paths in a target of Graphite, one for each alternative of `{a,b}`.
fn paths(target: &str) -> Vec<String> {
    let mut paths = Vec::new();
    for (start, _) in target.match_indices("stats.") {
        let mut inside = false;
        let path: String = target[start..]
            .chars()
            .take_while(|&c| {
                inside = c == '{' || inside && c != '}';
                inside || !",)".contains(c)
            })
            .collect();
        match path.split_once('{') {
            None => paths.push(path),
            Some((before, rest)) => {
                let (names, after) = rest.split_once('}').unwrap();
                assert!(!after.contains('{'), "{target}: more than this test can read");
                paths.extend(names.split(',').map(|name| format!("{before}{name}{after}")));
            }
        }
    }
    assert!(!paths.is_empty(), "{target} draws nothing of ours");
    paths
}

/// The names that a target of Graphite draws, without what Etsy's statsd adds.
fn drawn_by(target: &str) -> BTreeSet<&'static str> {
    let mut drawn = BTreeSet::new();
    for path in paths(target) {
        let (kind, name) = path.strip_prefix("stats.").unwrap().split_once('.').unwrap();
        drawn.extend(match (kind, name.rsplit_once('.').unwrap()) {
            ("gauges", _) => meant(name, "g"),
            ("timers", (name, "median" | "upper_90" | "count_ps")) => meant(name, "ms"),
            ("counters", (name, "count" | "rate")) => meant(name, "c"),
            _ => panic!("{path}: statsd sends no such thing"),
        });
    }
    drawn
}

#[test]
fn the_graphite_dashboard_draws_what_is_sent() {
    let dashboard = json("graphite.json");
    let mut drawn = BTreeSet::new();
    for graph in array(&dashboard["graphs"]) {
        let targets = array(&graph[1]["target"]).iter().map(|target| target.as_str().unwrap());
        drawn.extend(targets.clone().flat_map(drawn_by));
        // The dashboard repeats its targets in the address of the picture.
        let escaped = |text: &str| {
            let text = text.replace('%', "%25").replace(' ', "%20").replace('"', "%22");
            text.replace('\\', "%5C")
        };
        let query: Vec<_> = targets.map(|target| format!("target={}", escaped(target))).collect();
        assert_eq!(graph[0], query.join("&"));
    }
    assert_enough(&drawn);
}

#[test]
fn the_grafana_dashboard_draws_what_is_sent() {
    let dashboard = json("grafana.json");
    let variables = array(&dashboard["templating"]["list"]).iter();
    let variables: Vec<_> =
        variables.map(|one| (format!("${}", one["name"].as_str().unwrap()), one)).collect();
    let mut drawn = BTreeSet::new();
    for panel in array(&dashboard["panels"]).iter().filter(|panel| panel["type"] != "row") {
        for target in array(&panel["targets"]) {
            let filled = variables
                .iter()
                .fold(target["target"].as_str().unwrap().to_owned(), |text, (name, variable)| {
                    text.replace(name, variable["query"].as_str().unwrap())
                });
            drawn.extend(drawn_by(&filled));
        }
    }
    assert_enough(&drawn);
}

#[test]
fn the_documented_sed_command_converts_dashboards_to_the_legacy_namespace() {
    let doc = fs::read_to_string(format!("{TOP}/docs/dashboards.md")).unwrap();
    let (_, block) = doc.split_once("```sh\nsed ").expect("the command");
    let (command, _) = block.split_once("grafana.json > ").expect("its file");
    for name in ["grafana.json", "graphite.json"] {
        let output = Command::new("sh")
            .args(["-c", &format!("sed {command} dashboards/{name}")])
            .current_dir(TOP)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let legacy = String::from_utf8(output.stdout).unwrap();
        let _: Value = serde_json::from_str(&legacy).unwrap_or_else(|it| panic!("{name}: {it}"));
        // Each counter is still drawn, under its name in the legacy namespace.
        let before = read(name);
        let number = |text: &str, what: &str| text.matches(what).count();
        assert_eq!(number(&legacy, "stats_counts."), number(&before, ".count,"));
        assert!(number(&legacy, "stats_counts.") > 10);
        for gone in [".counters.", ".count,", ".rate"] {
            assert_eq!(number(&legacy, gone), 0, "{name}: {gone}");
        }
        let by_type = "aliasByNode(consolidateBy(";
        for line in legacy.lines().filter(|it| it.contains("exception.*") && it.contains(by_type)) {
            assert!(line.contains("(cancel|timeout)$") && line.contains(",-1)"), "{line}");
        }
    }
}

/// The fixed colours of a Grafana dashboard, with the name of the series and the title of the
/// panel.
fn fixed(dashboard: &Value) -> Vec<(String, String, String)> {
    let mut fixed = Vec::new();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    for panel in array(&dashboard["panels"]) {
        for one in panel["fieldConfig"]["overrides"].as_array().into_iter().flatten() {
            let color = &one["properties"][0]["value"]["fixedColor"];
            let color = text(color).replace('#', "");
            // With several clusters the name of a series begins with that of its cluster.
            let name = text(&one["matcher"]["options"]);
            let name = name.strip_prefix("/(^| )").and_then(|it| it.strip_suffix("$/"));
            let name = name.map_or(text(&one["matcher"]["options"]), str::to_owned);
            fixed.push((text(&panel["title"]), name, color));
        }
    }
    fixed
}

#[test]
fn a_colour_means_the_same_on_each_dashboard() {
    let mut colours = fixed(&json("grafana.json"));
    colours.extend(fixed(&json("grafana-prometheus.json")));
    for graph in array(&json("graphite.json")["graphs"]) {
        for target in array(&graph[1]["target"]).iter().filter_map(Value::as_str) {
            // color(alias(…,"NAME"),"COLOUR")
            let quoted: Vec<_> = target.split('"').collect();
            if let (true, [.., name, _, colour, _]) = (target.starts_with("color("), &quoted[..]) {
                let title = graph[1]["title"].as_str().unwrap();
                colours.push((title.to_owned(), (*name).to_owned(), (*colour).to_owned()));
            }
        }
    }
    let (mut by_name, mut by_colour) = (BTreeMap::new(), BTreeMap::new());
    for (title, name, colour) in &colours {
        let other = by_name.entry(name).or_insert(colour);
        assert_eq!(other, &colour, "{name}");
        let other = by_colour.entry((title, colour)).or_insert(name);
        assert_eq!(other, &name, "{title}: two series of one colour");
    }
    assert!(State::ALL
        .iter()
        .all(|state| by_name.contains_key(&format!("{state:?}").to_uppercase())));
    // The colours for success and for failure.
    assert_ne!(by_name[&"completed".to_owned()], by_name[&"timeout".to_owned()]);
}

#[test]
fn each_panel_has_a_unit() {
    for name in ["grafana.json", "grafana-prometheus.json"] {
        for panel in array(&json(name)["panels"]).iter().filter(|panel| panel["type"] != "row") {
            let defaults = &panel["fieldConfig"]["defaults"];
            let has_unit = defaults["unit"] != "short" || defaults["custom"]["axisLabel"] != "";
            assert!(has_unit, "{name}: {} has no unit", panel["title"]);
        }
    }
    for graph in array(&json("graphite.json")["graphs"]) {
        assert_ne!(graph[1]["vtitle"].as_str().unwrap_or_default(), "", "{}", graph[1]["title"]);
    }
}

/// The metrics of a dimension of Netdata, and their type.
fn dimension(line: &str) -> (&str, &'static str) {
    let words: Vec<_> = line.split(' ').map(|word| word.trim_matches('\'')).collect();
    let (pattern, name, how, divider) = match words[..] {
        ["pattern", pattern, name, how, "1", divider] => (pattern, name, how, divider),
        [pattern, name, how, "1", divider] => (pattern, name, how, divider),
        _ => panic!("{line}"),
    };
    // The dimension has a name, or the part that `*` matches is its name.
    assert_eq!(name.is_empty(), pattern.contains('*'), "{line}");
    let counts = [".result.", ".exception.", ".plugin."].iter().any(|part| pattern.contains(part));
    let kind = match (how, divider) {
        ("last", "1") if counts => "c",
        ("last", "1") => "g",
        ("median" | "percentile", "1000") | ("events", "1") => "ms",
        _ => panic!("{line}"),
    };
    (pattern, kind)
}

#[test]
fn the_netdata_charts_draw_what_is_sent() {
    let conf = read("netdata.conf");
    let value = |line: &'static str| format!("    {line} = ");
    let taken = conf.lines().find_map(|line| line.strip_prefix(&value("metrics"))).unwrap();
    let taken: Vec<_> =
        taken.split(' ').map(|pattern| pattern.strip_suffix('*').unwrap()).collect();
    let mut drawn = BTreeSet::new();
    for chart in conf.split("\n[") {
        let mut metrics = BTreeSet::new();
        for line in chart.lines().filter_map(|line| line.strip_prefix(&value("dimension"))) {
            let (pattern, kind) = dimension(line);
            for name in meant(pattern, kind) {
                assert!(taken.iter().any(|prefix| name.starts_with(prefix)), "{name} is not taken");
                assert!(metrics.insert(name), "{name} is twice in a chart, which draws it once");
            }
        }
        drawn.extend(metrics);
    }
    assert_enough(&drawn);
}

#[test]
fn the_statsd_exporter_mapping_covers_exactly_what_is_sent() {
    let ((plain, mut used), (dogstatsd, with_tags), (influxdb, _)) =
        (series("plain"), series("dogstatsd"), series("influxdb"));
    used.extend(with_tags);
    assert_eq!(dogstatsd, plain, "tags give the names that parts of names give");
    assert_eq!(influxdb, plain);
    for (place, mapping) in Names::read().mappings.iter().enumerate() {
        assert!(used.contains(&place), "{} maps nothing that is sent", mapping.r#match);
    }
    for wanted in [
        "flux_jobs{state=RUN}",
        "flux_queue_jobs{queue=batch,state=SCHED}",
        "flux_job_wait_seconds_count{}",
        "flux_job_state_seconds_count{state=SCHED}",
        "flux_jobs_submitted_total{}",
        "flux_jobs_ended_total{result=timeout}",
        "flux_job_exceptions_total{type=node-fail}",
        "flux_jobs_pending{reason=resources}",
        "flux_jobs_pending_dependency{scheme=afterok}",
        "flux_nodes{}",
        "flux_nodes_up{}",
        "flux_nodes_housekeeping{}",
        "flux_cores_requested{}",
        "flux_bank_jobs{bank=physics,state=DEPEND}",
        "flux_bank_cores_allocated{bank=physics}",
        "flux_user_gpus_allocated{user=1000}",
        "flux_queue_nodes{queue=batch}",
        "flux_queue_gpus_requested{queue=batch}",
        "flux_queue_pending_oldest_seconds{queue=batch}",
        "flux_queue_jobs_pending{queue=batch,reason=held}",
        "flux_queue_job_wait_seconds_count{queue=batch}",
        "flux_queue_jobs_ended_total{queue=batch,result=failed}",
        "flux_pending_oldest_seconds{}",
        "flux_scheduler_ready{}",
        "flux_queue_enabled{queue=batch}",
        "flux_queue_started{queue=debug}",
        "flux_drain_oldest_seconds{}",
        "flux_housekeeping_oldest_seconds{}",
        "flux_plugin_send_errors_total{}",
    ] {
        let (name, labels) = wanted.strip_suffix('}').unwrap().split_once('{').unwrap();
        let mut labels: Labels = labels
            .split(',')
            .filter_map(|label| label.split_once('='))
            .map(|(label, value)| (label.to_owned(), value.to_owned()))
            .collect();
        labels.insert("__name__".to_owned(), name.to_owned());
        assert!(plain.contains(&labels), "{wanted} is not among {plain:?}");
    }
}

#[test]
fn the_statsd_exporter_mapping_is_consistent() {
    let mappings = Names::read().mappings;
    for (place, mapping) in mappings.iter().enumerate() {
        // statsd_exporter ignores a match with which an earlier match begins.
        let begins = format!("{}.", mapping.r#match);
        let hides = |other: &Mapping| {
            other.match_metric_type == mapping.match_metric_type
                && other.r#match.starts_with(&begins)
        };
        assert!(!mappings[..place].iter().any(hides), "{} is ignored", mapping.r#match);
        let buckets = mapping.histogram_options.as_ref().map(|options| &options.buckets);
        let rising = |buckets: &Vec<f64>| buckets.windows(2).all(|pair| pair[0] < pair[1]);
        assert_eq!(buckets.is_some(), mapping.observer_type.as_deref() == Some("histogram"));
        assert!(buckets.is_none_or(rising), "{}: Prometheus requires rising buckets", mapping.name);
        // The naming rules of Prometheus: only counters end in _total.
        let is_counter = mapping.match_metric_type == "counter";
        assert_eq!(mapping.name.ends_with("_total"), is_counter, "{}", mapping.name);
        for other in mappings.iter().filter(|other| other.name == mapping.name) {
            assert_eq!(other.help, mapping.help, "{}", mapping.name);
            assert!(other.histogram_options == mapping.histogram_options, "{}", mapping.name);
        }
    }
}
