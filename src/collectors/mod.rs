//! What can be sent: collectors of metrics, each a pure function of the job table.
//!
//! A collector is one file and one line of [`COLLECTORS`]. Its gauges are sums over the
//! active jobs: each job adds what [`Collector::gauges`] says, and a change of a job
//! moves them by what it adds after, less what it added before. So no order of
//! events and no lost event can make one negative, or wrong for long.

mod backfill;
mod banks;
mod pending;
mod queues;
mod resources;
mod results;
mod set;
mod states;
mod timings;
mod users;

use crate::jobs::label_table::{LabelId, LabelTable};
use crate::jobs::{Change, EventKind, Job, JobTable, LabelTables, Needs, State, Timestamp};

pub use backfill::BackfillSums;
pub use set::{Collectors, Recorder};

/// All collectors, in the order of the manual.
pub const COLLECTORS: &[CollectorSpec] = &[
    states::SPEC,
    queues::SPEC,
    timings::SPEC,
    results::SPEC,
    resources::SPEC,
    users::SPEC,
    banks::SPEC,
    pending::SPEC,
];

/// What there is to know of a collector before it is enabled.
pub struct CollectorSpec {
    /// Its name in a configuration.
    pub name: &'static str,
    /// What it needs to know of a job.
    pub needs: Needs,
    /// The tags that its metrics bring.
    pub tags: &'static [&'static str],
    /// Makes it.
    pub make: fn() -> Box<dyn Collector>,
}

/// One of [`COLLECTORS`], by its index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CollectorId(u8);

impl CollectorId {
    /// All of them.
    pub fn all() -> impl Iterator<Item = CollectorId> {
        (0..COLLECTORS.len() as u8).map(CollectorId)
    }

    /// The one with this name.
    pub fn named(name: &str) -> Option<CollectorId> {
        Self::all().find(|id| id.spec().name == name)
    }

    /// What these need to know of a job.
    pub fn needs(collectors: &[CollectorId]) -> Needs {
        collectors.iter().fold(Needs::STATE, |all, id| all.union(id.spec().needs))
    }

    /// What there is to know of it.
    pub fn spec(self) -> &'static CollectorSpec {
        &COLLECTORS[self.index()]
    }

    /// Its index in [`COLLECTORS`].
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// The address of a metric within its collector: the name that it is about, and its
/// index among that name's metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MetricId {
    /// The name's index in the collector's list; 0 for what is about no name.
    pub name: LabelId,
    /// The metric's index in [`Collector::metrics`].
    pub metric: u8,
}

impl MetricId {
    /// A metric that is about no name.
    pub const fn fixed(metric: usize) -> MetricId {
        MetricId { name: 0, metric: metric as u8 }
    }

    /// A metric of a name.
    pub const fn of(name: LabelId, metric: usize) -> MetricId {
        MetricId { name, metric: metric as u8 }
    }
}

/// What a metric is called, and what kind it is of.
#[derive(Clone, Debug, PartialEq)]
pub struct MetricSpec {
    /// Its name behind the prefix; `None`: the prefix's own last part.
    pub name: Option<&'static str>,
    /// Its tags.
    pub tags: Vec<(&'static str, TagValue)>,
    /// Its kind.
    pub kind: MetricKind,
}

/// A tag's value.
#[derive(Clone, Debug, PartialEq)]
pub enum TagValue {
    /// A state, written as the configuration wants it.
    State(State),
    /// A text that is clean already.
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

/// A metric's kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    /// A gauge that is a sum over the active jobs. It removed to 0 at the end, for
    /// nobody watches them any more.
    JobSum,
    /// The same, of what is allocated to jobs, which R says. Not every Flux passes R.
    AllocationSum,
    /// A gauge that is a number of the table's, and may not be known yet. It keeps
    /// its value at the end: inactive jobs are over whether anybody counts or not.
    TableCount,
    /// A gauge that the broker was asked for, and that may not be known. It removed to
    /// 0 at the end: nobody asks any more.
    BrokerStatus,
    /// A counter.
    Counter,
    /// A timing.
    Timing,
}

impl MetricKind {
    /// What statsd calls it.
    pub fn name(self) -> &'static str {
        match self {
            MetricKind::JobSum
            | MetricKind::AllocationSum
            | MetricKind::TableCount
            | MetricKind::BrokerStatus => "gauge",
            MetricKind::Counter => "counter",
            MetricKind::Timing => "timing",
        }
    }

    /// Whether it is a gauge that is a sum over the active jobs.
    pub fn is_sum(self) -> bool {
        matches!(self, MetricKind::JobSum | MetricKind::AllocationSum)
    }
}

impl MetricSpec {
    /// A metric.
    pub fn new(
        kind: MetricKind,
        name: &'static str,
        tags: Vec<(&'static str, TagValue)>,
    ) -> MetricSpec {
        MetricSpec { name: Some(name), tags, kind }
    }
}

/// What an event was, besides what it changed.
#[derive(Clone, Copy, Debug)]
pub struct EventContext {
    /// The event.
    pub what: EventKind,
    /// Whether the event is new. Until a load is over, Flux reports jobs that exist
    /// already.
    pub is_new: bool,
    /// When the job was submitted, if times are needed.
    pub submitted: Option<Timestamp>,
    /// What became of it, if that is needed and it ended.
    pub result: Option<Ending>,
}

/// What became of a job: the table's own [`JobResult`](crate::flux::JobResult), so
/// that collectors need no Flux.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Its tasks ended with 0.
    Completed,
    /// Its tasks ended with something else, or an exception ended it.
    Failed,
    /// Somebody canceled it.
    Canceled,
    /// Its time was up.
    Timeout,
}

/// Where counters and timings go.
pub trait Out {
    /// A counter counted this many more.
    fn count(&mut self, counter: MetricId, by: i64);
    /// Something took this many milliseconds.
    fn timing(&mut self, timing: MetricId, milliseconds: f64);
}

/// Takes what a job adds to a gauge.
pub type Visit<'a> = &'a mut dyn FnMut(MetricId, i64);

/// A collector of metrics.
pub trait Collector {
    /// The metrics of one name, by their index; `None`: those that are about no
    /// name.
    fn metrics(&self, name: Option<&str>) -> Vec<MetricSpec>;

    /// The list of the names that it has metrics for.
    fn names<'a>(&self, lists: &'a LabelTables) -> Option<&'a LabelTable> {
        let _ = lists;
        None
    }

    /// The gauges that an active job adds to, and how much. Pure: same job, same
    /// answer.
    fn gauges(&self, job: &Job, visit: Visit<'_>) {
        let _ = (job, visit);
    }

    /// How a change moves the gauges. Apart from [`changed`](Self::changed), for jobs
    /// are also counted and put right without any event: then no counter counts.
    fn moves(&mut self, change: &Change, visit: Visit<'_>) {
        if let Some(after) = &change.after {
            self.gauges(after, visit);
        }
        if let Some(before) = &change.before {
            self.gauges(before, &mut |gauge, by| visit(gauge, -by));
        }
    }

    /// The gauges that are numbers of the table's, `None` while they are not known.
    fn numbers(&self, table: &JobTable, visit: &mut dyn FnMut(MetricId, Option<i64>)) {
        let _ = (table, visit);
    }

    /// The counters and timings of a change that an event made.
    fn changed(&mut self, change: &Change, context: &EventContext, out: &mut dyn Out) {
        let _ = (change, context, out);
    }

    /// An exception of this type was raised.
    fn raised(&mut self, exception: LabelId, out: &mut dyn Out) {
        let _ = (exception, out);
    }
}

/// A gauge for each active state, with the tag `key`.
fn by_state(name: &'static str, key: &'static str, value: &str) -> Vec<MetricSpec> {
    let active = State::ALL.into_iter().filter(|&state| state != State::Inactive);
    let tags = |state: State| vec![(key, value.into()), ("state", state.into())];
    active.map(|state| MetricSpec::new(MetricKind::JobSum, name, tags(state))).collect()
}

#[cfg(test)]
mod tests;
