//! Gauges of resources, users and banks.

use std::ffi::CStr;

use super::configure::{error, Names};
use super::{must, Body, StateCounts};
use crate::accounting::amounts;
use crate::accounting::usage::{self, Kind, Share, Usage, BLOCK};
use crate::accounting::State;
use crate::config::{Family, SendAs};
use crate::flux::{Error, Facts, Job, JobState, Json, NameForm};
use crate::stats::{Metric, Stats};

/// The families whose gauges are kept here, by what their blocks are about.
const FAMILIES: [(Family, Kind); 3] = [
    (Family::Resources, Kind::Resources),
    (Family::Users, Kind::User),
    (Family::Banks, Kind::Bank),
];

/// The resources' gauges, in the order of their block.
const RESOURCES: [(&str, &str); 6] = [
    ("nodes", "allocated"),
    ("cores", "allocated"),
    ("gpus", "allocated"),
    ("nodes", "requested"),
    ("cores", "requested"),
    ("gpus", "requested"),
];

/// The first version of flux-core that passes R to callbacks (commit 4158ae21d).
const FIRST_WITH_R: (u32, u32) = (0, 56);

/// Whether a broker of this version passes R, which says what a job holds. One
/// whose version cannot be read is taken for a newer one.
fn passes_r(version: &str) -> bool {
    let mut numbers = version.split('.').map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= FIRST_WITH_R,
        _ => true,
    }
}

/// The gauges, while any of their families is wanted.
#[derive(Default)]
pub(super) struct UsageGauges {
    books: Usage,
    wanted: Vec<Family>,
    /// The broker's version, if it passes no R: what jobs hold is unknown then, and
    /// those gauges are not sent.
    without_r: Option<String>,
    /// By the block; empty where its family was not wanted yet. `None`: a gauge
    /// that cannot be known.
    metrics: Vec<Vec<Option<Metric>>>,
    /// Blocks that were looked at for their names.
    named: usize,
    states: NameForm,
}

impl UsageGauges {
    /// Whether any of these families is kept here.
    pub(super) fn keeps(families: &[Family]) -> bool {
        FAMILIES.iter().any(|(family, _)| families.contains(family))
    }

    /// Tells these from now on.
    pub(super) fn switch(&mut self, wanted: &[Family]) {
        self.wanted = wanted.to_vec();
        self.named = 0;
    }

    /// Names that were given before are void.
    pub(super) fn rename(&mut self, names: &Names) {
        self.states = names.states;
        self.metrics.clear();
        self.named = 0;
    }

    fn family(kind: Kind) -> Family {
        FAMILIES[kind as usize].0
    }

    /// Gives the gauges that are wanted and have none their names.
    #[inline(never)]
    fn name_metrics(&mut self, stats: &mut Stats) -> Result<(), Error> {
        let blocks = self.books.blocks();
        let (known, first) = (blocks.len(), self.named);
        self.named = known;
        for (place, (kind, name)) in blocks.enumerate().skip(first) {
            if self.metrics.len() == place {
                self.metrics.push(Vec::new());
            }
            if self.metrics[place].is_empty() && self.wanted.contains(&Self::family(kind)) {
                let names = name_block(stats, kind, name, self.states)?;
                let is_known = |place: usize| self.without_r.is_none() || !needs_r(kind, place);
                let names = names.into_iter().enumerate();
                self.metrics[place] =
                    names.map(|(place, metric)| is_known(place).then_some(metric)).collect();
            }
        }
        Ok(())
    }

    /// Calls `body` with each gauge of these families.
    pub(super) fn tell_known(
        &mut self,
        stats: &mut Stats,
        families: &[Family],
        body: Body<'_>,
    ) -> Result<(), crate::stats::Error> {
        // They cannot be too long: see `usage`.
        let _ = self.name_metrics(stats);
        for (block, (kind, _)) in self.books.blocks().enumerate() {
            let family = Self::family(kind);
            if !families.contains(&family) || !self.wanted.contains(&family) {
                continue;
            }
            for (place, metric) in self.metrics[block].iter().enumerate() {
                // They go down at removal, as active states do.
                if let &Some(metric) = metric {
                    body(stats, metric, State::Run, self.books.level((block, place)))?;
                }
            }
        }
        Ok(())
    }
}

/// Whether a gauge says what jobs hold.
fn needs_r(kind: Kind, place: usize) -> bool {
    match kind {
        Kind::Resources => RESOURCES[place].1 == "allocated",
        // The cores, behind the states.
        Kind::User | Kind::Bank => place == BLOCK - 1,
    }
}

/// The metrics of a block.
fn name_block(
    stats: &mut Stats,
    kind: Kind,
    name: &str,
    states: NameForm,
) -> Result<Vec<Metric>, Error> {
    let (key, cores) = match kind {
        Kind::Resources => ("resource", ""),
        Kind::User => ("user", "user-cores"),
        Kind::Bank => ("bank", "bank-cores"),
    };
    let mut metrics = Vec::with_capacity(BLOCK);
    for (place, (resource, used)) in RESOURCES.into_iter().enumerate() {
        let state = JobState::ALL[place].name(states);
        let tags = match kind {
            Kind::Resources => [(key, resource), ("use", used)],
            _ => [(key, name), ("state", state.as_str())],
        };
        metrics.push(stats.tagged(key, &tags).map_err(error)?);
    }
    if kind != Kind::Resources {
        metrics.push(stats.tagged(cores, &[(key, name)]).map_err(error)?);
    }
    Ok(metrics)
}

impl StateCounts {
    /// The gauges of these families, as they are or new, with the log line of what
    /// of them cannot be known here.
    pub(super) fn usage_for(&mut self, families: &[Family]) -> Option<UsageGauges> {
        if !UsageGauges::keeps(families) {
            return None;
        }
        let mut usage = self.usage.take().unwrap_or_else(|| {
            let version = self.jobtap.attribute(c"version");
            let without_r = version.filter(|version| !passes_r(version));
            if let Some(version) = &without_r {
                let (major, minor) = FIRST_WITH_R;
                self.warn(&format!(
                    "Flux {version} does not tell plugins what jobs hold (Flux {major}.{minor} \
                     and later do): resource.*.allocated, user-cores and bank-cores are not sent"
                ));
            }
            UsageGauges { without_r, ..UsageGauges::default() }
        });
        usage.switch(families);
        Some(usage)
    }

    /// A job is where the callback says; `changed`: its jobspec was.
    pub(super) fn usage_job(
        &mut self,
        state: JobState,
        job: &Job<'_>,
        changed: bool,
        known: &mut Option<Share>,
    ) -> Result<(), Error> {
        let StateCounts { usage: Some(usage), stats, config, live, .. } = self else {
            return Ok(());
        };
        let Facts { user, jobspec, r } = job.facts()?;
        let facts = usage::Job { user, jobspec, r };
        let outcome = usage.books.job(known, State::from_number(state.0), &facts, changed);
        if *live {
            if usage.named < usage.books.blocks().len() {
                usage.name_metrics(stats)?;
            }
            let values = config.as_ref().is_some_and(|config| config.send == SendAs::Values);
            must(stats.batch(|stats| {
                for &((block, place), by) in usage.books.moves() {
                    // One that was wanted once is not told any more.
                    let family = UsageGauges::family(usage.books.kind(block));
                    match usage.metrics[block].get(place) {
                        Some(&Some(metric)) if usage.wanted.contains(&family) => match values {
                            true => stats.gauge_set(metric, usage.books.level((block, place)))?,
                            false => stats.gauge_add(metric, by)?,
                        },
                        _ => (),
                    }
                }
                Ok(())
            }));
        }
        outcome.map_err(|usage::Unread(what)| Error::new(what))
    }
}

impl amounts::Json for Json<'_> {
    fn member(self, key: &CStr) -> Option<Self> {
        self.member(key)
    }

    fn item(self, index: usize) -> Option<Self> {
        self.item(index)
    }

    fn text(&self) -> Option<&str> {
        self.text()
    }

    fn positive(self) -> Option<u64> {
        self.positive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flux_passes_r_since_0_56() {
        let table = [
            ("0.49.0", false),
            ("0.55.0", false),
            ("0.55.0-17-g4158ae21d", false),
            ("0.56.0", true),
            ("0.88.0", true),
            ("0.100.0", true),
            ("1.0.0", true),
            ("1", true),
            ("", true),
            ("unknown", true),
        ];
        for (version, wanted) in table {
            assert_eq!(passes_r(version), wanted, "{version:?}");
        }
    }

    #[test]
    fn each_kind_has_its_family() {
        for (number, (family, kind)) in FAMILIES.into_iter().enumerate() {
            assert_eq!((kind as usize, UsageGauges::family(kind)), (number, family));
        }
    }
}
