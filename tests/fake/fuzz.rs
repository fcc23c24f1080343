//! Any configuration, jobspec or callback: nothing panics, and errors are one short line.
//!
//! The cases are few and the same in each run; scripts/fuzz sets STATE_COUNTS_FUZZ_CASES and
//! STATE_COUNTS_FUZZ_SEED for more and others.

use std::net::UdpSocket;

use proptest::prelude::*;
use serde_json::{json, Value};
use state_counts::jobs::{Event, EventKind};

use crate::support::all_collectors;
use crate::support::artifact::plugin;
use crate::support::fake_job_manager::FakeJobManager;
use crate::support::invariants::{self, Survey};
use crate::support::jobs::TOPICS;
use crate::support::random::{cases, conf, text, value};

proptest! {
    #![proptest_config(cases(1000))]

    #[test]
    fn any_text_as_the_plugins_conf(text in text(), conf in conf(), cut in any::<prop::sample::Index>()) {
        let whole = conf.to_string();
        let broken: String = whole.chars().take(cut.index(whole.len() + 1)).collect();
        for text in [&text, &whole, &broken] {
            invariants::configuration(Some(text), r#"{"conf": {}}"#, None);
        }
    }

    #[test]
    fn any_text_as_the_brokers_configuration(
        table in prop_oneof![4 => conf(), 1 => value()], raw in text(), environment in text()
    ) {
        let broker = json!({"conf": {"state-counts": table, "queues": {}}}).to_string();
        for broker in [broker, json!({"conf": table}).to_string(), table.to_string(), raw] {
            invariants::configuration(None, &broker, Some(&environment));
        }
    }

    #[test]
    fn any_text_as_an_endpoint(text in text()) {
        invariants::endpoint(&text);
    }

    #[test]
    fn any_text_as_a_prefix(text in text(), cluster in text()) {
        invariants::prefix(&text, &cluster);
    }
}

/// The number of a state, valid or not.
fn number() -> impl Strategy<Value = i32> {
    prop_oneof![9 => (0u32..7).prop_map(|place| 1 << place), 1 => any::<i32>()]
}

/// Any event, valid or not.
fn event() -> impl Strategy<Value = Event> {
    let what = prop_oneof![
        number().prop_map(|state| EventKind::New { state }),
        (number(), prop::option::weighted(0.9, number()))
            .prop_map(|(state, previous)| EventKind::Transition { state, previous, at: None }),
        Just(EventKind::Updated),
        Just(EventKind::InactiveAdd),
        Just(EventKind::InactiveRemove),
    ];
    (0u64..4, what).prop_map(|(id, what)| Event { id, kind: what })
}

proptest! {
    #![proptest_config(cases(1000))]

    #[test]
    fn any_events_keep_the_job_table_and_its_changes_consistent(
        announced in prop::collection::vec(event(), 0..20),
        events in prop::collection::vec(event(), 0..200),
        survey in prop::option::of(0u64..5),
        at in any::<prop::sample::Index>(),
    ) {
        let at = at.index(events.len() + 1);
        invariants::events(&announced, &events, Survey { at, inactive: survey });
    }
}

proptest! {
    #![proptest_config(cases(20))]

    #[test]
    fn any_arguments_of_any_callback(
        before in prop::collection::vec((topic(), arguments()), 0..30),
        after in prop::collection::vec((topic(), arguments()), 0..30),
        conf in conf(),
    ) {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut host = FakeJobManager::start(Some(&server.local_addr().unwrap().to_string()));
        let _ = host.load(plugin(), conf);
        host.remove("state-counts.so").ok();
        host.load(plugin(), json!({"metrics": all_collectors()})).unwrap();
        host.log();
        for (topic, arguments) in before {
            host.call(topic, &arguments);
        }
        host.advance(1.0);
        for (topic, arguments) in after {
            host.call(topic, &arguments);
        }
        host.advance(15.0);
        prop_assert_eq!(host.silenced(), 0);
        let log = host.log();
        prop_assert!(log.len() <= 12, "{:?}", log);
        prop_assert!(!log.iter().any(|(_, text)| text.contains("a bug")), "{:?}", log);
        host.end();
    }
}

fn topic() -> impl Strategy<Value = &'static str> {
    prop::sample::select(&TOPICS[..])
}

/// Arguments with the keys that Flux passes, and any values.
fn arguments() -> impl Strategy<Value = Value> {
    let some = |good: Value| prop_oneof![4 => Just(good), 1 => value()];
    let state = || prop_oneof![4 => number().prop_map(Value::from), 1 => value()];
    (
        prop_oneof![4 => (0i64..5).prop_map(Value::from), 1 => value()],
        state(),
        state(),
        some(json!({"timestamp": 5.0, "context": {"type": "x"}})),
        (
            some(json!({"queue": "q", "bank": "b"})),
            some(json!(2)),
            some(json!({"type": "gpu", "count": 1})),
        ),
        some(json!(4.0)),
        some(json!(100)),
        (
            some(json!("0-3")),
            some(json!({"core": "0-1", "gpu": "7"})),
            some(json!({"rank": "5", "children": {}})),
        ),
    )
        .prop_map(|(id, state, previous, entry, asked, submitted, user, given)| {
            let (system, count, with) = asked;
            let (rank, children, more) = given;
            let core = json!({"type": "core", "count": count});
            let slot = json!({"type": "slot", "count": count, "with": [core, with]});
            let entries = json!([{"rank": rank, "children": children}, more]);
            json!({"id": id, "state": state, "prev_state": previous, "entry": entry,
                   "jobspec": {"attributes": {"system": system}, "resources": [slot]},
                   "t_submit": submitted, "userid": user,
                   "R": {"version": 1, "execution": {"R_lite": entries}}})
        })
}
