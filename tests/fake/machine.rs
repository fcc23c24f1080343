//! How many nodes there are, and which of them are down: what the broker says.

use crate::support::artifact::{plugin, NAME};
use crate::support::fake_job_manager::FakeJobManager;
use crate::support::gauges::{gauges_named, Gauges};
use crate::support::nodes::eight_nodes;
use crate::support::receiver::Receiver;
use serde_json::{json, Value};

/// The gauges of eight nodes, so many of them down and drained; without those at 0.
fn gauges_of_eight(down: i64, drained: i64) -> Gauges {
    let gauges = [
        ("cores.down", 4 * down),
        ("cores.total", 32),
        ("gpus.total", 4),
        ("nodes.down", down),
        ("nodes.drained", drained),
        ("nodes.total", 8),
        ("nodes.up", 8 - down),
    ];
    let gauges = gauges.into_iter().filter(|(_, level)| *level != 0);
    gauges.map(|(name, level)| (format!("resource.{name}"), level)).collect()
}

/// Those that a server has now.
fn machine(host: &mut FakeJobManager, receiver: &mut Receiver) -> Gauges {
    host.counts();
    gauges_named(receiver, |name| name.starts_with("resource."))
}

/// The complaints since the last time.
fn complaints(host: &mut FakeJobManager) -> Vec<String> {
    let log = host.log().into_iter().filter(|(level, _)| *level < 6);
    log.map(|(_, line)| line).collect()
}

#[test]
fn the_brokers_word_is_sent_at_load_and_what_changed_within_seconds() {
    for conf in [
        json!({"metrics": "resources", "resync": 5}),
        json!({"metrics": "resources", "resync": 5, "send": "values"}),
        json!({"metrics": "resources", "resync": 5, "period": 0.5}),
        // It is asked, whenever or whether all is resynced.
        json!({"metrics": "resources", "resync": 3600}),
        json!({"metrics": "resources", "resync": 0}),
    ] {
        let mut receiver = Receiver::start();
        let mut host = FakeJobManager::start(Some(&receiver.endpoint()));
        host.resources(eight_nodes("", &[]));
        host.load(plugin(), conf.clone()).unwrap();
        host.advance(1.0);
        assert_eq!(machine(&mut host, &mut receiver), gauges_of_eight(0, 0), "{conf}");
        host.resources(eight_nodes("7", &["0-1", "3"]));
        host.advance(5.5);
        assert_eq!(machine(&mut host, &mut receiver), gauges_of_eight(4, 3), "{conf}");
        host.resources(eight_nodes("", &["3"]));
        host.advance(5.5);
        assert_eq!(machine(&mut host, &mut receiver), gauges_of_eight(1, 1), "{conf}");
        host.remove(NAME).unwrap();
        assert_eq!(machine(&mut host, &mut receiver), Gauges::new(), "{conf}");
        assert_eq!(complaints(&mut host), Vec::<String>::new());
        host.end();
    }
}

#[test]
fn instances_that_share_a_name_add_up_their_nodes() {
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
    // Where the broker says nothing any more, its part is still taken back.
    hosts[0].resources(Value::Null);
    hosts[0].advance(60.0);
    assert_eq!(complaints(&mut hosts[0]).len(), 1);
    hosts[0].remove(NAME).unwrap();
    assert_eq!(machine(&mut hosts[0], &mut receiver), gauges_of_eight(2, 1));
    hosts[1].remove(NAME).unwrap();
    assert_eq!(machine(&mut hosts[1], &mut receiver), Gauges::new());
}

#[test]
fn without_a_right_answer_nothing_is_sent_and_the_log_says_so_once() {
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
        // A module that is loaded a little later is none of an administrator's business.
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
        // It ends again: no old number is repeated.
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
fn silence_is_logged_once_and_over_with_the_answer() {
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
    assert!(
        log[0].contains("resource.status: no usable response: Connection timed out"),
        "{log:?}"
    );
    host.advance(300.0);
    assert_eq!(complaints(&mut host), Vec::<String>::new());
    host.rpc_mode("answer");
    host.advance(11.0);
    assert_eq!(machine(&mut host, &mut receiver), gauges_of_eight(1, 1));
    host.remove(NAME).unwrap();
    host.end();
}

#[test]
fn nobody_is_asked_unless_the_family_is_enabled() {
    let mut receiver = Receiver::start();
    let mut host = FakeJobManager::start(Some(&receiver.endpoint()));
    let table = |metrics: &str| json!({"state-counts": {"metrics": metrics, "resync": 5}});
    let others = "states,queues,timings,results,users,banks,pending";
    host.config(&table(others));
    // Whoever asks finds nobody there, and complains in the end.
    host.resources(Value::Null);
    host.load(plugin(), json!({})).unwrap();
    host.advance(100.0);
    assert_eq!(complaints(&mut host), Vec::<String>::new());
    host.resources(eight_nodes("7", &[]));
    host.reload(&table(&format!("{others},resources"))).unwrap();
    // At once.
    host.advance(0.0);
    assert_eq!(machine(&mut host, &mut receiver), gauges_of_eight(1, 0));
    // A question that is under way does no harm.
    host.rpc_mode("hold");
    host.advance(5.0);
    host.rpc_take();
    host.reload(&table("states")).unwrap();
    host.rpc_deliver();
    host.rpc_mode("answer");
    assert_eq!(machine(&mut host, &mut receiver), Gauges::new());
    host.resources(Value::Null);
    host.advance(100.0);
    assert_eq!(machine(&mut host, &mut receiver), Gauges::new());
    assert_eq!(complaints(&mut host), Vec::<String>::new());
    host.resources(eight_nodes("", &["0"]));
    host.reload(&table("resources")).unwrap();
    host.advance(0.0);
    assert_eq!(machine(&mut host, &mut receiver), gauges_of_eight(1, 1));
    // A reload changes nothing about that.
    host.reload(&json!({"state-counts": {"metrics": "resources", "resync": 0}})).unwrap();
    host.advance(1.0);
    host.resources(eight_nodes("1-3", &[]));
    host.advance(10.0);
    assert_eq!(machine(&mut host, &mut receiver), gauges_of_eight(3, 0));
    host.end();
}

#[test]
fn a_large_answer_is_asked_for_less_often() {
    // As with Fluxion before Flux 0.84: R brings the scheduler's graph.
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
fn nodes_are_asked_for_after_resyncs_are_switched_off() {
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
fn a_large_answer_is_asked_for_again_without_resyncs() {
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
fn a_server_that_comes_while_nodes_are_not_known_gets_a_value() {
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
    // The module goes at the next question; a new endpoint comes.
    host.resources(Value::Null);
    host.advance(3600.1);
    host.reload(&table(&format!("{a},{b}"))).unwrap();
    host.resources(eight_nodes("7", &[]));
    host.advance(30.0);
    machine(&mut host, &mut receiver);
    assert_eq!(machine(&mut host, &mut late), gauges_of_eight(1, 0));
}
