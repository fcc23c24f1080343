//! One loaded plugin. It passes callbacks to the job table, the table's changes to
//! the collectors, and the collectors' metrics to the publisher.
//!
//! What a dashboard shows of a plugin's life:
//!
//! - At load, nothing is sent until the reactor turns. By then all active jobs are
//!   reported, and Flux can no longer refuse the load. Then every gauge is sent once:
//!   a server may remember values of an earlier life.
//! - While the plugin runs, changes are sent at the end of each turn of the reactor, or
//!   summed over `period`. Every `resync` seconds each gauge's absolute value is sent.
//! - Every `verify` seconds the table is compared with the job manager's own jobs.
//! - At removal, which is also how an instance ends, the gauges of active states go to
//!   0. Nobody counts those jobs any more. INACTIVE keeps its last value: those jobs
//!   are over whether anybody counts or not.
//! - When the configuration changes, servers and names that stay lose nothing. Those
//!   that go are treated as at removal, those that come as at load.
//! - With `resync` 0 and increments, several instances may share one name: the server
//!   shows their sum. Then no absolute value is ever sent. At removal the plugin
//!   subtracts all that it added, INACTIVE too.

mod backfill;
mod configure;
mod counts;
mod destinations;
mod queues;
mod report;
mod resource_status;
mod source;
mod verify;
mod version;

use crate::collectors::{Collectors, EventContext};
use crate::config::{BrokerInfo, Config};
use crate::flux::{
    Callbacks, Conf, Error, Job, JobEvent, JobState, Jobtap, LogLevel, Plugin, PrepareWatcher,
    Timer, Transition,
};
use crate::jobs::label_table::OTHER;
use crate::jobs::{
    Anomaly, Change, Event, EventKind, JobResult, JobTable, NameForm, Needs, State, Timestamp,
};
use crate::publish::Publisher;
use backfill::Backfill;
use counts::CountsQuestion;
use destinations::DestinationTimers;
use queues::QueuesQuestion;
use report::Report;
use resource_status::ResourceStatusPoll;
use source::OfJob;
use verify::Verify;

/// The plugin.
pub struct StateCounts {
    flux: Jobtap<Self>,
    table: JobTable,
    collectors: Collectors,
    publisher: Publisher,
    /// `None` until the first `conf.update`.
    config: Option<Config>,
    /// What fills a name's placeholders; `None` until a name has one.
    broker: Option<BrokerInfo>,
    counts: CountsQuestion,
    queues: QueuesQuestion,
    resource_status: ResourceStatusPoll,
    verify: Verify,
    switch: Backfill,
    destinations: DestinationTimers,
    report: Report,
    timers: Timers,
}

/// What calls the plugin in time. Dropping one ends it.
#[derive(Default)]
struct Timers {
    start: Option<Timer>,
    /// Where changes are summed over a period.
    flush: Option<Timer>,
    /// Where they are sent at the end of the reactor's turn.
    turn_end: Option<PrepareWatcher>,
    resync: Option<Timer>,
    /// Until the next part of a resync that is too much for one burst.
    resync_part: Option<Timer>,
}

/// Seconds between two parts of a resync: time for a server to read what came.
const RESYNC_PAUSE: f64 = 0.01;

impl Plugin for StateCounts {
    const NAME: &'static str = env!("CARGO_PKG_NAME");

    fn init(flux: Jobtap<Self>, callbacks: &mut Callbacks<Self>) -> Result<Self, Error> {
        // The most frequent first.
        callbacks.job_state(Self::job_state);
        callbacks.job_new(Self::job_new);
        callbacks.job_event("exception", Self::job_exception);
        callbacks.job_update(Self::job_update);
        callbacks.job_inactive_add(Self::job_inactive_add);
        callbacks.job_inactive_remove(Self::job_inactive_remove);
        callbacks.conf_update(Self::conf_update);
        callbacks.query(Self::query);
        Ok(StateCounts {
            flux,
            table: JobTable::default(),
            collectors: Collectors::default(),
            publisher: Publisher::new(),
            config: None,
            broker: None,
            counts: CountsQuestion::default(),
            queues: QueuesQuestion::default(),
            resource_status: ResourceStatusPoll::default(),
            verify: Verify::default(),
            switch: Backfill::default(),
            destinations: DestinationTimers::default(),
            report: Report::default(),
            timers: Timers::default(),
        })
    }
}

impl Drop for StateCounts {
    fn drop(&mut self) {
        self.publisher.end();
    }
}

/// The callbacks.
impl StateCounts {
    fn conf_update(&mut self, conf: Conf<'_>) -> Result<(), Error> {
        if let Some(prepared) = self.prepare(conf)? {
            self.commit(prepared);
        }
        Ok(())
    }

    fn query(&mut self) -> String {
        self.answer_query()
    }

    fn job_new(&mut self, job: &Job<'_>) -> Result<(), Error> {
        let state = job.state()?;
        let id = job.id()?;
        let event = Event { id, kind: EventKind::New { state: state.0 } };
        let applied = self.apply_event(event, job, None, None);
        applied.and(self.subscribe(id))
    }

    fn job_state(&mut self, transition: Transition, job: &Job<'_>) -> Result<(), Error> {
        #[cfg(feature = "panic-for-tests")]
        if transition.state == JobState::SCHED {
            panic!("made for a test");
        }
        let Transition { id, state, previous } = transition;
        let needs = self.table.needs();
        let moved = |at| {
            let (state, previous) = (state.0, previous.map(|state| state.0));
            Event { id, kind: EventKind::Transition { state, previous, at } }
        };
        if !needs.contains(Needs::TIMES) && !needs.contains(Needs::RESULT) {
            return self.apply_event(moved(None), job, None, None);
        }
        self.apply_with_times(moved, job, previous.is_some() && state == JobState::INACTIVE)
    }

    fn job_exception(&mut self, event: &JobEvent<'_>, _: &Job<'_>) -> Result<(), Error> {
        let kind = event.exception_type()?;
        if self.table.needs().contains(Needs::RESULT) {
            // Its type is a user's text, and may be anything.
            let kind = if kind.is_empty() { OTHER } else { &kind };
            let exception = self.table.labels_mut().exceptions.id(kind);
            self.collectors.on_exception(exception, self.table.labels(), &mut self.publisher);
            self.request_flush();
        }
        Ok(())
    }

    fn job_update(&mut self, job: &Job<'_>) -> Result<(), Error> {
        self.apply_event(Event { id: job.id()?, kind: EventKind::Updated }, job, None, None)
    }

    fn job_inactive_add(&mut self, job: &Job<'_>) -> Result<(), Error> {
        // Old versions of Flux also call it for active jobs: see `Callbacks`.
        if job.state()? != JobState::INACTIVE {
            return Ok(());
        }
        self.apply_event(Event { id: job.id()?, kind: EventKind::InactiveAdd }, job, None, None)
    }

    fn job_inactive_remove(&mut self, job: &Job<'_>) -> Result<(), Error> {
        self.apply_event(Event { id: job.id()?, kind: EventKind::InactiveRemove }, job, None, None)
    }
}

impl StateCounts {
    /// The reactor turned: the load is done, and the jobs that it reported are sent.
    fn start(&mut self) {
        self.timers.start = None;
        self.table.loaded();
        self.publisher.start();
        self.service_destinations();
        self.report.note_flush();
        self.ask_for_counts();
        self.ask_for_queues();
        self.ask_for_machine();
    }

    /// The end of a period, or of a turn: what changed is sent.
    fn flush(&mut self) {
        self.publisher.flush();
        self.publisher.report_failures();
        self.service_destinations();
        self.report.note_flush();
    }

    /// Something may be pending: it is sent at the end of this turn, unless it
    /// waits for the end of a period.
    #[inline]
    fn request_flush(&mut self) {
        if let Some(turn_end) = &self.timers.turn_end {
            if self.publisher.is_pending() {
                turn_end.request();
            }
        }
    }

    /// Time to heal: every gauge is sent as an absolute value. Aggregated, they
    /// leave with the next flush, unless that is further off than a resync.
    fn resync(&mut self) {
        if !self.publisher.is_running() {
            return;
        }
        self.publisher.resync();
        self.report.note_resync();
        if self.config.as_ref().is_some_and(|config| config.period > config.resync) {
            self.flush();
        }
        self.request_flush();
        // It asks by a timer of its own, unless that could not be made.
        self.ask_for_machine();
    }

    /// What the last flush left of a resync follows after a pause.
    pub(super) fn schedule_resync_part(&mut self) {
        if !self.publisher.has_resync_left() || self.timers.resync_part.is_some() {
            return;
        }
        match self.flux.timer(RESYNC_PAUSE, 0.0, Self::continue_resync) {
            Ok(timer) => self.timers.resync_part = Some(timer),
            // Then the next flush removed on with it.
            Err(_) => self.publisher.continue_resync(),
        }
    }

    fn continue_resync(&mut self) {
        self.timers.resync_part = None;
        self.publisher.continue_resync();
        self.flush();
    }

    /// Applies an event to the table, and what it changed to the collectors.
    fn apply_event(
        &mut self,
        event: Event,
        job: &Job<'_>,
        submitted: Option<Timestamp>,
        result: Option<JobResult>,
    ) -> Result<(), Error> {
        let change = self.table.apply(event, &OfJob(job));
        let is_new = self.publisher.is_running();
        let context = EventContext { kind: event.kind, is_new, submitted, result };
        self.job_changed(event.id, &change, Some(&context));
        self.request_flush();
        if let Some(anomaly) = change.anomaly {
            self.log_first(anomaly);
        }
        change.read_error.map_or(Ok(()), |error| Err(Error::new(error.0)))
    }

    /// The table knows something else of a job: the collectors count that.
    #[inline]
    fn job_changed(&mut self, id: u64, change: &Change, context: Option<&EventContext>) {
        self.collectors.on_change(change, context, &self.table, &mut self.publisher);
        if self.switch.is_under_way() {
            self.switch.job_changed(id, change);
        }
    }

    /// As `apply_event`, for collectors that need the time or the result. If one of them
    /// cannot be read, the event is applied all the same. Not inlined: it would make
    /// `job_state` longer for the collectors that need neither.
    #[inline(never)]
    fn apply_with_times(
        &mut self,
        moved: impl Fn(Option<Timestamp>) -> Event,
        job: &Job<'_>,
        ends: bool,
    ) -> Result<(), Error> {
        let needs = self.table.needs();
        let (mut at, mut submitted, mut result, mut outcome) = (None, None, None, Ok(()));
        if needs.contains(Needs::TIMES) {
            match job.times() {
                Ok(times) => {
                    at = times.event.map(Timestamp::from_seconds);
                    submitted = Some(Timestamp::from_seconds(times.submitted));
                }
                Err(error) => outcome = Err(error),
            }
        }
        if needs.contains(Needs::RESULT) && ends {
            match job.result() {
                Ok(crate::flux::JobResult::Completed) => result = Some(JobResult::Completed),
                Ok(crate::flux::JobResult::Failed) => result = Some(JobResult::Failed),
                Ok(crate::flux::JobResult::Canceled) => result = Some(JobResult::Canceled),
                Ok(crate::flux::JobResult::Timeout) => result = Some(JobResult::Timeout),
                Err(error) => outcome = Err(error),
            }
        }
        self.apply_event(moved(at), job, submitted, result).and(outcome)
    }

    /// Asks for the exceptions of an active job, if they are wanted.
    fn subscribe(&mut self, id: u64) -> Result<(), Error> {
        match self.table.needs().contains(Needs::RESULT) && self.table.note_subscription(id) {
            true => self.flux.subscribe(id),
            false => Ok(()),
        }
    }

    /// Logs an anomaly if it is the first of its kind.
    #[cold]
    fn log_first(&self, anomaly: Anomaly) {
        if self.table.anomalies()[anomaly.kind()] > 1 {
            return;
        }
        let what = match anomaly {
            Anomaly::MissedEvent(State::Inactive) => {
                "a job was purged where none was inactive; that gauge stays 0".to_owned()
            }
            Anomaly::MissedEvent(state) => format!(
                "an event of a job, from or to {}, never came (does another plugin fail?); the \
                 job counts where it is",
                state.name(NameForm::Long)
            ),
            Anomaly::UnknownState(number) => format!(
                "state {number} is unknown to this version and not counted (is there a newer one?)"
            ),
            Anomaly::JobspecLimit => {
                "a jobspec exceeds a limit (1,024 resource vertices, 16 levels, 64 dependencies)"
                    .to_owned()
            }
            Anomaly::InactiveContradicted => {
                "the broker's number of inactive jobs contradicts what is known; it is believed"
                    .to_owned()
            }
        };
        self.warn(&format!("{what} (further ones are not logged)"));
    }

    fn warn(&self, message: &str) {
        self.flux.log(LogLevel::Warning, message);
    }

    fn inform(&self, message: &str) {
        self.flux.log(LogLevel::Info, message);
    }
}
