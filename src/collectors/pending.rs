//! `pending`: the reasons why jobs wait, and the age of the oldest job that waits.

use super::{Collector, CollectorRecorder, CollectorSpec, MetricId, MetricKind, MetricSpec};
use crate::jobs::{Job, JobTable, LabelTable, LabelTables, Needs, State, Timestamp};

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "pending",
    needs: Needs::WAITING.union(Needs::SUBMITTED).union(Needs::QUEUE).union(Needs::QUEUE_STATUS),
    tags: &["reason", "scheme"],
    make: || Box::new(Pending),
};

struct Pending;

pub(super) const REASONS: [&str; 5] = ["held", "dependency", "priority", "stopped", "resources"];
const HELD: usize = 0;
const DEPENDENCY: usize = 1;
const PRIORITY: usize = 2;
const STOPPED: usize = 3;
const RESOURCES: usize = 4;
/// The metric after those of the reasons.
const OLDEST: MetricId = MetricId::fixed(REASONS.len());

/// The reason why a job waits, an index in [`REASONS`]: the first that applies. `None` if it is
/// not in DEPEND, PRIORITY or SCHED.
pub(super) fn reason(job: &Job) -> Option<usize> {
    match job.state? {
        State::Depend => Some(DEPENDENCY),
        State::Priority | State::Sched if job.is_held => Some(HELD),
        State::Priority => Some(PRIORITY),
        State::Sched if job.has_no_priority => Some(PRIORITY),
        State::Sched if job.is_stopped => Some(STOPPED),
        State::Sched => Some(RESOURCES),
        _ => None,
    }
}

impl Collector for Pending {
    fn metrics(&self, label: Option<&str>) -> Vec<MetricSpec> {
        let gauge = |name, key, value: &str| {
            MetricSpec::new(MetricKind::JobSum, name, vec![(key, value.into())])
        };
        match label {
            None => {
                let oldest =
                    MetricSpec::new(MetricKind::Unshared, "pending.oldest_seconds", vec![]);
                let reasons = REASONS.into_iter().map(|it| gauge("pending", "reason", it));
                reasons.chain([oldest]).collect()
            }
            // Not pending.dependency.SCHEME: pending.dependency is a gauge, and for a
            // Graphite server a name is either a file or a folder.
            Some(scheme) => vec![gauge("dependency", "scheme", scheme)],
        }
    }

    fn labels<'a>(&self, tables: &'a LabelTables) -> Option<&'a LabelTable> {
        Some(&tables.schemes)
    }

    fn contributions(&self, job: &Job, out: &mut CollectorRecorder) {
        let Some(reason) = reason(job) else { return };
        out.add(MetricId::fixed(reason), 1);
        if reason == DEPENDENCY {
            for scheme in (1..32).filter(|scheme| job.schemes >> scheme & 1 == 1) {
                out.add(MetricId::of(scheme, 0), 1);
            }
        }
    }

    fn ages(&self, table: &JobTable, now: Option<Timestamp>, out: &mut CollectorRecorder) {
        let queues = 0..=table.labels().queues.last();
        out.set_age(OLDEST, now, queues.filter_map(|queue| table.oldest_pending(queue)).min());
    }
}
