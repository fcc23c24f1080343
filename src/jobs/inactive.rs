//! The number of inactive jobs.
//!
//! Flux does not report the jobs that were inactive before the load, so the broker
//! is asked; it answers later, with the number at some moment in between. While
//! the answer travels, jobs end and are purged, so the answer pins the number
//! from before the load only to a range: as wide as the count varied meanwhile.
//! Ranges of several answers intersect, and one answer during which nothing
//! changed settles it.

use std::collections::VecDeque;

/// How many jobs may be between their move to INACTIVE and the
/// `job.inactive-add` that follows it. flux-core calls the second right after the
/// first (event.c), so one is enough; where another plugin keeps the second from
/// us, the list is short all the same.
const MAX_EXPECTED: usize = 64;

/// The number of inactive jobs: what the broker answered, plus what was added and
/// removed since.
#[derive(Debug, Default)]
pub struct Inactive {
    count: Count,
    /// Jobs whose `job.inactive-add` is still to come.
    expected: VecDeque<u64>,
    /// How often the number changed.
    changes: u64,
    /// The same, when the broker was asked.
    asked_at: u64,
}

#[derive(Debug)]
enum Count {
    /// Known only but for the jobs from before the load.
    Range(Range),
    Known(u64),
}

impl Default for Count {
    fn default() -> Self {
        Count::Range(Range::default())
    }
}

/// What an answer of the broker's came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answered {
    /// Whether the number is known now; if not, too much changed meanwhile, and
    /// the broker must be asked again.
    pub known: bool,
    /// Whether the answer contradicted an earlier one, or the events. The newest
    /// is believed.
    pub contradicted: bool,
}

impl Inactive {
    /// The number; `None` while it is not known.
    pub fn count(&self) -> Option<u64> {
        match self.count {
            Count::Known(count) => Some(count),
            Count::Range(_) => None,
        }
    }

    /// How often it changed: whether anything came between two looks.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// A job moved to INACTIVE. Its `job.inactive-add` added later. Returns
    /// whether that is new.
    pub(super) fn ended(&mut self, id: u64) -> bool {
        if self.expected.contains(&id) {
            return false;
        }
        if self.expected.len() == MAX_EXPECTED {
            self.expected.pop_front();
        }
        self.expected.push_back(id);
        self.move_by(1)
    }

    /// `job.inactive-add`. Returns whether the job is counted by it. It is not if its
    /// move to INACTIVE was counted already.
    pub(super) fn added(&mut self, id: u64) -> bool {
        match self.expected.iter().position(|&expected| expected == id) {
            Some(index) => {
                self.expected.remove(index);
                false
            }
            None => {
                self.move_by(1);
                true
            }
        }
    }

    /// `job.inactive-remove`. Returns false where there was no job to remove.
    pub(super) fn removed(&mut self, id: u64) -> bool {
        self.expected.retain(|&expected| expected != id);
        self.move_by(-1)
    }

    /// The broker is being asked for its number. It answers with the number at
    /// some moment between now and [`answered`](Self::answered).
    pub fn asked(&mut self) {
        self.asked_at = self.changes;
        if let Count::Range(range) = &mut self.count {
            range.begin();
        }
    }

    /// The broker answered. Where the number is known already, the answer repairs
    /// it, if nothing changed meanwhile.
    pub fn answered(&mut self, inactive: u64) -> Answered {
        match &mut self.count {
            Count::Range(range) => {
                let (known, contradicted) = range.end(inactive);
                if let Some(count) = known {
                    self.count = Count::Known(count);
                }
                Answered { known: known.is_some(), contradicted }
            }
            Count::Known(count) => {
                let quiet = self.asked_at == self.changes;
                let contradicted = quiet && *count != inactive;
                if contradicted {
                    *count = inactive;
                    self.changes += 1;
                }
                Answered { known: quiet, contradicted }
            }
        }
    }

    fn move_by(&mut self, by: i64) -> bool {
        self.changes += 1;
        match &mut self.count {
            Count::Known(count) => match count.checked_add_signed(by) {
                Some(moved) => *count = moved,
                None => return false,
            },
            Count::Range(range) => range.moved(by),
        }
        true
    }
}

/// What the number at load can have been.
#[derive(Debug, Default)]
struct Range {
    /// Jobs added since the load, less those removed.
    net: i64,
    /// The least and the greatest `net` since the question.
    extremes: (i64, i64),
    /// What the number at load can be, from the answers so far.
    possible: Option<(i64, i64)>,
}

impl Range {
    fn moved(&mut self, by: i64) {
        self.net += by;
        self.extremes = (self.extremes.0.min(self.net), self.extremes.1.max(self.net));
    }

    fn begin(&mut self) {
        self.extremes = (self.net, self.net);
    }

    /// Returns the number, if it is known now, and whether this answer
    /// contradicts an earlier one or the events. After a contradiction only this
    /// answer is believed.
    ///
    /// The number at load may come out negative: brokers before 0.87.0
    /// reported some inactive jobs twice (flux-core #7690), and this is what
    /// was counted too often.
    fn end(&mut self, inactive: u64) -> (Option<u64>, bool) {
        let inactive = i64::try_from(inactive).unwrap_or(i64::MAX);
        let bound = |net: i64| inactive.saturating_sub(net);
        let answer = (bound(self.extremes.1), bound(self.extremes.0));
        let (possible, contradicted) = match self.possible {
            Some(earlier) => {
                let both = (answer.0.max(earlier.0), answer.1.min(earlier.1));
                if both.0 <= both.1 {
                    (both, false)
                } else {
                    (answer, true)
                }
            }
            None => (answer, false),
        };
        self.possible = Some(possible);
        if possible.0 < possible.1 {
            return (None, contradicted);
        }
        match u64::try_from(possible.0.saturating_add(self.net)) {
            Ok(count) => (Some(count), contradicted),
            // More jobs purged than there ever were: ask again.
            Err(_) => {
                self.possible = None;
                (None, true)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_narrow_the_range_until_one_number_is_left() {
        // Jobs inactive at load: 100. Each row: what INACTIVE moved before the
        // broker took the number, after it, and whether that settled it.
        let table: &[(&[(i64, i64)], bool)] = &[
            (&[(0, 0)], true),
            (&[(3, 0)], false),
            (&[(0, 3)], false),
            // 3 before, then 3 after: [97, 100] and [100, 103] leave 100.
            (&[(0, 3), (3, 0)], true),
            (&[(5, 5), (-2, 4), (0, 0)], true),
            (&[(5, 5), (-2, 4), (1, 1)], false),
        ];
        for (rounds, settled) in table {
            let mut range = Range::default();
            let mut actual = 100;
            let mut known = None;
            let mut step = |range: &mut Range, by: i64| {
                for _ in 0..by.abs() {
                    range.moved(by.signum());
                }
                actual += by;
                actual
            };
            for &(before, after) in *rounds {
                range.begin();
                let taken = step(&mut range, before);
                step(&mut range, after);
                let (count, contradicted) = range.end(taken as u64);
                assert!(!contradicted, "{rounds:?}");
                known = count;
            }
            assert_eq!(known.is_some(), *settled, "{rounds:?}");
            if let Some(count) = known {
                assert_eq!(count as i64, actual, "{rounds:?}");
            }
        }
    }

    #[test]
    fn a_contradiction_is_said_and_the_newest_answer_believed() {
        let mut range = Range::default();
        range.begin();
        range.moved(1);
        assert_eq!(range.end(10), (None, false));
        range.begin();
        assert_eq!(range.end(50), (Some(50), true));
    }

    #[test]
    fn an_impossible_answer_is_asked_again() {
        let mut range = Range::default();
        range.begin();
        assert_eq!(range.end(0), (Some(0), false));
        let mut range = Range::default();
        range.moved(-3);
        range.begin();
        // 0 inactive now, 3 purged since the load: 3 at load.
        assert_eq!(range.end(0), (Some(0), false));
    }

    fn known(count: u64) -> Inactive {
        let mut inactive = Inactive::default();
        inactive.asked();
        assert!(inactive.answered(count).known);
        inactive
    }

    #[test]
    fn a_job_that_ends_is_counted_once() {
        let mut inactive = known(7);
        inactive.ended(1);
        assert!(!inactive.added(1), "it follows the move");
        assert_eq!(inactive.count(), Some(8));
        // The move of this one was kept from us; its add was not.
        assert!(inactive.added(2));
        assert_eq!(inactive.count(), Some(9));
        // Adds that never come shall not swallow those of other jobs.
        for id in 100..1000 {
            inactive.ended(id);
        }
        assert!(inactive.added(3));
        assert_eq!(inactive.count(), Some(910));
        assert!(inactive.expected.len() <= MAX_EXPECTED);
    }

    #[test]
    fn it_is_never_negative() {
        let mut inactive = known(1);
        assert!(inactive.removed(9));
        assert!(!inactive.removed(9));
        assert_eq!(inactive.count(), Some(0));
    }

    #[test]
    fn a_quiet_answer_repairs_it_and_another_does_not() {
        let mut inactive = known(5);
        inactive.asked();
        inactive.ended(1);
        assert_eq!(inactive.answered(5), Answered { known: false, contradicted: false });
        assert_eq!(inactive.count(), Some(6));
        inactive.asked();
        assert_eq!(inactive.answered(4), Answered { known: true, contradicted: true });
        assert_eq!(inactive.count(), Some(4));
        inactive.asked();
        assert_eq!(inactive.answered(4), Answered { known: true, contradicted: false });
    }

    #[test]
    fn a_restart_that_reports_twice_is_put_right_by_the_answer() {
        // flux-core before 0.87.0, #7690: each inactive job came twice.
        let mut inactive = Inactive::default();
        for id in 0..2 * 2000 {
            inactive.added(id % 2000);
        }
        inactive.asked();
        assert!(inactive.answered(2000).known);
        assert_eq!(inactive.count(), Some(2000));
    }
}
