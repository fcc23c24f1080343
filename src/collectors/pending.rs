//! `pending`: the reasons why jobs wait.

use super::{Collector, CollectorRecorder, CollectorSpec, MetricId, MetricKind, MetricSpec};
use crate::jobs::{Job, LabelTable, LabelTables, Needs, State};

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "pending",
    needs: Needs::WAITING,
    tags: &["reason", "scheme"],
    make: || Box::new(Pending),
};

struct Pending;

const REASONS: [&str; 4] = ["held", "dependency", "priority", "resources"];
const HELD: MetricId = MetricId::fixed(0);
const DEPENDENCY: MetricId = MetricId::fixed(1);
const PRIORITY: MetricId = MetricId::fixed(2);
const RESOURCES: MetricId = MetricId::fixed(3);

impl Collector for Pending {
    fn metrics(&self, label: Option<&str>) -> Vec<MetricSpec> {
        let gauge = |name, key, value: &str| {
            MetricSpec::new(MetricKind::JobSum, name, vec![(key, value.into())])
        };
        match label {
            None => REASONS.into_iter().map(|it| gauge("pending", "reason", it)).collect(),
            // Not pending.dependency.SCHEME: pending.dependency is a gauge, and for a
            // Graphite server a name is either a file or a folder.
            Some(scheme) => vec![gauge("dependency", "scheme", scheme)],
        }
    }

    fn labels<'a>(&self, tables: &'a LabelTables) -> Option<&'a LabelTable> {
        Some(&tables.schemes)
    }

    /// A job in DEPEND, PRIORITY or SCHED has one reason: the first that applies.
    fn contributions(&self, job: &Job, out: &mut CollectorRecorder) {
        let reason = match job.state {
            Some(State::Depend) => DEPENDENCY,
            Some(State::Priority | State::Sched) if job.is_held => HELD,
            Some(State::Priority) => PRIORITY,
            Some(State::Sched) if job.has_no_priority => PRIORITY,
            Some(State::Sched) => RESOURCES,
            _ => return,
        };
        out.add(reason, 1);
        if reason == DEPENDENCY {
            for scheme in (1..32).filter(|scheme| job.schemes >> scheme & 1 == 1) {
                out.add(MetricId::of(scheme, 0), 1);
            }
        }
    }
}
