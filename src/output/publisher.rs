//! Which value is sent when.
//!
//! The publisher knows where each gauge stands, and where the servers believe it
//! to stand. The difference is what a flush sends: what changed since the last
//! one, summed by gauge, what rose before what fell, so that a job in motion is
//! never missing and no sum of gauges dips. Nobody else knows increments from
//! values, shared names from owned ones, or whether anything is sent yet.

use super::connect::Notice;
use super::names::MetricNames;
use super::outputs::Outputs;
use crate::families::{FamilyId, Kind, MetricSpec, Series, Sink, FAMILIES};
use crate::jobs::names::NameIndex;
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
    Loading,
    /// Changes are sent.
    Running,
    /// The last values were sent.
    Ended,
}

/// To whom something is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// All outputs.
    All,
    /// The output with this index.
    One(usize),
}

/// How gauges are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode {
    /// Each change as the gauge's new value, rather than as an increment.
    pub values: bool,
    /// Whether the gauges belong to this instance alone, so that values may be
    /// sent at all. Else they are sums of several instances, and each sends its
    /// own part, and takes it back.
    pub owner: bool,
}

/// The metrics, and where they stand.
pub struct Publisher {
    stats: Stats<Outputs>,
    names: MetricNames,
    mode: Mode,
    phase: Phase,
    /// Whether this Flux says what is allocated to jobs; where it does not, those gauges are
    /// not sent.
    knows_allocated: bool,
    /// By the indices of the family, the name and the metric.
    families: Vec<Vec<Vec<Entry>>>,
    /// Gauges that moved since the last flush, and counters that are new.
    moved: Vec<(FamilyId, Series)>,
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
    /// The indices of the family and of the name with which it goes on.
    from: (usize, usize),
    /// Whether the next flush does.
    is_due: bool,
}

/// One metric.
#[derive(Debug)]
struct Entry {
    /// `None` if its name is too long, or if this Flux does not say its value.
    metric: Option<Metric>,
    kind: Kind,
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
        let mut stats = Stats::with_transport(Outputs::default());
        stats.set_aggregated(true);
        Publisher {
            stats,
            names: MetricNames::default(),
            mode: Mode { values: false, owner: true },
            phase: Phase::Loading,
            knows_allocated: true,
            families: FAMILIES.iter().map(|_| Vec::new()).collect(),
            moved: Vec::new(),
            resync: None,
            others_due: false,
            notices: Vec::new(),
        }
    }

    /// The emitter below.
    pub fn stats(&self) -> &Stats<Outputs> {
        &self.stats
    }

    /// The emitter below, for metrics that are no family's.
    pub fn stats_mut(&mut self) -> &mut Stats<Outputs> {
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
    pub fn set_mode(&mut self, mode: Mode) {
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
            let all: Vec<_> = FamilyId::all().collect();
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

    /// A counter that is no family's.
    pub fn count_plain(&mut self, metric: Metric, by: i64) {
        assert_sent(self.stats.count(metric, by));
        self.others_due = true;
    }

    /// The next flush sends every gauge's value, to heal what was lost; or, where these are
    /// many, the first of them. A resync that is under way goes on: if each began anew, the
    /// last gauges might never be sent.
    pub fn resync(&mut self) {
        if self.phase == Phase::Running && self.mode.owner && self.resync.is_none() {
            self.resync = Some(Resync { from: (0, 0), is_due: true });
        }
    }

    /// Whether a flush left a part of a resync.
    pub fn has_more_to_resync(&self) -> bool {
        self.resync.is_some_and(|resync| !resync.is_due)
    }

    /// The next flush sends the next part.
    pub fn go_on_with_resync(&mut self) {
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
        let Publisher { families, stats, mode, moved, .. } = self;
        let mut entry = |(family, series): (FamilyId, Series), first: bool| {
            let entries = families[family.index()].get_mut(usize::from(series.name));
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

    /// No server knows these families yet, under their present names: the next flush
    /// sends the values of all gauges, and 0 to all counters.
    pub fn publish_anew(&mut self, families: &[FamilyId]) {
        if self.phase != Phase::Running {
            return;
        }
        for &family in families {
            for (name, entries) in self.families[family.index()].iter_mut().enumerate() {
                for (metric, entry) in entries.iter_mut().enumerate() {
                    (entry.published, entry.was_known) = (None, false);
                    if !std::mem::replace(&mut entry.has_moved, true) {
                        // As many as a Series counts.
                        let series = Series { name: name as NameIndex, metric: metric as u8 };
                        self.moved.push((family, series));
                    }
                }
            }
        }
    }

    /// The first values of these families, for the output with this index. What is
    /// pending is flushed before.
    pub(super) fn publish_initial(&mut self, output: usize, families: &[FamilyId]) {
        let owner = self.mode.owner;
        self.publish(Target::One(output), families, &mut |entry, stats| {
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

    /// The last values of these families. What is pending is flushed before.
    pub fn publish_final(&mut self, target: Target, families: &[FamilyId]) {
        let owner = self.mode.owner;
        self.publish(target, families, &mut |entry, stats| {
            let Some(metric) = entry.metric else { return };
            match (owner, entry.kind, entry.level) {
                (true, Kind::Number, Some(level)) => assert_sent(stats.gauge_set(metric, level)),
                (true, Kind::Sum | Kind::Allocated, _) => assert_sent(stats.gauge_set(metric, 0)),
                // It is not known now, but servers have what was.
                (true, Kind::Asked, _) if entry.level.is_some() || entry.was_known => {
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
        families: &[FamilyId],
        send: &mut dyn FnMut(&mut Entry, &mut Stats<Outputs>),
    ) {
        let is_live = match target {
            Target::All => true,
            Target::One(index) => self.outputs().get(index).is_live(),
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
        let Publisher { families: all, stats, .. } = self;
        let mut each = |stats: &mut Stats<Outputs>| {
            for &family in families {
                all[family.index()].iter_mut().flatten().for_each(|entry| send(entry, stats));
            }
        };
        match target {
            Target::All => {
                each(stats);
                stats.flush();
            }
            Target::One(output) => stats.only(output, each),
        }
    }

    fn allow_retransmit(&mut self) {
        if let Some(outputs) = self.stats.transport_mut() {
            outputs.allow_retransmit();
        }
    }

    /// Sends the values of the gauges from this name on, up to [`RESYNC_PART`]. Returns the
    /// next one.
    fn send_values(&mut self, from: (usize, usize)) -> Option<(usize, usize)> {
        let Publisher { families, stats, .. } = self;
        let mut bytes = 0;
        for (family, names) in families.iter_mut().enumerate().skip(from.0) {
            let first = if family == from.0 { from.1 } else { 0 };
            for (name, entries) in names.iter_mut().enumerate().skip(first) {
                if bytes >= RESYNC_PART {
                    return Some((family, name));
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
    fn entry(&mut self, family: FamilyId, series: Series) -> Option<&mut Entry> {
        let names = &mut self.families[family.index()];
        names.get_mut(usize::from(series.name))?.get_mut(usize::from(series.metric))
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
    fn begin_counter(&self, stats: &mut Stats<Outputs>) {
        if let (Some(metric), Kind::Counter) = (self.metric, self.kind) {
            assert_sent(stats.count(metric, 0));
        }
    }

    fn send_change(&mut self, mode: Mode, stats: &mut Stats<Outputs>) {
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

impl Sink for Publisher {
    #[inline]
    fn is_defined(&self, family: FamilyId, name: NameIndex) -> bool {
        usize::from(name) < self.families[family.index()].len()
    }

    fn define(&mut self, family: FamilyId, name: NameIndex, metrics: Vec<MetricSpec>) {
        let Publisher { families, stats, names, knows_allocated, .. } = self;
        let by_name = &mut families[family.index()];
        let name = usize::from(name);
        if by_name.len() <= name {
            by_name.resize_with(name + 1, Vec::new);
        }
        let mut old = std::mem::take(&mut by_name[name]).into_iter();
        let entry = |spec: MetricSpec| {
            let is_known = *knows_allocated || spec.kind != Kind::Allocated;
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
    fn add(&mut self, family: FamilyId, gauge: Series, by: i64) {
        let is_running = self.phase == Phase::Running;
        let Some(entry) = self.entry(family, gauge) else { return };
        entry.level = entry.level.map(|level| level + by);
        if is_running && !entry.has_moved && by != 0 {
            entry.has_moved = true;
            self.moved.push((family, gauge));
        }
    }

    fn set(&mut self, family: FamilyId, gauge: Series, level: Option<i64>) {
        let (is_running, owner) = (self.phase == Phase::Running, self.mode.owner);
        let Some(entry) = self.entry(family, gauge) else { return };
        // A server that comes meanwhile gets no value, so the next one is no increment.
        if level.is_none() && owner {
            entry.was_known |= entry.published.take().is_some();
        }
        let changed = std::mem::replace(&mut entry.level, level) != level;
        if is_running && !entry.has_moved && changed {
            entry.has_moved = true;
            self.moved.push((family, gauge));
        }
    }

    fn count(&mut self, family: FamilyId, counter: Series, by: i64) {
        if self.phase != Phase::Running {
            return;
        }
        if let Some(metric) = self.entry(family, counter).and_then(|entry| entry.metric) {
            self.count_plain(metric, by);
        }
    }

    fn timing(&mut self, family: FamilyId, timing: Series, milliseconds: f64) {
        if self.phase != Phase::Running {
            return;
        }
        if let Some(metric) = self.entry(family, timing).and_then(|entry| entry.metric) {
            assert_sent(self.stats.timing(metric, milliseconds));
            self.others_due = true;
        }
    }

    fn forget(&mut self, family: FamilyId) {
        self.families[family.index()].clear();
        self.moved.retain(|(other, _)| *other != family);
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
