//! Families that come while there are jobs. Nobody is sent anything of them before all
//! jobs are counted, and each job may be counted at a time of its own.

use std::collections::BTreeMap;

use super::{Families, FamilyId, MetricSpec, Series, Sink};
use crate::jobs::names::NameIndex;
use crate::jobs::{Change, Job, JobTable};

/// Families that count the jobs that there are.
#[derive(Default)]
pub struct Counting {
    pub(super) families: Families,
    pub(super) sums: Sums,
}

/// What the jobs that were counted add up to, by family.
#[derive(Default)]
pub(super) struct Sums(pub(super) BTreeMap<FamilyId, BTreeMap<Series, i64>>);

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
        let sums = families.ids().filter_map(|id| self.sums.0.remove_entry(&id)).collect();
        Some(Counting { families, sums: Sums(sums) })
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

/// Only sums over the jobs are kept: the table's numbers are known at any time, and events
/// that come before a family is sent are not counted later.
impl Sink for Sums {
    fn is_defined(&self, _: FamilyId, _: NameIndex) -> bool {
        true
    }

    fn define(&mut self, _: FamilyId, _: NameIndex, _: Vec<MetricSpec>) {}

    fn add(&mut self, family: FamilyId, gauge: Series, by: i64) {
        *self.0.entry(family).or_default().entry(gauge).or_default() += by;
    }

    fn set(&mut self, _: FamilyId, _: Series, _: Option<i64>) {}

    fn count(&mut self, _: FamilyId, _: Series, _: i64) {}

    fn timing(&mut self, _: FamilyId, _: Series, _: f64) {}

    fn forget(&mut self, _: FamilyId) {}
}
