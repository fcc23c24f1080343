//! The gauges of `queues` that come from the broker: the status of each queue and of the
//! scheduler, and the resources that a queue may use.

use super::resources::resource_metric;
use super::{CollectorRecorder, MetricId, MetricKind, MetricSpec, TagValue};
use crate::flux_formats::QueueResources;
use crate::jobs::JobTable;

type Resource = (&'static str, &'static str, fn(&QueueResources) -> u32);
const RESOURCES: [Resource; 6] = [
    ("nodes", "total", |queue| queue.total.nodes),
    ("nodes", "up", |queue| queue.up.nodes),
    ("cores", "total", |queue| queue.total.cores),
    ("cores", "up", |queue| queue.up.cores),
    ("gpus", "total", |queue| queue.total.gpus),
    ("gpus", "up", |queue| queue.up.gpus),
];

/// The gauges without a label. An instance without queues has the anonymous queue.
pub(super) fn metrics() -> Vec<MetricSpec> {
    let ready = MetricSpec::new(MetricKind::Unshared, "scheduler.ready", Vec::new());
    [ready].into_iter().chain(status_of("anonymous")).collect()
}

fn status_of(queue: &str) -> [MetricSpec; 2] {
    ["queue.enabled", "queue.started"]
        .map(|name| MetricSpec::new(MetricKind::Unshared, name, vec![("queue", queue.into())]))
}

/// The gauges of one queue.
pub(super) fn metrics_of(queue: &str) -> impl Iterator<Item = MetricSpec> + '_ {
    let tag = ("queue", TagValue::from(queue));
    let resources = RESOURCES.into_iter().map(move |(resource, of_use, _)| {
        let kind = MetricKind::BrokerStatus;
        resource_metric("queue.resource", Some(&tag), (resource, of_use, kind))
    });
    status_of(queue).into_iter().chain(resources)
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
        for (index, (.., number)) in RESOURCES.into_iter().enumerate().filter(|_| queue > 0) {
            let level = table.queue_resources(queue).map(|queue| number(queue).into());
            out.set(MetricId::of(queue, first + levels.len() + index), level);
        }
    }
}
