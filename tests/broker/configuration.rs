//! What an administrator may configure, by each way, and what is refused.

use std::time::Duration;

use crate::support::artifact::{plugin, NAME};
use crate::support::broker::{Broker, Setup, ENDLESS};
use crate::support::configurations::{bad, conf, good};
use crate::support::receiver::Receiver;
use crate::support::{counts, Counts};
use serde_json::{json, Value};

const TABLE: &str = "state-counts";

/// A broker whose configuration is `table`, with the plugin in it.
fn configured(table: &Value) -> Broker {
    let broker = Setup::new(None).start();
    broker.configure(&json!({TABLE: table})).unwrap();
    broker.load(plugin(), &[]).unwrap();
    broker
}

#[test]
#[cfg_attr(not(have_flux), ignore = "needs flux on PATH")]
fn a_broker_refuses_each_mistake_at_load_and_at_reload() {
    let mut receiver = Receiver::start();
    let broker = configured(&json!({"endpoint": receiver.endpoint()}));
    broker.submit(&[ENDLESS]);
    broker.wait_stats(|stats| stats["RUN"] == 1);
    let before = broker.query();
    for mistake in bad().iter().filter(|(_, value, _)| !has_point(value)) {
        assert_refused_at_reload(&broker, mistake);
    }
    assert_eq!(broker.query()["config"], before["config"]);
    broker.configure(&json!({TABLE: {"endpoint": receiver.endpoint()}})).unwrap();
    broker.assert_true(&mut receiver);

    broker.remove(NAME);
    for (key, value, words) in &bad() {
        let load = broker.load(plugin(), &[&format!("{key}={value}")]).unwrap_err();
        assert!(load.contains(words), "{load}");
    }
    broker.load(plugin(), &[]).unwrap();
    broker.assert_true(&mut receiver);
    broker.end();
}

#[test]
#[cfg_attr(
    not(all(have_flux, flux_config_floats)),
    ignore = "needs a Flux on PATH whose configuration takes 0.5 in this locale, and scripts/test"
)]
fn a_broker_refuses_each_number_with_a_point_at_a_reload() {
    let broker = configured(&json!({"endpoint": "127.0.0.1:1"}));
    let before = broker.query();
    let mistakes: Vec<_> = bad().into_iter().filter(|(_, value, _)| has_point(value)).collect();
    assert!(mistakes.len() > 1);
    for mistake in &mistakes {
        assert_refused_at_reload(&broker, mistake);
    }
    assert_eq!(broker.query()["config"], before["config"]);
    broker.end_with_complaints(); // Nobody listens there.
}

/// Whether Flux has to read a number with a decimal point.
fn has_point(value: &Value) -> bool {
    value.is_f64() || value.as_object().is_some_and(|object| object.values().any(has_point))
}

fn assert_refused_at_reload(broker: &Broker, (key, value, words): &(&str, Value, String)) {
    let reload = broker.configure(&json!({TABLE: {*key: value}})).unwrap_err();
    let short: String = words.chars().take(100).collect();
    assert!(reload.contains(&short), "{reload}");
}

#[test]
#[cfg_attr(not(have_flux), ignore = "needs flux on PATH")]
fn a_broker_takes_every_key_by_each_way() {
    let broker = Setup::new(None).start();
    for (key, value, shown) in good() {
        let words = conf(key, &value);
        let words: Vec<_> = words
            .as_object()
            .unwrap()
            .iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        broker.load(plugin(), &words).unwrap();
        assert_eq!(broker.query()["config"][key], json!({"value": shown, "from": "conf"}));
        broker.remove(NAME);
    }
    broker.load(plugin(), &[]).unwrap();
    for (key, value, shown) in good() {
        broker.configure(&json!({TABLE: conf(key, &value)})).unwrap();
        assert_eq!(
            broker.query()["config"][key],
            json!({"value": shown, "from": "[state-counts]"})
        );
    }
    broker.end_with_complaints(); // Most of these have no endpoint.
}

#[test]
#[cfg_attr(not(have_flux), ignore = "needs flux on PATH")]
fn reloads_under_load_lose_no_count() {
    let [mut first, mut second] = [Receiver::start(), Receiver::start()];
    // From 0: a plugin that only adds need not say that it adds nothing.
    for receiver in [&mut first, &mut second] {
        receiver.begin(counts(&[]));
    }
    let both = json!([first.endpoint(), second.endpoint()]);
    let broker = configured(&json!({"endpoint": both, "resync": 0}));
    // 64 at a time: they last longer than some reloads, on any machine.
    broker.submit(&["--setattr=exec.test.run_duration=300ms", "--cc=1-1000", "--quiet"]);
    let mut reloads = 0;
    while broker.stats()["INACTIVE"] < 1000 {
        // Each is different: the period, the endpoints, the way to send.
        let endpoint = if reloads % 3 == 0 { json!(second.endpoint()) } else { both.clone() };
        let period = ["0", "200ms"][reloads % 2];
        let table = json!({"endpoint": endpoint, "period": period, "resync": 0});
        broker.configure(&json!({TABLE: table})).unwrap();
        reloads += 1;
    }
    broker.configure(&json!({TABLE: {"endpoint": both, "resync": 0}})).unwrap();
    println!("{reloads} reloads");
    assert!(reloads > 3, "there was a load to reload under");
    let truth = counts(&[("INACTIVE", 1000)]);
    broker.drain();
    for receiver in [&mut first, &mut second] {
        let seen = receiver.wait(Duration::from_secs(3), |seen| seen.gauges == truth);
        assert_eq!(seen.gauges, truth);
        assert_eq!(seen.negative(), Counts::new());
    }
    broker.end();
}
