//! Switching collectors on and off while the plugin runs.
//!
//! A collector that added counts the jobs that are there, in slices, so that no turn of the
//! reactor is held for long. It may need to know more of them: then the job manager is
//! asked for each, and 100,000 jobs take some twelve seconds. It is sent once all are
//! counted. A few dozen jobs are one slice: then that is at once.

use std::time::{Duration, Instant};

use super::verify::SLICE;
use super::StateCounts;
use crate::collectors::{Backfill as BackfillSums, CollectorId};
use crate::flux::Timer;
use crate::jobs::Change;
use crate::jobs::Cursor;

/// Collectors that come, once all jobs are counted.
#[derive(Default)]
pub(super) struct Backfill {
    wanted: Vec<CollectorId>,
    added: BackfillSums,
    /// Whether the job manager is asked for each job.
    looks_up: bool,
    /// Which jobs are still to be counted; `None`: none is.
    cursor: Option<Cursor>,
    /// Wakes the cursor for its next slice.
    next: Option<Timer>,
}

impl Backfill {
    /// Whether collectors wait for jobs to be counted.
    pub(super) fn is_under_way(&self) -> bool {
        self.cursor.is_some()
    }

    /// A job changed. If it was not counted yet, it will be as it is then.
    #[cold]
    pub(super) fn job_changed(&mut self, id: u64, change: &Change) {
        if self.cursor.as_ref().is_some_and(|cursor| cursor.is_past(id)) {
            self.added.on_change(change);
        }
    }
}

impl StateCounts {
    /// Enables these collectors, and no others. Those that are enabled already notice
    /// nothing.
    pub(super) fn switch_families(&mut self, wanted: &[CollectorId]) {
        if self.switch.is_under_way() && self.switch.wanted == wanted {
            return;
        }
        let (kept, added): (Vec<_>, Vec<_>) =
            wanted.iter().copied().partition(|&id| self.collectors.has(id));
        self.collectors.retain(&kept, &mut self.publisher);
        let (had, needs) = (self.table.needs(), CollectorId::needs(wanted));
        let is_known = had.contains(needs) && !self.looks_up_jobs() || added.is_empty();
        let looks_up = self.publisher.is_running() && !is_known;
        self.table.set_needs(needs);
        if looks_up {
            // What it learns of a job is no repair.
            self.stop_check();
        }
        self.switch = Backfill {
            wanted: wanted.to_vec(),
            added: BackfillSums::new(&added),
            looks_up,
            cursor: (!added.is_empty()).then(Cursor::default),
            next: None,
        };
        self.switch_slice();
    }

    /// Whether what a collector needs of the jobs is known of some only.
    fn looks_up_jobs(&self) -> bool {
        self.switch.is_under_way() && self.switch.looks_up
    }

    /// Counts the jobs that are still to be counted, and then enables the collectors, until
    /// the slice is over.
    fn switch_slice(&mut self) {
        // While Flux loads the plugin, nobody waits for a turn.
        let limit = if self.publisher.is_running() { SLICE } else { Duration::MAX };
        if self.switch_within(limit) {
            return;
        }
        self.switch.next = self.next_slice(Self::switch_slice);
        if self.switch.next.is_none() {
            // Better all at once than never.
            self.switch_within(Duration::MAX);
        }
    }

    /// Returns whether all is done.
    fn switch_within(&mut self, limit: Duration) -> bool {
        let Some(mut cursor) = self.switch.cursor.take() else { return true };
        let start = Instant::now();
        let is_counted = self.slice(&mut cursor, limit, Self::count_job);
        self.switch.cursor = Some(cursor);
        // Of many names each makes a metric, and all are sent: some of a turn for each collector.
        while is_counted && start.elapsed() < limit {
            let Some(added) = self.switch.added.take_one() else {
                self.switch = Backfill::default();
                if self.publisher.is_running() {
                    self.ask_for_queues();
                }
                return true;
            };
            let collector = added.collectors();
            self.collectors.install(added, &self.table, &mut self.publisher);
            self.publisher.mark_unpublished(&collector);
            self.request_flush();
        }
        false
    }

    /// Counts a job. Where more has to be known of it, it is looked up before.
    fn count_job(&mut self, id: u64) {
        if self.switch.looks_up {
            self.look_up_job(id);
        }
        if let Some(job) = self.table.job(id) {
            self.switch.added.add(job);
        }
    }
}
