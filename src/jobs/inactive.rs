//! The number of inactive jobs, in total and by queue.
//!
//! Flux does not report jobs that were inactive before the load, so the plugin requests their
//! number. The response contains the number at an unknown time since the request, and jobs
//! may have ended or been purged since then. One response therefore limits the number at load
//! only to a range. The ranges of several responses are intersected. A response without
//! changes since its request determines the number.

use std::collections::VecDeque;

use super::label_table::{LabelId, LabelTable};
use super::state::State;

/// The maximum number of jobs whose `job.inactive-add` is expected after their transition to
/// INACTIVE. flux-core makes the second call right after the first (event.c), so 1 is enough;
/// if another plugin hides the second call, the list stays short.
const MAX_EXPECTED: usize = 64;

/// The number of inactive jobs: the number at load, plus the jobs added and minus those
/// removed since.
#[derive(Debug, Default)]
pub struct Inactive {
    /// The minimum and the maximum number at load, by the responses so far. They may be
    /// negative, because brokers before 0.87.0 report some inactive jobs twice (flux-core
    /// #7690).
    at_load: Option<(i64, i64)>,
    /// Jobs added since the load, minus those removed.
    net: i64,
    /// The minimum and the maximum of `net` since the request.
    net_range: (i64, i64),
    /// `true` if no job was added or removed since the request.
    is_quiet: bool,
    /// Jobs whose `job.inactive-add` is expected.
    expected: VecDeque<u64>,
}

/// The result of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InactiveResponse {
    /// `true` if the number is known now. Otherwise it changed since the request: request it
    /// again.
    pub known: bool,
    /// `true` if the response contradicts an earlier one, or the events. The newest response
    /// is used.
    pub contradicted: bool,
}

impl Inactive {
    /// The number of inactive jobs. `None` while it is not known.
    pub fn count(&self) -> Option<u64> {
        let (min, max) = self.at_load?;
        u64::try_from(min.saturating_add(self.net)).ok().filter(|_| min == max)
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
            Some(index) => self.expected.remove(index).is_none(),
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
        self.net_range = (self.net, self.net);
        self.is_quiet = true;
    }

    /// Processes the response: the number at some time since the request. A known number is
    /// corrected only if no job was added or removed since the request.
    pub fn response(&mut self, inactive: u64) -> InactiveResponse {
        if self.count().is_some() && !self.is_quiet {
            return InactiveResponse { known: false, contradicted: false };
        }
        let inactive = i64::try_from(inactive).unwrap_or(i64::MAX);
        let (min_net, max_net) = self.net_range;
        let response = (inactive.saturating_sub(max_net), inactive.saturating_sub(min_net));
        let earlier = self.at_load.unwrap_or(response);
        let both = (response.0.max(earlier.0), response.1.min(earlier.1));
        let is_consistent = both.0 <= both.1;
        self.at_load = Some(if is_consistent { both } else { response });
        let known = self.count().is_some();
        // More jobs were purged than existed.
        let is_negative = !known && both.0 == both.1;
        if is_negative {
            self.at_load = None;
        }
        InactiveResponse { known, contradicted: !is_consistent || is_negative }
    }

    /// Returns `false` if the number would be negative.
    fn change_by(&mut self, by: i64) -> bool {
        self.is_quiet = false;
        if by < 0 && self.count() == Some(0) {
            return false;
        }
        self.net += by;
        let (min, max) = self.net_range;
        self.net_range = (min.min(self.net), max.max(self.net));
        true
    }
}

/// The inactive jobs of each queue.
#[derive(Debug, Default)]
pub struct InactiveByQueue {
    /// By the queue's id: the version of its label, and the number of jobs. While the numbers
    /// are not known, the changes since the load.
    counts: Vec<(u32, i64)>,
    pub(super) is_known: bool,
    /// `true` if no number changed since the request.
    pub(super) is_quiet: bool,
}

/// The number of jobs of each queue, by its name and by [`State`].
pub type ByQueue = Vec<(String, [u64; 7])>;

impl InactiveByQueue {
    /// The inactive jobs of a queue. `None` while the number is not known.
    pub fn inactive(&self, queue: LabelId, labels: &LabelTable) -> Option<i64> {
        let known = self.counts.get(usize::from(queue));
        let known = known.filter(|(version, _)| *version == labels.version_of(queue));
        self.is_known.then(|| known.map_or(0, |(_, count)| *count))
    }

    pub(super) fn add(&mut self, queue: LabelId, by: i64, labels: &LabelTable) {
        let (queue, version) = (usize::from(queue), labels.version_of(queue));
        if queue == 0 {
            return;
        }
        if self.counts.len() <= queue {
            self.counts.resize(queue + 1, (0, 0));
        }
        if self.counts[queue].0 != version {
            self.counts[queue] = (version, 0);
        }
        let count = &mut self.counts[queue].1;
        *count = (*count + by).max(if self.is_known { 0 } else { i64::MIN });
        self.is_quiet = false;
    }

    /// Processes a response after which no number changed. `excess` is its number of jobs by
    /// queue and state, minus the active jobs of the table. The response is used if its active
    /// jobs equal those of the table: job-list has then processed the same events.
    pub(super) fn response(&mut self, excess: &[[i64; 7]], labels: &LabelTable) {
        // The response never includes NEW.
        let active = State::Depend as usize..State::Inactive as usize;
        if excess.iter().skip(1).all(|by| by[active.clone()].iter().all(|&by| by == 0)) {
            let counts = excess.iter().map(|by| by[State::Inactive as usize]);
            self.counts = (0..).map(|id| labels.version_of(id)).zip(counts).collect();
            self.is_known = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn responses_narrow_the_range_until_one_number_is_left() {
        // 100 jobs are inactive at load. Each row: the changes before and after the broker
        // counts, for each request; and `true` if the number is known then.
        let table: &[(&[(i64, i64)], bool)] = &[
            (&[(0, 0)], true),
            (&[(3, 0)], false),
            (&[(0, 3)], false),
            // The ranges are [97, 100] and [100, 103], which leave 100.
            (&[(0, 3), (3, 0)], true),
            (&[(5, 5), (-2, 4), (0, 0)], true),
            (&[(5, 5), (-2, 4), (1, 1)], false),
        ];
        for (rounds, is_known) in table {
            let mut inactive = Inactive::default();
            let mut actual = 100;
            let mut known = false;
            let mut step = |inactive: &mut Inactive, by: i64| {
                for _ in 0..by.abs() {
                    inactive.change_by(by.signum());
                }
                actual += by;
                actual
            };
            for &(before, after) in *rounds {
                inactive.requested();
                let taken = step(&mut inactive, before);
                step(&mut inactive, after);
                let response = inactive.response(taken as u64);
                assert!(!response.contradicted, "{rounds:?}");
                known = response.known;
            }
            assert_eq!(known, *is_known, "{rounds:?}");
            assert_eq!(inactive.count(), is_known.then_some(actual as u64), "{rounds:?}");
        }
    }

    #[test]
    fn after_a_contradiction_the_newest_response_is_used() {
        let mut inactive = Inactive::default();
        inactive.requested();
        inactive.change_by(1);
        assert_eq!(inactive.response(10), InactiveResponse { known: false, contradicted: false });
        inactive.requested();
        assert_eq!(inactive.response(50), InactiveResponse { known: true, contradicted: true });
        assert_eq!(inactive.count(), Some(50));
    }

    #[test]
    fn jobs_purged_since_the_load_count_as_inactive_at_load() {
        let mut inactive = Inactive::default();
        inactive.requested();
        assert_eq!(inactive.response(0), InactiveResponse { known: true, contradicted: false });
        assert_eq!(inactive.count(), Some(0));
        let mut inactive = Inactive::default();
        inactive.change_by(-3);
        inactive.requested();
        // 0 inactive now, 3 purged since the load: 3 at load.
        assert_eq!(inactive.response(0), InactiveResponse { known: true, contradicted: false });
        assert_eq!(inactive.count(), Some(0));
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
        assert!(!inactive.added(1), "the transition was counted");
        assert_eq!(inactive.count(), Some(8));
        // The transition of this job was hidden by another plugin.
        assert!(inactive.added(2));
        assert_eq!(inactive.count(), Some(9));
        // Missing calls do not hide the calls of other jobs.
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
