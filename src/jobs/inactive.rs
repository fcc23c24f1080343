//! The number of inactive jobs, in total and by queue.
//!
//! Flux does not report jobs that were inactive before the load, so the plugin requests
//! their number. The response gives the number at some time between the request and the
//! response, during which jobs end and are purged. So one response limits the number at
//! load to a range, as wide as the count varied in between. The ranges of several responses
//! intersect, and a response during which nothing changed determines the number.

use std::collections::VecDeque;

use super::label_table::LabelId;
use super::state::State;

/// The largest number of jobs between their transition to INACTIVE and the
/// `job.inactive-add` that follows it. flux-core makes the second call right after the first
/// (event.c), so 1 is enough; if another plugin hides the second call, the list stays short.
const MAX_EXPECTED: usize = 64;

/// The number of inactive jobs: the number in the response, plus the jobs added and minus
/// those removed since.
#[derive(Debug, Default)]
pub struct Inactive {
    count: Count,
    /// Jobs whose `job.inactive-add` is expected.
    expected: VecDeque<u64>,
    /// How often the number changed.
    changes: u64,
    /// `changes` at the last request.
    requested_at: u64,
}

#[derive(Debug)]
enum Count {
    /// The number at load is known to be in a range.
    Range(Range),
    Known(u64),
}

impl Default for Count {
    fn default() -> Self {
        Count::Range(Range::default())
    }
}

/// The result of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InactiveResponse {
    /// `true` if the number is known now. Otherwise it changed since the request: request it
    /// again.
    pub known: bool,
    /// `true` if the response contradicts an earlier one, or the events. The table uses the
    /// newest response.
    pub contradicted: bool,
}

impl Inactive {
    /// The number of inactive jobs. `None` while it is not known.
    pub fn count(&self) -> Option<u64> {
        match self.count {
            Count::Known(count) => Some(count),
            Count::Range(_) => None,
        }
    }

    /// A job made its transition to INACTIVE; its `job.inactive-add` follows. Returns
    /// `false` if the job was counted before.
    pub(super) fn ended(&mut self, id: u64) -> bool {
        if self.expected.contains(&id) {
            return false;
        }
        if self.expected.len() == MAX_EXPECTED {
            self.expected.pop_front();
        }
        self.expected.push_back(id);
        self.change_by(1)
    }

    /// `job.inactive-add`. Returns `false` if the job was counted at its transition.
    pub(super) fn added(&mut self, id: u64) -> bool {
        match self.expected.iter().position(|&expected| expected == id) {
            Some(index) => {
                self.expected.remove(index);
                false
            }
            None => self.change_by(1),
        }
    }

    /// `job.inactive-remove`. Returns `false` if the number is 0.
    pub(super) fn removed(&mut self, id: u64) -> bool {
        self.expected.retain(|&expected| expected != id);
        self.change_by(-1)
    }

    /// To be called when the number is requested.
    pub fn requested(&mut self) {
        self.requested_at = self.changes;
        if let Count::Range(range) = &mut self.count {
            range.begin();
        }
    }

    /// The response: the number at some time since the request. If the number is known, the
    /// response corrects it, unless it changed since the request.
    pub fn response(&mut self, inactive: u64) -> InactiveResponse {
        match &mut self.count {
            Count::Range(range) => {
                let (known, contradicted) = range.end(inactive);
                if let Some(count) = known {
                    self.count = Count::Known(count);
                }
                InactiveResponse { known: known.is_some(), contradicted }
            }
            Count::Known(count) => {
                let quiet = self.requested_at == self.changes;
                let contradicted = quiet && *count != inactive;
                if contradicted {
                    *count = inactive;
                    self.changes += 1;
                }
                InactiveResponse { known: quiet, contradicted }
            }
        }
    }

    /// Returns `false` if the number would be negative.
    fn change_by(&mut self, by: i64) -> bool {
        self.changes += 1;
        match &mut self.count {
            Count::Known(count) => match count.checked_add_signed(by) {
                Some(changed) => *count = changed,
                None => return false,
            },
            Count::Range(range) => range.change_by(by),
        }
        true
    }
}

/// What the number at load may be.
#[derive(Debug, Default)]
struct Range {
    /// Jobs added since the load, minus those removed.
    net: i64,
    /// The smallest and the largest `net` since the request.
    extremes: (i64, i64),
    /// The smallest and the largest number at load, by the responses so far.
    possible: Option<(i64, i64)>,
}

impl Range {
    fn change_by(&mut self, by: i64) {
        self.net += by;
        self.extremes = (self.extremes.0.min(self.net), self.extremes.1.max(self.net));
    }

    fn begin(&mut self) {
        self.extremes = (self.net, self.net);
    }

    /// Returns the present number, if it is known now, and `true` if this response
    /// contradicts an earlier one or the events; then only this response is used.
    ///
    /// The number at load may be negative: brokers before 0.87.0 reported some inactive jobs
    /// twice (flux-core #7690), and this number is subtracted again.
    fn end(&mut self, inactive: u64) -> (Option<u64>, bool) {
        let inactive = i64::try_from(inactive).unwrap_or(i64::MAX);
        let response =
            (inactive.saturating_sub(self.extremes.1), inactive.saturating_sub(self.extremes.0));
        let earlier = self.possible.unwrap_or(response);
        let both = (response.0.max(earlier.0), response.1.min(earlier.1));
        let contradicted = both.0 > both.1;
        let possible = if contradicted { response } else { both };
        self.possible = Some(possible);
        if possible.0 < possible.1 {
            return (None, contradicted);
        }
        match u64::try_from(possible.0.saturating_add(self.net)) {
            Ok(count) => (Some(count), contradicted),
            // More jobs were purged than there were: request the number again.
            Err(_) => {
                self.possible = None;
                (None, true)
            }
        }
    }
}

/// The inactive jobs of each queue.
#[derive(Debug, Default)]
pub struct InactiveByQueue {
    /// By the queue's id. While the numbers are not known, the changes since the load.
    counts: Vec<i64>,
    is_known: bool,
    /// How often a number changed.
    changes: u64,
    /// `changes` at the last request.
    requested_at: u64,
}

/// The number of jobs of each queue, by its name and by [`State`].
pub type ByQueue = Vec<(String, [u64; 7])>;

impl InactiveByQueue {
    /// The inactive jobs of a queue. `None` while the number is not known.
    pub fn inactive(&self, queue: LabelId) -> Option<i64> {
        self.is_known.then(|| self.counts.get(usize::from(queue)).copied().unwrap_or(0))
    }

    /// `true` if the numbers are known.
    pub fn inactive_is_known(&self) -> bool {
        self.is_known
    }

    pub(super) fn add(&mut self, queue: LabelId, by: i64) {
        let queue = usize::from(queue);
        if queue == 0 {
            return;
        }
        if self.counts.len() <= queue {
            self.counts.resize(queue + 1, 0);
        }
        let count = &mut self.counts[queue];
        *count = (*count + by).max(if self.is_known { 0 } else { i64::MIN });
        self.changes += 1;
    }

    pub(super) fn requested(&mut self) {
        self.requested_at = self.changes;
    }

    /// The response: `excess` is its number of jobs by queue and state, minus the active
    /// jobs of the table. It is used if no number changed since the request, and if it
    /// agrees with the table about active jobs: then job-list has processed all events that
    /// the table has. Returns `true` if it is used.
    pub(super) fn response(&mut self, excess: &[[i64; 7]]) -> bool {
        // The response never includes NEW.
        let active = State::Depend as usize..State::Inactive as usize;
        let agrees = excess.iter().skip(1).all(|by| by[active.clone()].iter().all(|&by| by == 0));
        if !agrees || self.requested_at != self.changes {
            return false;
        }
        self.counts = excess.iter().map(|by| by[State::Inactive as usize]).collect();
        self.is_known = true;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses_narrow_the_range_until_one_number_is_left() {
        // Jobs inactive at load: 100. Each row: pairs of changes before and after the broker
        // counted, and `true` if the number is known after them.
        let table: &[(&[(i64, i64)], bool)] = &[
            (&[(0, 0)], true),
            (&[(3, 0)], false),
            (&[(0, 3)], false),
            // 3 before, then 3 after: [97, 100] and [100, 103] leave 100.
            (&[(0, 3), (3, 0)], true),
            (&[(5, 5), (-2, 4), (0, 0)], true),
            (&[(5, 5), (-2, 4), (1, 1)], false),
        ];
        for (rounds, is_known) in table {
            let mut range = Range::default();
            let mut actual = 100;
            let mut known = None;
            let mut step = |range: &mut Range, by: i64| {
                for _ in 0..by.abs() {
                    range.change_by(by.signum());
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
            assert_eq!(known.is_some(), *is_known, "{rounds:?}");
            if let Some(count) = known {
                assert_eq!(count as i64, actual, "{rounds:?}");
            }
        }
    }

    #[test]
    fn after_a_contradiction_the_newest_response_is_used() {
        let mut range = Range::default();
        range.begin();
        range.change_by(1);
        assert_eq!(range.end(10), (None, false));
        range.begin();
        assert_eq!(range.end(50), (Some(50), true));
    }

    #[test]
    fn jobs_purged_since_the_load_count_as_inactive_at_load() {
        let mut range = Range::default();
        range.begin();
        assert_eq!(range.end(0), (Some(0), false));
        let mut range = Range::default();
        range.change_by(-3);
        range.begin();
        // 0 inactive now, 3 purged since the load: 3 at load.
        assert_eq!(range.end(0), (Some(0), false));
    }

    fn known(count: u64) -> Inactive {
        let mut inactive = Inactive::default();
        inactive.requested();
        assert!(inactive.response(count).known);
        inactive
    }

    #[test]
    fn a_job_that_ends_is_counted_once() {
        let mut inactive = known(7);
        inactive.ended(1);
        assert!(!inactive.added(1), "it follows the transition");
        assert_eq!(inactive.count(), Some(8));
        // The transition of this job was hidden by another plugin.
        assert!(inactive.added(2));
        assert_eq!(inactive.count(), Some(9));
        // Expected calls that are never made do not hide those of other jobs.
        for id in 100..1000 {
            inactive.ended(id);
        }
        assert!(inactive.added(3));
        assert_eq!(inactive.count(), Some(910));
        assert!(inactive.expected.len() <= MAX_EXPECTED);
    }

    #[test]
    fn the_number_is_never_negative() {
        let mut inactive = known(1);
        assert!(inactive.removed(9));
        assert!(!inactive.removed(9));
        assert_eq!(inactive.count(), Some(0));
    }

    #[test]
    fn a_response_corrects_the_number_if_nothing_changed() {
        let mut inactive = known(5);
        inactive.requested();
        inactive.ended(1);
        assert_eq!(inactive.response(5), InactiveResponse { known: false, contradicted: false });
        assert_eq!(inactive.count(), Some(6));
        inactive.requested();
        assert_eq!(inactive.response(4), InactiveResponse { known: true, contradicted: true });
        assert_eq!(inactive.count(), Some(4));
        inactive.requested();
        assert_eq!(inactive.response(4), InactiveResponse { known: true, contradicted: false });
    }

    #[test]
    fn jobs_that_a_restart_reports_twice_are_counted_once() {
        // flux-core before 0.87.0, #7690: each inactive job was reported twice.
        let mut inactive = Inactive::default();
        for id in 0..2 * 2000 {
            inactive.added(id % 2000);
        }
        inactive.requested();
        assert!(inactive.response(2000).known);
        assert_eq!(inactive.count(), Some(2000));
    }
}
