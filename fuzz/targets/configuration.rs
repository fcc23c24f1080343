//! Configuration of the plugin from its conf, the broker and the environment.

#![no_main]

#[path = "../../tests/support/invariants.rs"]
#[allow(dead_code)]
mod invariants;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (Option<&str>, &str, Option<&str>)| {
    let (conf, table, environment) = input;
    // The form that Flux passes to the plugin, and any other JSON text.
    let broker = format!(r#"{{"conf": {{"state-counts": {table}}}}}"#);
    invariants::configuration(conf, r#"{"conf": {}}"#, environment);
    invariants::configuration(None, &broker, None);
    invariants::configuration(None, table, None);
});
