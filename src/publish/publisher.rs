//! Which value is sent when.
//!
//! The publisher knows where each gauge stands, and where the servers believe it
//! to stand. The difference is what a flush sends: what changed since the last
//! one, summed by gauge, what rose before what fell, so that a job in motion is
//! never missing and no sum of gauges dips. Nobody else knows increments from
//! values, shared names from owned ones, or whether anything is sent yet.

use super::connect::Notice;
use super::destinations::Destinations;
use super::names::MetricNames;
use crate::collectors::{CollectorId, MetricId, MetricKind, MetricSpec, Recorder, COLLECTORS};
use crate::jobs::LabelId;
use crate::stats::{Error, Metric, Stats};

/// The bytes of lines after which a flush leaves the rest of a resync to a later one. A
/// server's receive buffer is 212,992 bytes unless somebody gave it more (Linux's
/// net.core.rmem_default), which held 92 datagrams of 700 to 1,432 bytes where nobody read
/// (measured, Linux 6.18). No line is longer than half of a datagram, so that each but the
/// last is at least half full: these bytes, and the lines of one more name, are at most 90.
const RESYNC_PART: usize = 54 << 10;

/// Where a plugin is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Active jobs are reported, and Flux may still refuse the load: nothing is sent.
    RestartReplay,
    /// Changes are sent.
    Running,
    /// The last values were sent.
    Ended,
}

/// To whom something is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// All destinations.
    All,
    /// The destination with this index.
    One(usize),
}

/// How gauges are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GaugeMode {
    /// Each change as the gauge's new value, rather than as an increment.
    pub values: bool,
    /// Whether the gauges belong to this instance alone, so that values may be
    /// sent at all. Else they are sums of several instances, and each sends its
    /// own part, and takes it back.
    pub owner: bool,
}

/// The metrics, and where they stand.
pub struct Publisher {
    stats: Stats<Destinations>,
    names: MetricNames,
    mode: GaugeMode,
    phase: Phase,
    /// Whether this Flux says what is allocated to jobs; where it does not, those gauges are
    /// not sent.
    knows_allocated: bool,
    /// By the indices of the collector, the name and the metric.
    collectors: Vec<Vec<Vec<Entry>>>,
    /// Gauges that moved since the last flush, and counters that are new.
    moved: Vec<(CollectorId, MetricId)>,
    /// What is left to send of a resync.
    resync: Option<Resync>,
    /// Whether a counter or a timing waits for the next flush.
    others_due: bool,
    /// What is to be logged.
    pub(super) notices: Vec<Notice>,
}

/// A resync under way: the gauges' values from one on.
#[derive(Clone, Copy, Debug)]
struct Resync {
    /// The indices of the collector and of the name with which it removed on.
    from: (usize, usize),
    /// Whether the next flush does.
    is_due: bool,
}

/// One metric.
#[derive(Debug)]
struct Entry {
    /// `None` if its name is too long, or if this Flux does not say its value.
    metric: Option<Metric>,
    kind: MetricKind,
    /// Where the gauge stands; `None` while nobody knows.
    level: Option<i64>,
    /// Where the servers believe it to stand; `None` if it was never sent.
    published: Option<i64>,
    /// Whether it was published before it came to be unknown.
    was_known: bool,
    /// Whether it is among those that moved.
    has_moved: bool,
}

impl Publisher {
    /// One that has nobody to send to yet.
    pub fn new() -> Publisher {
        let mut stats = Stats::with_transport(Destinations::default());
        stats.set_aggregated(true);
        Publisher {
            stats,
            names: MetricNames::default(),
            mode: GaugeMode { values: false, owner: true },
            phase: Phase::RestartReplay,
            knows_allocated: true,
            collectors: COLLECTORS.iter().map(|_| Vec::new()).collect(),
            moved: Vec::new(),
            resync: None,
            others_due: false,
            notices: Vec::new(),
        }
    }

    /// The emitter below.
    pub fn stats(&self) -> &Stats<Destinations> {
        &self.stats
    }

    /// The emitter below, for metrics that are no collector's.
    pub fn stats_mut(&mut self) -> &mut Stats<Destinations> {
        &mut self.stats
    }

    /// What the metrics are called.
    pub fn names(&self) -> &MetricNames {
        &self.names
    }

    /// Whether changes are sent.
    pub fn is_running(&self) -> bool {
        self.phase == Phase::Running
    }

    /// Whether this Flux says what is allocated to jobs. To be set before anything is defined.
    pub fn set_knows_allocated(&mut self, knows_allocated: bool) {
        self.knows_allocated = knows_allocated;
    }

    /// How gauges are sent from now on.
    pub fn set_mode(&mut self, mode: GaugeMode) {
        self.mode = mode;
        // What several instances share is never set.
        if !mode.owner {
            self.resync = None;
        }
    }

    /// Calls all metrics by these names from now on. Those that were defined are
    /// to be defined again.
    ///
    /// # Errors
    /// If a name is too long.
    pub fn rename(&mut self, names: MetricNames) -> Result<(), Error> {
        self.stats.clear();
        names.set(&mut self.stats)?;
        self.names = names;
        Ok(())
    }

    /// The load is over: every gauge is sent, and from now on each change.
    pub fn start(&mut self) {
        self.phase = Phase::Running;
        self.connect();
    }

    /// The end: the gauges that nobody watches any more are taken down.
    pub fn end(&mut self) {
        if self.phase == Phase::Running {
            self.flush();
            let all: Vec<_> = CollectorId::all().collect();
            self.publish_final(Target::All, &all);
            self.stats.flush();
        }
        self.phase = Phase::Ended;
    }

    /// Whether something waits for a flush.
    #[inline]
    pub fn is_pending(&self) -> bool {
        let resync_is_due = self.resync.is_some_and(|resync| resync.is_due);
        self.phase == Phase::Running && (!self.moved.is_empty() || resync_is_due || self.others_due)
    }

    /// A counter that is no collector's.
    pub fn count_plain(&mut self, metric: Metric, by: i64) {
        assert_sent(self.stats.count(metric, by));
        self.others_due = true;
    }

    /// The next flush sends every gauge's value, to heal what was lost; or, where these are
    /// many, the first of them. A resync that is under way removed on: if each began anew, the
    /// last gauges might never be sent.
    pub fn resync(&mut self) {
        if self.phase == Phase::Running && self.mode.owner && self.resync.is_none() {
            self.resync = Some(Resync { from: (0, 0), is_due: true });
        }
    }

    /// Whether a flush left a part of a resync.
    pub fn has_resync_left(&self) -> bool {
        self.resync.is_some_and(|resync| !resync.is_due)
    }

    /// The next flush sends the next part.
    pub fn continue_resync(&mut self) {
        if let Some(resync) = &mut self.resync {
            resync.is_due = true;
        }
    }

    /// Sends what is pending, in as few datagrams as possible.
    pub fn flush(&mut self) {
        if self.phase != Phase::Running {
            return;
        }
        if let Some(Resync { from, is_due: true }) = self.resync {
            // Before anything that could panic: else each later flush would, too.
            self.resync = None;
            self.allow_retransmit();
            self.resync = self.send_values(from).map(|from| Resync { from, is_due: false });
        }
        let Publisher { collectors, stats, mode, moved, .. } = self;
        let mut entry = |(collector, series): (CollectorId, MetricId), first: bool| {
            let entries = collectors[collector.index()].get_mut(usize::from(series.label));
            let entry = entries.and_then(|entries| entries.get_mut(usize::from(series.metric)));
            let Some(entry) = entry else { return };
            // Not in the first pass: it would be pushed again after a panic.
            entry.has_moved &= first;
            if entry.sends_first() == first {
                entry.send_change(*mode, stats);
            }
        };
        moved.iter().for_each(|&gauge| entry(gauge, true));
        moved.iter().for_each(|&gauge| entry(gauge, false));
        // Not before: after a panic they would never be sent.
        moved.clear();
        self.others_due = false;
        self.stats.flush();
    }

    /// No server knows these collectors yet, under their present names: the next flush
    /// sends the values of all gauges, and 0 to all counters.
    pub fn mark_unpublished(&mut self, collectors: &[CollectorId]) {
        if self.phase != Phase::Running {
            return;
        }
        for &collector in collectors {
            for (name, entries) in self.collectors[collector.index()].iter_mut().enumerate() {
                for (metric, entry) in entries.iter_mut().enumerate() {
                    (entry.published, entry.was_known) = (None, false);
                    if !std::mem::replace(&mut entry.has_moved, true) {
                        // As many as a MetricId counts.
                        let series = MetricId { label: name as LabelId, metric: metric as u8 };
                        self.moved.push((collector, series));
                    }
                }
            }
        }
    }

    /// The first values of these collectors, for the destination with this index. What is
    /// pending is flushed before.
    pub(super) fn publish_initial(&mut self, destination: usize, collectors: &[CollectorId]) {
        let owner = self.mode.owner;
        self.publish(Target::One(destination), collectors, &mut |entry, stats| {
            entry.begin_counter(stats);
            let (Some(metric), Some(level)) = (entry.metric, entry.level) else { return };
            match (owner, level) {
                (true, _) => assert_sent(stats.gauge_set(metric, level)),
                (false, 0) => (),
                (false, _) => assert_sent(stats.gauge_add(metric, level)),
            }
            entry.published = Some(level);
        });
    }

    /// The last values of these collectors. What is pending is flushed before.
    pub fn publish_final(&mut self, target: Target, collectors: &[CollectorId]) {
        let owner = self.mode.owner;
        self.publish(target, collectors, &mut |entry, stats| {
            let Some(metric) = entry.metric else { return };
            match (owner, entry.kind, entry.level) {
                (true, MetricKind::TableCount, Some(level)) => {
                    assert_sent(stats.gauge_set(metric, level))
                }
                (true, MetricKind::JobSum | MetricKind::AllocationSum, _) => {
                    assert_sent(stats.gauge_set(metric, 0))
                }
                // It is not known now, but servers have what was.
                (true, MetricKind::BrokerStatus, _) if entry.level.is_some() || entry.was_known => {
                    assert_sent(stats.gauge_set(metric, 0));
                }
                (false, _, Some(level)) if level != 0 => {
                    assert_sent(stats.gauge_add(metric, -level));
                }
                _ => (),
            }
        });
    }

    fn publish(
        &mut self,
        target: Target,
        collectors: &[CollectorId],
        send: &mut dyn FnMut(&mut Entry, &mut Stats<Destinations>),
    ) {
        let is_live = match target {
            Target::All => true,
            Target::One(index) => self.destinations().get(index).is_live(),
        };
        if self.phase != Phase::Running || !is_live {
            return;
        }
        if self.moved.is_empty() {
            self.stats.flush();
        } else {
            self.flush();
        }
        // Values mend what is wrong: a dead server's refusal shall not cost them.
        self.allow_retransmit();
        let Publisher { collectors: all, stats, .. } = self;
        let mut each = |stats: &mut Stats<Destinations>| {
            for &collector in collectors {
                all[collector.index()].iter_mut().flatten().for_each(|entry| send(entry, stats));
            }
        };
        match target {
            Target::All => {
                each(stats);
                stats.flush();
            }
            Target::One(destination) => stats.only(destination, each),
        }
    }

    fn allow_retransmit(&mut self) {
        if let Some(destinations) = self.stats.transport_mut() {
            destinations.allow_retransmit();
        }
    }

    /// Sends the values of the gauges from this name on, up to [`RESYNC_PART`]. Returns the
    /// next one.
    fn send_values(&mut self, from: (usize, usize)) -> Option<(usize, usize)> {
        let Publisher { collectors, stats, .. } = self;
        let mut bytes = 0;
        for (collector, names) in collectors.iter_mut().enumerate().skip(from.0) {
            let first = if collector == from.0 { from.1 } else { 0 };
            for (name, entries) in names.iter_mut().enumerate().skip(first) {
                if bytes >= RESYNC_PART {
                    return Some((collector, name));
                }
                for entry in entries {
                    let (Some(metric), Some(level)) = (entry.metric, entry.level) else { continue };
                    assert_sent(stats.gauge_set(metric, level));
                    entry.published = Some(level);
                    bytes += stats.line_length(metric);
                }
            }
        }
        None
    }

    #[inline]
    fn entry(&mut self, collector: CollectorId, series: MetricId) -> Option<&mut Entry> {
        let names = &mut self.collectors[collector.index()];
        names.get_mut(usize::from(series.label))?.get_mut(usize::from(series.metric))
    }
}

impl Entry {
    /// Whether it is sent before the gauges that fell: it rose since it was last sent, or
    /// was never sent.
    fn sends_first(&self) -> bool {
        self.published.is_none_or(|published| self.level.is_some_and(|level| level > published))
    }

    /// A counter begins at 0. To Prometheus a series that appears with 1 has not
    /// increased.
    fn begin_counter(&self, stats: &mut Stats<Destinations>) {
        if let (Some(metric), MetricKind::Counter) = (self.metric, self.kind) {
            assert_sent(stats.count(metric, 0));
        }
    }

    fn send_change(&mut self, mode: GaugeMode, stats: &mut Stats<Destinations>) {
        // Of counters only those that are new are among what moved.
        self.begin_counter(stats);
        let (Some(metric), Some(level)) = (self.metric, self.level) else { return };
        let published = self.published.replace(level);
        let by = level - published.unwrap_or_default();
        match published {
            _ if by == 0 && published.is_some() => (),
            Some(_) if !mode.values => assert_sent(stats.gauge_add(metric, by)),
            None if !mode.owner && by == 0 => (),
            None if !mode.owner => assert_sent(stats.gauge_add(metric, by)),
            _ => assert_sent(stats.gauge_set(metric, level)),
        }
    }
}

impl Recorder for Publisher {
    #[inline]
    fn is_defined(&self, collector: CollectorId, name: LabelId) -> bool {
        usize::from(name) < self.collectors[collector.index()].len()
    }

    fn define(&mut self, collector: CollectorId, name: LabelId, metrics: Vec<MetricSpec>) {
        let Publisher { collectors, stats, names, knows_allocated, .. } = self;
        let by_name = &mut collectors[collector.index()];
        let name = usize::from(name);
        if by_name.len() <= name {
            by_name.resize_with(name + 1, Vec::new);
        }
        let mut old = std::mem::take(&mut by_name[name]).into_iter();
        let entry = |spec: MetricSpec| {
            let is_known = *knows_allocated || spec.kind != MetricKind::AllocationSum;
            let metric = names.metric(stats, &spec).ok().filter(|_| is_known);
            match old.next() {
                Some(entry) => Entry { metric, ..entry },
                None => Entry {
                    metric,
                    kind: spec.kind,
                    level: spec.kind.is_sum().then_some(0),
                    // An earlier life may have left another value than 0 at a server.
                    published: None,
                    was_known: false,
                    has_moved: false,
                },
            }
        };
        by_name[name] = metrics.into_iter().map(entry).collect();
    }

    #[inline]
    fn add(&mut self, collector: CollectorId, gauge: MetricId, by: i64) {
        let is_running = self.phase == Phase::Running;
        let Some(entry) = self.entry(collector, gauge) else { return };
        entry.level = entry.level.map(|level| level + by);
        if is_running && !entry.has_moved && by != 0 {
            entry.has_moved = true;
            self.moved.push((collector, gauge));
        }
    }

    fn set(&mut self, collector: CollectorId, gauge: MetricId, level: Option<i64>) {
        let (is_running, owner) = (self.phase == Phase::Running, self.mode.owner);
        let Some(entry) = self.entry(collector, gauge) else { return };
        // A server that added meanwhile gets no value, so the next one is no increment.
        if level.is_none() && owner {
            entry.was_known |= entry.published.take().is_some();
        }
        let changed = std::mem::replace(&mut entry.level, level) != level;
        if is_running && !entry.has_moved && changed {
            entry.has_moved = true;
            self.moved.push((collector, gauge));
        }
    }

    fn count(&mut self, collector: CollectorId, counter: MetricId, by: i64) {
        if self.phase != Phase::Running {
            return;
        }
        if let Some(metric) = self.entry(collector, counter).and_then(|entry| entry.metric) {
            self.count_plain(metric, by);
        }
    }

    fn timing(&mut self, collector: CollectorId, timing: MetricId, milliseconds: f64) {
        if self.phase != Phase::Running {
            return;
        }
        if let Some(metric) = self.entry(collector, timing).and_then(|entry| entry.metric) {
            assert_sent(self.stats.timing(metric, milliseconds));
            self.others_due = true;
        }
    }

    fn reset_sums(&mut self, collector: CollectorId) {
        for (name, entries) in self.collectors[collector.index()].iter_mut().enumerate() {
            for (metric, entry) in entries.iter_mut().enumerate() {
                if entry.kind.is_sum() && entry.level != Some(0) {
                    entry.level = Some(0);
                    if !std::mem::replace(&mut entry.has_moved, true) {
                        let series = MetricId { label: name as LabelId, metric: metric as u8 };
                        self.moved.push((collector, series));
                    }
                }
            }
        }
    }

    fn remove(&mut self, collector: CollectorId) {
        self.collectors[collector.index()].clear();
        self.moved.retain(|(other, _)| *other != collector);
    }
}

impl Default for Publisher {
    fn default() -> Self {
        Self::new()
    }
}

/// Metrics fail by their name only, and ours were accepted when they were defined.
fn assert_sent(sent: Result<(), Error>) {
    debug_assert_eq!(sent, Ok(()));
}
