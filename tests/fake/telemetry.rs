//! The plugin's metrics of itself, and its query.

use serde_json::json;

use crate::support::artifact::plugin;
use crate::support::fake_job_manager::FakeJobManager;
use crate::support::jobs::{live, COURSE};
use crate::support::receiver::Receiver;

#[test]
fn the_query_shows_counts_anomalies_and_endpoints() {
    let (mut host, _receiver) = FakeJobManager::running(json!({"period": 1}));
    live(&mut host, 1, &COURSE[..5]);
    host.call("job.state.cleanup", &json!({"id": 9, "state": 32, "prev_state": 8}));
    host.advance(20.0);
    let query = host.query();
    assert_eq!(query["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(query["counts"]["RUN"], 1);
    assert_eq!(query["counts"]["INACTIVE"], 0);
    assert_eq!(query["prefix"], "flux.job.state");
    assert_eq!(query["anomalies"]["missed_event"], 1);
    assert_eq!(query["resyncs"], 2);
    let endpoint = &query["endpoints"][0];
    assert!(endpoint["last_success"].as_f64().unwrap() > 1.7e9);
    assert_eq!(endpoint["state"], "ok");
    assert!(endpoint["datagrams"].as_u64().unwrap() >= 3);
    assert!(endpoint["bytes"].as_u64().unwrap() > 100);
    assert_eq!(endpoint["errors"], json!({}));
}

#[test]
fn telemetry_is_sent_only_where_it_is_enabled() {
    for (wanted, count) in [(false, 0), (true, 1)] {
        let (mut host, mut receiver) =
            FakeJobManager::running(json!({"telemetry": wanted, "resync": 0}));
        live(&mut host, 1, &COURSE[..2]);
        host.advance(10.0);
        host.counts();
        let texts = receiver.others();
        let told = texts.iter().filter(|text| text.contains(".plugin.datagrams:3|c"));
        assert_eq!(told.count(), count, "{texts:?}");
        // Performance Co-Pilot drops lines with a dash.
        assert!(!texts.iter().any(|text| text.contains('-')), "{texts:?}");
    }
}

#[test]
fn telemetry_ends_and_continues_at_a_reload() {
    let table = |telemetry: bool| json!({"state-counts": {"telemetry": telemetry, "resync": 5}});
    let mut receiver = Receiver::start();
    let mut host = FakeJobManager::start(Some(&receiver.endpoint()));
    host.config(&table(true));
    host.load(plugin(), json!({})).unwrap();
    // The samples of 20 s: their number, and their sum.
    let mut resyncs = |host: &mut FakeJobManager| {
        host.advance(20.0);
        host.counts();
        let endpoint = receiver.endpoint();
        let others = receiver.take_others(&endpoint);
        let values = others.iter().flat_map(|text| text.lines()).filter_map(|line| {
            line.strip_prefix("flux.job.plugin.resyncs:")?.strip_suffix("|c")?.parse().ok()
        });
        let values: Vec<i64> = values.collect();
        (values.len(), values.iter().sum::<i64>())
    };
    let (_, sum) = resyncs(&mut host);
    assert!((3..=4).contains(&sum), "{sum}");
    host.reload(&table(false)).unwrap();
    assert_eq!(resyncs(&mut host), (0, 0));
    host.reload(&table(true)).unwrap();
    let (samples, sum) = resyncs(&mut host);
    assert!(samples > 0 && (3..=4).contains(&sum), "without the earlier ones: {sum}");
    host.end();
}
