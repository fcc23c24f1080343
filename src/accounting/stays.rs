//! How long jobs stay in each state, from the times in their eventlogs.

use std::collections::BTreeMap;

/// When each active job entered the state that it is in, in seconds since the
/// epoch. A job that was there before anybody looked is unknown until its next
/// move: no time is better than a wrong one.
#[derive(Debug, Default)]
pub struct Stays {
    entered: BTreeMap<u64, f64>,
}

impl Stays {
    /// The job entered a state at `at`. Returns how long it stayed in the one
    /// before, in milliseconds, if that is known. With `last` it is the last
    /// state, and the job is forgotten.
    pub fn moved(&mut self, id: u64, at: f64, last: bool) -> Option<f64> {
        let before = match last {
            true => self.entered.remove(&id),
            false => self.entered.insert(id, at),
        };
        before.map(|before| milliseconds(before, at))
    }

    /// Jobs that are remembered.
    pub fn len(&self) -> usize {
        self.entered.len()
    }

    /// Whether no job is remembered.
    pub fn is_empty(&self) -> bool {
        self.entered.is_empty()
    }
}

/// From one time to another, in milliseconds. A clock that was set back made
/// them stand the other way round; that is no time at all.
pub fn milliseconds(from: f64, to: f64) -> f64 {
    ((to - from) * 1000.0).max(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stay_is_told_at_its_end() {
        let mut stays = Stays::default();
        // The job, when it moved, whether that was its last move, what it stayed.
        let table = [
            (1, 10.0, false, None),
            (2, 10.5, false, None),
            (1, 10.25, false, Some(250.0)),
            (2, 10.5, false, Some(0.0)),
            (1, 9.0, false, Some(0.0)),
            (1, 9.5, true, Some(500.0)),
            (3, 11.0, true, None),
            (1, 20.0, false, None),
        ];
        for (id, at, last, stay) in table {
            assert_eq!(stays.moved(id, at, last), stay, "{id} at {at}");
        }
        assert_eq!(stays.len(), 2);
    }
}
