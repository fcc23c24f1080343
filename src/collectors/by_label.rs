//! `queues`, `users`, `banks`: the jobs of each queue, user and bank by state; also the
//! inactive jobs of each queue, and the cores allocated to each user and bank.

use super::{
    queue_status, Collector, CollectorRecorder, CollectorSpec, MetricId, MetricKind, MetricSpec,
};
use crate::jobs::{Job, JobTable, LabelId, LabelTable, LabelTables, Needs, State};

pub(super) const QUEUES: CollectorSpec = CollectorSpec {
    name: "queues",
    needs: Needs::QUEUE.union(Needs::QUEUE_STATUS).union(Needs::RESOURCE_STATUS),
    tags: &["queue", "state", "resource", "use"],
    make: || by_label("queue", None, |tables| &tables.queues, |job| job.queue),
};

pub(super) const USERS: CollectorSpec = CollectorSpec {
    name: "users",
    needs: Needs::USER.union(Needs::RESOURCES),
    tags: &["user", "state"],
    make: || by_label("user", Some("user_cores"), |tables| &tables.users, |job| job.user),
};

pub(super) const BANKS: CollectorSpec = CollectorSpec {
    name: "banks",
    needs: Needs::BANK.union(Needs::RESOURCES),
    tags: &["bank", "state"],
    make: || by_label("bank", Some("bank_cores"), |tables| &tables.banks, |job| job.bank),
};

fn by_label(
    name: &'static str,
    cores: Option<&'static str>,
    table: fn(&LabelTables) -> &LabelTable,
    label: fn(&Job) -> LabelId,
) -> Box<dyn Collector> {
    Box::new(ByLabel { name, cores, table, label })
}

struct ByLabel {
    /// The name of the job gauges, and the key of their tag.
    name: &'static str,
    /// The name of the gauge of allocated cores. `None` for queues, which have a gauge of
    /// inactive jobs in its place.
    cores: Option<&'static str>,
    table: fn(&LabelTables) -> &LabelTable,
    /// The label of a job.
    label: fn(&Job) -> LabelId,
}

/// The index of the gauge after those of the active states.
const LAST: usize = State::Inactive as usize;

impl Collector for ByLabel {
    fn metrics(&self, label: Option<&str>) -> Vec<MetricSpec> {
        let is_queue = self.cores.is_none();
        let Some(label) = label else {
            return if is_queue { queue_status::metrics() } else { Vec::new() };
        };
        let tag = (self.name, label.into());
        let state = |kind, state: State| {
            MetricSpec::new(kind, self.name, vec![tag.clone(), ("state", state.into())])
        };
        let active = State::ALL[..LAST].iter().map(|&it| state(MetricKind::JobSum, it));
        let last = match self.cores {
            Some(cores) => MetricSpec::new(MetricKind::AllocationSum, cores, vec![tag.clone()]),
            None => state(MetricKind::TableCount, State::Inactive),
        };
        let status = queue_status::metrics_of(label).filter(|_| is_queue);
        active.chain([last]).chain(status).collect()
    }

    fn labels<'a>(&self, tables: &'a LabelTables) -> Option<&'a LabelTable> {
        Some((self.table)(tables))
    }

    fn contributions(&self, job: &Job, out: &mut CollectorRecorder) {
        let (Some(state), label @ 1..) = (job.state, (self.label)(job)) else { return };
        out.add(MetricId::of(label, state as usize), 1);
        if self.cores.is_some() && job.has_allocation {
            out.add(MetricId::of(label, LAST), job.amounts.cores.into());
        }
    }

    fn table_gauges(&self, table: &JobTable, out: &mut CollectorRecorder) {
        if self.cores.is_none() {
            let labels = &table.labels().queues;
            for queue in 1..=labels.last() {
                out.set(MetricId::of(queue, LAST), table.queues().inactive(queue, labels));
            }
            queue_status::set(table, LAST + 1, out);
        }
    }
}
