//! Collectors that are being filled: newly enabled ones, or all of them after a panic. Jobs
//! are added one at a time; nothing is sent before all jobs are added.

use std::collections::BTreeMap;

use super::{Collector, CollectorId, CollectorRecorder, MetricId, MetricSpec, Recorder};
use crate::jobs::{Change, Job, LabelId};

/// Collectors and their sums over the jobs that were added so far.
#[derive(Default)]
pub struct Backfill {
    pub(super) collectors: Vec<(CollectorId, Box<dyn Collector>, Sums)>,
}

/// A recorder of one collector's sums over the jobs.
#[derive(Default)]
pub(super) struct Sums(pub(super) BTreeMap<MetricId, i64>);

impl Backfill {
    /// These collectors, without jobs.
    pub fn new(collectors: &[CollectorId]) -> Backfill {
        let make = |&id: &CollectorId| (id, (id.spec().make)(), Sums::default());
        Backfill { collectors: collectors.iter().map(make).collect() }
    }

    /// `true` if no collector is left.
    pub fn is_empty(&self) -> bool {
        self.collectors.is_empty()
    }

    /// The collectors.
    pub fn collectors(&self) -> Vec<CollectorId> {
        self.collectors.iter().map(|(id, ..)| *id).collect()
    }

    /// Removes one collector, with its sums. `None` if none is left.
    pub fn take_one(&mut self) -> Option<Backfill> {
        let first = self.collectors.drain(..1.min(self.collectors.len())).next()?;
        Some(Backfill { collectors: vec![first] })
    }

    /// Adds a job.
    pub fn add(&mut self, job: &Job) {
        self.on_change(&Change { after: Some(job.clone()), ..Change::default() });
    }

    /// Processes a change of a job that was added, or that will no longer be added.
    pub fn on_change(&mut self, change: &Change) {
        for (id, collector, sums) in &mut self.collectors {
            collector.delta(change, &mut CollectorRecorder::new(*id, sums));
        }
    }
}

/// Ignores all but sums: other gauges are set when the collector is enabled, and events
/// before that are not counted.
impl Recorder for Sums {
    fn add(&mut self, _: CollectorId, gauge: MetricId, by: i64) {
        *self.0.entry(gauge).or_default() += by;
    }
    fn define(&mut self, _: CollectorId, _: LabelId, _: Vec<MetricSpec>) {}
    fn set(&mut self, _: CollectorId, _: MetricId, _: Option<i64>) {}
    fn count(&mut self, _: CollectorId, _: MetricId, _: i64) {}
    fn timing(&mut self, _: CollectorId, _: MetricId, _: f64) {}
    fn reset_sums(&mut self, _: CollectorId) {}
    fn retire(&mut self, _: CollectorId, _: LabelId) {}
    fn remove(&mut self, _: CollectorId) {}
}
