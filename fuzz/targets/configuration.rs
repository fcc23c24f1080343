//! The plugin's conf text, the broker's configuration and the environment.

#![no_main]

#[path = "../../tests/support/sound.rs"]
#[allow(dead_code)]
mod sound;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (Option<&str>, &str, Option<&str>)| {
    let (conf, table, environment) = input;
    // As Flux hands it over, and as it never does.
    let broker = format!(r#"{{"conf": {{"state-counts": {table}}}}}"#);
    sound::configuration(conf, r#"{"conf": {}}"#, environment);
    sound::configuration(None, &broker, None);
    sound::configuration(None, table, None);
});
