//! `resources`: the resources of the instance, in total, allocated to jobs, and requested by
//! waiting jobs.

use super::{Collector, CollectorRecorder, CollectorSpec, MetricId, MetricKind, MetricSpec};
use crate::flux_formats::{Amounts, ResourceStatus};
use crate::jobs::{Change, Job, JobTable, Needs, Ranks};

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "resources",
    needs: Needs::RESOURCES.union(Needs::RESOURCE_STATUS),
    tags: &["resource", "use"],
    make: || Box::<Resources>::default(),
};

const NODES_ALLOCATED: MetricId = MetricId::fixed(0);
const CORES_ALLOCATED: MetricId = MetricId::fixed(1);
const GPUS_ALLOCATED: MetricId = MetricId::fixed(2);
const NODES_REQUESTED: MetricId = MetricId::fixed(3);
const CORES_REQUESTED: MetricId = MetricId::fixed(4);
const GPUS_REQUESTED: MetricId = MetricId::fixed(5);

/// The metrics with the indices above.
const SUMS: [(&str, &str, MetricKind); 6] = [
    ("nodes", "allocated", MetricKind::AllocationSum),
    ("cores", "allocated", MetricKind::AllocationSum),
    ("gpus", "allocated", MetricKind::AllocationSum),
    ("nodes", "requested", MetricKind::JobSum),
    ("cores", "requested", MetricKind::JobSum),
    ("gpus", "requested", MetricKind::JobSum),
];

/// The metrics after [`SUMS`].
type Status = (&'static str, &'static str, fn(&ResourceStatus) -> u32);
const STATUS: [Status; 8] = [
    ("nodes", "total", |status| status.nodes),
    ("nodes", "up", |status| status.nodes_up()),
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
        let status = STATUS.map(|(resource, used, _)| (resource, used, MetricKind::BrokerStatus));
        let gauge = |(resource, used, kind): (&str, &str, _)| {
            let tags = vec![("resource", resource.into()), ("use", used.into())];
            MetricSpec::new(kind, "resource", tags)
        };
        let ages = AGES.map(|name| MetricSpec::new(MetricKind::Unshared, name, Vec::new()));
        SUMS.into_iter().chain(status).chain(NODES).map(gauge).chain(ages).collect()
    }

    fn contributions(&self, job: &Job, out: &mut CollectorRecorder) {
        let Amounts { nodes, cores, gpus } = job.amounts;
        if job.has_allocation {
            out.add(CORES_ALLOCATED, cores.into());
            out.add(GPUS_ALLOCATED, gpus.into());
        } else if job.is_waiting() {
            out.add(NODES_REQUESTED, nodes.into());
            out.add(CORES_REQUESTED, cores.into());
            out.add(GPUS_REQUESTED, gpus.into());
        }
    }

    fn delta(&mut self, change: &Change, out: &mut CollectorRecorder) {
        let Change { before, after, .. } = change;
        let (left, taken) = (ranks(before), ranks(after));
        if left != taken {
            let nodes = self.change_nodes(taken, 1) + self.change_nodes(left, -1);
            out.add(NODES_ALLOCATED, nodes);
        }
        // Most transitions change nothing: a waiting job keeps its request, and a job that
        // ends keeps its allocation until it is INACTIVE.
        if used(before) == used(after) {
            return;
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
            out.set(MetricId::fixed(SUMS.len() + index), level);
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
            out.set(MetricId::fixed(SUMS.len() + STATUS.len() + index), level);
        }
    }
}

fn ranks(job: &Option<Job>) -> &Ranks {
    job.as_ref().map_or(&Ranks::None, |job| &job.ranks)
}

/// The properties that [`Resources::contributions`] depends on.
fn used(job: &Option<Job>) -> Option<(bool, Amounts)> {
    let job = job.as_ref().filter(|job| job.has_allocation || job.is_waiting())?;
    Some((job.has_allocation, job.amounts))
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
