//! dashboards/grafana.json over long time ranges. Grafana requests as many points as it has
//! pixels, and Graphite consolidates its values. This must not change the values in the legend
//! of a panel: the sum, the last or the greatest value.
//!
//! dashboards/graphite-alerts.yml: each alert fires when it should, and only then.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::process::Stdio;

use serde_json::{json, Value};

use crate::support::found::{found, TOP};
use crate::support::servers::process::python_of;

/// A query of a panel, and the calculation of its legend.
struct Query {
    panel: String,
    target: String,
    calc: String,
}

fn queries() -> Vec<Query> {
    let path = format!("{}/dashboards/grafana.json", TOP);
    let dashboard: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let mut queries = Vec::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        let options = &panel["options"];
        let calcs = match panel["type"].as_str().unwrap() {
            "stat" => &options["reduceOptions"]["calcs"],
            "timeseries" => &options["legend"]["calcs"],
            "row" => continue,
            kind => panic!("a panel of type {kind}: what does it make of its values?"),
        };
        let [calc] = &calcs.as_array().unwrap()[..] else {
            panic!("{panel}: thinned out in one way, values are right for one number only")
        };
        for target in panel["targets"].as_array().unwrap() {
            let target = target["target"].as_str().unwrap();
            queries.push(Query {
                panel: panel["title"].as_str().unwrap().to_owned(),
                target: target.replace("$root", "stats").replace("$cluster", "flux.job"),
                calc: calc.as_str().unwrap().to_owned(),
            });
        }
    }
    queries
}

/// The function that consolidates values for this calculation.
fn consolidation(calc: &str) -> &'static str {
    match calc {
        "lastNotNull" => "last",
        "max" => "max",
        "mean" => "average",
        "sum" => "sum",
        _ => panic!("{calc}"),
    }
}

/// The value in the legend.
fn reduced(calc: &str, values: &Value) -> f64 {
    let values: Vec<_> = values.as_array().unwrap().iter().filter_map(Value::as_f64).collect();
    assert!(!values.is_empty());
    let sum: f64 = values.iter().sum();
    match calc {
        "lastNotNull" => *values.last().unwrap(),
        "max" => values.iter().copied().fold(f64::MIN, f64::max),
        "mean" => sum / values.len() as f64,
        "sum" => sum,
        _ => panic!("{calc}"),
    }
}

/// The names in a target; a star is one name.
fn names(target: &str) -> Vec<String> {
    let mut names = Vec::new();
    for (start, _) in target.match_indices("stats.") {
        let mut depth = 0;
        let end = target[start..].find(|c| {
            depth += i32::from(c == '{') - i32::from(c == '}');
            depth == 0 && ",)".contains(c)
        });
        let path = target[start..start + end.unwrap()].replace('*', "one");
        match (path.split_once('{'), path.split_once('}')) {
            (Some((before, _)), Some((inside, after))) => {
                let inside = &inside[before.len() + 1..];
                names.extend(inside.split(',').map(|name| format!("{before}{name}{after}")));
            }
            _ => names.push(path),
        }
    }
    names
}

/// Graphite's values of each target, from random values of these series.
fn render(series: &BTreeSet<String>, targets: &[String]) -> Vec<Value> {
    ask(&json!({"series": series, "targets": targets}))
}

fn ask(asked: &Value) -> Vec<Value> {
    let mut python = python_of(found("STATE_COUNTS_GRAPHITE"))
        .args(["-W", "ignore", concat!(env!("CARGO_MANIFEST_DIR"), "/data/render.py")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("Debian's Python");
    python.stdin.take().unwrap().write_all(asked.to_string().as_bytes()).unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success());
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn each_query_states_how_its_values_are_consolidated() {
    for Query { panel, target, calc } in queries() {
        let wanted = format!(",\"{}\")", consolidation(&calc));
        // Outermost except for the alias: the outer function applies to inner ones.
        let inner = target.split_once('(').unwrap().1;
        let outermost = target.starts_with("consolidateBy(") || inner.starts_with("consolidateBy(");
        let inside_fallback = inner.starts_with("fallbackSeries(consolidateBy(");
        assert!(outermost || inside_fallback, "{panel}: {target}");
        assert!(target.contains(&wanted), "{panel} has {calc}: {target}");
    }
}

#[test]
#[cfg_attr(not(have_graphite), ignore = "needs Debian's graphite-web: scripts/test")]
fn consolidated_values_draw_the_same() {
    let queries = queries();
    let series: BTreeSet<_> = queries.iter().flat_map(|query| names(&query.target)).collect();
    // Each query a second time, with Graphite's default.
    let mut targets: Vec<_> = queries.iter().map(|query| query.target.clone()).collect();
    targets.extend(queries.iter().map(|Query { target, calc, .. }| {
        target.replace(&format!(",\"{}\")", consolidation(calc)), ",\"average\")")
    }));
    let answers = render(&series, &targets);
    let mut would_be_wrong = BTreeSet::new();
    for (number, Query { panel, target, calc }) in queries.iter().enumerate() {
        let says = |answer: &Value| -> Vec<(f64, f64)> {
            let (full, thin) = (&answer["full"], &answer["thin"]);
            let (full, thin) = (full.as_array().unwrap(), thin.as_array().unwrap());
            assert!(!full.is_empty() && full.len() == thin.len(), "{target}: {answer}");
            assert!(full[0].as_array().unwrap().len() > 10 * thin[0].as_array().unwrap().len());
            full.iter()
                .zip(thin)
                .map(|(full, thin)| (reduced(calc, full), reduced(calc, thin)))
                .collect()
        };
        for (full, thin) in says(&answers[number]) {
            // In a sum, the first values may be missing, which are small. In a mean, the last
            // consolidated value has too much weight.
            let tolerance = match calc.as_str() {
                "sum" => 0.001,
                "mean" => 0.05,
                _ => 1e-6,
            };
            let close = tolerance * full.abs();
            assert!(
                (full - thin).abs() <= close,
                "{panel}: {calc} of {target}: {thin}, not {full}"
            );
        }
        let averaged = says(&answers[queries.len() + number]);
        if averaged.iter().any(|(full, thin)| (full - thin).abs() > 0.05 * full) {
            would_be_wrong.insert(calc.as_str());
        }
    }
    assert_eq!(would_be_wrong, ["lastNotNull", "max", "sum"].into(), "else nothing was tested");
}

/// A rule of the alerts, as Grafana evaluates it.
struct Rule {
    title: String,
    target: String,
    /// The number of values in its time range.
    range: usize,
    reducer: String,
    is_below: bool,
    threshold: f64,
    fires_without_series: bool,
}

fn rules() -> Vec<Rule> {
    let path = format!("{TOP}/dashboards/graphite-alerts.yml");
    let file: Value = serde_yaml_ng::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let rules = file["groups"][0]["rules"].as_array().unwrap().iter().map(|rule| {
        let [query, reduce, threshold] = &rule["data"].as_array().unwrap()[..] else {
            panic!("{rule}")
        };
        let (reduce, threshold) = (&reduce["model"], &threshold["model"]["conditions"][0]);
        let nulls_are_0 = json!({"mode": "replaceNN", "replaceWithValue": 0});
        assert_eq!(reduce["settings"], nulls_are_0);
        let evaluator = &threshold["evaluator"];
        Rule {
            title: text(&rule["title"]),
            target: text(&query["model"]["target"]),
            range: query["relativeTimeRange"]["from"].as_u64().unwrap() as usize / 10,
            reducer: text(&reduce["reducer"]),
            is_below: match text(&evaluator["type"]).as_str() {
                "lt" => true,
                "gt" => false,
                other => panic!("{other}"),
            },
            threshold: evaluator["params"][0].as_f64().unwrap(),
            fires_without_series: match text(&rule["noDataState"]).as_str() {
                "Alerting" => true,
                "OK" => false,
                other => panic!("{other}"),
            },
        }
    });
    rules.collect()
}

impl Rule {
    /// Returns `true` if it fires for one of the series that Graphite returns.
    fn fires(&self, answer: &Value) -> bool {
        let series = answer["full"].as_array().unwrap();
        let fires = |values: &Value| {
            let values = values.as_array().unwrap();
            let last = &values[values.len() - self.range..];
            let last = last.iter().map(|value| value.as_f64().unwrap_or(0.0));
            let value = match self.reducer.as_str() {
                "sum" => last.sum(),
                "min" => last.fold(f64::MAX, f64::min),
                other => panic!("{other}"),
            };
            if self.is_below {
                value < self.threshold
            } else {
                value > self.threshold
            }
        };
        if series.is_empty() {
            self.fires_without_series
        } else {
            series.iter().any(fires)
        }
    }
}

type Values = BTreeMap<String, Vec<Option<f64>>>;

/// The alerts that fire with each of these sets of last values in Graphite.
fn firing(cases: &[Values]) -> Vec<Vec<String>> {
    let rules = rules();
    let (mut values, mut targets) = (Values::new(), Vec::new());
    for (number, case) in cases.iter().enumerate() {
        let renamed = |name: &String| name.replace("stats.", &format!("case{number}."));
        values.extend(case.iter().map(|(name, values)| (renamed(name), values.clone())));
        targets.extend(rules.iter().map(|rule| renamed(&rule.target)));
    }
    let answers = ask(&json!({"series": [], "values": values, "targets": targets}));
    let answers = answers.chunks(rules.len());
    let firing = answers.map(|answers| {
        let firing = rules.iter().zip(answers).filter(|(rule, answer)| rule.fires(answer));
        firing.map(|(rule, _)| rule.title.clone()).collect()
    });
    firing.collect()
}

/// Values that are constant for half an hour.
fn constant(gauges: &[(&str, f64)]) -> Values {
    let series = gauges.iter().map(|(name, value)| {
        let kind = if name.starts_with("plugin") { "counters" } else { "gauges" };
        let suffix = if kind == "counters" { ".count" } else { "" };
        (format!("stats.{kind}.flux.job.{name}{suffix}"), vec![Some(*value); 180])
    });
    series.collect()
}

/// An instance of twelve nodes.
const ORDINARY: &[(&str, f64)] = &[
    ("plugin.datagrams", 7.0),
    ("scheduler.ready", 1.0),
    ("resource.nodes.total", 12.0),
    ("resource.nodes.drained", 1.0),
    ("resource.nodes.draining", 0.0),
    ("resource.drain.oldest_seconds", 604_000.0),
    ("housekeeping.oldest_seconds", 1700.0),
    ("pending.oldest_seconds", 604_000.0),
    ("queue.batch.pending.stopped", 0.0),
    ("queue.debug.pending.stopped", 0.0),
];

#[test]
#[cfg_attr(not(have_graphite), ignore = "needs Debian's graphite-web: scripts/test")]
fn each_alert_of_graphite_fires_when_it_should() {
    let faults = [
        ("FluxNoNews", "plugin.datagrams", 0.0),
        ("FluxSchedulerNotReady", "scheduler.ready", 0.0),
        ("FluxQueueStopped", "queue.debug.pending.stopped", 1.0),
        ("FluxJobWaitsLong", "pending.oldest_seconds", 605_000.0),
        ("FluxHousekeepingOld", "housekeeping.oldest_seconds", 1900.0),
        ("FluxNodesDrained", "resource.nodes.draining", 1.0),
        ("FluxNodeDrainedLong", "resource.drain.oldest_seconds", 605_000.0),
    ];
    let rules = rules();
    let titles: Vec<_> = rules.iter().map(|rule| rule.title.as_str()).collect();
    assert_eq!(titles, faults.map(|(title, ..)| title));

    let (mut cases, mut expected) = (Vec::new(), Vec::new());
    let mut case = |what: String, values: Values, titles: &[&'static str]| {
        cases.push(values);
        expected.push((what, titles.to_vec()));
    };
    case("ordinary values".to_owned(), constant(ORDINARY), &[]);
    for ((title, gauge, value), rule) in faults.into_iter().zip(&rules) {
        let with = |change: &dyn Fn(&mut Vec<Option<f64>>)| {
            let mut values = constant(ORDINARY);
            let is_it = |name: &String| name.contains(&format!(".job.{gauge}"));
            change(values.iter_mut().find(|(name, _)| is_it(name)).unwrap().1);
            values
        };
        // Statsd has not yet flushed the latest value.
        let fault = with(&|values| {
            values.fill(Some(value));
            *values.last_mut().unwrap() = None;
        });
        case(format!("{title}: the fault"), fault, &[title]);
        let begun = with(&|values| {
            let place = values.len() - rule.range + 1;
            values[place..].fill(Some(value));
        });
        case(format!("{title}: it has just begun"), begun, &[]);
        let gone = with(&|values| values.fill(None));
        let news: &[_] = if title == "FluxNoNews" { &[title] } else { &[] };
        case(format!("{title}: the gauge is missing"), gone, news);
    }
    let zeros: Vec<_> = ORDINARY.iter().map(|(name, _)| (*name, 0.0)).collect();
    case("the plugin was removed".to_owned(), constant(&zeros), &["FluxNoNews"]);
    case("nothing ever arrived".to_owned(), Values::new(), &["FluxNoNews"]);
    let old = [ORDINARY[0], ORDINARY[2], ORDINARY[3]];
    case("a Flux that sends little".to_owned(), constant(&old), &[]);

    for (firing, (what, titles)) in firing(&cases).iter().zip(&expected) {
        assert_eq!(firing, titles, "{what}");
    }
}
