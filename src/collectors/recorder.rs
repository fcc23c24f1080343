//! The interface between collectors and the publisher.

use super::{CollectorId, MetricId, MetricSpec};
use crate::jobs::{LabelId, Timestamp};

/// Receives the metrics of all collectors.
pub trait Recorder {
    /// Defines the metrics of a label, or those without a label (0). Existing metrics are
    /// redefined.
    fn define(&mut self, collector: CollectorId, label: LabelId, metrics: Vec<MetricSpec>);
    /// Adds to a gauge.
    fn add(&mut self, collector: CollectorId, gauge: MetricId, by: i64);
    /// Sets a gauge. `None`: the value is not known.
    fn set(&mut self, collector: CollectorId, gauge: MetricId, level: Option<i64>);
    /// Adds to a counter.
    fn count(&mut self, collector: CollectorId, counter: MetricId, by: i64);
    /// Records a duration in milliseconds.
    fn timing(&mut self, collector: CollectorId, timing: MetricId, milliseconds: f64);
    /// Sets all job sums of a collector to 0, before the jobs are added again. The published
    /// values are kept.
    fn reset_sums(&mut self, collector: CollectorId);
    /// Sends the final values of the metrics of a label, and forgets the metrics: another label
    /// gets its place.
    fn retire(&mut self, collector: CollectorId, label: LabelId);
    /// Removes all metrics of a collector.
    fn remove(&mut self, collector: CollectorId);
}

/// A [`Recorder`] for one collector.
pub struct CollectorRecorder<'a> {
    collector: CollectorId,
    recorder: &'a mut dyn Recorder,
    /// 1 or -1.
    sign: i64,
}

impl<'a> CollectorRecorder<'a> {
    pub(super) fn new(collector: CollectorId, recorder: &'a mut dyn Recorder) -> Self {
        CollectorRecorder { collector, recorder, sign: 1 }
    }

    /// A recorder whose `add` subtracts.
    #[inline]
    pub fn negated(&mut self) -> CollectorRecorder<'_> {
        let CollectorRecorder { collector, sign, .. } = *self;
        CollectorRecorder { collector, recorder: &mut *self.recorder, sign: -sign }
    }

    /// Adds to a gauge.
    #[inline]
    pub fn add(&mut self, gauge: MetricId, by: i64) {
        self.recorder.add(self.collector, gauge, self.sign * by);
    }

    /// Sets a gauge. `None`: the value is not known.
    pub fn set(&mut self, gauge: MetricId, level: Option<i64>) {
        self.recorder.set(self.collector, gauge, level);
    }

    /// Sets a gauge to the seconds from `since`, or to 0 if there is no such time, until `now`.
    pub fn set_age(&mut self, gauge: MetricId, now: Option<Timestamp>, since: Option<Timestamp>) {
        let age = |now: Timestamp| since.map_or(0.0, |since| now.since(since) / 1000.0) as i64;
        self.set(gauge, now.map(age));
    }

    /// Adds 1 to a counter.
    pub fn increment(&mut self, counter: MetricId) {
        self.recorder.count(self.collector, counter, 1);
    }

    /// Records a duration in milliseconds.
    pub fn timing(&mut self, timing: MetricId, milliseconds: f64) {
        self.recorder.timing(self.collector, timing, milliseconds);
    }
}
