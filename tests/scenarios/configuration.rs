//! Each key of the configuration, in each place where it can be set, and each mistake.

use std::collections::BTreeSet;
use std::time::UNIX_EPOCH;

use serde_json::{json, Value};
use state_counts::config::KEYS;

use super::{Environment, Host, HostSetup, Job};
use crate::support::artifact::NAME;
use crate::support::configurations::{bad, conf, good};

pub fn each_mistake_is_refused_and_changes_nothing<H: Host>() {
    let all = bad();
    let texts: BTreeSet<_> = all.iter().map(|(_, _, text)| text).collect();
    assert!(texts.len() == all.len() && all.len() >= 60, "{} distinct texts", texts.len());
    refuse::<H>(|value| !has_fraction(value));
}

/// Not every Flux reads these numbers from a configuration.
pub fn each_wrong_number_with_a_fraction_is_refused<H: Host>() {
    refuse::<H>(has_fraction);
}

fn has_fraction(value: &Value) -> bool {
    value.is_f64() || value.as_object().is_some_and(|object| object.values().any(has_fraction))
}

fn refuse<H: Host>(chosen: impl Fn(&Value) -> bool) {
    let mut mistakes = bad();
    mistakes.retain(|(_, value, _)| chosen(value));
    assert!(mistakes.len() > 1);
    let mut host = H::start(HostSetup::default());
    host.submit(Job::Endless, "", 1);
    for (key, value, text) in &mistakes {
        assert!(text.len() < 160, "Flux cuts longer texts: {text}");
        assert_eq!(host.load(json!({*key: value})), Err(text.clone()), "{value}");
        assert!(!host.is_mapped(NAME));
    }
    host.pass(1.0);
    assert_eq!(host.receiver().seen().datagrams, 0);

    // The same values in the table of the configuration, at a reload.
    host.reload(&json!({"resync": "1h", "verify": 0})).unwrap();
    host.load(json!({})).unwrap();
    host.assert_true();
    let (query, log) = (host.query(), host.log());
    for (key, value, text) in &mistakes {
        let text = match *key == "tags" && text.contains("has no tags") {
            true => text.clone(),
            false => format!("[state-counts] {text}"),
        };
        // The valid key beside it does not apply either.
        let mut table = json!({"period": "1s"});
        table[*key] = value.clone();
        let refused = host.reload(&table).unwrap_err();
        // Flux may put words before the text, and cuts it.
        let start = refused.find(&text[..10]).unwrap_or_else(|| panic!("{refused}"));
        let shown = refused[start..].trim_end_matches('+');
        assert!(text.starts_with(shown) && shown.len() >= text.len().min(120), "{refused}");
    }
    assert_eq!(host.query(), query);
    assert_eq!(lines_of_ours(&host.log()), lines_of_ours(&log));
    host.cancel_all();
    host.drain();
    host.assert_true();
    host.end();
}

fn lines_of_ours(log: &str) -> Vec<&str> {
    log.lines().filter(|line| line.contains("state-counts: ")).collect()
}

pub fn each_key_can_be_set_in_each_place<H: Host>() {
    let covered: BTreeSet<_> = good().iter().map(|(key, _, _)| *key).collect();
    assert_eq!(covered, BTreeSet::from(KEYS.map(|key| key.name)));
    let mut host = H::start(HostSetup { environment: Environment::Unset, ..HostSetup::default() });
    host.expect_complaints();
    for (key, value, shown) in good() {
        host.load(conf(key, &value)).unwrap();
        assert_eq!(host.query()["config"][key], json!({"value": shown, "from": "conf"}));
        host.remove();

        host.reload(&conf(key, &value)).unwrap();
        host.load(json!({})).unwrap();
        let expected = json!({"value": shown, "from": "[state-counts]"});
        assert_eq!(host.query()["config"][key], expected);
        host.reload(&json!({})).unwrap();
        assert_eq!(host.query()["config"][key]["from"], "default", "{key}");
        host.reload(&conf(key, &value)).unwrap();
        assert_eq!(host.query()["config"][key], expected);
        host.remove();
        host.reload(&json!({})).unwrap();
    }
    host.end();

    let mut host = H::start(HostSetup::default());
    host.load(json!({})).unwrap();
    assert_eq!(host.query()["config"]["endpoint"]["from"], "FLUX_FRIPP_STATSD");
    host.end();
}

pub fn a_mistake_outside_the_conf_never_fails_a_load<H: Host>() {
    let mut host = H::start(HostSetup { environment: Environment::Unset, ..HostSetup::default() });
    host.expect_complaints();
    let endpoint = host.receiver().endpoint();
    host.submit(Job::Endless, "", 1);
    let mistakes = bad();
    // One for each key; the other ones are read by the same functions.
    let mut keys = BTreeSet::new();
    for (key, value, text) in
        mistakes.iter().filter(|(key, it, _)| !has_fraction(it) && keys.insert(*key))
    {
        let mut table = json!({"endpoint": endpoint, "metrics": "queues"});
        table[*key] = value.clone();
        host.reload(&table).unwrap();
        host.load(json!({"resync": "1h"})).unwrap();
        let error = host.query()["config_error"].as_str().unwrap().to_owned();
        let begin =
            format!("[state-counts] {text}; no metrics are sent until a valid [state-counts]");
        assert!(error.starts_with(&begin), "{error}");
        assert!(host.log().contains(&begin));
        // At a reload the mistake is refused. (Flux does not reload an equal configuration.)
        table["lookup"] = json!("2h");
        table[*key] = value.clone();
        let reloaded = host.reload(&table);
        assert!(reloaded.is_err() || *key == "lookup", "{table}");
        assert_eq!(host.query()["config_error"], *error);
        host.pass(1.0);
        assert_eq!(host.receiver().seen().datagrams, 0, "{text}");
        host.remove();
        // The conf's own mistakes fail the load.
        assert_eq!(host.load(json!({*key: value})), Err(text.clone()));
    }
    host.reload(&json!({"endpoint": endpoint, "period": "soon"})).unwrap();
    host.load(json!({"resync": "1h"})).unwrap();
    host.reload(&json!({"endpoint": endpoint})).unwrap();
    assert_eq!(host.query()["config_error"], Value::Null);
    host.assert_true();
    host.remove();
    host.end();
}

/// Two valid values that exclude each other, in the conf and in the table.
pub fn a_conflict_fails_a_load_only_if_it_is_within_the_conf<H: Host>() {
    let mut host = H::start(HostSetup::default());
    host.expect_complaints();
    let tags = json!({"tags": {"site": "x"}});
    let own_error = host.load(tags.clone()).unwrap_err();
    assert!(
        own_error.starts_with("tags: {\"site\":\"x\"}: dialect \"plain\" has no tags"),
        "{own_error}"
    );
    // The table, the conf, and the beginning of the error.
    let table = [
        (json!({"tags": {"site": "x"}}), json!({}), own_error.as_str()),
        (tags.clone(), json!({"dialect": "pcp"}), "tags: {\"site\":\"x\"}: dialect \"pcp\""),
        (json!({"dialect": "graphite", "perod": 1}), tags, "[state-counts] unknown key \"perod\""),
        (json!({"prefix": "x.time", "metrics": "states,timings"}), json!({}), "prefix: \"x.time\""),
        (json!({"prefix": "x.time"}), json!({"metrics": "states,timings"}), "prefix: \"x.time\""),
    ];
    for (table, conf, text) in table {
        host.reload(&table).unwrap();
        host.load(conf).unwrap();
        let error = host.query()["config_error"].as_str().unwrap().to_owned();
        assert!(error.starts_with(text), "{error}");
        host.remove();
        host.reload(&json!({})).unwrap();
    }
    host.end();
}

/// As at a start of the broker, where the configuration is passed twice.
pub fn a_job_manager_starts_with_a_mistake_in_the_table<H: Host>() {
    let mut host = H::start(HostSetup::default());
    host.expect_complaints();
    host.populate(1);
    host.restart(&json!({"resync": "1h", "verify": "soon"}));
    let error = host.query()["config_error"].as_str().unwrap().to_owned();
    assert!(error.starts_with("[state-counts] verify: \"soon\""), "{error}");
    assert_eq!(host.log().matches(&error).count(), 1);
    host.reload(&json!({"resync": "1h"})).unwrap();
    host.assert_true();
    host.cancel_all();
    host.drain();
    host.assert_true();
    host.end();
}

pub fn a_mistake_in_the_environment_is_a_warning_and_matters_only_without_an_endpoint<H: Host>() {
    let form = "(expected HOST:PORT, [IPv6]:PORT or unix:PATH)";
    let range = "(expected 1 to 65535)";
    let table = [
        ("statsd", format!("missing \":PORT\" {form}")),
        (":8125", format!("empty host {form}")),
        ("localhost:", format!("missing \":PORT\" {form}")),
        ("localhost:x", format!("port \"x\" is not valid {range}")),
        ("localhost:0", format!("port \"0\" is not valid {range}")),
        ("localhost:70000", format!("port \"70000\" is not valid {range}")),
    ];
    for (endpoint, text) in table {
        let mut host = H::start(HostSetup {
            environment: Environment::Endpoint(endpoint),
            ..HostSetup::default()
        });
        host.expect_complaints();
        let text = format!("FLUX_FRIPP_STATSD: endpoint \"{endpoint}\": {text}");
        host.load(json!({})).unwrap();
        let error = host.query()["config_error"].as_str().unwrap().to_owned();
        assert!(error.starts_with(&text), "{error}");
        assert_eq!(host.log().matches(&text).count(), 1);
        host.pass(1.0);
        assert_eq!(host.receiver().seen().datagrams, 0);
        host.remove();
        let endpoint = host.receiver().endpoint();
        host.load(json!({"endpoint": endpoint})).unwrap();
        assert_eq!(host.log().matches(&text).count(), 1);
        host.submit(Job::Short, "", 1);
        host.drain();
        host.assert_true();
        host.end();
    }
}

pub fn without_an_endpoint_the_plugin_loads_and_logs_a_warning<H: Host>() {
    let mut host = H::start(HostSetup { environment: Environment::Unset, ..HostSetup::default() });
    host.expect_complaints();
    host.load(json!({})).unwrap();
    host.submit(Job::Short, "", 1);
    host.drain();
    // Longer than the interval between checks of the endpoints.
    host.pass(11.0);
    let log = host.log();
    let text = "no endpoint is set: no metrics are sent (expected endpoint=HOST:PORT at load, \
                conf = { endpoint = \"HOST:PORT\" } in [job-manager] plugins, endpoint in \
                [state-counts], or FLUX_FRIPP_STATSD in the broker's environment)";
    assert!(lines_of_ours(&log).len() == 1 && log.contains(text), "{log}");
    assert_eq!(host.query()["config_error"], text);
    host.end();
}

pub fn a_reload_logs_what_it_changed<H: Host>() {
    let mut host = H::start(HostSetup::default());
    host.load(json!({"resync": "1h"})).unwrap();
    // The keys whose values change, and the end of the line.
    let table = [
        (json!({"metrics": "states,queues"}), "resync 3600 s; metrics is now [\"states\",\"queues\"]"),
        (
            json!({"dialect": "graphite", "tags": {"site": "{rank}"}, "metrics": "states,queues"}),
            "resync 3600 s; dialect is now \"graphite\"; tags is now {\"site\":\"{rank}\"}",
        ),
        (
            json!({"prefix": "x.y"}),
            "resync 3600 s; prefix is now \"x.y\"; dialect is now \"plain\"; tags is now {}; metrics is now [\"states\"]",
        ),
        (json!({"prefix": "x.y", "period": 0.5}), "period 0.5 s, resync 3600 s; period is now 0.5"),
    ];
    for (table, end) in table {
        if H::SLACK > 0.0 && has_fraction(&table) {
            continue; // Not every Flux reads it.
        }
        host.reload(&table).unwrap();
        host.pass(0.1);
        let log = host.log();
        let last = *lines_of_ours(&log).last().unwrap();
        assert!(last.ends_with(end), "{last}");
    }
    host.end();
}

pub fn the_query_shows_effective_values<H: Host>() {
    let mut host = H::start(HostSetup { queues: &["batch"], ..HostSetup::default() });
    host.expect_complaints();
    // No server listens at the second one.
    let endpoints = [host.receiver().endpoint(), "127.0.0.1:1".to_owned()];
    host.load(json!({
        "endpoint": endpoints, "prefix": "x{rank}.state", "dialect": "dogstatsd", "tags": {"level": "{level}"},
        "metrics": "states,queues,timings", "resync": "1h",
    }))
    .unwrap();
    host.submit(Job::Endless, "batch", 1);
    host.pass(1.0);
    let query = host.query();
    assert_eq!(query["prefix"], "x0.state");
    assert_eq!(query["sample"], "x0.state:+1|g|#state:NEW,level:0");
    assert_eq!(query["config_error"], Value::Null);
    assert_eq!(query["panics"], 0);
    assert_eq!(
        query["collectors"],
        json!({
            "states": {"gauges": 7, "labels": null},
            "queues": {"gauges": 24, "labels": {"used": 1, "max": 256}},
            "timings": {"gauges": 0, "labels": null},
            "queues.timings": {"gauges": 0, "labels": {"used": 1, "max": 256}},
        })
    );
    let now = UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
    let (one, dead) = (&query["endpoints"][0], &query["endpoints"][1]);
    for time in [&one["last_success"], &dead["last_failure"]] {
        let time = time.as_f64().unwrap_or_else(|| panic!("{query}"));
        assert!((now - 60.0..now + 60.0).contains(&time), "{query}");
    }
    assert_eq!(one["last_failure"], Value::Null);
    host.end();
}
