//! `pending`: why jobs wait.

use super::{Collector, CollectorSpec, MetricId, MetricKind, MetricSpec, Visit};
use crate::jobs::label_table::LabelTable;
use crate::jobs::{Job, LabelTables, Needs, State};

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "pending",
    needs: Needs::WAITING,
    tags: &["reason", "scheme"],
    make: || Box::new(Pending),
};

struct Pending;

/// In the order of their indices.
const REASONS: [&str; 4] = ["held", "dependency", "priority", "resources"];
const HELD: MetricId = MetricId::fixed(0);
const DEPENDENCY: MetricId = MetricId::fixed(1);
const PRIORITY: MetricId = MetricId::fixed(2);
const RESOURCES: MetricId = MetricId::fixed(3);

impl Collector for Pending {
    fn metrics(&self, name: Option<&str>) -> Vec<MetricSpec> {
        let gauge = |name, key, value: &str| {
            MetricSpec::new(MetricKind::JobSum, name, vec![(key, value.into())])
        };
        match name {
            None => REASONS.into_iter().map(|it| gauge("pending", "reason", it)).collect(),
            // Not under "pending.dependency", which is a gauge itself: a Graphite
            // server keeps each name in a file, or a folder.
            Some(scheme) => vec![gauge("dependency", "scheme", scheme)],
        }
    }

    fn names<'a>(&self, lists: &'a LabelTables) -> Option<&'a LabelTable> {
        Some(&lists.schemes)
    }

    /// Each job that waits has one reason: the first of them in its way.
    fn gauges(&self, job: &Job, visit: Visit<'_>) {
        match job.state {
            Some(State::Depend) => {
                visit(DEPENDENCY, 1);
                for scheme in (1..32).filter(|scheme| job.schemes >> scheme & 1 == 1) {
                    visit(MetricId::of(scheme, 0), 1);
                }
            }
            Some(State::Priority | State::Sched) if job.is_held => visit(HELD, 1),
            Some(State::Priority) => visit(PRIORITY, 1),
            Some(State::Sched) if job.has_no_priority => visit(PRIORITY, 1),
            Some(State::Sched) => visit(RESOURCES, 1),
            _ => (),
        }
    }
}
