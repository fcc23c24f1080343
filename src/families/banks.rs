//! `banks`: the active jobs of each bank, and the cores that they hold.

use super::{by_state, Family, FamilySpec, Kind, MetricSpec, Series, Visit};
use crate::jobs::names::Names;
use crate::jobs::{Job, Lists, Needs, State};

pub(super) const SPEC: FamilySpec = FamilySpec {
    name: "banks",
    needs: Needs::BANK.union(Needs::RESOURCES),
    tags: &["bank", "state"],
    make: || Box::new(Banks),
};

struct Banks;

/// Behind the active states.
const CORES: usize = State::Inactive as usize;

impl Family for Banks {
    fn metrics(&self, name: Option<&str>) -> Vec<MetricSpec> {
        let Some(bank) = name else { return Vec::new() };
        let mut metrics = by_state("bank", "bank", bank);
        metrics.push(MetricSpec::new(Kind::Allocated, "bank_cores", vec![("bank", bank.into())]));
        metrics
    }

    fn names<'a>(&self, lists: &'a Lists) -> Option<&'a Names> {
        Some(&lists.banks)
    }

    fn gauges(&self, job: &Job, visit: Visit<'_>) {
        let (Some(state), 1..) = (job.state, job.bank) else { return };
        visit(Series::of(job.bank, state as usize), 1);
        if job.has_allocation {
            visit(Series::of(job.bank, CORES), job.amounts.cores.into());
        }
    }
}
