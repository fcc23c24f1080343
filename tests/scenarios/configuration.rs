//! Each key of the configuration, in each place where it can be set, and each mistake.

use std::collections::BTreeSet;

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

pub fn a_mistake_in_the_environment_is_refused_unless_the_conf_has_an_endpoint<H: Host>() {
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
        let text = format!("FLUX_FRIPP_STATSD: endpoint \"{endpoint}\": {text}");
        assert_eq!(host.load(json!({})), Err(text));
        let endpoint = host.receiver().endpoint();
        host.load(json!({"endpoint": endpoint})).unwrap();
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
    let lines: Vec<_> = log.lines().filter(|line| line.contains("state-counts: ")).collect();
    let text =
        "no endpoint is set: no metrics are sent (expected endpoint=HOST:PORT at load or in \
                the broker's [state-counts], or FLUX_FRIPP_STATSD in its environment)";
    assert!(lines.len() == 1 && lines[0].contains(text), "{log}");
    host.end();
}
