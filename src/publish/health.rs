//! Decides when failures of a destination are reported.

use std::time::SystemTime;

/// The number of checks between two reports about one destination, so that an unstable
/// destination does not fill the log.
const LOG_COOLDOWN: u32 = 6;

/// The health of one destination. Its methods take the numbers of datagrams and of failures so
/// far.
#[derive(Debug, Default)]
pub struct Health {
    /// The result of the last check.
    failing: bool,
    /// The result that was last reported.
    reported: bool,
    /// Datagrams and failures at the last check.
    baseline: (u64, u64),
    /// The number of checks before the next report.
    cooldown: u32,
    /// The time of the last send that succeeded.
    pub last_success: Option<SystemTime>,
    /// The time at which the last failure was found.
    pub last_failure: Option<SystemTime>,
}

impl Health {
    /// A periodic check. Returns `Some(true)` to report a failure, `Some(false)` to report
    /// its end.
    pub fn check(&mut self, totals: (u64, u64)) -> Option<bool> {
        self.cooldown = self.cooldown.saturating_sub(1);
        self.note(totals)
    }

    /// As [`check`](Self::check), between two periodic checks.
    pub fn note(&mut self, totals: (u64, u64)) -> Option<bool> {
        self.failing = self.is_failing(totals);
        if totals.1 > self.baseline.1 {
            self.last_failure = Some(SystemTime::now());
        }
        self.baseline = totals;
        if self.failing == self.reported || self.cooldown > 0 {
            return None;
        }
        self.reported = self.failing;
        self.cooldown = LOG_COOLDOWN;
        Some(self.reported)
    }

    /// Ignores earlier failures, because the destination has another address or server.
    pub fn restart(&mut self, totals: (u64, u64)) {
        self.baseline = totals;
        self.failing = false;
    }

    /// Returns `true` if a send failed since the last check; without any send, the result of
    /// that check.
    pub fn is_failing(&self, (datagrams, failures): (u64, u64)) -> bool {
        failures > self.baseline.1 || self.failing && datagrams == self.baseline.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_reported_once_and_not_too_often() {
        let mut health = Health::default();
        // Datagrams, failures, is failing, report.
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
            // The result is the same before and after the check.
            assert_eq!(health.is_failing((datagrams, failures)), failing, "check {check}");
            assert_eq!(health.check((datagrams, failures)), reported, "check {check}");
            assert_eq!(health.is_failing((datagrams, failures)), failing, "check {check}");
        }
    }

    #[test]
    fn a_failure_is_reported_before_the_next_check_but_not_within_the_cooldown() {
        let mut health = Health::default();
        assert_eq!(health.note((1, 1)), Some(true));
        for round in 2..100 {
            assert_eq!(health.note((round, round)), None);
        }
        for _ in 0..5 {
            assert_eq!(health.check((200, 100)), None);
        }
        assert_eq!(health.check((201, 100)), Some(false));
        assert_eq!(health.note((201, 101)), None);
    }
}
