//! `users`: the active jobs of each user, and the cores that they hold.

use super::{by_state, Family, FamilySpec, Kind, MetricSpec, Series, Visit};
use crate::jobs::names::Names;
use crate::jobs::{Job, Lists, Needs, State};

pub(super) const SPEC: FamilySpec = FamilySpec {
    name: "users",
    needs: Needs::USER.union(Needs::RESOURCES),
    tags: &["user", "state"],
    make: || Box::new(Users),
};

struct Users;

/// Behind the active states.
const CORES: usize = State::Inactive as usize;

impl Family for Users {
    fn metrics(&self, name: Option<&str>) -> Vec<MetricSpec> {
        let Some(user) = name else { return Vec::new() };
        let mut metrics = by_state("user", "user", user);
        metrics.push(MetricSpec::new(Kind::Allocated, "user_cores", vec![("user", user.into())]));
        metrics
    }

    fn names<'a>(&self, lists: &'a Lists) -> Option<&'a Names> {
        Some(&lists.users)
    }

    fn gauges(&self, job: &Job, visit: Visit<'_>) {
        let (Some(state), 1..) = (job.state, job.user) else { return };
        visit(Series::of(job.user, state as usize), 1);
        if job.has_allocation {
            visit(Series::of(job.user, CORES), job.amounts.cores.into());
        }
    }
}
