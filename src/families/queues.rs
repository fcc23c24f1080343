//! `queues`: the jobs in each queue and state.

use super::{by_state, Family, FamilySpec, Kind, MetricSpec, Series, Visit};
use crate::jobs::names::Names;
use crate::jobs::{Job, JobTable, Lists, Needs, State};

pub(super) const SPEC: FamilySpec = FamilySpec {
    name: "queues",
    needs: Needs::QUEUE,
    tags: &["queue", "state"],
    make: || Box::new(Queues),
};

struct Queues;

impl Family for Queues {
    fn metrics(&self, name: Option<&str>) -> Vec<MetricSpec> {
        let Some(queue) = name else { return Vec::new() };
        let mut metrics = by_state("queue", "queue", queue);
        let tags = vec![("queue", queue.into()), ("state", State::Inactive.into())];
        metrics.push(MetricSpec::new(Kind::Number, "queue", tags));
        metrics
    }

    fn names<'a>(&self, lists: &'a Lists) -> Option<&'a Names> {
        Some(&lists.queues)
    }

    fn gauges(&self, job: &Job, visit: Visit<'_>) {
        if let (Some(state), 1..) = (job.state, job.queue) {
            visit(Series::of(job.queue, state as usize), 1);
        }
    }

    fn numbers(&self, table: &JobTable, visit: &mut dyn FnMut(Series, Option<i64>)) {
        for queue in 1..=table.lists().queues.last() {
            let inactive = Series::of(queue, State::Inactive as usize);
            visit(inactive, table.queues().inactive(queue));
        }
    }
}
