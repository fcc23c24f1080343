//! `states`: the jobs in each state.

use super::{Family, FamilySpec, Kind, MetricSpec, Series, Visit};
use crate::jobs::{Job, JobTable, Needs, State};

pub(super) const SPEC: FamilySpec =
    FamilySpec { name: "states", needs: Needs::STATE, tags: &["state"], make: || Box::new(States) };

struct States;

impl Family for States {
    fn metrics(&self, name: Option<&str>) -> Vec<MetricSpec> {
        let kind = |state| if state == State::Inactive { Kind::Number } else { Kind::Sum };
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
            visit(Series::fixed(state as usize), 1);
        }
    }

    fn numbers(&self, table: &JobTable, visit: &mut dyn FnMut(Series, Option<i64>)) {
        let inactive = table.count(State::Inactive).map(|count| count as i64);
        visit(Series::fixed(State::Inactive as usize), inactive);
    }
}
