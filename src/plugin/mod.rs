//! One loaded plugin: the callbacks, the books and the metrics, joined.
//!
//! What a dashboard sees of a plugin's life:
//!
//! - At load nothing is sent until the reactor turns, when all active jobs are
//!   announced and Flux can no longer refuse the load. Then every gauge is sent
//!   once, so that a server that remembers an earlier life starts right.
//! - While it lives, each change is sent, at once or summed over `period`, and
//!   every `resync` seconds each gauge's absolute value.
//! - At removal, which is also how an instance ends, the active states go to 0,
//!   for nobody watches them any more: no ghosts of running jobs. INACTIVE keeps
//!   its last value: those jobs are over whether anybody counts or not.
//! - A configuration that changes meanwhile takes nothing away from the servers
//!   and names that stay, and treats those that go and come as at removal and at
//!   load.
//! - With `resync` 0 and increments, several instances may share one name and
//!   the server shows their sum. Then no absolute value is ever sent, and at
//!   removal the plugin takes back all that it gave, INACTIVE too.

mod configure;
mod families;
mod health;
mod hosts;
mod inactive;
mod queues;
mod report;
mod usage;

use std::collections::BTreeMap;

use crate::accounting::record::Record;
use crate::accounting::{Accounting, Anomaly, Change, Event, State};
use crate::config::{Config, Family, Place, SendAs};
use crate::flux::{
    Callback, Conf, Error, Job, JobState, Jobtap, LogLevel, NameForm, Plugin, Timer, Transition,
};
use crate::stats::{Metric, Stats};
use configure::Names;
use families::Families;
use hosts::Hosts;
use inactive::Inactive;
use queues::QueueGauges;
use report::Report;
use usage::UsageGauges;

/// The plugin.
pub struct StateCounts {
    jobtap: Jobtap<Self>,
    books: Accounting,
    stats: Stats,
    /// Each state's gauge, by the state's place in `State::ALL`.
    gauges: Vec<Metric>,
    /// `None` until the first `conf.update`.
    config: Option<Config>,
    /// What the configuration's names come to here.
    names: Names,
    /// Where this broker is; `None` until a name asks for it.
    place: Option<Place>,
    /// Whether the state counts are wanted.
    tells_states: bool,
    /// Whether changes are sent: since the reactor turned after the load.
    live: bool,
    inactive: Inactive,
    families: Families,
    /// The active jobs, as far as a family has to remember them.
    records: BTreeMap<u64, Record>,
    /// `None` where they are not wanted.
    queues: Option<QueueGauges>,
    /// `None` where none of its families was wanted at load.
    usage: Option<UsageGauges>,
    hosts: Hosts,
    report: Report,
    /// Timers under way. Dropping one stops it.
    start: Option<Timer>,
    flush: Option<Timer>,
    resync: Option<Timer>,
}

impl Plugin for StateCounts {
    const NAME: &'static str = env!("CARGO_PKG_NAME");

    /// Flux looks through them in this order at every call: the most frequent
    /// comes first.
    const CALLBACKS: &'static [Callback] = &[
        Callback::JobState,
        Callback::JobNew,
        Callback::JobException,
        Callback::JobUpdate,
        Callback::JobInactiveAdd,
        Callback::JobInactiveRemove,
        Callback::ConfUpdate,
        Callback::Query,
    ];

    fn init(jobtap: Jobtap<Self>) -> Result<Self, Error> {
        Ok(StateCounts {
            jobtap,
            books: Accounting::default(),
            stats: Stats::disabled(),
            gauges: Vec::new(),
            config: None,
            names: Names::default(),
            place: None,
            tells_states: false,
            live: false,
            inactive: Inactive::default(),
            families: Families::default(),
            records: BTreeMap::new(),
            queues: None,
            usage: None,
            hosts: Hosts::default(),
            report: Report::default(),
            start: None,
            flush: None,
            resync: None,
        })
    }

    fn conf_update(&mut self, conf: Conf<'_>) -> Result<(), Error> {
        self.configure(conf)
    }

    fn query(&mut self) -> String {
        self.answer_query()
    }

    fn job_new(&mut self, state: JobState, job: &Job<'_>) -> Result<(), Error> {
        let followed = match self.happened(Event::New { state: state.0 }, job)? {
            true => self.follow(state, job, None, false),
            false => Ok(()),
        };
        self.job_came(state, job).and(followed)
    }

    fn job_state(&mut self, transition: Transition, job: &Job<'_>) -> Result<(), Error> {
        #[cfg(feature = "panic-for-tests")]
        if transition.state == JobState::SCHED {
            panic!("made for a test");
        }
        let previous = transition.previous.map(|state| state.0);
        self.happened(Event::Moved { state: transition.state.0, previous }, job)?;
        // A call for nothing costs, too, on this path.
        match self.remembers() || self.families.are_told() {
            true => self.follow(transition.state, job, Some(transition), false),
            false => Ok(()),
        }
    }

    fn job_exception(&mut self, kind: &str) -> Result<(), Error> {
        self.exception_raised(kind)
    }

    fn job_update(&mut self, state: JobState, job: &Job<'_>) -> Result<(), Error> {
        self.follow(state, job, None, true)
    }

    fn job_inactive_add(&mut self, job: &Job<'_>) -> Result<(), Error> {
        self.happened(Event::InactiveAdd, job)?;
        self.queue_inactive(job, true)
    }

    fn job_inactive_remove(&mut self, job: &Job<'_>) -> Result<(), Error> {
        self.happened(Event::InactiveRemove, job)?;
        self.queue_inactive(job, false)
    }
}

impl Drop for StateCounts {
    fn drop(&mut self) {
        if !self.live {
            return;
        }
        self.farewell(None, &Family::ALL);
        self.stats.flush();
    }
}

impl StateCounts {
    /// The reactor turned: the load is done, and what it announced is sent.
    fn start(&mut self) {
        self.start = None;
        self.live = true;
        self.books.start();
        self.greet(None, &Family::ALL);
        self.flush();
        self.ask_for_inactive();
        self.ask_for_queues();
    }

    /// The end of a period: what changed is sent.
    fn flush(&mut self) {
        self.stats.flush();
        self.report.flushed();
    }

    /// Time to heal: every gauge is sent as an absolute value. Aggregated, they
    /// leave with the next flush, unless that is further off than a resync.
    fn resync(&mut self) {
        if !self.live {
            return;
        }
        let all = &Family::ALL;
        self.tell_known(None, all, &|stats, gauge, _, count| stats.gauge_set(gauge, count));
        self.report.resynced();
        if self.config.as_ref().is_some_and(|config| config.period > config.resync) {
            self.flush();
        }
    }

    /// The first values of these families: to one endpoint, or to all.
    fn greet(&mut self, endpoint: Option<usize>, families: &[Family]) {
        let absolute = self.owns_its_gauges();
        self.tell_known(endpoint, families, &|stats, gauge, _, count| {
            give(stats, gauge, count, absolute)
        });
    }

    /// The last values of these families: to one endpoint, or to all.
    fn farewell(&mut self, endpoint: Option<usize>, families: &[Family]) {
        let absolute = self.owns_its_gauges();
        self.tell_known(
            endpoint,
            families,
            &|stats, gauge, state, count| match (absolute, state) {
                (true, State::Inactive) => stats.gauge_set(gauge, count),
                (true, _) => stats.gauge_set(gauge, 0),
                (false, _) if count == 0 => Ok(()),
                (false, _) => stats.gauge_add(gauge, -count),
            },
        );
    }

    /// Enters an event into the books, and sends what it changed. Returns whether
    /// it told where the job is.
    fn happened(&mut self, event: Event, job: &Job<'_>) -> Result<bool, Error> {
        if !self.live {
            return self.announced(event, job);
        }
        let (change, anomaly) = self.books.apply(event);
        if self.tells_states && change != Change::default() {
            self.tell(change);
        }
        if let Some(anomaly) = anomaly {
            self.log_first(anomaly);
        }
        Ok(true)
    }

    /// As `happened`, before anything is sent. Apart, for it takes its time.
    #[cold]
    fn announced(&mut self, event: Event, job: &Job<'_>) -> Result<bool, Error> {
        let (told, anomaly) = self.books.announced(job.id()?, event);
        if let Some(anomaly) = anomaly {
            self.log_first(anomaly);
        }
        Ok(told)
    }

    /// Has the families follow a job into `state`; `changed`: its jobspec was.
    /// What one cannot read keeps no other from it. (Not inlined: where none is
    /// wanted, it would lie between what is.)
    #[inline(never)]
    fn follow(
        &mut self,
        state: JobState,
        job: &Job<'_>,
        moved: Option<Transition>,
        changed: bool,
    ) -> Result<(), Error> {
        // Only then, for it takes its time.
        let id = if self.remembers() { job.id()? } else { 0 };
        let mut record = self.records.get(&id).copied().unwrap_or_default();
        let queue = self.queue_job(state, job, &mut record.queue);
        let moved = match moved {
            Some(moved) => self.job_moved(moved, job, &mut record.entered),
            None => Ok(()),
        };
        let usage = self.usage_job(state, job, changed, &mut record.usage);
        // A record goes with its job, whatever could not be read at its end.
        let over = State::from_number(state.0).is_none_or(|state| state == State::Inactive);
        match over || record.is_empty() {
            true => self.records.remove(&id),
            false => self.records.insert(id, record),
        };
        queue.and(moved).and(usage)
    }

    /// Whether a family has to remember jobs.
    fn remembers(&self) -> bool {
        self.queues.is_some() || self.usage.is_some() || self.families.timings
    }

    /// Both lines travel in one datagram, the job's arrival before its departure.
    fn tell(&mut self, change: Change) {
        let StateCounts { books, stats, gauges, config, .. } = self;
        let values = config.as_ref().is_some_and(|config| config.send == SendAs::Values);
        let tell = |stats: &mut Stats, state: State, by| {
            let gauge = gauges[state as usize];
            match values.then(|| books.count(state)).flatten() {
                Some(count) => stats.gauge_set(gauge, count as i64),
                None => stats.gauge_add(gauge, by),
            }
        };
        must(stats.batch(|stats| {
            change.inc.map_or(Ok(()), |state| tell(stats, state, 1))?;
            change.dec.map_or(Ok(()), |state| tell(stats, state, -1))
        }));
    }

    /// Whether absolute values may be sent: the gauges are ours alone.
    fn owns_its_gauges(&self) -> bool {
        self.config.as_ref().is_some_and(Config::owns_its_gauges)
    }

    /// Calls `body` for each gauge of these families whose count is known, in one
    /// batch, for one endpoint or for all.
    fn tell_known(&mut self, endpoint: Option<usize>, families: &[Family], body: Body<'_>) {
        let StateCounts { books, stats, gauges, tells_states, queues, usage, .. } = self;
        // Values mend what is wrong: a dead server's refusal shall not cost them.
        stats.insist();
        // Not generic, as `Body`.
        let tell: &mut dyn FnMut(&mut Stats) -> Result<(), crate::stats::Error> = &mut |stats| {
            if *tells_states && families.contains(&Family::States) {
                for state in State::ALL {
                    if let Some(count) = books.count(state) {
                        body(stats, gauges[state as usize], state, count as i64)?;
                    }
                }
            }
            if let (Some(queues), true) = (&mut *queues, families.contains(&Family::Queues)) {
                queues.tell_known(stats, body)?;
            }
            usage.as_mut().map_or(Ok(()), |usage| usage.tell_known(stats, families, body))
        };
        match endpoint {
            None => must(stats.batch(tell)),
            Some(endpoint) => stats.only(endpoint, |stats| must(tell(stats))),
        }
    }

    /// Logs an anomaly if it is the first of its kind.
    #[cold]
    fn log_first(&self, anomaly: Anomaly) {
        if self.books.anomalies()[anomaly.kind()] > 1 {
            return;
        }
        let what = match anomaly {
            Anomaly::NoJobToMove(state) => format!(
                "a job left {}, where none was counted; that gauge stays 0",
                flux_state(state).name(NameForm::Long)
            ),
            Anomaly::UnknownState(number) => format!(
                "state {number} is unknown to this version and not counted (is there a newer one?)"
            ),
            Anomaly::SurveyContradicted => {
                "the broker's numbers of inactive jobs contradict each other; the newest counts"
                    .to_owned()
            }
        };
        self.warn(&format!("{what} (further ones are not logged)"));
    }

    fn warn(&self, message: &str) {
        self.jobtap.log(LogLevel::Warning, message);
    }

    fn inform(&self, message: &str) {
        self.jobtap.log(LogLevel::Info, message);
    }
}

/// Tells a gauge whose count is known. (Not generic: it would be in the .so once
/// for each use.)
type Body<'a> = &'a dyn Fn(&mut Stats, Metric, State, i64) -> Result<(), crate::stats::Error>;

/// Tells a count for the first time: as a value, or as our share in a gauge
/// that others add to as well.
fn give(
    stats: &mut Stats,
    gauge: Metric,
    count: i64,
    absolute: bool,
) -> Result<(), crate::stats::Error> {
    match (absolute, count) {
        (true, _) => stats.gauge_set(gauge, count),
        (false, 0) => Ok(()),
        (false, _) => stats.gauge_add(gauge, count),
    }
}

/// The state as Flux has it.
fn flux_state(state: State) -> JobState {
    JobState::ALL[state as usize]
}

/// Metrics fail by their name only, and ours were accepted at load.
fn must(sent: Result<(), crate::stats::Error>) {
    debug_assert_eq!(sent, Ok(()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_books_states_are_fluxs() {
        for state in State::ALL {
            assert_eq!(State::from_number(flux_state(state).0), Some(state));
        }
    }
}
