//! Names and tags into lines, and back.

#![no_main]

#[path = "../../tests/support/sound.rs"]
#[allow(dead_code)]
mod sound;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (&str, &str, sound::Tags, sound::Tags, i64)| {
    let (prefix, name, own, common, number) = input;
    sound::lines(prefix, name, &own, &common, number);
});
