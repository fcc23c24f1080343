//! The families that are enabled.

use super::{Counting, Family, FamilyId, MetricSpec, Occasion, Out, Series};
use crate::jobs::names::NameIndex;
use crate::jobs::{Change, JobTable, Lists};

/// Where the metrics of all families go.
pub trait Sink {
    /// Whether a family's metrics of this name have been defined.
    fn is_defined(&self, family: FamilyId, name: NameIndex) -> bool;
    /// These are a family's metrics of this name.
    fn define(&mut self, family: FamilyId, name: NameIndex, metrics: Vec<MetricSpec>);
    /// A gauge moves by this much.
    fn add(&mut self, family: FamilyId, gauge: Series, by: i64);
    /// A gauge stands at this; `None`: nobody knows.
    fn set(&mut self, family: FamilyId, gauge: Series, level: Option<i64>);
    /// A counter counted this many more.
    fn count(&mut self, family: FamilyId, counter: Series, by: i64);
    /// Something took this many milliseconds.
    fn timing(&mut self, family: FamilyId, timing: Series, milliseconds: f64);
    /// A family's metrics are forgotten.
    fn forget(&mut self, family: FamilyId);
}

/// The enabled families. Each sees every change, and its metrics go to one [`Sink`].
#[derive(Default)]
pub struct Families {
    enabled: Vec<(FamilyId, Box<dyn Family>)>,
}

impl Families {
    /// Enables these, and no others. Those that come know of no job: where there are any,
    /// they [count](Counting) them before.
    pub fn switch<S: Sink>(&mut self, wanted: &[FamilyId], sink: &mut S) {
        self.enabled.retain(|(id, _)| {
            let is_kept = wanted.contains(id);
            if !is_kept {
                sink.forget(*id);
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
    pub fn ids(&self) -> impl Iterator<Item = FamilyId> + '_ {
        self.enabled.iter().map(|(id, _)| *id)
    }

    /// Takes the first away.
    pub(super) fn take_one(&mut self) -> Option<Families> {
        let first = self.enabled.drain(..1.min(self.enabled.len())).next()?;
        Some(Families { enabled: vec![first] })
    }

    /// Whether this one is enabled.
    pub fn has(&self, family: FamilyId) -> bool {
        self.ids().any(|id| id == family)
    }

    /// Which are enabled and not wanted, and which are wanted and not enabled.
    pub fn difference(&self, wanted: &[FamilyId]) -> (Vec<FamilyId>, Vec<FamilyId>) {
        let goes = self.ids().filter(|id| !wanted.contains(id)).collect();
        let comes = wanted.iter().copied().filter(|&id| !self.has(id)).collect();
        (goes, comes)
    }

    /// Takes over families that counted all jobs, and what these add up to.
    pub fn take_over<S: Sink>(&mut self, counting: Counting, table: &JobTable, sink: &mut S) {
        let Counting { families, sums } = counting;
        for (id, family) in &families.enabled {
            define(*id, &**family, table.lists(), sink);
            family.numbers(table, &mut |gauge, level| sink.set(*id, gauge, level));
            sums.each(*id, |gauge, sum| sink.add(*id, gauge, sum));
        }
        self.enabled.extend(families.enabled);
    }

    /// Defines all metrics anew, under other names.
    pub fn define_all<S: Sink>(&self, lists: &Lists, sink: &mut S) {
        for (id, family) in &self.enabled {
            let last = family.names(lists).map_or(0, |names| names.last());
            for name in 0..=last {
                sink.define(*id, name, metrics(&**family, lists, name));
            }
        }
    }

    /// A job changed. On the path of every transition.
    pub fn changed<S: Sink>(
        &mut self,
        change: &Change,
        occasion: Option<&Occasion>,
        table: &JobTable,
        sink: &mut S,
    ) {
        for (id, family) in &mut self.enabled {
            let id = *id;
            define(id, &**family, table.lists(), sink);
            family.moves(change, &mut |gauge, by| sink.add(id, gauge, by));
            if change.inactive != 0 {
                family.numbers(table, &mut |gauge, level| sink.set(id, gauge, level));
            }
            if let Some(occasion) = occasion {
                family.changed(change, occasion, &mut Of { id, sink });
            }
        }
    }

    /// The table's numbers changed, though no job did.
    pub fn numbers_changed<S: Sink>(&mut self, table: &JobTable, sink: &mut S) {
        for (id, family) in &self.enabled {
            define(*id, &**family, table.lists(), sink);
            family.numbers(table, &mut |gauge, level| sink.set(*id, gauge, level));
        }
    }

    /// An exception of this type was raised.
    pub fn raised<S: Sink>(&mut self, exception: NameIndex, lists: &Lists, sink: &mut S) {
        for (id, family) in &mut self.enabled {
            define(*id, &**family, lists, sink);
            family.raised(exception, &mut Of { id: *id, sink });
        }
    }
}

/// Defines the metrics of names that came since the last time.
#[inline]
fn define<S: Sink>(id: FamilyId, family: &dyn Family, lists: &Lists, sink: &mut S) {
    let last = family.names(lists).map_or(0, |names| names.last());
    if !sink.is_defined(id, last) {
        define_from(id, family, lists, last, sink);
    }
}

#[cold]
fn define_from<S: Sink>(
    id: FamilyId,
    family: &dyn Family,
    lists: &Lists,
    last: NameIndex,
    sink: &mut S,
) {
    for name in 0..=last {
        if !sink.is_defined(id, name) {
            sink.define(id, name, metrics(family, lists, name));
        }
    }
}

fn metrics(family: &dyn Family, lists: &Lists, name: NameIndex) -> Vec<MetricSpec> {
    let names = family.names(lists);
    match name {
        0 => family.metrics(None),
        name => family.metrics(names.and_then(|names| names.name(name))),
    }
}

/// Where one family's counters and timings go.
struct Of<'a, S> {
    id: FamilyId,
    sink: &'a mut S,
}

impl<S: Sink> Out for Of<'_, S> {
    fn count(&mut self, counter: Series, by: i64) {
        self.sink.count(self.id, counter, by);
    }

    fn timing(&mut self, timing: Series, milliseconds: f64) {
        self.sink.timing(self.id, timing, milliseconds);
    }
}
