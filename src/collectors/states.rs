//! `states`: the jobs in each state.

use super::{Collector, CollectorSpec, MetricId, MetricKind, MetricSpec, Visit};
use crate::jobs::{Job, JobTable, Needs, State};

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "states",
    needs: Needs::STATE,
    tags: &["state"],
    make: || Box::new(States),
};

struct States;

impl Collector for States {
    fn metrics(&self, name: Option<&str>) -> Vec<MetricSpec> {
        let kind = |state| {
            if state == State::Inactive {
                MetricKind::TableCount
            } else {
                MetricKind::JobSum
            }
        };
        let gauge = |state: State| MetricSpec {
            name: None,
            tags: vec![("state", state.into())],
            kind: kind(state),
        };
        match name {
            None => State::ALL.into_iter().map(gauge).collect(),
            Some(_) => Vec::new(),
        }
    }

    #[inline]
    fn gauges(&self, job: &Job, visit: Visit<'_>) {
        if let Some(state) = job.state {
            visit(MetricId::fixed(state as usize), 1);
        }
    }

    fn numbers(&self, table: &JobTable, visit: &mut dyn FnMut(MetricId, Option<i64>)) {
        let inactive = table.count(State::Inactive).map(|count| count as i64);
        visit(MetricId::fixed(State::Inactive as usize), inactive);
    }
}
