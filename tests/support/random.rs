//! Random texts, JSON and configurations, made of parts that have a meaning.

use std::env;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use serde_json::{json, Value};
use state_counts::config::KEYS;

/// The number of cases and the seed, from the environment or by default.
pub fn cases(few: u32) -> ProptestConfig {
    let number = |name: &str| env::var(name).ok().map(|text| text.parse().expect(name));
    ProptestConfig {
        cases: number("STATE_COUNTS_FUZZ_CASES").map_or(few, |cases| cases as u32),
        rng_seed: RngSeed::Fixed(number("STATE_COUNTS_FUZZ_SEED").unwrap_or(6)),
        failure_persistence: None,
        max_shrink_iters: 10_000,
        ..ProptestConfig::default()
    }
}

/// Texts of parts of endpoints, durations, names and templates, and of any other characters.
pub fn text() -> impl Strategy<Value = String> {
    let words = prop::sample::select(vec![
        "udp://",
        "unix:",
        "unix:///",
        "[",
        "]",
        "::1",
        "127.0.0.1",
        "localhost",
        ":",
        "8125",
        "65536",
        "0",
        "-1",
        "+1",
        "1e9",
        "inf",
        "nan",
        "ms",
        "s",
        "m",
        "h",
        "d",
        ".",
        "..",
        "{",
        "}",
        "{cluster}",
        "{rank}",
        "{jobid}",
        "flux.job.state",
        "|",
        "@",
        "#",
        ",",
        ";",
        "=",
        "\n",
        "\0",
        "ƒ",
        "🦀",
        " ",
        "values",
        "graphite",
        "states",
        "/",
        "x",
    ]);
    let piece = prop_oneof![
        4 => words.prop_map(str::to_owned),
        1 => any::<String>(),
        1 => "[a-z0-9.:]{0,8}",
        1 => (1usize..300).prop_map(|length| "y".repeat(length)),
    ];
    prop::collection::vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

/// JSON with limited depth and without NUL, which jansson, Flux's JSON library, refuses.
pub fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (-2i64..100).prop_map(Value::from),
        text().prop_map(|text| text.replace('\0', "").into()),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(text(), inner, 0..4).prop_map(|map| {
                let map = map.into_iter().map(|(key, value)| (key.replace('\0', ""), value));
                Value::Object(map.collect())
            }),
        ]
    })
}

/// A conf object with keys of the plugin and others, and any values.
pub fn conf() -> impl Strategy<Value = Value> {
    let key = prop_oneof![
        20 => prop::sample::select(KEYS.map(|key| key.name).to_vec()).prop_map(str::to_owned),
        1 => text().prop_map(|text| text.replace('\0', "")),
    ];
    // Valid values of some keys, so that some objects are accepted.
    let good = prop::sample::select(vec![
        json!("a:1"),
        json!(["b:1", "unix:/c"]),
        json!(1),
        json!("500ms"),
        json!("values"),
        json!("{cluster}.x"),
        json!("x"),
        json!("l"),
        json!("graphite"),
        json!({"site": "x"}),
        json!(["states", "results"]),
        json!(true),
    ]);
    prop::collection::btree_map(key, prop_oneof![3 => good, 1 => value()], 0..4)
        .prop_map(|map| Value::Object(map.into_iter().collect()))
}
