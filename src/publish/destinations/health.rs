//! Whether an destination works: when to report it, and when not to.

/// Checks that pass between two reports about one destination, so that one that added
/// and removed does not fill the log.
const LOG_COOLDOWN: u32 = 6;

/// One destination's health.
#[derive(Debug, Default)]
pub struct Health {
    /// By what was sent before the last check.
    failing: bool,
    /// As it was last reported.
    reported: bool,
    /// Datagrams and failures at the last check.
    baseline: (u64, u64),
    /// Checks until it may be reported again.
    cooldown: u32,
}

impl Health {
    /// A check, of those that come in a fixed interval: so many datagrams and
    /// failures there were until now. Returns whether the destination fails, if that is
    /// to be reported.
    pub fn check(&mut self, datagrams: u64, failures: u64) -> Option<bool> {
        self.cooldown = self.cooldown.saturating_sub(1);
        self.note(datagrams, failures)
    }

    /// As [`check`](Self::check), between two checks.
    pub fn note(&mut self, datagrams: u64, failures: u64) -> Option<bool> {
        self.failing = self.is_failing(datagrams, failures);
        self.baseline = (datagrams, failures);
        if self.failing == self.reported || self.cooldown > 0 {
            return None;
        }
        self.reported = self.failing;
        self.cooldown = LOG_COOLDOWN;
        Some(self.reported)
    }

    /// There is another server, or another way to it. What could not be sent until
    /// now is no failure of its own.
    pub fn begin(&mut self, datagrams: u64, failures: u64) {
        self.baseline = (datagrams, failures);
        self.failing = false;
    }

    /// Whether the destination fails, by what was sent since the last check.
    pub fn is_failing(&self, datagrams: u64, failures: u64) -> bool {
        match (datagrams > self.baseline.0, failures > self.baseline.1) {
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
    fn a_change_is_reported_once_and_not_too_often() {
        let mut health = Health::default();
        // Datagrams, failures, whether it fails, what is reported.
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
        for (check, (datagrams, failures, failing, reported)) in table.into_iter().enumerate() {
            // Known before the check already, and after it.
            assert_eq!(health.is_failing(datagrams, failures), failing, "check {check}");
            assert_eq!(health.check(datagrams, failures), reported, "check {check}");
            assert_eq!(health.is_failing(datagrams, failures), failing, "check {check}");
        }
    }

    #[test]
    fn a_failure_is_reported_before_the_next_check_and_shortens_no_cooldown() {
        let mut health = Health::default();
        assert_eq!(health.note(1, 1), Some(true));
        for round in 2..100 {
            assert_eq!(health.note(round, round), None);
        }
        for _ in 0..5 {
            assert_eq!(health.check(200, 100), None);
        }
        assert_eq!(health.check(201, 100), Some(false));
        assert_eq!(health.note(201, 101), None);
    }
}
