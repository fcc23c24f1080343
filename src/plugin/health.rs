//! Whether an endpoint is well: when to say so, and when not to.

/// Beats that pass between two words about one endpoint, so that one that comes
/// and goes does not fill the log.
const REST: u32 = 6;

/// One endpoint's health, as it was last said.
#[derive(Debug, Default)]
pub(super) struct Health {
    failing: bool,
    /// Datagrams and failures at the last beat.
    seen: (u64, u64),
    rest: u32,
}

impl Health {
    /// A beat: so many datagrams and failures there were until now. Returns
    /// whether the endpoint fails, if that is to be said.
    pub(super) fn beat(&mut self, datagrams: u64, failures: u64) -> Option<bool> {
        let (earlier, seen) = (self.seen, (datagrams, failures));
        self.seen = seen;
        self.rest = self.rest.saturating_sub(1);
        let failing = match (seen.0 > earlier.0, seen.1 > earlier.1) {
            (_, true) => true,
            (true, false) => false,
            // Nothing was sent: nothing is known.
            (false, false) => return None,
        };
        if failing == self.failing || self.rest > 0 {
            return None;
        }
        self.failing = failing;
        self.rest = REST;
        Some(failing)
    }

    /// What was until now does not count: nothing could be sent.
    pub(super) fn begin(&mut self, datagrams: u64, failures: u64) {
        self.seen = (datagrams, failures);
    }

    pub(super) fn is_failing(&self) -> bool {
        self.failing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_said_once_and_not_too_often() {
        let mut health = Health::default();
        // Datagrams, failures, what is said.
        let table = [
            (0, 0, None),
            (5, 0, None),
            (6, 1, Some(true)),
            (6, 9, None),
            (6, 9, None),
            (7, 9, None),
            (8, 9, None),
            (9, 9, None),
            (10, 9, Some(false)),
            (10, 10, None),
            (11, 10, None),
        ];
        for (beat, (datagrams, failures, said)) in table.into_iter().enumerate() {
            assert_eq!(health.beat(datagrams, failures), said, "beat {beat}");
        }
    }
}
