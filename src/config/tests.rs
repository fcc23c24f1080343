//! Precedence of the sources of a key. tests/support/configurations.rs has the refused values,
//! for the fake job manager and for brokers.

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
fn an_empty_configuration_has_the_defaults() {
    let config = Config::new(None, r#"{"conf": {}}"#, None).unwrap();
    assert_eq!(config, Config::default());
    assert_eq!(config.endpoints, []);
    assert_eq!(get(&config, "prefix"), json!("flux.job.state"));
}

#[test]
fn conf_precedes_the_table_and_the_environment() {
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
fn resync_defaults_to_5_s_with_values() {
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
fn the_environment_is_parsed_only_if_it_is_used() {
    assert!(config(r#"{"endpoint": "a:1"}"#, "{}", "nonsense").is_ok());
    let error = config("{}", "{}", "nonsense").unwrap_err();
    assert!(error.starts_with("FLUX_FRIPP_STATSD: endpoint \"nonsense\": missing"), "{error}");
}

#[test]
fn each_key_prints_the_value_that_it_was_set_to() {
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

#[test]
fn an_unknown_key_suggests_the_nearest_one() {
    let table = [
        ("endpont", "unknown key \"endpont\"; did you mean \"endpoint\"?"),
        ("Period", "unknown key \"Period\"; did you mean \"period\"?"),
        ("interval", "unknown key \"interval\" (expected endpoint, "),
        ("dash", "unknown key \"dash\" (expected endpoint, "),
        ("", "unknown key \"\" (expected endpoint, "),
    ];
    for (key, expected) in table {
        let error = config(&json!({key: 1}).to_string(), "{}", "").unwrap_err();
        assert!(error.starts_with(expected), "{error}");
    }
}

#[test]
fn dialects_without_tags_refuse_tags() {
    for dialect in ["plain", "pcp"] {
        let conf = json!({"dialect": dialect, "tags": {"site": "x"}}).to_string();
        let error = config(&conf, "{}", "").unwrap_err();
        let expected = format!("dialect \"{dialect}\" has no tags (expected dialect dogstatsd");
        assert!(error.contains(&expected), "{error}");
    }
}
