//! The enabled collectors.

use super::{Backfill, Collector, CollectorId, CollectorRecorder, EventContext, Recorder};
use crate::jobs::{Change, JobTable, LabelId, LabelTables};

/// The enabled collectors. Each processes every change; all record to one [`Recorder`].
#[derive(Default)]
pub struct Collectors {
    enabled: Vec<Enabled>,
}

/// A collector and its id.
pub type Enabled = (CollectorId, Box<dyn Collector>);

impl Collectors {
    /// The enabled collectors.
    pub fn ids(&self) -> impl Iterator<Item = CollectorId> + '_ {
        self.enabled.iter().map(|(id, _)| *id)
    }

    /// The enabled collectors.
    pub fn iter(&self) -> impl Iterator<Item = &Enabled> {
        self.enabled.iter()
    }

    /// `true` if the collector is enabled.
    pub fn has(&self, collector: CollectorId) -> bool {
        self.ids().any(|id| id == collector)
    }

    /// Disables all collectors that are not in `configured`.
    pub fn retain(&mut self, configured: &[CollectorId], recorder: &mut impl Recorder) {
        self.enabled.retain(|(id, _)| {
            let is_kept = configured.contains(id);
            if !is_kept {
                recorder.remove(*id);
            }
            is_kept
        });
    }

    /// Enables the collectors of a backfill that has processed all jobs. An enabled collector
    /// is replaced: its sums are set to those of the backfill.
    pub fn install(&mut self, backfill: Backfill, table: &JobTable, recorder: &mut impl Recorder) {
        for (id, collector, sums) in backfill.collectors {
            let new = (id, collector);
            new.1.table_gauges(table, &mut prepare(&new, table.labels(), recorder));
            match self.enabled.iter_mut().find(|(enabled, _)| *enabled == id) {
                Some(enabled) => {
                    recorder.reset_sums(id);
                    *enabled = new;
                }
                None => self.enabled.push(new),
            }
            sums.0.into_iter().for_each(|(gauge, sum)| recorder.add(id, gauge, sum));
        }
    }

    /// Defines all metrics again, after a change of their names.
    pub fn define_all(&self, labels: &LabelTables, recorder: &mut impl Recorder) {
        self.enabled.iter().for_each(|enabled| define(enabled, true, labels, recorder));
    }

    /// Processes a change of a job. `context` is `None` if it is not the effect of an event.
    /// On the path of each transition.
    pub fn on_change(
        &mut self,
        change: &Change,
        context: Option<&EventContext>,
        table: &JobTable,
        recorder: &mut impl Recorder,
    ) {
        for enabled in &mut self.enabled {
            let mut out = prepare(enabled, table.labels(), recorder);
            let collector = &mut enabled.1;
            collector.delta(change, &mut out);
            if change.inactive != 0 {
                collector.table_gauges(table, &mut out);
            }
            if let Some(context) = context {
                collector.on_event(change, context, &mut out);
            }
        }
    }

    /// Sets the gauges that are not sums over the jobs, after a response changed them.
    pub fn table_gauges_changed(&self, table: &JobTable, recorder: &mut impl Recorder) {
        for enabled in &self.enabled {
            enabled.1.table_gauges(table, &mut prepare(enabled, table.labels(), recorder));
        }
    }

    /// Processes an exception of this type.
    pub fn on_exception(
        &mut self,
        exception: LabelId,
        labels: &LabelTables,
        recorder: &mut impl Recorder,
    ) {
        for enabled in &mut self.enabled {
            let mut out = prepare(enabled, labels, recorder);
            enabled.1.on_exception(exception, &mut out);
        }
    }
}

/// The recorder of a collector, after the metrics of new labels are defined.
#[inline]
fn prepare<'a>(
    enabled: &Enabled,
    labels: &LabelTables,
    recorder: &'a mut impl Recorder,
) -> CollectorRecorder<'a> {
    let (id, collector) = enabled;
    let last = collector.labels(labels).map_or(0, |labels| labels.last());
    if !recorder.is_defined(*id, last) {
        define(enabled, false, labels, recorder);
    }
    CollectorRecorder::new(*id, recorder)
}

/// Defines the metrics of all labels, or of new ones only.
#[cold]
fn define(enabled: &Enabled, all: bool, labels: &LabelTables, recorder: &mut impl Recorder) {
    let (id, collector) = enabled;
    let table = collector.labels(labels);
    for label in 0..=table.map_or(0, |table| table.last()) {
        if all || !recorder.is_defined(*id, label) {
            recorder.define(*id, label, collector.metrics(table.and_then(|it| it.name(label))));
        }
    }
}
