//! The gauges of `queues` that come from the broker: the status of each queue, and of the
//! scheduler.

use super::{CollectorRecorder, MetricId, MetricKind, MetricSpec};
use crate::jobs::JobTable;

/// The gauges without a label. An instance without queues has the anonymous queue.
pub(super) fn metrics() -> Vec<MetricSpec> {
    let ready = MetricSpec::new(MetricKind::Unshared, "scheduler", vec![("", "ready".into())]);
    [ready].into_iter().chain(metrics_of("anonymous")).collect()
}

/// The gauges of one queue.
pub(super) fn metrics_of(queue: &str) -> Vec<MetricSpec> {
    let gauge = |name: &str| {
        let tags = vec![("queue", queue.into()), ("", name.into())];
        MetricSpec::new(MetricKind::Unshared, "queue", tags)
    };
    ["enabled", "started"].map(gauge).into()
}

/// Sets the gauges of all queues. `first`: the index of the first gauge of a queue.
pub(super) fn set(table: &JobTable, first: usize, out: &mut CollectorRecorder) {
    let status = table.queue_status();
    let is_ready = status.values().next().map(|queue| queue.is_started.is_some().into());
    out.set(MetricId::fixed(0), is_ready);
    for queue in 0..=table.labels().queues.last() {
        let first = if queue == 0 { 1 } else { first };
        let status = status.get(&queue);
        let levels = [status.map(|it| it.is_enabled), status.and_then(|it| it.is_started)];
        for (index, level) in levels.into_iter().enumerate() {
            out.set(MetricId::of(queue, first + index), level.map(Into::into));
        }
    }
}
