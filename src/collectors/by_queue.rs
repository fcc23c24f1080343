//! The metrics of `pending`, `timings` and `results` by queue. They are enabled by the names of
//! both collectors, `queues` and the other one.

use super::pending::{reason, REASONS};
use super::results::ENDED;
use super::{
    Collector, CollectorRecorder, CollectorSpec, MetricId, MetricKind, MetricSpec, TagValue,
};
use crate::jobs::{
    Change, EventKind, Job, JobTable, LabelTable, LabelTables, Needs, State, Timestamp,
};

pub(super) const PENDING: CollectorSpec = CollectorSpec {
    name: "queues.pending",
    needs: Needs::QUEUE.union(Needs::WAITING).union(Needs::SUBMITTED).union(Needs::QUEUE_STATUS),
    tags: &["queue", "reason"],
    make: || Box::new(Pending),
};

pub(super) const TIMINGS: CollectorSpec = CollectorSpec {
    name: "queues.timings",
    needs: Needs::QUEUE.union(Needs::TIMES).union(Needs::SUBMITTED),
    tags: &["queue", "state"],
    make: || Box::new(Timings),
};

pub(super) const RESULTS: CollectorSpec = CollectorSpec {
    name: "queues.results",
    needs: Needs::QUEUE.union(Needs::RESULT),
    tags: &["queue", "result"],
    make: || Box::new(Results),
};

struct Pending;
struct Timings;
struct Results;

const OLDEST: usize = REASONS.len();

/// The metrics of a queue, one for each value of a tag.
fn metrics(
    kind: MetricKind,
    name: &'static str,
    queue: Option<&str>,
    (key, values): (&'static str, &[&str]),
) -> Vec<MetricSpec> {
    let tags = |queue: &str, value: &str| -> Vec<(_, TagValue)> {
        vec![("queue", queue.into()), (key, value.into())]
    };
    let all = queue.into_iter().flat_map(|it| values.iter().map(move |value| tags(it, value)));
    all.map(|tags| MetricSpec::new(kind, name, tags)).collect()
}

impl Collector for Pending {
    fn metrics(&self, queue: Option<&str>) -> Vec<MetricSpec> {
        let mut all = metrics(MetricKind::JobSum, "queue.pending", queue, ("reason", &REASONS));
        all.extend(queue.map(|queue| {
            let tags = vec![("queue", queue.into())];
            MetricSpec::new(MetricKind::Unshared, "queue.pending.oldest_seconds", tags)
        }));
        all
    }

    fn labels<'a>(&self, tables: &'a LabelTables) -> Option<&'a LabelTable> {
        Some(&tables.queues)
    }

    fn contributions(&self, job: &Job, out: &mut CollectorRecorder) {
        if let (queue @ 1.., Some(reason)) = (job.queue, reason(job)) {
            out.add(MetricId::of(queue, reason), 1);
        }
    }

    fn ages(&self, table: &JobTable, now: Option<Timestamp>, out: &mut CollectorRecorder) {
        for queue in 1..=table.labels().queues.last() {
            out.set_age(MetricId::of(queue, OLDEST), now, table.oldest_pending(queue));
        }
    }
}

impl Collector for Timings {
    fn metrics(&self, queue: Option<&str>) -> Vec<MetricSpec> {
        metrics(MetricKind::Timing, "queue.time", queue, ("state", &["submit_to_run"]))
    }

    fn labels<'a>(&self, tables: &'a LabelTables) -> Option<&'a LabelTable> {
        Some(&tables.queues)
    }

    fn on_event(&mut self, change: &Change, kind: EventKind, out: &mut CollectorRecorder) {
        let EventKind::Transition { state, previous: Some(_), at: Some(at) } = kind else { return };
        let job = change.after.as_ref().filter(|_| state == State::Run.number());
        if let Some(&Job { queue: queue @ 1.., submitted: Some(submitted), .. }) = job {
            out.timing(MetricId::of(queue, 0), at.since(submitted));
        }
    }
}

impl Collector for Results {
    fn metrics(&self, queue: Option<&str>) -> Vec<MetricSpec> {
        metrics(MetricKind::Counter, "queue.result", queue, ("result", &ENDED))
    }

    fn labels<'a>(&self, tables: &'a LabelTables) -> Option<&'a LabelTable> {
        Some(&tables.queues)
    }

    fn delta(&mut self, change: &Change, out: &mut CollectorRecorder) {
        let queue = change.before.as_ref().map_or(change.queue, |job| job.queue);
        if let (queue @ 1.., Some(result)) = (queue, change.result) {
            out.increment(MetricId::of(queue, result as usize));
        }
    }
}
