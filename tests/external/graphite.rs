//! dashboards/grafana.json over long time ranges. Grafana requests as many points as it has
//! pixels, and Graphite consolidates its values. This must not change the values in the legend
//! of a panel: the sum, the last or the greatest value.

use std::collections::BTreeSet;
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

/// Graphite's values of each target.
fn render(series: &BTreeSet<String>, targets: &[String]) -> Vec<Value> {
    let mut python = python_of(found("STATE_COUNTS_GRAPHITE"))
        .args(["-W", "ignore", concat!(env!("CARGO_MANIFEST_DIR"), "/data/render.py")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("Debian's Python");
    let asked = json!({"series": series, "targets": targets}).to_string();
    python.stdin.take().unwrap().write_all(asked.as_bytes()).unwrap();
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
