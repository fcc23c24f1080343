//! Collectors: the metrics that can be sent, each a function of the job table and its
//! changes.
//!
//! A collector is a file and a line of [`COLLECTORS`]; `queues`, `users` and `banks` share a
//! file, and so do the `queues.*`. Most gauges are sums over the active jobs: each job adds its
//! [`Collector::contributions`], and a change of a job adds the contributions after it minus
//! those before it. A gauge therefore never becomes negative, and after a lost event the next
//! event of the job corrects it.

mod backfill;
mod by_label;
mod by_queue;
mod pending;
mod queue_status;
mod recorder;
mod resources;
mod results;
mod set;
mod states;
mod timings;

use crate::jobs::{
    Change, EventKind, Job, JobTable, LabelId, LabelTable, LabelTables, Needs, State, Timestamp,
};

pub use backfill::Backfill;
pub use recorder::{CollectorRecorder, Recorder};
pub use set::{Collectors, Enabled};

/// All collectors, in the order of the manual.
pub const COLLECTORS: &[CollectorSpec] = &[
    states::SPEC,
    by_label::QUEUES,
    timings::SPEC,
    results::SPEC,
    resources::SPEC,
    by_label::USERS,
    by_label::BANKS,
    pending::SPEC,
    by_queue::PENDING,
    by_queue::TIMINGS,
    by_queue::RESULTS,
];

/// The description of a collector.
pub struct CollectorSpec {
    /// The name in the key `metrics`. The key enables a collector with two names, such as
    /// `queues.pending`, if it contains both.
    pub name: &'static str,
    /// The parts of a job that it needs.
    pub needs: Needs,
    /// The keys of the tags of its metrics.
    pub tags: &'static [&'static str],
    /// Creates the collector.
    pub make: fn() -> Box<dyn Collector>,
}

/// The index of a collector in [`COLLECTORS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CollectorId(u8);

impl CollectorId {
    /// All collectors.
    pub fn all() -> impl Iterator<Item = CollectorId> {
        (0..COLLECTORS.len() as u8).map(CollectorId)
    }

    /// The collector with this name.
    pub fn named(name: &str) -> Option<CollectorId> {
        Self::all().find(|id| id.spec().name == name)
    }

    /// The parts of a job that these collectors need.
    pub fn needs(collectors: &[CollectorId]) -> Needs {
        collectors.iter().fold(Needs::STATE, |all, id| all.union(id.spec().needs))
    }

    /// The description of the collector.
    pub fn spec(self) -> &'static CollectorSpec {
        &COLLECTORS[self.index()]
    }

    /// The index in [`COLLECTORS`].
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// A metric of a collector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MetricId {
    /// The label in the collector's table; 0 for metrics without a label.
    pub label: LabelId,
    /// The index in the result of [`Collector::metrics`].
    pub metric: u8,
}

impl MetricId {
    /// A metric without a label.
    pub const fn fixed(metric: usize) -> MetricId {
        MetricId::of(0, metric)
    }

    /// A metric of a label.
    pub const fn of(label: LabelId, metric: usize) -> MetricId {
        MetricId { label, metric: metric as u8 }
    }
}

/// The name, the tags and the kind of a metric.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricSpec {
    /// The name after the prefix. `None`: the last part of the prefix itself.
    pub name: Option<&'static str>,
    /// The tags. Dialects without tags append their values to the name.
    pub tags: Tags,
    /// The source of the value, and the type in statsd.
    pub kind: MetricKind,
}

impl MetricSpec {
    /// A metric with its own name.
    pub fn new(kind: MetricKind, name: &'static str, tags: Tags) -> MetricSpec {
        MetricSpec { name: Some(name), tags, kind }
    }
}

/// Keys and values of tags.
pub type Tags = Vec<(&'static str, TagValue)>;

/// The value of a tag.
#[derive(Clone, Debug, PartialEq)]
pub enum TagValue {
    /// A state, written in the configured form.
    State(State),
    /// A cleaned label, or a constant.
    Text(String),
}

impl From<State> for TagValue {
    fn from(state: State) -> Self {
        TagValue::State(state)
    }
}

impl From<&str> for TagValue {
    fn from(text: &str) -> Self {
        TagValue::Text(text.to_owned())
    }
}

/// The source of the value of a metric, and its type in statsd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// A gauge: a sum over the active jobs. Its final value is 0.
    JobSum,
    /// A gauge: a sum of the resources that are allocated to active jobs, or what depends on
    /// them. Its final value is 0. Not sent if Flux does not pass R to plugins (before 0.56).
    AllocationSum,
    /// A gauge: a number of inactive jobs, which may not be known. It keeps its last value.
    TableCount,
    /// A gauge: a number from a broker's response, which may not be known. Its final value
    /// is 0.
    BrokerStatus,
    /// As `BrokerStatus`, but 0 or 1, or an age: not sent if several instances share the name,
    /// because their sum has no meaning.
    Unshared,
    /// A counter of events.
    Counter,
    /// A duration in milliseconds.
    Timing,
}

impl MetricKind {
    /// The type in statsd.
    pub fn name(self) -> &'static str {
        match self {
            MetricKind::Counter => "counter",
            MetricKind::Timing => "timing",
            _ => "gauge",
        }
    }

    /// The level of a new gauge, `None` if it is not known; the total of a new counter.
    pub fn first_level(self) -> Option<i64> {
        (self.is_sum() || self == MetricKind::Counter).then_some(0)
    }

    /// `true` for sums over the active jobs.
    pub fn is_sum(self) -> bool {
        matches!(self, MetricKind::JobSum | MetricKind::AllocationSum)
    }
}

/// A collector of metrics.
pub trait Collector {
    /// The metrics of one label, by their index. `None`: those without a label.
    fn metrics(&self, label: Option<&str>) -> Vec<MetricSpec>;

    /// The table of the labels that it has metrics for.
    fn labels<'a>(&self, _tables: &'a LabelTables) -> Option<&'a LabelTable> {
        None
    }

    /// Adds the contribution of an active job to each gauge. Equal jobs have equal
    /// contributions.
    fn contributions(&self, _job: &Job, _out: &mut CollectorRecorder) {}

    /// Adds the effect of a change of a job, by an event or by a reconcile pass, to each gauge
    /// and counter.
    fn delta(&mut self, change: &Change, out: &mut CollectorRecorder) {
        if let Some(after) = &change.after {
            self.contributions(after, out);
        }
        if let Some(before) = &change.before {
            self.contributions(before, &mut out.negated());
        }
    }

    /// Sets the gauges that come from the broker's responses; `None` while a value is not known.
    fn table_gauges(&self, _table: &JobTable, _out: &mut CollectorRecorder) {}

    /// Sets the gauges of the numbers of inactive jobs, in total and in `queue` (0: none).
    fn inactive(&self, _: &JobTable, _queue: LabelId, _out: &mut CollectorRecorder) {}

    /// Records the timings of an event. Not called when a job is reconciled, because that is not
    /// an event.
    fn on_event(&mut self, _: &Change, _kind: EventKind, _out: &mut CollectorRecorder) {}

    /// Sets the gauges of ages. `now` is `None` if no ages are sent.
    fn ages(&self, _: &JobTable, _now: Option<Timestamp>, _out: &mut CollectorRecorder) {}

    /// Records that an exception of this type was raised.
    fn on_exception(&mut self, _exception: LabelId, _out: &mut CollectorRecorder) {}
}

#[cfg(test)]
mod tests;
