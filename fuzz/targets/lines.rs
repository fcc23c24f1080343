//! Names and tags that are written as lines and read back.

#![no_main]

#[path = "../../tests/support/invariants.rs"]
#[allow(dead_code)]
mod invariants;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, &str, invariants::Tags, invariants::Tags, i64)| {
    let (prefix, name, own, common, number) = input;
    invariants::lines(prefix, name, &own, &common, number);
});
