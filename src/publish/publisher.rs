//! Accumulates the values of all metrics.
//!
//! The publisher holds the present level of each gauge and the total of each counter. Each
//! `Connection` holds what was sent to its server, and sends the difference.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::connection::{Batch, Connection, Snapshot};
use super::destination::{connections, connections_mut, Destination, Notice};
use super::names::MetricNames;
use crate::collectors::{CollectorId, MetricId, MetricKind, MetricSpec, Recorder, COLLECTORS};
use crate::jobs::LabelId;
use crate::os::Uncancelled;
use crate::stats::{Counters, LineTemplate};

/// Samples of timings that are sent without waiting for the flush: about one datagram.
const MAX_TIMINGS: usize = 32;
/// The maximum number of retired metrics whose final values wait for a server.
const MAX_RETIRED: usize = 10_000;
/// The time for which the removal of the plugin waits for full sockets.
const END_TIMEOUT: Duration = Duration::from_millis(50);

/// A phase of the life of a plugin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    /// Flux reports active jobs and may still reject the load, so nothing is sent.
    #[default]
    Loading,
    Running,
    /// The final values were sent.
    Ended,
}

/// How gauges are sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GaugeMode {
    /// Changes as increments; absolute values at first and in a resync.
    #[default]
    Increments,
    /// Only absolute values.
    Values,
    /// Only increments: a server shows the sum of several instances. Each adds its part and
    /// subtracts it at the end.
    Shared,
}

/// A gauge, a counter or a timing.
#[derive(Debug)]
pub(super) struct Metric {
    /// `None` if the metric is not sent: its name is too long, or this version of Flux does
    /// not report its value.
    pub template: Option<LineTemplate>,
    pub kind: MetricKind,
    /// The level of a gauge, `None` while it is unknown; the total of a counter.
    pub level: Option<i64>,
    /// Set if the metric was removed, until each server has its final value.
    pub is_retired: bool,
    /// Set if the metric is listed in `changed`.
    pub has_changed: bool,
}

/// The values of all metrics, their names, and the destinations. Sends nothing before
/// [`start`](Self::start).
#[derive(Default)]
pub struct Publisher {
    pub(super) destinations: Vec<Destination>,
    /// Removed connections that have final values to send.
    pub(super) removed: Vec<Connection>,
    /// Sends to connections that were dropped.
    pub(super) removed_counters: Counters,
    pub(super) notices: Vec<Notice>,
    pub(super) mode: GaugeMode,
    pub(super) max_datagram: usize,
    /// The time of the last call with a time, in seconds since the epoch.
    pub(super) now: f64,
    names: MetricNames,
    phase: Phase,
    /// Set if this version of Flux does not report allocated resources.
    lacks_allocations: bool,
    pub(super) metrics: Vec<Metric>,
    /// The index in `metrics`, by collector, label and metric.
    indices: [Vec<Vec<u32>>; COLLECTORS.len()],
    /// Counters of the plugin's own work, with their index in `metrics`.
    plugin_counters: Vec<(&'static str, u32)>,
    /// Retired metrics by name, with the index in `metrics`.
    retired: HashMap<String, u32>,
    /// Unused indices in `metrics`.
    free: Vec<u32>,
    /// Metrics that changed since the last flush.
    changed: Vec<u32>,
    /// Samples of timings since the last flush, in milliseconds.
    timings: Vec<(u32, f64)>,
    pub(super) batch: Batch,
    /// Set if a flush is due for another reason than `changed` and `timings`.
    pub(super) is_flush_due: bool,
}

impl Publisher {
    /// The names of the metrics.
    pub fn names(&self) -> &MetricNames {
        &self.names
    }

    /// Returns `true` between [`start`](Self::start) and [`end`](Self::end).
    pub fn is_running(&self) -> bool {
        self.phase == Phase::Running
    }

    /// Gauges of allocated resources are not sent. To be called before they are defined.
    pub fn without_allocations(&mut self) {
        self.lacks_allocations = true;
    }

    /// Sets how gauges are sent from now on.
    pub fn set_mode(&mut self, mode: GaugeMode) {
        if mode == GaugeMode::Shared && self.mode != mode {
            let connections = connections_mut(&mut self.destinations);
            connections.for_each(Connection::remember);
        }
        let is_changed = std::mem::replace(&mut self.mode, mode) != mode;
        for index in (0..self.metrics.len()).filter(|_| is_changed) {
            if self.metrics[index].kind == MetricKind::Unshared {
                self.mark_changed(index as u32);
            }
        }
    }

    /// Replaces the names, which [`MetricNames::check`] has accepted. All metrics must be
    /// defined again; those with another name are retired under the old one.
    pub fn rename(&mut self, names: MetricNames) {
        self.names = names;
        for (name, old) in std::mem::take(&mut self.plugin_counters) {
            let total = self.metrics[old as usize].level;
            self.retire_metric(old);
            self.define_plugin_counter(name, total);
        }
    }

    /// Sends all gauges now, and every later change. To be called when Flux has reported all
    /// active jobs.
    pub fn start(&mut self, now: f64) {
        self.phase = Phase::Running;
        self.flush(now);
    }

    /// Sends the final values. Nothing is sent after that.
    pub fn end(&mut self, now: f64) {
        if self.phase == Phase::Running {
            self.flush(now);
            let end = Instant::now() + END_TIMEOUT;
            let Publisher { destinations, removed, metrics, mode, batch, .. } = self;
            let snapshot = Snapshot { metrics, mode: *mode, now };
            let connections = connections_mut(destinations);
            connections.chain(removed).for_each(|it| it.send_final_values(snapshot, batch, end));
        }
        self.phase = Phase::Ended;
    }

    /// `true` if a flush is due, also if no value changed.
    pub fn is_flush_due(&self) -> bool {
        self.is_flush_due
    }

    /// Returns `true` if a flush would send anything.
    #[inline]
    pub fn is_pending(&self) -> bool {
        let has_values = !self.changed.is_empty() || !self.timings.is_empty();
        self.phase == Phase::Running && (has_values || self.is_flush_due)
    }

    /// Sets the total of a counter of the plugin's own work. The first total is not sent, only
    /// its increases. `name` follows the first part of the prefix.
    pub fn set_plugin_counter(&mut self, name: &'static str, total: u64) {
        let known = self.plugin_counters.iter().find(|(known, _)| *known == name).map(|it| it.1);
        let index = known.unwrap_or_else(|| self.define_plugin_counter(name, Some(total as i64)));
        self.metrics[index as usize].level = Some(total as i64);
        self.mark_changed(index);
    }

    /// Removes these counters.
    pub fn remove_plugin_counters(&mut self) {
        for (_, index) in std::mem::take(&mut self.plugin_counters) {
            self.retire_metric(index);
        }
    }

    fn define_plugin_counter(&mut self, name: &'static str, total: Option<i64>) -> u32 {
        let template = self.names.template_of(name, &[]).ok();
        let index = self.add_metric(template, MetricKind::Counter, total);
        self.plugin_counters.push((name, index));
        index
    }

    /// The results of all sends so far, summed over all destinations.
    pub fn counters(&self) -> Counters {
        let connections = connections(&self.destinations);
        let connections = connections.chain(&self.removed).map(|it| &it.counters);
        Counters::sum(connections.chain([&self.removed_counters]))
    }

    /// Makes the next flush send the absolute values of all gauges, and start all counters at
    /// 0. Does nothing if several instances share the gauges.
    pub fn resync(&mut self) {
        if self.mode != GaugeMode::Shared {
            for connection in connections_mut(&mut self.destinations) {
                connection.forget();
            }
            self.is_flush_due = true;
        }
    }

    /// Sends all pending values in as few datagrams as possible. `now`: seconds since the
    /// epoch.
    pub fn flush(&mut self, now: f64) {
        if self.phase != Phase::Running {
            return;
        }
        let Publisher { destinations, metrics, changed, .. } = self;
        for connection in connections_mut(destinations) {
            changed.iter().for_each(|&index| connection.changed(index));
        }
        // From here on the connections list them.
        changed.iter().for_each(|&index| metrics[index as usize].has_changed = false);
        changed.clear();
        self.flush_connections(now);
    }

    /// Sends samples of timings, and what is due since earlier flushes.
    pub(super) fn flush_connections(&mut self, now: f64) {
        // If this panics, the next flush continues, without these samples.
        (self.now, self.is_flush_due) = (now, true);
        let mut timings = std::mem::take(&mut self.timings);
        let Publisher { destinations, removed, metrics, mode, batch, .. } = self;
        let snapshot = Snapshot { metrics, mode: *mode, now };
        // First, because a server may have two addresses.
        removed.iter_mut().for_each(|it| it.flush(snapshot, &[], batch));
        for connection in connections_mut(destinations) {
            connection.flush(snapshot, &timings, batch);
        }
        timings.clear();
        self.timings = timings;
        if !self.removed.is_empty() || !self.retired.is_empty() {
            self.drop_removed();
        }
        self.is_flush_due = false;
    }

    /// Drops removed connections that are done, and retired metrics that no server needs.
    #[cold]
    fn drop_removed(&mut self) {
        let Publisher {
            destinations, removed, removed_counters, retired, free, metrics, now, ..
        } = self;
        removed.retain(|connection| {
            let is_removable = connection.is_removable(*now);
            if is_removable {
                *removed_counters =
                    Counters::sum([&*removed_counters, &connection.counters].into_iter());
            }
            !is_removable
        });
        let connections = connections(destinations);
        let connections: Vec<_> = connections.chain(&*removed).collect();
        let is_full = retired.len() > MAX_RETIRED;
        retired.retain(|_, index| {
            let is_needed = connections.iter().any(|it| it.is_pending(*index)) && !is_full;
            if !is_needed {
                metrics[*index as usize].template = None;
                free.push(*index);
            }
            is_needed
        });
    }

    /// Adds a metric, or continues a retired one with its name.
    fn add_metric(
        &mut self,
        template: Option<LineTemplate>,
        kind: MetricKind,
        level: Option<i64>,
    ) -> u32 {
        let series = template.as_ref().map(LineTemplate::series);
        let retired = series.and_then(|series| self.retired.remove(&series));
        let metric = Metric { template, kind, level, is_retired: false, has_changed: false };
        if let Some(index) = retired {
            let old = std::mem::replace(&mut self.metrics[index as usize], metric);
            if kind == MetricKind::Counter {
                self.metrics[index as usize].level = old.level;
            }
            self.mark_changed(index);
            return index;
        }
        let index = match self.free.pop() {
            Some(index) => {
                self.metrics[index as usize] = metric;
                index
            }
            None => {
                self.metrics.push(metric);
                self.metrics.len() as u32 - 1
            }
        };
        let Publisher { destinations, removed, metrics, .. } = self;
        let connections = connections_mut(destinations);
        connections.chain(removed).for_each(|it| it.metric_added(index, metrics));
        self.is_flush_due = true;
        index
    }

    /// Removes a metric when each server has its final value.
    fn retire_metric(&mut self, index: u32) {
        let metric = &mut self.metrics[index as usize];
        metric.is_retired = true;
        let Some(template) = &metric.template else { return self.free.push(index) };
        self.retired.insert(template.series(), index);
        self.is_flush_due = true;
        for connection in connections_mut(&mut self.destinations) {
            connection.changed(index);
        }
    }

    #[inline]
    fn mark_changed(&mut self, index: u32) {
        let metric = &mut self.metrics[index as usize];
        if !metric.has_changed {
            metric.has_changed = true;
            self.changed.push(index);
        }
    }

    #[inline]
    fn find(&self, collector: CollectorId, id: MetricId) -> Option<u32> {
        let labels = &self.indices[collector.index()];
        labels.get(usize::from(id.label))?.get(usize::from(id.metric)).copied()
    }
}

impl Recorder for Publisher {
    fn define(&mut self, collector: CollectorId, label: LabelId, specs: Vec<MetricSpec>) {
        let labels = &mut self.indices[collector.index()];
        let label = usize::from(label);
        if labels.len() <= label {
            labels.resize_with(label + 1, Vec::new);
        }
        let mut old = std::mem::take(&mut labels[label]).into_iter();
        let mut indices = Vec::with_capacity(specs.len());
        for spec in specs {
            let is_sent = !self.lacks_allocations || spec.kind != MetricKind::AllocationSum;
            let template = self.names.template(&spec).ok().filter(|_| is_sent);
            let series = template.as_ref().map(LineTemplate::series);
            let mut level = spec.kind.first_level();
            if let Some(index) = old.next() {
                let metric = &self.metrics[index as usize];
                if metric.template.as_ref().map(LineTemplate::series) == series {
                    indices.push(index);
                    continue;
                }
                if spec.kind != MetricKind::Counter {
                    level = metric.level;
                }
                self.retire_metric(index);
            }
            indices.push(self.add_metric(template, spec.kind, level));
        }
        self.indices[collector.index()][label] = indices;
    }

    #[inline]
    fn add(&mut self, collector: CollectorId, gauge: MetricId, by: i64) {
        let Some(index) = self.find(collector, gauge) else { return };
        let metric = &mut self.metrics[index as usize];
        metric.level = metric.level.map(|level| level + by);
        if by != 0 {
            self.mark_changed(index);
        }
    }

    fn set(&mut self, collector: CollectorId, gauge: MetricId, level: Option<i64>) {
        let Some(index) = self.find(collector, gauge) else { return };
        if std::mem::replace(&mut self.metrics[index as usize].level, level) != level {
            self.mark_changed(index);
        }
    }

    fn count(&mut self, collector: CollectorId, counter: MetricId, by: i64) {
        // Events during the load are those of existing jobs.
        if self.phase == Phase::Running {
            self.add(collector, counter, by);
        }
    }

    fn timing(&mut self, collector: CollectorId, timing: MetricId, milliseconds: f64) {
        let Some(index) = self.find(collector, timing) else { return };
        if self.phase != Phase::Running || self.metrics[index as usize].template.is_none() {
            return;
        }
        self.timings.push((index, milliseconds));
        if self.timings.len() == MAX_TIMINGS {
            let _uncancelled = Uncancelled::new();
            self.flush_connections(self.now);
        }
    }

    fn reset_sums(&mut self, collector: CollectorId) {
        let Publisher { indices, metrics, changed, .. } = self;
        for &index in indices[collector.index()].iter().flatten() {
            let metric = &mut metrics[index as usize];
            let is_changed = metric.kind.is_sum() && metric.level.replace(0) != Some(0);
            if is_changed && !std::mem::replace(&mut metric.has_changed, true) {
                changed.push(index);
            }
        }
    }

    fn retire(&mut self, collector: CollectorId, label: LabelId) {
        let label = self.indices[collector.index()].get_mut(usize::from(label));
        let indices = label.map(std::mem::take).unwrap_or_default();
        indices.into_iter().for_each(|index| self.retire_metric(index));
    }

    fn remove(&mut self, collector: CollectorId) {
        let indices = std::mem::take(&mut self.indices[collector.index()]);
        indices.into_iter().flatten().for_each(|index| self.retire_metric(index));
    }
}
