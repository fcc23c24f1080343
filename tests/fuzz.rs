//! Whatever an administrator, a user or Flux may write: nothing panics, and what
//! is refused is refused in one short line.
//!
//! The same cases each time, few; STATE_COUNTS_FUZZ_CASES and
//! STATE_COUNTS_FUZZ_SEED ask for more and for others, as scripts/fuzz does.

mod support;

use std::net::UdpSocket;

use proptest::prelude::*;
use serde_json::{json, Value};
use state_counts::accounting::{Accounting, Event, State};
use state_counts::config::{Config, Template, KEYS};
use state_counts::stats::Endpoint;
use support::artifact::plugin;
use support::random::{cases, conf, text, value};
use support::standin::Standin;

/// Flux keeps 159 bytes of what a load or a reload is refused with; what does
/// not fit is cut, so the first of them must say it. All of it is one line.
fn check_words(words: &str) -> Result<(), TestCaseError> {
    prop_assert!(!words.is_empty() && words.len() < 400, "{}", words);
    prop_assert!(!words.chars().any(char::is_control), "{:?}", words);
    Ok(())
}

/// What was taken says the same when it is written down and read again.
fn check_config(config: &Config) -> Result<(), TestCaseError> {
    let shown: serde_json::Map<String, Value> = KEYS
        .iter()
        .map(|&key| (key.to_owned(), config.get(key)))
        .filter(|(_, value)| !value.is_null() && *value != json!([]))
        .collect();
    let text = Value::Object(shown).to_string();
    let again = Config::new(Some(&text), r#"{"conf": {}}"#, None);
    let again = again.map_err(|error| TestCaseError::fail(format!("{text}: {error}")))?;
    for key in KEYS {
        prop_assert_eq!(again.get(key), config.get(key), "{}", key);
    }
    Ok(())
}

proptest! {
    #![proptest_config(cases(1000))]

    #[test]
    fn any_text_as_the_plugins_conf(text in text(), conf in conf(), cut in any::<prop::sample::Index>()) {
        let whole = conf.to_string();
        let broken: String = whole.chars().take(cut.index(whole.len() + 1)).collect();
        for text in [&text, &whole, &broken] {
            match Config::new(Some(text), r#"{"conf": {}}"#, None) {
                Ok(config) => check_config(&config)?,
                Err(error) => check_words(&error.to_string())?,
            }
        }
    }

    #[test]
    fn any_text_as_the_brokers_configuration(
        table in prop_oneof![4 => conf(), 1 => value()], raw in text(), environment in text()
    ) {
        let broker = json!({"conf": {"state-counts": table, "queues": {}}}).to_string();
        for broker in [broker, json!({"conf": table}).to_string(), table.to_string(), raw] {
            match Config::new(None, &broker, Some(&environment)) {
                Ok(config) => check_config(&config)?,
                Err(error) => check_words(&error.to_string())?,
            }
        }
    }

    #[test]
    fn any_text_as_an_endpoint(text in text()) {
        match text.parse::<Endpoint>() {
            Ok(endpoint) => {
                let shown = endpoint.to_string();
                let again: Endpoint = shown.parse().map_err(|error| {
                    TestCaseError::fail(format!("{shown:?}: {error}"))
                })?;
                prop_assert_eq!(again, endpoint);
            }
            Err(error) => check_words(&error.to_string())?,
        }
        if let Err(error) = Endpoint::list(&text) {
            check_words(&error.to_string())?;
        }
    }

    #[test]
    fn any_text_as_a_prefix(text in text(), cluster in text()) {
        match Template::new(&text) {
            Ok(template) => {
                let place = state_counts::config::Place { cluster, ..Default::default() };
                let filled = template.fill(&place);
                let left = filled.contains("{cluster}") && !place.cluster.contains('{');
                prop_assert!(!left, "{}", filled);
            }
            Err(problem) => check_words(&problem)?,
        }
    }
}

/// A state's number: one that there is, or any.
fn number() -> impl Strategy<Value = i32> {
    prop_oneof![9 => (0u32..7).prop_map(|place| 1 << place), 1 => any::<i32>()]
}

/// Any event, legal or not.
fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        number().prop_map(|state| Event::New { state }),
        (number(), prop::option::weighted(0.9, number()))
            .prop_map(|(state, previous)| Event::Moved { state, previous }),
        Just(Event::InactiveAdd),
        Just(Event::InactiveRemove),
    ]
}

proptest! {
    #![proptest_config(cases(1000))]

    #[test]
    fn any_events_keep_the_books_and_the_changes_together(
        announced in prop::collection::vec((0u64..4, event()), 0..20),
        events in prop::collection::vec(event(), 0..200),
        survey in prop::option::of(0u64..5),
        at in any::<prop::sample::Index>(),
    ) {
        let mut books = Accounting::default();
        for (id, event) in announced {
            books.announced(id, event);
        }
        books.start();
        let at = at.index(events.len() + 1);
        let mut published: Vec<Option<u64>> = Vec::new();
        for (place, event) in events.iter().enumerate() {
            if place == at {
                books.survey_begin();
                if let Some(inactive) = survey {
                    books.survey_end(inactive);
                }
            }
            let before: Vec<_> = State::ALL.map(|state| books.count(state)).to_vec();
            let anomalies: u64 = books.anomalies().iter().sum();
            let (change, anomaly) = books.apply(*event);
            for (state, before) in State::ALL.into_iter().zip(before) {
                let by = i128::from(change.inc == Some(state)) - i128::from(change.dec == Some(state));
                let want = before.map(|before| i128::from(before) + by);
                prop_assert_eq!(books.count(state).map(i128::from), want, "{:?}", state);
                prop_assert!(before.is_some() || by == 0, "withheld, and told");
            }
            let noted: u64 = books.anomalies().iter().sum();
            prop_assert!(noted - anomalies >= u64::from(anomaly.is_some()));
            published = State::ALL.map(|state| books.count(state)).to_vec();
        }
        // No sequence of events makes a count grow beyond the events there were.
        let most = 4 + 20 + 5 + events.len() as u64;
        prop_assert!(published.into_iter().flatten().all(|count| count <= most));
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
        let mut host = Standin::start(Some(&server.local_addr().unwrap().to_string()));
        let _ = host.load(plugin(), conf);
        host.remove("state-counts.so").ok();
        let all = "states,queues,timings,results,resources,users,banks";
        host.load(plugin(), json!({"metrics": all})).unwrap();
        host.log();
        for (topic, arguments) in before {
            host.call(&topic, &arguments);
        }
        host.advance(1.0);
        for (topic, arguments) in after {
            host.call(&topic, &arguments);
        }
        host.advance(15.0);
        prop_assert_eq!(host.silenced(), 0);
        let log = host.log();
        prop_assert!(log.len() <= 12, "{:?}", log);
        prop_assert!(!log.iter().any(|(_, text)| text.contains("a bug")), "{:?}", log);
        host.end();
    }
}

fn topic() -> impl Strategy<Value = String> {
    prop::sample::select(vec![
        "job.new",
        "job.state.depend",
        "job.state.run",
        "job.state.cleanup",
        "job.state.inactive",
        "job.event.exception",
        "job.update",
        "job.inactive-add",
        "job.inactive-remove",
    ])
    .prop_map(str::to_owned)
}

/// What Flux passes, with anything in its places.
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
