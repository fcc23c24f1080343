//! The enabled collectors.

use super::{Backfill, Collector, CollectorId, CollectorRecorder, Recorder};
use crate::jobs::{Change, EventKind, JobTable, LabelId, LabelTable, LabelTables, Timestamp};

/// The enabled collectors. Each processes every change; all record to one [`Recorder`].
#[derive(Default)]
pub struct Collectors {
    enabled: Vec<Enabled>,
    /// [`LabelTables::version`] for which all metrics are defined.
    version: u32,
}

/// An enabled collector.
pub struct Enabled {
    /// The id of the collector.
    pub id: CollectorId,
    /// The collector.
    pub collector: Box<dyn Collector>,
    /// The version of the label table for which the metrics are defined. `None` before that.
    defined: Option<u32>,
}

impl Collectors {
    /// The enabled collectors.
    pub fn ids(&self) -> impl Iterator<Item = CollectorId> + '_ {
        self.enabled.iter().map(|enabled| enabled.id)
    }

    /// The enabled collectors.
    pub fn iter(&self) -> impl Iterator<Item = &Enabled> {
        self.enabled.iter()
    }

    /// Disables all collectors that are not in `configured`.
    pub fn retain(&mut self, configured: &[CollectorId], recorder: &mut impl Recorder) {
        self.enabled.retain(|enabled| {
            let is_kept = configured.contains(&enabled.id);
            if !is_kept {
                recorder.remove(enabled.id);
            }
            is_kept
        });
    }

    /// Enables the collectors of a backfill that has processed all jobs. An enabled collector
    /// is replaced: its sums are set to those of the backfill.
    pub fn install(&mut self, backfill: Backfill, table: &JobTable, recorder: &mut impl Recorder) {
        for (id, collector, sums) in backfill.collectors {
            let index = self.enabled.iter().position(|enabled| enabled.id == id);
            let index = index.unwrap_or(self.enabled.len());
            match self.enabled.get_mut(index) {
                Some(enabled) => {
                    recorder.reset_sums(id);
                    enabled.collector = collector;
                }
                None => self.enabled.push(Enabled { id, collector, defined: None }),
            }
            self.enabled[index].set_table_gauges(table, recorder);
            sums.0.into_iter().for_each(|(gauge, sum)| recorder.add(id, gauge, sum));
        }
    }

    /// Defines all metrics again, after a change of their names.
    pub fn define_all(&mut self, labels: &LabelTables, recorder: &mut impl Recorder) {
        for enabled in &mut self.enabled {
            enabled.prepare(labels, recorder);
            enabled.define(0, labels, recorder);
        }
    }

    /// Processes a change of a job. `kind` is `None` if it is not the effect of an event.
    /// On the path of each transition.
    pub fn on_change(
        &mut self,
        change: &Change,
        kind: Option<EventKind>,
        table: &JobTable,
        recorder: &mut impl Recorder,
    ) {
        let version = table.labels().version();
        if self.version != version {
            for enabled in &mut self.enabled {
                enabled.prepare(table.labels(), recorder);
            }
            self.version = version;
        }
        for Enabled { id, collector, .. } in &mut self.enabled {
            let mut out = CollectorRecorder::new(*id, recorder);
            collector.delta(change, &mut out);
            if change.inactive != 0 {
                collector.inactive(table, change.queue, &mut out);
            }
            if let Some(kind) = kind {
                collector.on_event(change, kind, &mut out);
            }
        }
    }

    /// Sets the gauges that are not sums over the jobs, after a response changed them.
    pub fn table_gauges_changed(&mut self, table: &JobTable, recorder: &mut impl Recorder) {
        self.enabled.iter_mut().for_each(|it| it.set_table_gauges(table, recorder));
    }

    /// Sets the gauges of ages. `now` is `None` if no ages are sent.
    pub fn set_ages(
        &mut self,
        now: Option<Timestamp>,
        table: &JobTable,
        recorder: &mut impl Recorder,
    ) {
        for enabled in &mut self.enabled {
            let mut out = enabled.prepare(table.labels(), recorder);
            enabled.collector.ages(table, now, &mut out);
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
            let mut out = enabled.prepare(labels, recorder);
            enabled.collector.on_exception(exception, &mut out);
        }
    }
}

impl Enabled {
    /// Sets all gauges that are not sums over the jobs.
    fn set_table_gauges(&mut self, table: &JobTable, recorder: &mut impl Recorder) {
        let mut out = self.prepare(table.labels(), recorder);
        self.collector.table_gauges(table, &mut out);
        let queues = 0..=table.labels().queues.last();
        queues.for_each(|queue| self.collector.inactive(table, queue, &mut out));
    }

    /// The recorder of the collector, after the metrics of new labels are defined.
    #[inline]
    fn prepare<'a>(
        &mut self,
        labels: &LabelTables,
        recorder: &'a mut impl Recorder,
    ) -> CollectorRecorder<'a> {
        let version = self.collector.labels(labels).map_or(0, LabelTable::version);
        if self.defined != Some(version) {
            let defined = self.defined.replace(version);
            self.define(defined.map_or(0, |defined| defined + 1), labels, recorder);
        }
        CollectorRecorder::new(self.id, recorder)
    }

    /// Defines the metrics of the labels since this version of their table; since 0 also the
    /// metrics without a label.
    #[cold]
    fn define(&self, since: u32, labels: &LabelTables, recorder: &mut impl Recorder) {
        let Enabled { id, collector, .. } = self;
        let table = collector.labels(labels);
        let changed = (0..=table.map_or(0, LabelTable::last))
            .filter(|&label| table.map_or(0, |table| table.version_of(label)) >= since);
        // First, because a label may have another place now.
        if since > 0 {
            changed.clone().for_each(|label| recorder.retire(*id, label));
        }
        for label in changed {
            recorder.define(*id, label, collector.metrics(table.and_then(|it| it.name(label))));
        }
    }
}
