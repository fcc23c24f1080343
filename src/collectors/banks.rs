//! `banks`: the active jobs of each bank, and the cores that they hold.

use super::{by_state, Collector, CollectorSpec, MetricId, MetricKind, MetricSpec, Visit};
use crate::jobs::label_table::LabelTable;
use crate::jobs::{Job, LabelTables, Needs, State};

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "banks",
    needs: Needs::BANK.union(Needs::RESOURCES),
    tags: &["bank", "state"],
    make: || Box::new(Banks),
};

struct Banks;

/// Behind the active states.
const CORES: usize = State::Inactive as usize;

impl Collector for Banks {
    fn metrics(&self, name: Option<&str>) -> Vec<MetricSpec> {
        let Some(bank) = name else { return Vec::new() };
        let mut metrics = by_state("bank", "bank", bank);
        metrics.push(MetricSpec::new(
            MetricKind::AllocationSum,
            "bank_cores",
            vec![("bank", bank.into())],
        ));
        metrics
    }

    fn names<'a>(&self, lists: &'a LabelTables) -> Option<&'a LabelTable> {
        Some(&lists.banks)
    }

    fn gauges(&self, job: &Job, visit: Visit<'_>) {
        let (Some(state), 1..) = (job.state, job.bank) else { return };
        visit(MetricId::of(job.bank, state as usize), 1);
        if job.has_allocation {
            visit(MetricId::of(job.bank, CORES), job.amounts.cores.into());
        }
    }
}
