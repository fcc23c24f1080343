//! The plugin's conf text, the broker's configuration and the environment.

#![no_main]

#[path = "../../tests/support/invariants.rs"]
#[allow(dead_code)]
mod invariants;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (Option<&str>, &str, Option<&str>)| {
    let (conf, table, environment) = input;
    // As Flux hands it over, and as it never does.
    let broker = format!(r#"{{"conf": {{"state-counts": {table}}}}}"#);
    invariants::configuration(conf, r#"{"conf": {}}"#, environment);
    invariants::configuration(None, &broker, None);
    invariants::configuration(None, table, None);
});
