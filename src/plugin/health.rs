//! Whether an endpoint is well: when to say so, and when not to.

/// Beats that pass between two words about one endpoint, so that one that comes
/// and goes does not fill the log.
const REST: u32 = 6;

/// One endpoint's health.
#[derive(Debug, Default)]
pub(super) struct Health {
    /// At the last beat at which something was sent.
    failing: bool,
    /// As it was last said.
    said: bool,
    /// Datagrams and failures at the last beat.
    seen: (u64, u64),
    rest: u32,
}

impl Health {
    /// A beat: so many datagrams and failures there were until now. Returns
    /// whether the endpoint fails, if that is to be said.
    pub(super) fn beat(&mut self, datagrams: u64, failures: u64) -> Option<bool> {
        self.failing = self.is_failing(datagrams, failures);
        self.seen = (datagrams, failures);
        self.rest = self.rest.saturating_sub(1);
        if self.failing == self.said || self.rest > 0 {
            return None;
        }
        self.said = self.failing;
        self.rest = REST;
        Some(self.said)
    }

    /// There is another server, or way to it, now. What could not be sent until
    /// now is no failure of its own.
    pub(super) fn begin(&mut self, datagrams: u64, failures: u64) {
        self.seen = (datagrams, failures);
        self.failing = false;
    }

    /// Whether the endpoint fails, by what came since the last beat.
    pub(super) fn is_failing(&self, datagrams: u64, failures: u64) -> bool {
        match (datagrams > self.seen.0, failures > self.seen.1) {
            (_, true) => true,
            (true, false) => false,
            // Nothing was sent: nothing new is known.
            (false, false) => self.failing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_said_once_and_not_too_often() {
        let mut health = Health::default();
        // Datagrams, failures, whether it fails, what is said.
        let table = [
            (0, 0, false, None),
            (5, 0, false, None),
            (6, 1, true, Some(true)),
            (6, 9, true, None),
            (6, 9, true, None),
            (7, 9, false, None),
            (8, 9, false, None),
            (9, 9, false, None),
            (10, 9, false, Some(false)),
            (10, 10, true, None),
            (11, 10, false, None),
        ];
        for (beat, (datagrams, failures, failing, said)) in table.into_iter().enumerate() {
            // Known before the beat already, and after it.
            assert_eq!(health.is_failing(datagrams, failures), failing, "beat {beat}");
            assert_eq!(health.beat(datagrams, failures), said, "beat {beat}");
            assert_eq!(health.is_failing(datagrams, failures), failing, "beat {beat}");
        }
    }
}
