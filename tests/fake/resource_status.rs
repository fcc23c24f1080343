//! How many nodes there are, and which of them are down or drained.

use serde_json::{json, Value};

use crate::host::FakeHost;
use crate::scenarios::resource_status::follow;
use crate::support::all_collectors;
use crate::support::artifact::{plugin, NAME};
use crate::support::fake_job_manager::FakeJobManager;
use crate::support::gauges::{gauges_named, Gauges};
use crate::support::nodes::eight_nodes;
use crate::support::receiver::Receiver;

scenarios!(resource_status: the_gauges_follow_the_resource_status);

/// The gauges of eight nodes, of which so many are down and drained, without those at 0. Nodes
/// that are down and not drained are offline.
fn gauges_of_eight(down: i64, drained: i64) -> Gauges {
    let gauges = [
        ("cores.down", 4 * down),
        ("cores.total", 32),
        ("gpus.total", 4),
        ("nodes.down", down),
        ("nodes.drained", drained),
        ("nodes.offline", down - drained),
        ("nodes.total", 8),
        ("nodes.up", 8 - down),
    ];
    let gauges = gauges.into_iter().filter(|(_, level)| *level != 0);
    gauges.map(|(name, level)| (format!("resource.{name}"), level)).collect()
}

/// The gauges that the receiver has.
fn machine(host: &mut FakeJobManager, receiver: &mut Receiver) -> Gauges {
    host.counts();
    gauges_named(receiver, |name| name.starts_with("resource.") && !name.ends_with("_seconds"))
}

/// Warnings and errors in the log since the last call.
fn complaints(host: &mut FakeJobManager) -> Vec<String> {
    let log = host.log().into_iter().filter(|(level, _)| *level < 6);
    log.map(|(_, line)| line).collect()
}

#[test]
fn instances_that_share_names_add_their_nodes() {
    let mut receiver = Receiver::start();
    let conf = json!({"metrics": "resources", "resync": 0});
    let mut hosts = [0, 1].map(|_| {
        let mut host = FakeJobManager::start(Some(&receiver.endpoint()));
        host.resources(eight_nodes("7", &["1"]));
        host.load(plugin(), conf.clone()).unwrap();
        host.advance(0.1);
        host.counts();
        host
    });
    let mut twice = gauges_of_eight(2, 1);
    twice.values_mut().for_each(|level| *level *= 2);
    assert_eq!(machine(&mut hosts[0], &mut receiver), twice);
    // The part of an instance is subtracted even if there is no response any more.
    hosts[0].resources(Value::Null);
    hosts[0].advance(60.0);
    assert_eq!(complaints(&mut hosts[0]).len(), 1);
    hosts[0].remove(NAME).unwrap();
    assert_eq!(machine(&mut hosts[0], &mut receiver), gauges_of_eight(2, 1));
    hosts[1].remove(NAME).unwrap();
    assert_eq!(machine(&mut hosts[1], &mut receiver), Gauges::new());
}

#[test]
fn an_invalid_response_is_logged_once_and_nothing_is_sent() {
    let mut without_r = eight_nodes("", &[]);
    without_r["R"] = Value::Null;
    for wrong in [Value::Null, json!({}), json!("down"), without_r, eight_nodes("7-1", &[])] {
        let mut receiver = Receiver::start();
        let mut host = FakeJobManager::start(Some(&receiver.endpoint()));
        host.resources(wrong.clone());
        host.load(plugin(), json!({"metrics": "states,resources"})).unwrap();
        let never_said = |receiver: &mut Receiver, when: &str| {
            let values = receiver.values();
            let said: Vec<_> = values.keys().filter(|name| name.contains(".total")).collect();
            assert!(said.is_empty(), "{said:?} after {when}: {wrong}");
            assert!(values.contains_key("flux.job.resource.cores.requested"));
        };
        // The resource module may be loaded a little later; that is not logged.
        host.advance(9.0);
        assert_eq!(complaints(&mut host), Vec::<String>::new(), "{wrong}");
        host.advance(300.0);
        let log = complaints(&mut host);
        assert_eq!(log.len(), 1, "{wrong}: {log:?}");
        assert!(log[0].contains("resource.status: "), "{log:?}");
        never_said(&mut receiver, "a load");
        host.resources(eight_nodes("7", &[]));
        host.advance(10.0);
        assert_eq!(machine(&mut host, &mut receiver), gauges_of_eight(1, 0), "{wrong}");
        // Without further responses, old values are not sent again.
        host.resources(wrong.clone());
        host.advance(10.0);
        host.counts();
        receiver.forget();
        host.advance(300.0);
        host.counts();
        never_said(&mut receiver, "its end");
        assert_eq!(complaints(&mut host), Vec::<String>::new(), "{wrong}");
        host.remove(NAME).unwrap();
        host.end();
    }
}

#[test]
fn a_missing_response_is_logged_once() {
    let mut receiver = Receiver::start();
    let mut host = FakeJobManager::start(Some(&receiver.endpoint()));
    host.resources(eight_nodes("", &["3"]));
    host.rpc_mode("hold");
    host.load(plugin(), json!({"metrics": "resources"})).unwrap();
    host.advance(9.0);
    assert_eq!(complaints(&mut host), Vec::<String>::new());
    host.advance(2.0);
    let mut log = complaints(&mut host);
    log.retain(|line| !line.contains("job-manager.stats-get"));
    assert_eq!(log.len(), 1, "{log:?}");
    // The errno's text follows the locale.
    assert!(log[0].contains("resource.status: no usable response: "), "{log:?}");
    host.advance(300.0);
    assert_eq!(complaints(&mut host), Vec::<String>::new());
    // The next request is due within 10 s.
    host.rpc_mode("answer");
    host.advance(11.0);
    assert_eq!(machine(&mut host, &mut receiver), gauges_of_eight(1, 1));
    host.remove(NAME).unwrap();
    host.end();
}

#[test]
fn the_status_is_requested_only_for_an_enabled_collector() {
    let mut receiver = Receiver::start();
    let mut host = FakeJobManager::start(Some(&receiver.endpoint()));
    let table = |metrics: &[&str]| json!({"state-counts": {"metrics": metrics, "resync": 5}});
    let mut others = all_collectors();
    others.retain(|name| !["resources", "queues"].contains(name));
    host.config(&table(&others));
    // Without a response, a request would be logged after some time.
    host.resources(Value::Null);
    host.load(plugin(), json!({})).unwrap();
    host.advance(100.0);
    assert_eq!(complaints(&mut host), Vec::<String>::new());
    host.resources(eight_nodes("7", &[]));
    host.reload(&table(&all_collectors())).unwrap();
    host.advance(0.1);
    assert_eq!(machine(&mut host, &mut receiver), gauges_of_eight(1, 0));
    // A request is under way when the collector is switched off.
    host.rpc_mode("hold");
    host.advance(5.0);
    host.rpc_take();
    host.reload(&table(&["states"])).unwrap();
    host.rpc_deliver();
    host.rpc_mode("answer");
    assert_eq!(machine(&mut host, &mut receiver), Gauges::new());
    host.resources(Value::Null);
    host.advance(100.0);
    assert_eq!(machine(&mut host, &mut receiver), Gauges::new());
    assert_eq!(complaints(&mut host), Vec::<String>::new());
    host.resources(eight_nodes("", &["0"]));
    host.reload(&table(&["resources"])).unwrap();
    host.advance(0.1);
    assert_eq!(machine(&mut host, &mut receiver), gauges_of_eight(1, 1));
    // The status is requested again after a reload.
    host.reload(&json!({"state-counts": {"metrics": "resources", "resync": 0}})).unwrap();
    host.advance(1.0);
    host.resources(eight_nodes("1-3", &[]));
    host.advance(10.0);
    assert_eq!(machine(&mut host, &mut receiver), gauges_of_eight(3, 0));
    host.end();
}

#[test]
fn a_large_response_is_requested_less_often() {
    // With Fluxion before Flux 0.84, R contains the scheduler's graph.
    let large = |offline: &str| {
        let mut answer = eight_nodes(offline, &[]);
        answer["R"]["scheduling"] = json!({"graph": "x".repeat(5 << 16)});
        answer
    };
    let mut receiver = Receiver::start();
    let mut host = FakeJobManager::start(Some(&receiver.endpoint()));
    host.resources(large(""));
    host.load(plugin(), json!({"metrics": "resources", "resync": 3600})).unwrap();
    host.advance(0.1);
    assert_eq!(machine(&mut host, &mut receiver), gauges_of_eight(0, 0));
    host.resources(eight_nodes("1-2", &[]));
    for _ in 0..2 {
        host.advance(5.0);
        assert_eq!(machine(&mut host, &mut receiver), gauges_of_eight(0, 0));
    }
    host.advance(5.0);
    assert_eq!(machine(&mut host, &mut receiver), gauges_of_eight(2, 0));
    host.resources(eight_nodes("1", &[]));
    host.advance(5.0);
    assert_eq!(machine(&mut host, &mut receiver), gauges_of_eight(1, 0));
    host.end();
}

#[test]
fn the_status_is_requested_after_resyncs_are_switched_off() {
    let mut receiver = Receiver::start();
    let mut host = FakeJobManager::start(Some(&receiver.endpoint()));
    let table = |resync: u32| json!({"state-counts": {"metrics": "resources", "resync": resync}});
    host.config(&table(5));
    host.resources(eight_nodes("", &[]));
    host.load(plugin(), json!({})).unwrap();
    host.advance(12.0);
    host.reload(&table(0)).unwrap();
    host.resources(eight_nodes("7", &[]));
    host.advance(300.0);
    assert_eq!(machine(&mut host, &mut receiver), gauges_of_eight(1, 0));
}

#[test]
fn a_large_response_is_requested_again_without_resyncs() {
    let mut receiver = Receiver::start();
    let mut host = FakeJobManager::start(Some(&receiver.endpoint()));
    let large = |offline: &str| {
        let mut answer = eight_nodes(offline, &[]);
        answer["R"]["scheduling"] = json!({"graph": "x".repeat(3 << 19)});
        answer
    };
    host.resources(large(""));
    host.load(plugin(), json!({"metrics": "resources", "resync": 0})).unwrap();
    host.advance(12.0);
    host.resources(large("7"));
    host.advance(300.0);
    assert_eq!(machine(&mut host, &mut receiver), gauges_of_eight(1, 0));
}

#[test]
fn a_new_server_gets_a_value_after_a_time_without_response() {
    let mut receiver = Receiver::start();
    let mut late = Receiver::start();
    let (a, b) = (receiver.endpoint(), late.endpoint());
    let mut host = FakeJobManager::start(None);
    let table =
        |e: &str| json!({"state-counts": {"metrics": "resources", "resync": 3600, "endpoint": e}});
    host.config(&table(&a));
    host.resources(eight_nodes("", &[]));
    host.load(plugin(), json!({})).unwrap();
    host.advance(1.0);
    machine(&mut host, &mut receiver);
    // The resource module is removed, and there is a new endpoint.
    host.resources(Value::Null);
    host.advance(3600.1);
    host.reload(&table(&format!("{a},{b}"))).unwrap();
    host.resources(eight_nodes("7", &[]));
    host.advance(30.0);
    machine(&mut host, &mut receiver);
    assert_eq!(machine(&mut host, &mut late), gauges_of_eight(1, 0));
}

#[test]
fn the_gauges_follow_the_resource_status_in_each_mode() {
    for conf in [
        json!({"metrics": "resources", "resync": 5}),
        json!({"metrics": "resources", "resync": 5, "send": "values"}),
        json!({"metrics": "resources", "resync": 5, "period": 0.5}),
        json!({"metrics": "resources", "resync": 0}),
    ] {
        follow::<FakeHost>(conf);
    }
}

#[test]
fn nodes_in_housekeeping_are_counted_and_still_drain() {
    let mut receiver = Receiver::start();
    let mut host = FakeJobManager::start(Some(&receiver.endpoint()));
    let running = |jobs: Value| json!({"running": jobs, "config": {"release-after": 0.0}});
    let start = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let job =
        |age: u64, ranks: &str| json!({"t_start": start - age, "pending": "2", "allocated": ranks});
    host.respond("housekeeping", running(json!({"ƒA": job(100, "1-2"), "ƒB": job(7, "4")})));
    host.resources(eight_nodes("", &["0,2"]));
    host.load(plugin(), json!({"metrics": "resources", "resync": 3600})).unwrap();
    host.advance(0.1);
    let mut received = |host: &mut FakeJobManager| {
        host.counts();
        gauges_named(&mut receiver, |name| {
            ["drained", "draining", "housekeeping", "seconds"].iter().any(|it| name.ends_with(it))
        })
    };
    // Whole seconds, and the host may start a second later.
    let is_about = |age: i64, expected: i64| (expected..expected + 8).contains(&age);
    let drain = start as i64 - 1;
    let expected = |drained: [i64; 3], age| {
        let [drained, draining, housekeeping] = drained;
        let gauges = [
            ("housekeeping.oldest_seconds", age),
            ("resource.nodes.drained", drained),
            ("resource.nodes.draining", draining),
            ("resource.nodes.housekeeping", housekeeping),
        ];
        let gauges = gauges.into_iter().filter(|(_, level)| *level != 0);
        gauges.map(|(name, level)| (name.to_owned(), level)).collect::<Gauges>()
    };
    let mut gauges = received(&mut host);
    assert!(is_about(gauges.remove("resource.drain.oldest_seconds").unwrap(), drain), "{gauges:?}");
    let age = gauges["housekeeping.oldest_seconds"];
    assert!(is_about(age, 100), "{age}");
    assert_eq!(gauges, expected([1, 1, 3], age));
    host.respond("housekeeping", running(json!({"ƒB": job(7, "4")})));
    host.advance(20.0);
    let mut gauges = received(&mut host);
    let age = gauges.remove("resource.drain.oldest_seconds").unwrap();
    assert!(is_about(age, drain + 15), "{age}");
    let age = gauges["housekeeping.oldest_seconds"];
    assert!(is_about(age, 22), "{age}");
    assert_eq!(gauges, expected([2, 0, 1], age));
    host.remove(NAME).unwrap();
    host.end();
}

/// Sums of several instances are not ages, and not 0 or 1.
#[test]
fn ages_and_status_are_not_sent_in_sharing_mode() {
    let mut receiver = Receiver::start();
    let mut host = FakeJobManager::start(Some(&receiver.endpoint()));
    host.resources(eight_nodes("", &["0"]));
    let table = |resync: u32| json!({"state-counts": {"metrics": ["queues", "resources"], "resync": resync}});
    host.config(&table(0));
    host.load(plugin(), json!({})).unwrap();
    host.advance(20.0);
    let is_unshared = |name: &str| {
        ["seconds", "ready", "enabled", "started"].iter().any(|end| name.ends_with(end))
    };
    host.counts();
    assert_eq!(gauges_named(&mut receiver, is_unshared), Gauges::new());
    host.reload(&table(5)).unwrap();
    host.advance(5.0);
    host.counts();
    let names: Vec<_> = gauges_named(&mut receiver, is_unshared).into_keys().collect();
    let expected = [
        "queue.anonymous.enabled",
        "queue.anonymous.started",
        "resource.drain.oldest_seconds",
        "scheduler.ready",
    ];
    assert_eq!(names, expected);
    host.reload(&table(0)).unwrap();
    host.advance(5.0);
    host.counts();
    assert_eq!(gauges_named(&mut receiver, is_unshared), Gauges::new());
    host.end();
}
