//! Any sequence of events in the job table.

#![no_main]

#[path = "../../tests/support/invariants.rs"]
#[allow(dead_code)]
mod invariants;

use libfuzzer_sys::fuzz_target;
use state_counts::jobs::{Event, EventKind};

/// A valid state in most cases, otherwise any number.
fn state(byte: u8) -> i32 {
    match byte % 8 {
        7 => i32::from(byte) - 128,
        index => 1 << index,
    }
}

fn event((id, byte, new, old): Bytes) -> Event {
    let kind = match byte % 8 {
        0 => EventKind::New { state: state(new) },
        1 => EventKind::InactiveAdd,
        2 => EventKind::InactiveRemove,
        3 => EventKind::Transition { state: state(new), previous: None, at: None },
        4 => EventKind::Updated,
        _ => EventKind::Transition { state: state(new), previous: Some(state(old)), at: None },
    };
    Event { id: u64::from(id % 4), kind }
}

type Bytes = (u8, u8, u8, u8);

fuzz_target!(|input: (Vec<Bytes>, Vec<Bytes>, u8, Option<u16>)| {
    let (announced, events, at, inactive) = input;
    let announced: Vec<_> = announced.into_iter().map(event).collect();
    let events: Vec<_> = events.into_iter().map(event).collect();
    let survey = invariants::Survey { at: at.into(), inactive: inactive.map(u64::from) };
    invariants::events(&announced, &events, survey);
});
