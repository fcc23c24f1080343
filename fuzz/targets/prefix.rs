//! Prefixes and their placeholders.

#![no_main]

#[path = "../../tests/support/sound.rs"]
#[allow(dead_code)]
mod sound;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, &str)| sound::prefix(input.0, input.1));
