//! The collectors that are enabled.

use super::{BackfillSums, Collector, CollectorId, EventContext, MetricId, MetricSpec, Out};
use crate::jobs::label_table::LabelId;
use crate::jobs::{Change, JobTable, LabelTables};

/// Where the metrics of all collectors go.
pub trait Recorder {
    /// Whether a collector's metrics of this name have been defined.
    fn is_defined(&self, collector: CollectorId, name: LabelId) -> bool;
    /// These are a collector's metrics of this name.
    fn define(&mut self, collector: CollectorId, name: LabelId, metrics: Vec<MetricSpec>);
    /// A gauge moves by this much.
    fn add(&mut self, collector: CollectorId, gauge: MetricId, by: i64);
    /// A gauge stands at this; `None`: nobody knows.
    fn set(&mut self, collector: CollectorId, gauge: MetricId, level: Option<i64>);
    /// A counter counted this many more.
    fn count(&mut self, collector: CollectorId, counter: MetricId, by: i64);
    /// Something took this many milliseconds.
    fn timing(&mut self, collector: CollectorId, timing: MetricId, milliseconds: f64);
    /// Sets all sums over jobs ([`MetricKind::is_sum`](super::MetricKind::is_sum)) of the
    /// collector to 0, before they are added again. What was published stays.
    fn reset_sums(&mut self, collector: CollectorId);
    /// Removes all metrics of a collector.
    fn remove(&mut self, collector: CollectorId);
}

/// The enabled collectors. Each sees every change, and its metrics go to one [`Recorder`].
#[derive(Default)]
pub struct Collectors {
    enabled: Vec<(CollectorId, Box<dyn Collector>)>,
}

impl Collectors {
    /// Enables these, and no others. Those that come know of no job: where there are any,
    /// they [count](BackfillSums) them before.
    pub fn switch<S: Recorder>(&mut self, wanted: &[CollectorId], sink: &mut S) {
        self.enabled.retain(|(id, _)| {
            let is_kept = wanted.contains(id);
            if !is_kept {
                sink.remove(*id);
            }
            is_kept
        });
        for &id in wanted {
            if !self.has(id) {
                self.enabled.push((id, (id.spec().make)()));
            }
        }
    }

    /// Which are enabled.
    pub fn ids(&self) -> impl Iterator<Item = CollectorId> + '_ {
        self.enabled.iter().map(|(id, _)| *id)
    }

    /// Takes the first away.
    pub(super) fn take_one(&mut self) -> Option<Collectors> {
        let first = self.enabled.drain(..1.min(self.enabled.len())).next()?;
        Some(Collectors { enabled: vec![first] })
    }

    /// Whether this one is enabled.
    pub fn has(&self, collector: CollectorId) -> bool {
        self.ids().any(|id| id == collector)
    }

    /// Which are enabled and not wanted, and which are wanted and not enabled.
    pub fn difference(&self, wanted: &[CollectorId]) -> (Vec<CollectorId>, Vec<CollectorId>) {
        let removed = self.ids().filter(|id| !wanted.contains(id)).collect();
        let added = wanted.iter().copied().filter(|&id| !self.has(id)).collect();
        (removed, added)
    }

    /// Takes over collectors that counted all jobs, and what these add up to.
    pub fn take_over<S: Recorder>(
        &mut self,
        counting: BackfillSums,
        table: &JobTable,
        sink: &mut S,
    ) {
        let BackfillSums { collectors, sums } = counting;
        for (id, collector) in &collectors.enabled {
            define(*id, &**collector, table.lists(), sink);
            collector.numbers(table, &mut |gauge, level| sink.set(*id, gauge, level));
            sums.each(*id, |gauge, sum| sink.add(*id, gauge, sum));
        }
        self.enabled.extend(collectors.enabled);
    }

    /// Defines all metrics anew, under other names.
    pub fn define_all<S: Recorder>(&self, lists: &LabelTables, sink: &mut S) {
        for (id, collector) in &self.enabled {
            let last = collector.names(lists).map_or(0, |names| names.last());
            for name in 0..=last {
                sink.define(*id, name, metrics(&**collector, lists, name));
            }
        }
    }

    /// A job changed. On the path of every transition.
    pub fn changed<S: Recorder>(
        &mut self,
        change: &Change,
        context: Option<&EventContext>,
        table: &JobTable,
        sink: &mut S,
    ) {
        for (id, collector) in &mut self.enabled {
            let id = *id;
            define(id, &**collector, table.lists(), sink);
            collector.moves(change, &mut |gauge, by| sink.add(id, gauge, by));
            if change.inactive != 0 {
                collector.numbers(table, &mut |gauge, level| sink.set(id, gauge, level));
            }
            if let Some(context) = context {
                collector.changed(change, context, &mut Of { id, sink });
            }
        }
    }

    /// The table's numbers changed, though no job did.
    pub fn numbers_changed<S: Recorder>(&mut self, table: &JobTable, sink: &mut S) {
        for (id, collector) in &self.enabled {
            define(*id, &**collector, table.lists(), sink);
            collector.numbers(table, &mut |gauge, level| sink.set(*id, gauge, level));
        }
    }

    /// An exception of this type was raised.
    pub fn raised<S: Recorder>(&mut self, exception: LabelId, lists: &LabelTables, sink: &mut S) {
        for (id, collector) in &mut self.enabled {
            define(*id, &**collector, lists, sink);
            collector.raised(exception, &mut Of { id: *id, sink });
        }
    }
}

/// Defines the metrics of names that came since the last time.
#[inline]
fn define<S: Recorder>(
    id: CollectorId,
    collector: &dyn Collector,
    lists: &LabelTables,
    sink: &mut S,
) {
    let last = collector.names(lists).map_or(0, |names| names.last());
    if !sink.is_defined(id, last) {
        define_from(id, collector, lists, last, sink);
    }
}

#[cold]
fn define_from<S: Recorder>(
    id: CollectorId,
    collector: &dyn Collector,
    lists: &LabelTables,
    last: LabelId,
    sink: &mut S,
) {
    for name in 0..=last {
        if !sink.is_defined(id, name) {
            sink.define(id, name, metrics(collector, lists, name));
        }
    }
}

fn metrics(collector: &dyn Collector, lists: &LabelTables, name: LabelId) -> Vec<MetricSpec> {
    let names = collector.names(lists);
    match name {
        0 => collector.metrics(None),
        name => collector.metrics(names.and_then(|names| names.name(name))),
    }
}

/// Where one collector's counters and timings go.
struct Of<'a, S> {
    id: CollectorId,
    sink: &'a mut S,
}

impl<S: Recorder> Out for Of<'_, S> {
    fn count(&mut self, counter: MetricId, by: i64) {
        self.sink.count(self.id, counter, by);
    }

    fn timing(&mut self, timing: MetricId, milliseconds: f64) {
        self.sink.timing(self.id, timing, milliseconds);
    }
}
