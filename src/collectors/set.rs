//! The enabled collectors.

use super::{Backfill, Collector, CollectorId, CollectorRecorder, EventContext, Recorder};
use crate::jobs::{Change, JobTable, LabelId, LabelTables};

/// The enabled collectors. Each processes every change; all record to one [`Recorder`].
#[derive(Default)]
pub struct Collectors {
    enabled: Vec<(CollectorId, Box<dyn Collector>)>,
}

impl Collectors {
    /// The enabled collectors.
    pub fn ids(&self) -> impl Iterator<Item = CollectorId> + '_ {
        self.enabled.iter().map(|(id, _)| *id)
    }

    /// `true` if the collector is enabled.
    pub fn has(&self, collector: CollectorId) -> bool {
        self.ids().any(|id| id == collector)
    }

    /// The enabled collectors that are not in `configured`, and the configured ones that are
    /// not enabled.
    pub fn difference(&self, configured: &[CollectorId]) -> (Vec<CollectorId>, Vec<CollectorId>) {
        let removed = self.ids().filter(|id| !configured.contains(id)).collect();
        let added = configured.iter().copied().filter(|&id| !self.has(id)).collect();
        (removed, added)
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
            collector.table_gauges(table, &mut prepare(id, &*collector, table.labels(), recorder));
            match self.enabled.iter_mut().find(|(enabled, _)| *enabled == id) {
                Some((_, enabled)) => {
                    recorder.reset_sums(id);
                    *enabled = collector;
                }
                None => self.enabled.push((id, collector)),
            }
            sums.0.into_iter().for_each(|(gauge, sum)| recorder.add(id, gauge, sum));
        }
    }

    /// Defines all metrics again, after a change of their names.
    pub fn define_all(&self, labels: &LabelTables, recorder: &mut impl Recorder) {
        for (id, collector) in &self.enabled {
            for label in 0..=last_label(&**collector, labels) {
                define(label, *id, &**collector, labels, recorder);
            }
        }
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
        for (id, collector) in &mut self.enabled {
            let mut out = prepare(*id, &**collector, table.labels(), recorder);
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
        for (id, collector) in &self.enabled {
            collector
                .table_gauges(table, &mut prepare(*id, &**collector, table.labels(), recorder));
        }
    }

    /// Processes an exception of this type.
    pub fn on_exception(
        &mut self,
        exception: LabelId,
        labels: &LabelTables,
        recorder: &mut impl Recorder,
    ) {
        for (id, collector) in &mut self.enabled {
            let mut out = prepare(*id, &**collector, labels, recorder);
            collector.on_exception(exception, &mut out);
        }
    }
}

/// The recorder for a collector, after the metrics of new labels are defined.
#[inline]
fn prepare<'a>(
    id: CollectorId,
    collector: &dyn Collector,
    labels: &LabelTables,
    recorder: &'a mut impl Recorder,
) -> CollectorRecorder<'a> {
    let last = last_label(collector, labels);
    if !recorder.is_defined(id, last) {
        for label in 0..=last {
            if !recorder.is_defined(id, label) {
                define(label, id, collector, labels, recorder);
            }
        }
    }
    CollectorRecorder::new(id, recorder)
}

#[cold]
fn define(
    label: LabelId,
    id: CollectorId,
    collector: &dyn Collector,
    labels: &LabelTables,
    recorder: &mut impl Recorder,
) {
    let text = collector.labels(labels).and_then(|labels| labels.name(label));
    recorder.define(id, label, collector.metrics(text));
}

fn last_label(collector: &dyn Collector, labels: &LabelTables) -> LabelId {
    collector.labels(labels).map_or(0, |labels| labels.last())
}
