//! Families that come while there are jobs. Nobody is sent anything of them before all
//! jobs are counted, and each job may be counted at a time of its own.

use super::{Families, FamilyId, MetricSpec, Series, Sink};
use crate::jobs::names::NameIndex;
use crate::jobs::{Change, Job, JobTable};

/// Families that count the jobs that there are.
#[derive(Default)]
pub struct Counting {
    pub(super) families: Families,
    pub(super) sums: Sums,
}

/// What the jobs that were counted add up to, by the indices of the family, the name and
/// the metric.
#[derive(Default)]
pub(super) struct Sums(Vec<Vec<Vec<i64>>>);

impl Counting {
    /// These families, and no job yet.
    pub fn new(families: &[FamilyId]) -> Counting {
        let mut counting = Counting::default();
        counting.families.switch(families, &mut counting.sums);
        counting
    }

    /// Which families they are.
    pub fn families(&self) -> Vec<FamilyId> {
        self.families.ids().collect()
    }

    /// Takes one of the families away, with what it counted; `None` when there is none.
    pub fn take_one(&mut self) -> Option<Counting> {
        let families = self.families.take_one()?;
        let mut sums = Sums::default();
        for id in families.ids() {
            std::mem::swap(at(&mut sums.0, id.index()), at(&mut self.sums.0, id.index()));
        }
        Some(Counting { families, sums })
    }

    /// Counts a job.
    pub fn count(&mut self, job: &Job, table: &JobTable) {
        let change = Change { after: Some(job.clone()), ..Change::default() };
        self.changed(&change, table);
    }

    /// A job that was counted changed, or one came that is not to be counted any more.
    pub fn changed(&mut self, change: &Change, table: &JobTable) {
        self.families.changed(change, None, table, &mut self.sums);
    }
}

impl Sums {
    /// Calls `visit` with each gauge of a family, and its sum.
    pub(super) fn each(&self, family: FamilyId, mut visit: impl FnMut(Series, i64)) {
        for (name, sums) in self.0.get(family.index()).into_iter().flatten().enumerate() {
            for (metric, &sum) in sums.iter().enumerate() {
                visit(Series::of(name as NameIndex, metric), sum);
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
/// that come before a family is sent are not counted later.
impl Sink for Sums {
    fn is_defined(&self, _: FamilyId, _: NameIndex) -> bool {
        true
    }

    fn define(&mut self, _: FamilyId, _: NameIndex, _: Vec<MetricSpec>) {}

    fn add(&mut self, family: FamilyId, gauge: Series, by: i64) {
        let sums = at(at(&mut self.0, family.index()), usize::from(gauge.name));
        *at(sums, usize::from(gauge.metric)) += by;
    }

    fn set(&mut self, _: FamilyId, _: Series, _: Option<i64>) {}

    fn count(&mut self, _: FamilyId, _: Series, _: i64) {}

    fn timing(&mut self, _: FamilyId, _: Series, _: f64) {}

    fn forget(&mut self, _: FamilyId) {}
}
