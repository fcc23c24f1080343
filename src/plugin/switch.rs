//! Switching families on and off while the plugin runs.
//!
//! A family that comes may need to know more of the jobs that are there. The job
//! manager is asked for each, in slices, so that no turn of the reactor is held for
//! long: 100,000 jobs take some twelve seconds. The family counts all of them, and is
//! sent, once they are known. A few dozen jobs are one slice: then that is at once.

use super::StateCounts;
use crate::families::FamilyId;
use crate::jobs::check::Check;
use crate::jobtap::Timer;

/// Families that come, once all jobs are known.
#[derive(Default)]
pub(super) struct Switch {
    wanted: Vec<FamilyId>,
    /// Which jobs are still to be looked up; `None`: none is.
    walk: Option<Check>,
    /// Wakes the walk for its next slice.
    next: Option<Timer>,
}

impl Switch {
    /// Whether families wait for jobs to be known.
    pub(super) fn is_under_way(&self) -> bool {
        self.walk.is_some()
    }
}

impl StateCounts {
    /// Enables these families, and no others. Those that are enabled already notice
    /// nothing.
    pub(super) fn switch_families(&mut self, wanted: &[FamilyId]) {
        if self.switch.is_under_way() && self.switch.wanted == wanted {
            return;
        }
        let kept: Vec<_> = wanted.iter().copied().filter(|&id| self.families.has(id)).collect();
        self.families.switch(&kept, &mut self.publisher);
        let (had, needs) = (self.table.needs(), FamilyId::needs(wanted));
        let is_known =
            had.contains(needs) && !self.switch.is_under_way() || kept.len() == wanted.len();
        self.table.set_needs(needs);
        self.switch = Switch { wanted: wanted.to_vec(), ..Switch::default() };
        match self.publisher.is_running() && !is_known {
            true => {
                // What it learns of a job is no repair.
                self.stop_check();
                self.switch.walk = Some(Check::default());
                self.switch_slice();
            }
            false => self.enable_wanted(),
        }
    }

    /// Looks up the jobs that are still to be looked up, until the slice is over.
    fn switch_slice(&mut self) {
        let Some(mut walk) = self.switch.walk.take() else { return };
        if self.slice(&mut walk, Self::look_up_job) {
            return self.enable_wanted();
        }
        self.switch.walk = Some(walk);
        self.switch.next = self.next_slice(Self::switch_slice);
        if self.switch.next.is_none() {
            // Better now than never.
            self.enable_wanted();
        }
    }

    /// Puts into the table what the job manager knows of a job.
    fn look_up_job(&mut self, id: u64) {
        let change = self.reconcile(id);
        self.families.changed(&change, None, &self.table, &mut self.publisher);
        // One that is gone meanwhile has no exceptions any more.
        let _ = self.subscribe(id);
        self.request_flush();
    }

    /// All jobs are known: the families that come count them.
    fn enable_wanted(&mut self) {
        let wanted = std::mem::take(&mut self.switch).wanted;
        let comes: Vec<_> = wanted.iter().copied().filter(|&id| !self.families.has(id)).collect();
        self.families.switch(&wanted, &mut self.publisher);
        for &family in &comes {
            self.families.count_all(family, &self.table, &mut self.publisher);
        }
        self.publisher.publish_anew(&comes);
        self.request_flush();
        if self.publisher.is_running() && !comes.is_empty() {
            self.ask_for_queues();
        }
    }
}
