//! Endpoints.

#![no_main]

#[path = "../../tests/support/sound.rs"]
#[allow(dead_code)]
mod sound;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| sound::endpoint(text));
