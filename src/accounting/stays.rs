//! How long jobs stay in each state, from the times in their eventlogs.

/// A job entered a state at `at`, in seconds since the epoch. Returns how long
/// it stayed in the one before, in milliseconds, if `entered` says since when.
/// A job that was there before anybody looked is unknown until its next move: no
/// time is better than a wrong one.
pub fn moved(entered: &mut Option<f64>, at: f64) -> Option<f64> {
    entered.replace(at).map(|before| milliseconds(before, at))
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
        let mut entered = None;
        // When the job moved, what it stayed.
        let table = [
            (10.0, None),
            (10.25, Some(250.0)),
            (10.25, Some(0.0)),
            (9.0, Some(0.0)),
            (9.5, Some(500.0)),
        ];
        for (at, stay) in table {
            assert_eq!(moved(&mut entered, at), stay, "at {at}");
        }
    }
}
