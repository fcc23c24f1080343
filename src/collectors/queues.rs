//! `queues`: the jobs in each queue and state.

use super::{by_state, Collector, CollectorSpec, MetricId, MetricKind, MetricSpec, Visit};
use crate::jobs::label_table::LabelTable;
use crate::jobs::{Job, JobTable, LabelTables, Needs, State};

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "queues",
    needs: Needs::QUEUE,
    tags: &["queue", "state"],
    make: || Box::new(Queues),
};

struct Queues;

impl Collector for Queues {
    fn metrics(&self, name: Option<&str>) -> Vec<MetricSpec> {
        let Some(queue) = name else { return Vec::new() };
        let mut metrics = by_state("queue", "queue", queue);
        let tags = vec![("queue", queue.into()), ("state", State::Inactive.into())];
        metrics.push(MetricSpec::new(MetricKind::TableCount, "queue", tags));
        metrics
    }

    fn names<'a>(&self, lists: &'a LabelTables) -> Option<&'a LabelTable> {
        Some(&lists.queues)
    }

    fn gauges(&self, job: &Job, visit: Visit<'_>) {
        if let (Some(state), 1..) = (job.state, job.queue) {
            visit(MetricId::of(job.queue, state as usize), 1);
        }
    }

    fn numbers(&self, table: &JobTable, visit: &mut dyn FnMut(MetricId, Option<i64>)) {
        for queue in 1..=table.lists().queues.last() {
            let inactive = MetricId::of(queue, State::Inactive as usize);
            visit(inactive, table.queues().inactive(queue));
        }
    }
}
