//! `queues`, `users`, `banks`: the jobs of each queue, user and bank by state, and the resources
//! that they hold or request; also the inactive jobs of each queue.

use super::resources::{add_resources, resource_metrics, uses_same, RESOURCES};
use super::{
    queue_status, Collector, CollectorRecorder, CollectorSpec, MetricId, MetricKind, MetricSpec,
};
use crate::jobs::{Change, Job, JobTable, LabelId, LabelTable, LabelTables, Needs, State};

pub(super) const QUEUES: CollectorSpec = CollectorSpec {
    name: "queues",
    needs: Needs::QUEUE
        .union(Needs::RESOURCES)
        .union(Needs::QUEUE_STATUS)
        .union(Needs::RESOURCE_STATUS),
    tags: &["queue", "state", "resource", "use"],
    make: || by_label("queue", "queue.resource", |tables| &tables.queues, |job| job.queue),
};

pub(super) const USERS: CollectorSpec = CollectorSpec {
    name: "users",
    needs: Needs::USER.union(Needs::RESOURCES),
    tags: &["user", "state", "resource", "use"],
    make: || by_label("user", "user.resource", |tables| &tables.users, |job| job.user),
};

pub(super) const BANKS: CollectorSpec = CollectorSpec {
    name: "banks",
    needs: Needs::BANK.union(Needs::RESOURCES),
    tags: &["bank", "state", "resource", "use"],
    make: || by_label("bank", "bank.resource", |tables| &tables.banks, |job| job.bank),
};

fn by_label(
    name: &'static str,
    resources: &'static str,
    table: fn(&LabelTables) -> &LabelTable,
    label: fn(&Job) -> LabelId,
) -> Box<dyn Collector> {
    Box::new(ByLabel { name, resources, table, label })
}

struct ByLabel {
    /// The name of the job gauges, and the key of their tag.
    name: &'static str,
    /// The name of the gauges of resources.
    resources: &'static str,
    table: fn(&LabelTables) -> &LabelTable,
    /// The label of a job.
    label: fn(&Job) -> LabelId,
}

/// The index of the gauge of the first state, after those of resources.
const STATES: usize = RESOURCES.len();
/// Only queues have this gauge.
const INACTIVE: usize = STATES + State::Inactive as usize;

impl ByLabel {
    fn is_queue(&self) -> bool {
        self.name == "queue"
    }
}

/// Adds to the gauge of a job's state.
fn add_state(label: LabelId, job: &Job, out: &mut CollectorRecorder) {
    if let (1.., Some(state)) = (label, job.state) {
        out.add(MetricId::of(label, STATES + state as usize), 1);
    }
}

impl Collector for ByLabel {
    fn metrics(&self, label: Option<&str>) -> Vec<MetricSpec> {
        let Some(label) = label else {
            return if self.is_queue() { queue_status::metrics() } else { Vec::new() };
        };
        let tag = (self.name, label.into());
        let state = |&state: &State| {
            let kind = match state {
                State::Inactive => MetricKind::TableCount,
                _ => MetricKind::JobSum,
            };
            MetricSpec::new(kind, self.name, vec![tag.clone(), ("state", state.into())])
        };
        let states = State::ALL.iter().filter(|it| **it != State::Inactive || self.is_queue());
        let status = queue_status::metrics_of(label).filter(|_| self.is_queue());
        let resources = resource_metrics(self.resources, Some(&tag));
        resources.chain(states.map(state)).chain(status).collect()
    }

    fn labels<'a>(&self, tables: &'a LabelTables) -> Option<&'a LabelTable> {
        Some((self.table)(tables))
    }

    fn contributions(&self, job: &Job, out: &mut CollectorRecorder) {
        let label = (self.label)(job);
        add_state(label, job, out);
        if label > 0 {
            add_resources(label, job, job.amounts, out);
        }
    }

    fn delta(&mut self, Change { before, after, .. }: &Change, out: &mut CollectorRecorder) {
        if let (Some(before), Some(after)) = (before, after) {
            let label = (self.label)(after);
            if uses_same(before, after) && (self.label)(before) == label {
                add_state(label, after, out);
                return add_state(label, before, &mut out.negated());
            }
        }
        after.iter().for_each(|job| self.contributions(job, out));
        before.iter().for_each(|job| self.contributions(job, &mut out.negated()));
    }

    fn table_gauges(&self, table: &JobTable, out: &mut CollectorRecorder) {
        if self.is_queue() {
            queue_status::set(table, INACTIVE + 1, out);
        }
    }

    fn inactive(&self, table: &JobTable, queue: LabelId, out: &mut CollectorRecorder) {
        if self.is_queue() && queue > 0 {
            let inactive = table.inactive_by_queue().inactive(queue, &table.labels().queues);
            out.set(MetricId::of(queue, INACTIVE), inactive);
        }
    }
}
