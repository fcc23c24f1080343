//! Events into the accounting.

#![no_main]

#[path = "../../tests/support/sound.rs"]
#[allow(dead_code)]
mod sound;

use libfuzzer_sys::fuzz_target;
use state_counts::accounting::Event;

/// A byte or two for an event: one of the states that there are, or any number.
fn state(byte: u8) -> i32 {
    match byte % 8 {
        7 => i32::from(byte) - 128,
        place => 1 << place,
    }
}

fn event((kind, new, old): (u8, u8, u8)) -> Event {
    match kind % 8 {
        0 => Event::New { state: state(new) },
        1 => Event::InactiveAdd,
        2 => Event::InactiveRemove,
        3 => Event::Moved { state: state(new), previous: None },
        _ => Event::Moved { state: state(new), previous: Some(state(old)) },
    }
}

type Bytes = (u8, u8, u8);

fuzz_target!(|input: (Vec<(u8, Bytes)>, Vec<Bytes>, u8, Option<u16>)| {
    let (announced, events, at, inactive) = input;
    let announced: Vec<_> =
        announced.into_iter().map(|(id, bytes)| (u64::from(id % 4), event(bytes))).collect();
    let events: Vec<_> = events.into_iter().map(event).collect();
    let survey = sound::Survey { at: at.into(), inactive: inactive.map(u64::from) };
    sound::events(&announced, &events, survey);
});
