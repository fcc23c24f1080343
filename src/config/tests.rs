//! Which of the ways to configure a key wins. What is refused, and how, is in
//! tests/support/configurations.rs, for the plugin and real brokers.

use super::*;

fn config(plugin: &str, table: &str, environment: &str) -> Result<Config, String> {
    let broker = format!("{{\"conf\": {{\"state-counts\": {table}, \"queues\": {{}}}}}}");
    Config::new(Some(plugin), &broker, Some(environment)).map_err(|error| error.to_string())
}

fn key(name: &str) -> &'static Key {
    KEYS.iter().find(|key| key.name == name).unwrap()
}

fn get(config: &Config, name: &str) -> Value {
    config.get(key(name))
}

fn origin(config: &Config, name: &str) -> Origin {
    config.origin(key(name))
}

#[test]
fn the_defaults_are_the_seeds() {
    let config = Config::new(None, r#"{"conf": {}}"#, None).unwrap();
    assert_eq!(config, Config::default());
    assert_eq!(config.endpoints, []);
    assert_eq!(get(&config, "prefix"), json!("flux.job.state"));
}

#[test]
fn the_nearest_way_wins() {
    let all = config(r#"{"endpoint": "a:1"}"#, r#"{"endpoint": "b:1", "period": 2}"#, "c:1");
    let all = all.unwrap();
    assert_eq!(get(&all, "endpoint"), json!(["a:1"]));
    assert_eq!((all.period, all.resync), (2.0, 10.0));
    assert_eq!(origin(&all, "endpoint"), Origin::Plugin);
    assert_eq!(origin(&all, "period"), Origin::Broker);
    assert_eq!(origin(&all, "resync"), Origin::Default);

    let table = config("{}", r#"{"endpoint": ["b:1", "unix:/x"]}"#, "c:1").unwrap();
    assert_eq!(get(&table, "endpoint"), json!(["b:1", "unix:/x"]));

    let environment = config("{}", "{}", "c:1,d:1").unwrap();
    assert_eq!(get(&environment, "endpoint"), json!(["c:1", "d:1"]));
    assert_eq!(origin(&environment, "endpoint"), Origin::Environment);

    let unset = config("{}", "{}", "").unwrap();
    assert_eq!(unset.endpoints, []);
}

#[test]
fn values_are_sent_twice_in_ten_seconds_unless_resync_is_set() {
    let table = [
        ("{}", "{}", 10.0, Origin::Default),
        (r#"{"send": "increments"}"#, "{}", 10.0, Origin::Default),
        (r#"{"send": "values"}"#, "{}", 5.0, Origin::Default),
        ("{}", r#"{"send": "values"}"#, 5.0, Origin::Default),
        (r#"{"send": "values", "resync": 10}"#, "{}", 10.0, Origin::Plugin),
        (r#"{"send": "values"}"#, r#"{"resync": 60}"#, 60.0, Origin::Broker),
        (r#"{"send": "values", "resync": 0}"#, "{}", 0.0, Origin::Plugin),
    ];
    for (plugin, broker, resync, from) in table {
        let config = config(plugin, broker, "").unwrap();
        assert_eq!((config.resync, origin(&config, "resync")), (resync, from), "{plugin} {broker}");
    }
}

#[test]
fn a_mistake_in_the_environment_counts_only_where_it_is_used() {
    assert!(config(r#"{"endpoint": "a:1"}"#, "{}", "nonsense").is_ok());
    let error = config("{}", "{}", "nonsense").unwrap_err();
    assert!(error.starts_with("FLUX_FRIPP_STATSD: endpoint \"nonsense\": missing"), "{error}");
}

#[test]
fn each_key_reads_back_as_it_was_given() {
    let given = json!({
        "endpoint": ["a:1"], "period": 0.5, "resync": 60.0, "verify": 5.0, "send": "values", "lookup": 5.0,
        "prefix": "{cluster}.jobs", "cluster": "x", "states": "l", "dialect": "graphite",
        "tags": {"site": "{hostname}"}, "metrics": ["states", "results"], "telemetry": true,
    });
    let config = config(&given.to_string(), "{}", "").unwrap();
    for key in &KEYS {
        assert_eq!(config.get(key), given[key.name], "{}", key.name);
        assert_eq!(config.origin(key), Origin::Plugin);
    }
}
