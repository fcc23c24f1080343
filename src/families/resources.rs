//! `resources`: what there is, what jobs hold, and what those that wait ask for.

use super::{Family, FamilySpec, Kind, MetricSpec, Series, Visit};
use crate::jobs::{Change, Job, JobTable, Needs, Ranks};
use crate::rfc::resources::Amounts;
use crate::rfc::status::Machine;

pub(super) const SPEC: FamilySpec = FamilySpec {
    name: "resources",
    needs: Needs::RESOURCES.union(Needs::MACHINE),
    tags: &["resource", "use"],
    make: || Box::<Resources>::default(),
};

const NODES_ALLOCATED: Series = Series::fixed(0);
const CORES_ALLOCATED: Series = Series::fixed(1);
const GPUS_ALLOCATED: Series = Series::fixed(2);
const NODES_REQUESTED: Series = Series::fixed(3);
const CORES_REQUESTED: Series = Series::fixed(4);
const GPUS_REQUESTED: Series = Series::fixed(5);
const NODES_TOTAL: Series = Series::fixed(6);
const NODES_UP: Series = Series::fixed(7);
const NODES_DOWN: Series = Series::fixed(8);
const NODES_DRAINED: Series = Series::fixed(9);
const CORES_TOTAL: Series = Series::fixed(10);
const CORES_DOWN: Series = Series::fixed(11);
const GPUS_TOTAL: Series = Series::fixed(12);

/// In the order of these.
const METRICS: [(&str, &str, Kind); 13] = [
    ("nodes", "allocated", Kind::Allocated),
    ("cores", "allocated", Kind::Allocated),
    ("gpus", "allocated", Kind::Allocated),
    ("nodes", "requested", Kind::Sum),
    ("cores", "requested", Kind::Sum),
    ("gpus", "requested", Kind::Sum),
    ("nodes", "total", Kind::Asked),
    ("nodes", "up", Kind::Asked),
    ("nodes", "down", Kind::Asked),
    ("nodes", "drained", Kind::Asked),
    ("cores", "total", Kind::Asked),
    ("cores", "down", Kind::Asked),
    ("gpus", "total", Kind::Asked),
];

#[derive(Default)]
struct Resources {
    /// How many jobs hold a part of each node, by its rank. The nodes that are
    /// held are those where it is not 0: several jobs may share one, so their
    /// count is no sum over the jobs.
    holders: Vec<u32>,
}

impl Family for Resources {
    fn metrics(&self, name: Option<&str>) -> Vec<MetricSpec> {
        let gauge = |(resource, used, kind): (&str, &str, Kind)| {
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

    fn numbers(&self, table: &JobTable, visit: &mut dyn FnMut(Series, Option<i64>)) {
        let machine = table.machine();
        let mut number = |gauge, of: fn(&Machine) -> u32| {
            visit(gauge, machine.map(|machine| of(machine).into()));
        };
        number(NODES_TOTAL, |machine| machine.nodes);
        number(NODES_UP, |machine| machine.nodes_up());
        number(NODES_DOWN, |machine| machine.nodes_down);
        number(NODES_DRAINED, |machine| machine.nodes_drained);
        number(CORES_TOTAL, |machine| machine.cores);
        number(CORES_DOWN, |machine| machine.cores_down);
        number(GPUS_TOTAL, |machine| machine.gpus);
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
