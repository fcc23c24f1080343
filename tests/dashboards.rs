//! The files of dashboards/: what can be told without the servers that read
//! them. scripts/dashboards loads them there.

mod support;

use std::fs;

use serde_json::Value;
use support::receiver::PREFIX;
use support::STATES;

fn read(name: &str) -> String {
    fs::read_to_string(format!("{}/dashboards/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn json(name: &str) -> Value {
    serde_json::from_str(&read(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn array(value: &Value) -> &Vec<Value> {
    value.as_array().unwrap()
}

/// The states that a query, `a.b.RUN` or `a.b.{RUN,SCHED}`, asks for.
fn asked(query: &str, prefix: &str) -> Vec<String> {
    let (_, rest) = query.split_once(prefix).unwrap_or_else(|| panic!("{query}: not {prefix}"));
    let names = rest.trim_start_matches('{').split(['}', ')', '"']).next().unwrap();
    names.split(',').filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

fn assert_every_state(mut states: Vec<String>) {
    states.sort();
    states.dedup();
    let mut wanted = STATES.map(str::to_owned);
    wanted.sort();
    assert_eq!(states, wanted);
}

#[test]
fn graphites_draws_every_state_and_only_ours() {
    let dashboard = json("graphite.json");
    let targets = array(&dashboard["graphs"]).iter().flat_map(|graph| array(&graph[1]["target"]));
    let prefix = format!("stats.gauges.{PREFIX}");
    assert_every_state(
        targets.flat_map(|target| asked(target.as_str().unwrap(), &prefix)).collect(),
    );
}

#[test]
fn grafanas_draws_every_state_and_only_ours() {
    let dashboard = json("grafana.json");
    let targets = array(&dashboard["panels"]).iter().flat_map(|panel| array(&panel["targets"]));
    let queries = targets.map(|target| target["target"].as_str().unwrap());
    assert_every_state(queries.flat_map(|query| asked(query, "$prefix.")).collect());
    let mut variables = array(&dashboard["templating"]["list"]).iter();
    let prefix = variables.find(|variable| variable["name"] == "prefix").unwrap();
    assert_eq!(prefix["query"], format!("stats.gauges.{}", PREFIX.trim_end_matches('.')));
}

#[test]
fn netdatas_draws_every_state_and_only_ours() {
    let conf = read("netdata.conf");
    let dimensions = conf.lines().filter_map(|line| line.trim().strip_prefix("dimension = "));
    let states = dimensions.map(|dimension| {
        let words: Vec<_> = dimension.split(' ').collect();
        let [metric, name, "last", "1", "1"] = words[..] else { panic!("{dimension}") };
        assert_eq!(metric, format!("{PREFIX}{name}"));
        name.to_owned()
    });
    assert_every_state(states.collect());
    assert!(conf.contains(&format!("metrics = {PREFIX}*\n")));
}

#[test]
fn statsd_exporters_maps_every_state() {
    assert!(read("statsd_exporter.yml").contains(&format!("- match: {PREFIX}*\n")));
}
