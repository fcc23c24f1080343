//! Precedence of the sources of a key. tests/support/configurations.rs has the refused values,
//! for the fake job manager and for brokers.

use super::*;

fn config(plugin: &str, table: &str, environment: &str) -> Result<Config, String> {
    let broker = format!("{{\"conf\": {{\"state-counts\": {table}, \"queues\": {{}}}}}}");
    Config::new(Some(plugin), &broker, Some(environment)).map_err(|error| error.to_string())
}

fn get(config: &Config, name: &str) -> Value {
    config.get(KEYS.iter().find(|key| key.name == name).unwrap())
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
    assert_eq!(all.origin("endpoint"), Origin::Plugin);
    assert_eq!(all.origin("period"), Origin::Broker);
    assert_eq!(all.origin("resync"), Origin::Default);

    let table = config("{}", r#"{"endpoint": ["b:1", "unix:/x"]}"#, "c:1").unwrap();
    assert_eq!(get(&table, "endpoint"), json!(["b:1", "unix:/x"]));

    let environment = config("{}", "{}", "c:1,d:1").unwrap();
    assert_eq!(get(&environment, "endpoint"), json!(["c:1", "d:1"]));
    assert_eq!(environment.origin("endpoint"), Origin::Environment);

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
        assert_eq!((config.resync, config.origin("resync")), (resync, from), "{plugin} {broker}");
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
        "datagram": 8932,
        "prefix": "{cluster}.jobs", "cluster": "x", "states": "l", "dialect": "graphite",
        "tags": {"site": "{hostname}"}, "metrics": ["states", "results"], "telemetry": true,
    });
    let config = config(&given.to_string(), "{}", "").unwrap();
    for key in &KEYS {
        assert_eq!(config.get(key), given[key.name], "{}", key.name);
        assert_eq!(config.origin(key.name), Origin::Plugin);
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
        let error = config(&conf, "{}", "").unwrap().check("0").unwrap_err();
        let expected = format!("dialect \"{dialect}\" has no tags (expected dialect dogstatsd");
        assert!(error.contains(&expected), "{error}");
    }
}

#[test]
fn a_misplaced_part_of_the_brokers_configuration_is_named() {
    let table = [
        (json!({"state-counts": {}, "kvs": {}}), None),
        (json!({"state_counts": {}}), Some("[state_counts] is")),
        (json!({"State-Counts": {}, "state-counts": {}}), Some("[State-Counts] is")),
        (json!({"statecounts": 5}), Some("[statecounts] is")),
        (json!({"job-manager": {"state-counts": {}}}), Some("[job-manager.state-counts] is")),
        (json!({"job-manager": {"state_count": {}}}), Some("[job-manager.state_count] is")),
        (
            json!({"job-manager": {"plugins": [{"load": "x.so"}, {"load": "/a/state-counts.so", "endpoint": "a:1"}]}}),
            Some("endpoint beside load in [job-manager] plugins is"),
        ),
        (json!({"job-manager": {"plugins": [{"load": "x.so", "period": 1}]}}), None),
        (
            json!({"job-manager": {"plugins": [{"load": "state-counts.so", "conf": {"period": 1}}]}}),
            None,
        ),
        (json!({"job-manager": {"plugins": "state-counts.so"}}), None),
        (json!({"job-manager": [{"state-counts": 1}]}), None),
        (json!([1]), None),
    ];
    for (conf, expected) in table {
        let broker = json!({"conf": conf}).to_string();
        let misplaced = Config::new(None, &broker, None).unwrap().misplaced;
        assert_eq!(misplaced.is_some(), expected.is_some(), "{conf} {misplaced:?}");
        let (text, expected) = (misplaced.unwrap_or_default(), expected.unwrap_or_default());
        assert!(text.starts_with(expected), "{text}");
    }
}

#[test]
fn a_nested_instance_needs_a_prefix() {
    let endpoint = r#"{"endpoint": "a:1"}"#;
    // The conf, the table, the level, and whether metrics are sent.
    let table = [
        (endpoint, "{}", "0", true),
        (endpoint, "{}", "1", false),
        (endpoint, "{}", "12", false),
        // Not known: no such attribute.
        (endpoint, "{}", "", true),
        (endpoint, r#"{"tags": {"job": "{jobid}"}, "dialect": "graphite"}"#, "1", false),
        (endpoint, r#"{"prefix": "flux.job.state"}"#, "1", true),
        (r#"{"endpoint": "a:1", "prefix": "x.{jobid}", "resync": 0}"#, "{}", "2", true),
    ];
    for (conf, broker, level, is_sent) in table {
        let mut config = config(conf, broker, "").unwrap();
        config.check(level).unwrap();
        assert_eq!((config.endpoints.len(), config.silent.is_none()), (is_sent.into(), is_sent));
        if let Some(text) = config.silent {
            assert!(text.starts_with(&format!("instance-level is {level} and no prefix is set")));
            assert!(text.contains("flux.nested.{jobid}.job.state") && text.contains("resync = 0"));
        }
    }
    let mut unset = config("{}", "{}", "").unwrap();
    unset.check("1").unwrap();
    assert!(unset.silent.unwrap().starts_with("no endpoint is set"));
}
