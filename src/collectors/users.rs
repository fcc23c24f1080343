//! `users`: the active jobs of each user, and the cores that they hold.

use super::{by_state, Collector, CollectorSpec, MetricId, MetricKind, MetricSpec, Visit};
use crate::jobs::label_table::LabelTable;
use crate::jobs::{Job, LabelTables, Needs, State};

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "users",
    needs: Needs::USER.union(Needs::RESOURCES),
    tags: &["user", "state"],
    make: || Box::new(Users),
};

struct Users;

/// Behind the active states.
const CORES: usize = State::Inactive as usize;

impl Collector for Users {
    fn metrics(&self, name: Option<&str>) -> Vec<MetricSpec> {
        let Some(user) = name else { return Vec::new() };
        let mut metrics = by_state("user", "user", user);
        metrics.push(MetricSpec::new(
            MetricKind::AllocationSum,
            "user_cores",
            vec![("user", user.into())],
        ));
        metrics
    }

    fn names<'a>(&self, lists: &'a LabelTables) -> Option<&'a LabelTable> {
        Some(&lists.users)
    }

    fn gauges(&self, job: &Job, visit: Visit<'_>) {
        let (Some(state), 1..) = (job.state, job.user) else { return };
        visit(MetricId::of(job.user, state as usize), 1);
        if job.has_allocation {
            visit(MetricId::of(job.user, CORES), job.amounts.cores.into());
        }
    }
}
