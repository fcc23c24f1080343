//! Reloads of the configuration while jobs run.

use std::time::Duration;

use serde_json::{json, Value};

use crate::host::BrokerHost;
use crate::scenarios::{Host, HostSetup};
use crate::support::artifact::plugin;
use crate::support::broker::{Broker, Setup, ENDLESS, SIMULATED};
use crate::support::gauges::{gauges_named, is_of_jobs, Gauges};
use crate::support::receiver::Receiver;
use crate::support::{counts, Counts};

const TABLE: &str = "state-counts";

/// A broker with this table `[state-counts]`, and with the plugin.
fn configured(table: &Value) -> Broker {
    let broker = Setup::new(None).start();
    broker.configure(&json!({TABLE: table})).unwrap();
    broker.load(plugin(), &[]).unwrap();
    broker
}

#[test]
#[cfg_attr(not(have_flux), ignore = "needs flux on PATH")]
fn reloads_under_load_lose_no_count() {
    let [mut first, mut second] = [Receiver::start(), Receiver::start()];
    // With increments only, gauges that stay 0 are not sent.
    for receiver in [&mut first, &mut second] {
        receiver.begin(counts(&[]));
    }
    let both = json!([first.endpoint(), second.endpoint()]);
    let broker = configured(&json!({"endpoint": both, "resync": 0}));
    // 64 jobs run at a time: together they take longer than some reloads.
    broker.submit(&["--setattr=exec.test.run_duration=300ms", "--cc=1-1000", "--quiet"]);
    let mut reloads = 0;
    while broker.stats()["INACTIVE"] < 1000 {
        // Each reload has another period or other endpoints.
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

#[test]
#[cfg_attr(
    not(all(have_flux, flux_r)),
    ignore = "needs a Flux that passes R to plugins (scripts/test detects it)"
)]
fn collectors_switched_under_load_are_correct_at_once() {
    let mut host = BrokerHost::start(HostSetup::default());
    host.load(json!({})).unwrap();
    host.reload(&json!({"verify": 0, "resync": 3600})).unwrap();
    host.broker().submit(&[ENDLESS, "-n16", "--cc=1-2"]);
    host.broker().submit(&[SIMULATED, "--cc=1-1000", "--quiet"]);
    for metrics in ["states,users", "states,resources,banks", "states", "states,users,resources"] {
        host.reload(&json!({"metrics": metrics, "verify": 0, "resync": 3600})).unwrap();
    }
    host.wait_for(&counts(&[("RUN", 2), ("INACTIVE", 1000)]));
    let user = host.user();
    let expected = Gauges::from([
        (format!("user.{user}.RUN"), 2),
        (format!("user.{user}.resource.cores.allocated"), 32),
        (format!("user.{user}.resource.nodes.allocated"), 2),
        ("resource.cores.allocated".to_owned(), 32),
        ("resource.nodes.allocated".to_owned(), 1),
    ]);
    host.assert_same(0.0, |host| {
        let is_other = |name: &str| is_of_jobs(name) && !name.starts_with("state.");
        (gauges_named(host.receiver(), is_other), expected.clone())
    });
    host.cancel_all();
    host.drain();
    host.assert_true();
    host.end();
}
