//! Collectors that come while there are jobs. Nobody is sent anything of them before all
//! jobs are counted, and each job may be counted at a time of its own.

use super::{CollectorId, Collectors, MetricId, MetricSpec, Recorder};
use crate::jobs::label_table::LabelId;
use crate::jobs::{Change, Job, JobTable};

/// Collectors that count the jobs that there are.
#[derive(Default)]
pub struct BackfillSums {
    pub(super) collectors: Collectors,
    pub(super) sums: Sums,
}

/// What the jobs that were counted add up to, by the indices of the collector, the name and
/// the metric.
#[derive(Default)]
pub(super) struct Sums(Vec<Vec<Vec<i64>>>);

impl BackfillSums {
    /// These collectors, and no job yet.
    pub fn new(collectors: &[CollectorId]) -> BackfillSums {
        let mut counting = BackfillSums::default();
        counting.collectors.switch(collectors, &mut counting.sums);
        counting
    }

    /// Which collectors they are.
    pub fn collectors(&self) -> Vec<CollectorId> {
        self.collectors.ids().collect()
    }

    /// Takes one of the collectors away, with what it counted; `None` when there is none.
    pub fn take_one(&mut self) -> Option<BackfillSums> {
        let collectors = self.collectors.take_one()?;
        let mut sums = Sums::default();
        for id in collectors.ids() {
            std::mem::swap(at(&mut sums.0, id.index()), at(&mut self.sums.0, id.index()));
        }
        Some(BackfillSums { collectors, sums })
    }

    /// Counts a job.
    pub fn count(&mut self, job: &Job, table: &JobTable) {
        let change = Change { after: Some(job.clone()), ..Change::default() };
        self.changed(&change, table);
    }

    /// A job that was counted changed, or one came that is not to be counted any more.
    pub fn changed(&mut self, change: &Change, table: &JobTable) {
        self.collectors.changed(change, None, table, &mut self.sums);
    }
}

impl Sums {
    /// Calls `visit` with each gauge of a collector, and its sum.
    pub(super) fn each(&self, collector: CollectorId, mut visit: impl FnMut(MetricId, i64)) {
        for (name, sums) in self.0.get(collector.index()).into_iter().flatten().enumerate() {
            for (metric, &sum) in sums.iter().enumerate() {
                visit(MetricId::of(name as LabelId, metric), sum);
            }
        }
    }
}

/// The item at an index, which is made with those before it if it is not there.
fn at<T: Default>(list: &mut Vec<T>, index: usize) -> &mut T {
    if list.len() <= index {
        list.resize_with(index + 1, T::default);
    }
    &mut list[index]
}

/// Only sums over the jobs are kept: the table's numbers are known at any time, and events
/// that come before a collector is sent are not counted later.
impl Recorder for Sums {
    fn is_defined(&self, _: CollectorId, _: LabelId) -> bool {
        true
    }

    fn define(&mut self, _: CollectorId, _: LabelId, _: Vec<MetricSpec>) {}

    fn add(&mut self, collector: CollectorId, gauge: MetricId, by: i64) {
        let sums = at(at(&mut self.0, collector.index()), usize::from(gauge.name));
        *at(sums, usize::from(gauge.metric)) += by;
    }

    fn set(&mut self, _: CollectorId, _: MetricId, _: Option<i64>) {}

    fn count(&mut self, _: CollectorId, _: MetricId, _: i64) {}

    fn timing(&mut self, _: CollectorId, _: MetricId, _: f64) {}

    fn reset_sums(&mut self, _: CollectorId) {}
    fn remove(&mut self, _: CollectorId) {}
}
