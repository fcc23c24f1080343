//! `resources`: the resources of the instance, in total, allocated to jobs, and requested by
//! waiting jobs.

use super::{
    Collector, CollectorRecorder, CollectorSpec, MetricId, MetricKind, MetricSpec, TagValue,
};
use crate::flux_formats::{Amounts, ResourceStatus};
use crate::jobs::{Change, Job, JobTable, LabelId, Needs, Ranks};

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "resources",
    needs: Needs::RESOURCES.union(Needs::RESOURCE_STATUS),
    tags: &["resource", "use"],
    make: || Box::<Resources>::default(),
};

/// The metrics of the resources that jobs hold or request, with their index.
pub(super) const RESOURCES: [(&str, &str, MetricKind); 6] = [
    ("nodes", "allocated", MetricKind::AllocationSum),
    ("cores", "allocated", MetricKind::AllocationSum),
    ("gpus", "allocated", MetricKind::AllocationSum),
    ("nodes", "requested", MetricKind::JobSum),
    ("cores", "requested", MetricKind::JobSum),
    ("gpus", "requested", MetricKind::JobSum),
];
const NODES_ALLOCATED: MetricId = MetricId::fixed(0);

/// [`RESOURCES`] with this name, and first this tag.
pub(super) fn resource_metrics<'a>(
    name: &'static str,
    tag: Option<&'a (&'static str, TagValue)>,
) -> impl Iterator<Item = MetricSpec> + 'a {
    RESOURCES.into_iter().map(move |it| resource_metric(name, tag, it))
}

pub(super) fn resource_metric(
    name: &'static str,
    tag: Option<&(&'static str, TagValue)>,
    (resource, used, kind): (&str, &str, MetricKind),
) -> MetricSpec {
    let own = [("resource", resource.into()), ("use", used.into())];
    MetricSpec::new(kind, name, tag.cloned().into_iter().chain(own).collect())
}

/// Adds the amounts that a job holds or requests to the gauges of a label.
pub(super) fn add_resources(
    label: LabelId,
    job: &Job,
    Amounts { nodes, cores, gpus }: Amounts,
    out: &mut CollectorRecorder,
) {
    let first = match job {
        Job { has_allocation: true, .. } => 0,
        job if job.is_waiting() => 3,
        _ => return,
    };
    for (index, amount) in [nodes, cores, gpus].into_iter().enumerate() {
        if amount != 0 {
            out.add(MetricId::of(label, first + index), amount.into());
        }
    }
}

/// `true` if [`add_resources`] adds the same for both jobs, as for most transitions: a waiting job
/// keeps its request, and a job that ends keeps its allocation until it is INACTIVE.
#[inline]
pub(super) fn uses_same(before: &Job, after: &Job) -> bool {
    before.amounts == after.amounts
        && before.has_allocation == after.has_allocation
        && (before.has_allocation || before.is_waiting() == after.is_waiting())
}

/// The metrics after [`RESOURCES`].
type Status = (&'static str, &'static str, fn(&ResourceStatus) -> u32);
const STATUS: [Status; 8] = [
    ("nodes", "total", |status| status.nodes),
    ("nodes", "up", |status| status.nodes - status.nodes_down),
    ("nodes", "down", |status| status.nodes_down),
    ("nodes", "offline", |status| status.nodes_offline),
    ("nodes", "excluded", |status| status.nodes_excluded),
    ("cores", "total", |status| status.cores),
    ("cores", "down", |status| status.cores_down),
    ("gpus", "total", |status| status.gpus),
];

/// The metrics after [`STATUS`]. Without the allocations of jobs, it is not known which drained
/// nodes still have jobs.
const NODES: [(&str, &str, MetricKind); 3] = [
    ("nodes", "draining", MetricKind::AllocationSum),
    ("nodes", "drained", MetricKind::BrokerStatus),
    ("nodes", "housekeeping", MetricKind::BrokerStatus),
];
/// The metrics after [`NODES`].
const AGES: [&str; 2] = ["resource.drain.oldest_seconds", "housekeeping.oldest_seconds"];

#[derive(Default)]
struct Resources {
    /// The number of jobs on each node, by its rank. Several jobs may share a node, so the
    /// number of allocated nodes is not a sum over the jobs: it is the number of nodes with
    /// at least one job.
    jobs_on_node: Vec<u32>,
}

impl Collector for Resources {
    fn metrics(&self, _: Option<&str>) -> Vec<MetricSpec> {
        let status = STATUS.map(|(resource, used, _)| {
            resource_metric("resource", None, (resource, used, MetricKind::BrokerStatus))
        });
        let nodes = NODES.map(|it| resource_metric("resource", None, it));
        let ages = AGES.map(|name| MetricSpec::new(MetricKind::Unshared, name, Vec::new()));
        resource_metrics("resource", None).chain(status).chain(nodes).chain(ages).collect()
    }

    fn contributions(&self, job: &Job, out: &mut CollectorRecorder) {
        let mut amounts = job.amounts;
        if job.has_allocation {
            // `delta` counts each allocated node once.
            amounts.nodes = 0;
        }
        add_resources(0, job, amounts, out);
    }

    fn delta(&mut self, change: &Change, out: &mut CollectorRecorder) {
        let Change { before, after, .. } = change;
        let (left, taken) = (ranks(before), ranks(after));
        if left != taken {
            let nodes = self.change_nodes(taken, 1) + self.change_nodes(left, -1);
            out.add(NODES_ALLOCATED, nodes);
        }
        if let (Some(before), Some(after)) = (before, after) {
            if uses_same(before, after) {
                return;
            }
        }
        if let Some(after) = after {
            self.contributions(after, out);
        }
        if let Some(before) = before {
            self.contributions(before, &mut out.negated());
        }
    }

    fn table_gauges(&self, table: &JobTable, out: &mut CollectorRecorder) {
        for (index, (_, _, number)) in STATUS.into_iter().enumerate() {
            let level = table.resource_status().map(|status| number(status).into());
            out.set(MetricId::fixed(RESOURCES.len() + index), level);
        }
        let (status, housekeeping) = (table.resource_status(), table.housekeeping());
        let is_used = |rank: &u32| {
            let has_jobs = self.jobs_on_node.get(*rank as usize).is_some_and(|&jobs| jobs > 0);
            has_jobs || housekeeping.is_some_and(|it| it.ranks.binary_search(rank).is_ok())
        };
        let draining = |status: &ResourceStatus| {
            status.drained.iter().filter(|rank| is_used(rank)).count() as i64
        };
        let levels = [
            status.map(draining),
            status.map(|it| it.drained.len() as i64 - draining(it)),
            housekeeping.map(|it| it.ranks.len() as i64),
            status.map(|it| it.drain_oldest_seconds.into()),
            housekeeping.map(|it| it.oldest_seconds.into()),
        ];
        for (index, level) in levels.into_iter().enumerate() {
            out.set(MetricId::fixed(RESOURCES.len() + STATUS.len() + index), level);
        }
    }
}

fn ranks(job: &Option<Job>) -> &Ranks {
    job.as_ref().map_or(&Ranks::None, |job| &job.ranks)
}

impl Resources {
    /// Adds `by` to the number of jobs on these nodes. Returns the change of the number of
    /// nodes with jobs.
    fn change_nodes(&mut self, ranks: &Ranks, by: i32) -> i64 {
        let mut nodes = 0;
        for rank in ranks.ranges().flat_map(|(first, last)| first..=last) {
            let rank = rank as usize;
            if self.jobs_on_node.len() <= rank {
                self.jobs_on_node.resize(rank + 1, 0);
            }
            let jobs = &mut self.jobs_on_node[rank];
            let before = *jobs;
            *jobs = before.saturating_add_signed(by);
            nodes += i64::from(*jobs > 0) - i64::from(before > 0);
        }
        nodes
    }
}
