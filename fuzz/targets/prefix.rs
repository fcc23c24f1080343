//! Expansion of placeholders in prefixes.

#![no_main]

#[path = "../../tests/support/invariants.rs"]
#[allow(dead_code)]
mod invariants;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, &str)| invariants::prefix(input.0, input.1));
