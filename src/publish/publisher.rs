//! Accumulates the values of all metrics and writes them as lines.
//!
//! For each gauge the publisher holds the level and the last published level. A flush sends
//! the differences: one line for each gauge that changed, rising gauges before falling ones,
//! so that a job that changes its state is never missing from the sum of all gauges.

use super::connect::Notice;
use super::destination::{Destinations, Target};
use super::names::MetricNames;
use crate::collectors::{CollectorId, MetricId, MetricKind, MetricSpec, Recorder, COLLECTORS};
use crate::jobs::LabelId;
use crate::stats::{Counters, Error, LineTemplate, Value};

/// The maximum size in bytes of one part of a resync, plus the lines of one label. The default
/// receive buffer of a server has 212,992 bytes (net.core.rmem_default), and held 92 datagrams
/// of 700 to 1,432 bytes while the server did not read (measured with Linux 6.18). No line is
/// longer than half a datagram, so each datagram but the last is at least half full, and one
/// part has at most 90 of them.
const RESYNC_PART: usize = 54 << 10;

/// A phase of the life of a plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Flux reports active jobs and may still reject the load, so nothing is sent.
    Loading,
    Running,
    /// The final values were sent.
    Ended,
}

/// How gauges are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GaugeMode {
    /// Changes are sent as absolute values, not as increments.
    pub absolute: bool,
    /// Only this instance sends these gauges, so that absolute values can be sent. Otherwise
    /// a server shows the sum of several instances: each adds its part and subtracts it at
    /// the end.
    pub exclusive: bool,
}

/// The values of all metrics, their names, and the destinations.
pub struct Publisher {
    pub(super) destinations: Destinations,
    pub(super) notices: Vec<Notice>,
    names: MetricNames,
    mode: GaugeMode,
    phase: Phase,
    knows_allocations: bool,
    /// By the index of the collector, of the label, and of the metric.
    metrics: Vec<Vec<Vec<Metric>>>,
    /// Gauges that changed since the last flush, and counters that the next flush starts at 0.
    changed: Vec<(CollectorId, MetricId)>,
    /// Counters with events since the last flush.
    counted: Vec<(CollectorId, MetricId)>,
    /// Counters of the plugin's own work, by name, with the number to add.
    plugin_counts: Vec<(String, i64)>,
    /// Set if the datagram has lines of timings.
    has_timings: bool,
    /// The collector and the label at which a resync continues; `None` if no resync is in
    /// progress.
    resync_from: Option<(usize, usize)>,
    /// Set if the next flush sends a part of the resync.
    is_resync_due: bool,
}

#[derive(Debug)]
struct Metric {
    /// `None` if the metric is not sent: its name is too long, or this version of Flux does
    /// not report its value.
    template: Option<LineTemplate>,
    kind: MetricKind,
    /// The level of a gauge, `None` while it is unknown; the number to add to a counter,
    /// `None` if there was no event.
    value: Option<i64>,
    /// The last published level of a gauge; 0 for a counter that was published; else `None`.
    published: Option<i64>,
    /// Set if a level was published and is unknown now.
    was_known: bool,
    /// Set if the metric is listed in `changed`.
    has_changed: bool,
}

impl Publisher {
    /// A publisher without destinations, which sends nothing before [`start`](Self::start).
    pub fn new() -> Publisher {
        Publisher {
            destinations: Destinations::default(),
            notices: Vec::new(),
            names: MetricNames::default(),
            mode: GaugeMode { absolute: false, exclusive: true },
            phase: Phase::Loading,
            knows_allocations: true,
            metrics: COLLECTORS.iter().map(|_| Vec::new()).collect(),
            changed: Vec::new(),
            counted: Vec::new(),
            plugin_counts: Vec::new(),
            has_timings: false,
            resync_from: None,
            is_resync_due: false,
        }
    }

    /// The names of the metrics.
    pub fn names(&self) -> &MetricNames {
        &self.names
    }

    /// Returns `true` between [`start`](Self::start) and [`end`](Self::end).
    pub fn is_running(&self) -> bool {
        self.phase == Phase::Running
    }

    /// Sets whether this version of Flux reports allocated resources. If it does not, gauges
    /// of them are not sent. To be called before they are defined.
    pub fn set_knows_allocations(&mut self, knows_allocations: bool) {
        self.knows_allocations = knows_allocations;
    }

    /// Sets how gauges are sent from now on.
    pub fn set_mode(&mut self, mode: GaugeMode) {
        self.mode = mode;
        if !mode.exclusive {
            (self.resync_from, self.is_resync_due) = (None, false);
        }
    }

    /// Replaces the names, after a flush under the old ones. All metrics must be defined
    /// again.
    ///
    /// # Errors
    /// If the prefix or the tags are too long. [`MetricNames::check`] detects this earlier.
    pub fn rename(&mut self, names: MetricNames) -> Result<(), Error> {
        self.flush();
        names.template_of("", &[])?;
        self.names = names;
        Ok(())
    }

    /// Sends all gauges now, and every later change. To be called when Flux has reported all
    /// active jobs.
    pub fn start(&mut self) {
        self.phase = Phase::Running;
        self.connect();
    }

    /// Sends the final values. Nothing is sent after that.
    pub fn end(&mut self) {
        self.publish_final(Target::All, &CollectorId::all().collect::<Vec<_>>());
        self.phase = Phase::Ended;
    }

    /// Returns `true` if a flush would send anything.
    #[inline]
    pub fn is_pending(&self) -> bool {
        let has_counts = !self.counted.is_empty() || !self.plugin_counts.is_empty();
        let is_pending = !self.changed.is_empty() || has_counts || self.has_timings;
        self.phase == Phase::Running && (is_pending || self.is_resync_due)
    }

    /// Adds to a counter of the plugin's own work. `name` follows the first part of the
    /// prefix. The next flush sends it.
    pub fn count_plugin(&mut self, name: &str, by: i64) {
        match self.plugin_counts.iter_mut().find(|(known, _)| known == name) {
            Some((_, count)) => *count += by,
            None => self.plugin_counts.push((name.to_owned(), by)),
        }
    }

    /// The results of all sends so far, summed over all destinations.
    pub fn counters(&self) -> Counters {
        Counters::sum(self.destinations.iter().map(|destination| destination.counters()))
    }

    /// Makes the next flush send the absolute values of all gauges or, if there are many, the
    /// first part of them. Does nothing if gauges are not exclusive, or during a resync: its
    /// last part might otherwise never be sent.
    pub fn resync(&mut self) {
        if self.phase == Phase::Running && self.mode.exclusive && self.resync_from.is_none() {
            (self.resync_from, self.is_resync_due) = (Some((0, 0)), true);
        }
    }

    /// Returns `true` if a flush sent a part of a resync, but not the last one.
    pub fn has_resync_left(&self) -> bool {
        self.resync_from.is_some() && !self.is_resync_due
    }

    /// Makes the next flush send the next part of a resync.
    pub fn continue_resync(&mut self) {
        self.is_resync_due = self.resync_from.is_some();
    }

    /// Sends all pending values in as few datagrams as possible.
    pub fn flush(&mut self) {
        if self.phase != Phase::Running {
            return;
        }
        self.write_counts();
        if std::mem::take(&mut self.is_resync_due) {
            // Cleared first: a panic in the part would repeat in each later flush.
            if let Some(from) = self.resync_from.take() {
                self.resync_from = self.write_resync_part(from);
            }
        }
        let Publisher { metrics, destinations, mode, changed, .. } = self;
        for is_first_pass in [true, false] {
            for &(collector, id) in &*changed {
                let Some(metric) = find(metrics, collector, id) else { continue };
                // Cleared only in the second pass: after a panic in the first pass, each
                // listed metric is still marked.
                metric.has_changed &= is_first_pass;
                if metric.is_rising() == is_first_pass {
                    let value = metric.change(*mode);
                    metric.write(value, Target::All, destinations);
                }
            }
        }
        // Cleared last: after a panic the next flush sends the rest.
        changed.clear();
        self.has_timings = false;
        self.destinations.send(Target::All);
    }

    fn write_counts(&mut self) {
        let Publisher { metrics, destinations, names, counted, plugin_counts, .. } = self;
        for &(collector, id) in &*counted {
            let Some(metric) = find(metrics, collector, id) else { continue };
            metric.published = Some(0);
            let count = metric.value.take().map(Value::Count);
            metric.write(count, Target::All, destinations);
        }
        // Not earlier: after a panic, the next flush writes the rest.
        counted.clear();
        for (name, count) in plugin_counts.drain(..) {
            if let Ok(template) = names.template_of(&name, &[]) {
                destinations.write(Target::All, &template, Value::Count(count));
            }
        }
    }

    /// Writes the absolute values of gauges, starting at this collector and label, up to
    /// [`RESYNC_PART`] bytes. Returns the collector and label of the next part.
    fn write_resync_part(&mut self, from: (usize, usize)) -> Option<(usize, usize)> {
        self.allow_retransmit();
        let Publisher { metrics, destinations, .. } = self;
        let mut bytes = 0;
        for (collector, labels) in metrics.iter_mut().enumerate().skip(from.0) {
            let first = if collector == from.0 { from.1 } else { 0 };
            for (label, metrics) in labels.iter_mut().enumerate().skip(first) {
                if bytes >= RESYNC_PART {
                    return Some((collector, label));
                }
                for metric in metrics.iter_mut().filter(|it| it.kind != MetricKind::Counter) {
                    let (Some(template), Some(level)) = (&metric.template, metric.value) else {
                        continue;
                    };
                    metric.published = Some(level);
                    bytes += template.length();
                    destinations.write(Target::All, template, Value::GaugeSet(level));
                }
            }
        }
        None
    }

    /// Makes the next flush send absolute values of all gauges of these collectors, and start
    /// their counters at 0, because they are new to all servers.
    pub fn mark_unpublished(&mut self, collectors: &[CollectorId]) {
        if self.phase != Phase::Running {
            return;
        }
        for &collector in collectors {
            self.mark_changed(collector, |metric| {
                (metric.published, metric.was_known) = (None, false);
                true
            });
        }
    }

    /// Adds each metric of a collector to `changed` if `change` returns `true`.
    fn mark_changed(
        &mut self,
        collector: CollectorId,
        mut change: impl FnMut(&mut Metric) -> bool,
    ) {
        let is_running = self.phase == Phase::Running;
        for (label, metrics) in self.metrics[collector.index()].iter_mut().enumerate() {
            for (index, metric) in metrics.iter_mut().enumerate() {
                if change(metric) && is_running && !metric.has_changed {
                    metric.has_changed = true;
                    self.changed.push((collector, MetricId::of(label as LabelId, index)));
                }
            }
        }
    }

    /// Sends the first values of all metrics to the destination with this index, after a
    /// flush.
    pub(super) fn publish_initial(&mut self, destination: usize) {
        let all: Vec<_> = CollectorId::all().collect();
        self.publish(Target::One(destination), &all, Metric::first_value);
    }

    /// Sends the final values of these collectors, after a flush.
    pub fn publish_final(&mut self, target: Target, collectors: &[CollectorId]) {
        self.publish(target, collectors, |metric, mode| metric.final_value(mode));
    }

    fn publish(
        &mut self,
        target: Target,
        collectors: &[CollectorId],
        value: fn(&mut Metric, GaugeMode) -> Option<Value>,
    ) {
        let is_live = match target {
            Target::All => true,
            Target::One(index) => self.destinations.list[index].is_live,
        };
        if self.phase != Phase::Running || !is_live {
            return;
        }
        self.flush();
        self.allow_retransmit();
        let Publisher { metrics, destinations, mode, .. } = self;
        for &collector in collectors {
            for metric in metrics[collector.index()].iter_mut().flatten() {
                let value = value(metric, *mode);
                metric.write(value, target, destinations);
            }
        }
        self.destinations.send(target);
    }

    /// Permits an immediate retransmission of the next datagram that is refused, because
    /// absolute values correct lost ones.
    fn allow_retransmit(&mut self) {
        self.destinations.list.iter_mut().for_each(|it| it.connection.allow_retransmit());
    }
}

#[inline]
fn find(
    metrics: &mut [Vec<Vec<Metric>>],
    collector: CollectorId,
    id: MetricId,
) -> Option<&mut Metric> {
    let labels = &mut metrics[collector.index()];
    labels.get_mut(usize::from(id.label))?.get_mut(usize::from(id.metric))
}

impl Metric {
    #[inline]
    fn write(&self, value: Option<Value>, target: Target, destinations: &mut Destinations) {
        if let (Some(template), Some(value)) = (&self.template, value) {
            destinations.write(target, template, value);
        }
    }

    /// Returns `true` if the metric is sent before falling gauges: it has risen, or was never
    /// published.
    fn is_rising(&self) -> bool {
        self.published.is_none() || self.value > self.published
    }

    /// The value to send for a change since the last flush.
    fn change(&mut self, mode: GaugeMode) -> Option<Value> {
        if self.kind == MetricKind::Counter {
            // A listed counter starts at 0. Prometheus ignores the first increment of a
            // series that starts with 1.
            return self.published.replace(0).is_none().then_some(Value::Count(0));
        }
        let level = self.value?;
        let published = self.published.replace(level);
        let by = level - published.unwrap_or_default();
        let is_increment = match published {
            Some(_) => !mode.absolute,
            None => !mode.exclusive,
        };
        if by == 0 && (is_increment || published.is_some()) {
            return None;
        }
        Some(if is_increment { Value::GaugeAdd(by) } else { Value::GaugeSet(level) })
    }

    /// The first value for one destination. The other destinations keep the published level.
    fn first_value(&mut self, mode: GaugeMode) -> Option<Value> {
        let published = self.published.take();
        let value = self.change(mode);
        self.published = self.published.or(published);
        value
    }

    /// The final value: 0, or the last level of a count that stays valid without the plugin;
    /// if gauges are not exclusive, the decrement to 0.
    fn final_value(&self, mode: GaugeMode) -> Option<Value> {
        match (self.kind, self.value) {
            (MetricKind::Counter | MetricKind::Timing, _) => None,
            (_, level) if !mode.exclusive => {
                level.filter(|&level| level != 0).map(|level| Value::GaugeAdd(-level))
            }
            (MetricKind::TableCount, level) => level.map(Value::GaugeSet),
            (MetricKind::BrokerStatus, None) if !self.was_known => None,
            _ => Some(Value::GaugeSet(0)),
        }
    }
}

impl Recorder for Publisher {
    #[inline]
    fn is_defined(&self, collector: CollectorId, name: LabelId) -> bool {
        usize::from(name) < self.metrics[collector.index()].len()
    }

    fn define(&mut self, collector: CollectorId, name: LabelId, specs: Vec<MetricSpec>) {
        let Publisher { metrics, names, knows_allocations, .. } = self;
        let labels = &mut metrics[collector.index()];
        let label = usize::from(name);
        if labels.len() <= label {
            labels.resize_with(label + 1, Vec::new);
        }
        let mut old = std::mem::take(&mut labels[label]).into_iter();
        let metric = |spec: MetricSpec| {
            let is_sent = *knows_allocations || spec.kind != MetricKind::AllocationSum;
            let template = names.template(&spec).ok().filter(|_| is_sent);
            match old.next() {
                Some(metric) => Metric { template, ..metric },
                None => Metric {
                    template,
                    kind: spec.kind,
                    value: spec.kind.is_sum().then_some(0),
                    // A server may have another value than 0, from an earlier plugin.
                    published: None,
                    was_known: false,
                    has_changed: false,
                },
            }
        };
        labels[label] = specs.into_iter().map(metric).collect();
    }

    #[inline]
    fn add(&mut self, collector: CollectorId, gauge: MetricId, by: i64) {
        let Some(metric) = find(&mut self.metrics, collector, gauge) else { return };
        metric.value = metric.value.map(|level| level + by);
        if self.phase == Phase::Running && !metric.has_changed && by != 0 {
            metric.has_changed = true;
            self.changed.push((collector, gauge));
        }
    }

    fn set(&mut self, collector: CollectorId, gauge: MetricId, level: Option<i64>) {
        let Some(metric) = find(&mut self.metrics, collector, gauge) else { return };
        // A new server gets no value meanwhile, so the next value must not be an increment.
        if level.is_none() && self.mode.exclusive {
            metric.was_known |= metric.published.take().is_some();
        }
        let is_new = std::mem::replace(&mut metric.value, level) != level;
        if self.phase == Phase::Running && !metric.has_changed && is_new {
            metric.has_changed = true;
            self.changed.push((collector, gauge));
        }
    }

    fn count(&mut self, collector: CollectorId, counter: MetricId, by: i64) {
        let Some(metric) = find(&mut self.metrics, collector, counter) else { return };
        if self.phase != Phase::Running || metric.template.is_none() {
            return;
        }
        if metric.value.is_none() {
            self.counted.push((collector, counter));
        }
        metric.value = Some(metric.value.unwrap_or_default() + by);
    }

    fn timing(&mut self, collector: CollectorId, timing: MetricId, milliseconds: f64) {
        let Some(metric) = find(&mut self.metrics, collector, timing) else { return };
        if let (Phase::Running, Some(template)) = (self.phase, &metric.template) {
            self.destinations.write(Target::All, template, Value::timing(milliseconds));
            self.has_timings = true;
        }
    }

    fn reset_sums(&mut self, collector: CollectorId) {
        self.mark_changed(collector, |metric| {
            metric.kind.is_sum() && metric.value.replace(0) != Some(0)
        });
    }

    fn retire(&mut self, collector: CollectorId, label: LabelId) {
        self.flush();
        self.changed.retain(|(other, id)| (*other, id.label) != (collector, label));
        let Publisher { metrics, destinations, mode, phase, .. } = self;
        let retired = std::mem::take(&mut metrics[collector.index()][usize::from(label)]);
        if *phase == Phase::Running {
            for metric in retired {
                metric.write(metric.final_value(*mode), Target::All, destinations);
            }
            destinations.send(Target::All);
        }
    }

    fn remove(&mut self, collector: CollectorId) {
        self.metrics[collector.index()].clear();
        self.changed.retain(|(other, _)| *other != collector);
        self.counted.retain(|(other, _)| *other != collector);
    }
}

impl Default for Publisher {
    fn default() -> Self {
        Self::new()
    }
}
