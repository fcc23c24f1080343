//! `resources`: what there is, what jobs hold, and what those that wait ask for.

use super::{Collector, CollectorSpec, MetricId, MetricKind, MetricSpec, Visit};
use crate::flux_formats::resources::Amounts;
use crate::flux_formats::status::ResourceStatus;
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
const NODES_TOTAL: MetricId = MetricId::fixed(6);
const NODES_UP: MetricId = MetricId::fixed(7);
const NODES_DOWN: MetricId = MetricId::fixed(8);
const NODES_DRAINED: MetricId = MetricId::fixed(9);
const CORES_TOTAL: MetricId = MetricId::fixed(10);
const CORES_DOWN: MetricId = MetricId::fixed(11);
const GPUS_TOTAL: MetricId = MetricId::fixed(12);

/// In the order of these.
const METRICS: [(&str, &str, MetricKind); 13] = [
    ("nodes", "allocated", MetricKind::AllocationSum),
    ("cores", "allocated", MetricKind::AllocationSum),
    ("gpus", "allocated", MetricKind::AllocationSum),
    ("nodes", "requested", MetricKind::JobSum),
    ("cores", "requested", MetricKind::JobSum),
    ("gpus", "requested", MetricKind::JobSum),
    ("nodes", "total", MetricKind::BrokerStatus),
    ("nodes", "up", MetricKind::BrokerStatus),
    ("nodes", "down", MetricKind::BrokerStatus),
    ("nodes", "drained", MetricKind::BrokerStatus),
    ("cores", "total", MetricKind::BrokerStatus),
    ("cores", "down", MetricKind::BrokerStatus),
    ("gpus", "total", MetricKind::BrokerStatus),
];

#[derive(Default)]
struct Resources {
    /// How many jobs hold a part of each node, by its rank. The nodes that are
    /// held are those where it is not 0: several jobs may share one, so their
    /// count is no sum over the jobs.
    holders: Vec<u32>,
}

impl Collector for Resources {
    fn metrics(&self, name: Option<&str>) -> Vec<MetricSpec> {
        let gauge = |(resource, used, kind): (&str, &str, MetricKind)| {
            let tags = vec![("resource", resource.into()), ("use", used.into())];
            MetricSpec::new(kind, "resource", tags)
        };
        match name {
            None => METRICS.into_iter().map(gauge).collect(),
            Some(_) => Vec::new(),
        }
    }

    fn gauges(&self, job: &Job, visit: Visit<'_>) {
        let amounts = &job.amounts;
        if job.has_allocation {
            visit(CORES_ALLOCATED, amounts.cores.into());
            visit(GPUS_ALLOCATED, amounts.gpus.into());
        } else if job.is_waiting() {
            visit(NODES_REQUESTED, amounts.nodes.into());
            visit(CORES_REQUESTED, amounts.cores.into());
            visit(GPUS_REQUESTED, amounts.gpus.into());
        }
    }

    fn numbers(&self, table: &JobTable, visit: &mut dyn FnMut(MetricId, Option<i64>)) {
        let resource_status = table.resource_status();
        let mut number = |gauge, of: fn(&ResourceStatus) -> u32| {
            visit(gauge, resource_status.map(|resource_status| of(resource_status).into()));
        };
        number(NODES_TOTAL, |resource_status| resource_status.nodes);
        number(NODES_UP, |resource_status| resource_status.nodes_up());
        number(NODES_DOWN, |resource_status| resource_status.nodes_down);
        number(NODES_DRAINED, |resource_status| resource_status.nodes_drained);
        number(CORES_TOTAL, |resource_status| resource_status.cores);
        number(CORES_DOWN, |resource_status| resource_status.cores_down);
        number(GPUS_TOTAL, |resource_status| resource_status.gpus);
    }

    fn moves(&mut self, change: &Change, visit: Visit<'_>) {
        let Change { before, after, .. } = change;
        let (left, taken) = (ranks(before), ranks(after));
        if left != taken {
            let nodes = self.hold(taken, 1) + self.hold(left, -1);
            visit(NODES_ALLOCATED, nodes);
        }
        // Most transitions leave all of it as it is: a job that waited waits on, and one
        // that ends holds what it held. Each gauge would move by 0, at some cost.
        let used = |job: &Option<Job>| job.as_ref().and_then(used);
        if used(before) == used(after) {
            return;
        }
        if let Some(after) = after {
            self.gauges(after, visit);
        }
        if let Some(before) = before {
            self.gauges(before, &mut |gauge, by| visit(gauge, -by));
        }
    }
}

fn ranks(job: &Option<Job>) -> &Ranks {
    const NONE: &Ranks = &Ranks::None;
    job.as_ref().map_or(NONE, |job| &job.ranks)
}

/// All that the sums over the jobs are made of: whether the job holds it or asks for it,
/// and how much; `None` if it does neither.
fn used(job: &Job) -> Option<(bool, Amounts)> {
    (job.has_allocation || job.is_waiting()).then_some((job.has_allocation, job.amounts))
}

impl Resources {
    /// A job holds these nodes, or has freed them. Returns how many nodes are held
    /// more.
    fn hold(&mut self, ranks: &Ranks, by: i32) -> i64 {
        let mut nodes = 0;
        for rank in ranks.ranges().flat_map(|(first, last)| first..=last) {
            let rank = rank as usize;
            if self.holders.len() <= rank {
                self.holders.resize(rank + 1, 0);
            }
            let before = self.holders[rank];
            self.holders[rank] = before.saturating_add_signed(by);
            nodes += i64::from(self.holders[rank] > 0) - i64::from(before > 0);
        }
        nodes
    }
}
