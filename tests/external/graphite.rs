//! dashboards/grafana.json over long ranges: Grafana asks Graphite for as many points as
//! it has pixels, and Graphite thins out what there is. What a panel says in its legend,
//! the sum, the last, the greatest value, must not change by that.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::process::Stdio;

use serde_json::{json, Value};

use crate::support::found::{found, TOP};
use crate::support::servers::process::python_of;

/// A query of a panel, and what the panel makes of its values.
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
            kind => panic!("a panel of type {kind}: what does it make of its values?"),
        };
        let [calc] = &calcs.as_array().unwrap()[..] else {
            panic!("{panel}: thinned out in one way, values are right for one number only")
        };
        for target in panel["targets"].as_array().unwrap() {
            let target = target["target"].as_str().unwrap();
            queries.push(Query {
                panel: panel["title"].as_str().unwrap().to_owned(),
                target: target.replace("$root", "stats").replace("$prefix", "flux.job"),
                calc: calc.as_str().unwrap().to_owned(),
            });
        }
    }
    queries
}

/// How values are thinned out for a panel that says this.
fn consolidation(calc: &str) -> &'static str {
    match calc {
        "lastNotNull" => "last",
        "max" => "max",
        "mean" => "average",
        "sum" => "sum",
        _ => panic!("{calc}"),
    }
}

/// What a panel says of values.
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

/// The names that a target asks for; a star is one name.
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

/// What Graphite answers to each target.
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
fn each_query_says_how_it_is_thinned_out() {
    for Query { panel, target, calc } in queries() {
        let wanted = format!(",\"{}\")", consolidation(&calc));
        // Outermost but for the alias: what is inside is thinned out as the outer says.
        let inner = target.split_once('(').unwrap().1;
        let outermost = target.starts_with("consolidateBy(") || inner.starts_with("consolidateBy(");
        let inside_fallback = inner.starts_with("fallbackSeries(consolidateBy(");
        assert!(outermost || inside_fallback, "{panel}: {target}");
        assert!(target.contains(&wanted), "{panel} says {calc}: {target}");
    }
}

#[test]
#[cfg_attr(not(have_graphite), ignore = "needs Debian's graphite-web: scripts/test")]
fn thinned_out_values_say_the_same() {
    let queries = queries();
    let series: BTreeSet<_> = queries.iter().flat_map(|query| names(&query.target)).collect();
    // Each once more as Graphite thins out unless told otherwise.
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
            // Of a sum, the beginning is left out, which is next to nothing. In a mean, the
            // last of the thinned values, made of fewer, weighs too much.
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
