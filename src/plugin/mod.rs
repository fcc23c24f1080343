//! One loaded plugin. It passes callbacks to the job table, the table's changes to the
//! collectors, and the collectors' metrics to the publisher.
//!
//! The gauges during the plugin's life:
//!
//! - At load nothing is sent before the first reactor loop iteration. By then Flux has
//!   reported all active jobs and can no longer refuse the load. Then each gauge is sent as
//!   an absolute value: a server may still have earlier values.
//! - While the plugin is loaded, changes are sent at the end of each reactor loop iteration,
//!   or once per `period`. Every `resync` seconds all gauges are sent as absolute values.
//! - At least every `verify` seconds a reconcile pass compares the table with the job manager.
//! - At removal, which is also how an instance ends, the gauges of active jobs are set to 0,
//!   because they are no longer updated. INACTIVE keeps its last value.
//! - After a reload, destinations and names that did not change continue without
//!   interruption. Removed ones are treated as at removal, new ones as at load.
//! - With `resync = 0` and increments, several instances may send to one name; the server
//!   shows their sum. Then no absolute value is sent, and at removal the plugin subtracts
//!   everything it added.

mod configure;
mod pass;
mod polls;
mod report;

use std::rc::Rc;

use once_cell::unsync::OnceCell;
use serde::Deserialize;

use crate::collectors::Collectors;
use crate::config::{BrokerInfo, Config};
use crate::flux::{Error, Flux, JobArgs, LogLevel, Subscription, Transition, Watcher};
use crate::flux_formats::QueueRequirements;
use crate::jobs::{
    Anomaly, Event, EventKind, JobTable, NameForm, Needs, State, Timestamp, MAX_LABELS, MAX_QUEUES,
    OTHER,
};
use crate::publish::Publisher;
use crate::stats::Socket;
use configure::INTERVALS;
use pass::Pass;
use polls::Polls;

/// One loaded plugin.
pub struct StateCounts {
    flux: Flux,
    table: JobTable,
    collectors: Collectors,
    publisher: Publisher,
    /// `None` until the first `conf.update`.
    config: Option<Config>,
    /// `false` before the first `conf.update`, and after a panic while a configuration was
    /// applied: then the next one is applied as a whole.
    is_configured: bool,
    /// The queues of the broker's configuration.
    queue_requirements: Vec<QueueRequirements>,
    is_private_logged: bool,
    /// Values of the placeholders in names, queried once.
    broker: OnceCell<BrokerInfo>,
    polls: Polls,
    pass: Pass,
    /// The event messages of exceptions, if exceptions are counted.
    exceptions: Option<Subscription>,
    /// Resyncs so far.
    resyncs: u64,
    /// Flushes at the end of a reactor loop iteration, if `period` is 0.
    loop_end: Watcher,
    /// Started by the configuration: see [`INTERVALS`].
    intervals: [Option<Watcher>; INTERVALS.len()],
    timers: Timers,
    /// One for each full Unix socket. The watcher is dropped before the socket.
    writable: Vec<(Watcher, Rc<Socket>)>,
}

/// Timers that run once.
#[derive(Default)]
struct Timers {
    start: Option<Watcher>,
    recovery: Option<Watcher>,
    /// With the time at which it runs.
    destinations: Option<(f64, Watcher)>,
}

impl StateCounts {
    /// Nothing is sent yet: Flux may still refuse the load ("already loaded").
    ///
    /// # Errors
    /// If Flux is out of memory.
    pub fn new(flux: Flux) -> Result<StateCounts, Error> {
        Ok(StateCounts {
            loop_end: Watcher::loop_end(&flux, Self::flush)?,
            flux,
            table: JobTable::default(),
            collectors: Collectors::default(),
            publisher: Publisher::default(),
            config: None,
            is_configured: false,
            queue_requirements: Vec::new(),
            is_private_logged: false,
            broker: OnceCell::new(),
            polls: Polls::default(),
            pass: Pass::default(),
            exceptions: None,
            resyncs: 0,
            intervals: [const { None }; INTERVALS.len()],
            timers: Timers::default(),
            writable: Vec::new(),
        })
    }
}

impl Drop for StateCounts {
    fn drop(&mut self) {
        self.publisher.end(self.flux.now());
    }
}

/// The callbacks. `src/flux/callback.rs` calls them.
impl StateCounts {
    /// `job.new`: a job was accepted, or was active when the plugin was loaded.
    pub fn job_new(&mut self, job: &JobArgs<'_>) -> Result<(), Error> {
        let (id, state) = (job.id()?, job.state()?);
        self.apply(id, EventKind::New { state }, job)
    }

    /// `job.state.*`: a job entered a state.
    pub fn job_state(&mut self, transition: Transition, job: &JobArgs<'_>) -> Result<(), Error> {
        let needs = self.table.needs();
        if needs.contains(Needs::TIMES) || needs.contains(Needs::RESULT) {
            return self.job_state_with_event(transition, job);
        }
        let Transition { id, state, previous } = transition;
        self.apply(id, EventKind::Transition { state, previous, at: None }, job)
    }

    /// `job.state.*`, for collectors that need times or exceptions. Not inlined: it would
    /// lengthen `job_state`.
    #[inline(never)]
    fn job_state_with_event(
        &mut self,
        transition: Transition,
        job: &JobArgs<'_>,
    ) -> Result<(), Error> {
        let Transition { id, state, previous } = transition;
        let needs = self.table.needs();
        let at = needs.contains(Needs::TIMES).then(|| job.event_time()).flatten();
        let at = at.map(Timestamp::from_seconds);
        let is_ending = previous.is_some() && state == State::Cleanup.number();
        if is_ending && needs.contains(Needs::RESULT) {
            if let Some(exception_type) = job.exception_type() {
                self.exception_raised(exception_type);
            }
        }
        self.apply(id, EventKind::Transition { state, previous, at }, job)
    }

    /// The event message `job-exception`. A fatal exception (severity 0) is counted when the job
    /// enters CLEANUP: some of them have no message (flux-core, start.c). Flux also publishes
    /// exceptions of jobs that it then rejects (dependency-after.c): they are not counted.
    fn job_exception(&mut self, message: &str) -> Result<(), Error> {
        #[derive(Deserialize)]
        struct JobException {
            id: u64,
            #[serde(rename = "type")]
            exception_type: String,
            severity: i64,
        }
        let exception: JobException = serde_json::from_str(message)
            .map_err(|error| Error::new(format!("job-exception: {error}")))?;
        if exception.severity != 0 && self.flux.with_job(exception.id, |_| ()).is_some() {
            self.exception_raised(&exception.exception_type);
        }
        Ok(())
    }

    fn exception_raised(&mut self, exception_type: &str) {
        if self.table.needs().contains(Needs::RESULT) {
            // Plugins may raise exceptions without a type.
            let exception_type = if exception_type.is_empty() { OTHER } else { exception_type };
            let exceptions = &mut self.table.labels_mut().exceptions;
            let label = exceptions.id(exception_type);
            // Until the end of the interval `verify`, its place is not given to another type.
            exceptions.count(label, 1);
            self.collectors.on_exception(label, self.table.labels(), &mut self.publisher);
            self.request_flush();
        }
    }

    /// Subscribes to exceptions, or unsubscribes, after a change of the needs.
    fn update_subscription(&mut self) {
        self.exceptions = match self.table.needs().contains(Needs::RESULT) {
            true => self.exceptions.take().or_else(|| {
                let exceptions =
                    Subscription::new(&self.flux, c"job-exception", Self::job_exception);
                exceptions.map_err(|error| self.warn(&error.to_string())).ok()
            }),
            false => None,
        };
    }

    /// `job.update`: a job's jobspec was changed.
    pub fn job_update(&mut self, job: &JobArgs<'_>) -> Result<(), Error> {
        self.apply(job.id()?, EventKind::Updated, job)
    }

    /// `job.inactive-add`: a job became inactive, or was read from the KVS at a restart.
    /// Before 0.87.0 a restart calls it for active jobs, too (flux-core #7690).
    pub fn job_inactive_add(&mut self, job: &JobArgs<'_>) -> Result<(), Error> {
        if job.state()? != State::Inactive.number() {
            return Ok(());
        }
        self.apply(job.id()?, EventKind::InactiveAdd, job)
    }

    /// `job.inactive-remove`: an inactive job was purged.
    pub fn job_inactive_remove(&mut self, job: &JobArgs<'_>) -> Result<(), Error> {
        self.apply(job.id()?, EventKind::InactiveRemove, job)
    }

    /// Applies an event to the table, and the change to the collectors. If the jobspec or R
    /// cannot be read, the job is counted with its known parts, and an error is returned.
    #[inline]
    fn apply(&mut self, id: u64, kind: EventKind, job: &JobArgs<'_>) -> Result<(), Error> {
        let change = self.table.apply(Event { id, kind }, job);
        self.collectors.on_change(&change, Some(kind), &self.table, &mut self.publisher);
        self.pass.job_changed(id, &change);
        self.request_flush();
        if let Some(anomaly) = change.anomaly {
            self.log_first(anomaly);
        }
        change.read_error.map_or(Ok(()), |error| Err(Error::new(error.0)))
    }
}

/// Sending.
impl StateCounts {
    /// Runs in the first reactor loop iteration after the load.
    fn start(&mut self) {
        self.timers.start = None;
        self.table.loaded();
        self.publisher.start(self.flux.now());
        self.destinations_changed();
        self.start_polls();
        self.schedule_pass();
    }

    /// Sends the changes, at the end of a loop iteration or of a period.
    fn flush(&mut self) {
        self.publisher.flush(self.flux.now());
        if self.publisher.needs_service() {
            self.destinations_changed();
        }
    }

    /// Flushes at the end of this loop iteration, unless changes are sent once per `period`.
    #[inline]
    fn request_flush(&mut self) {
        let at_loop_end = self.config.as_ref().is_some_and(|config| config.period == 0.0);
        if at_loop_end && self.publisher.is_pending() {
            self.loop_end.request();
        }
    }

    /// Sends all gauges as absolute values with the next flush, or at once if `period` is
    /// longer than `resync`.
    fn resync(&mut self) {
        if !self.publisher.is_running() {
            return;
        }
        self.publisher.resync();
        self.resyncs += 1;
        if self.config.as_ref().is_some_and(|config| config.period > config.resync) {
            self.flush();
        }
        self.request_flush();
    }

    /// Looks up the hosts of all destinations again, and replaces UDP sockets.
    fn look_up_hosts(&mut self) {
        self.publisher.look_up(false, self.flux.now());
        self.service_destinations();
    }

    fn check_destinations(&mut self) {
        self.publisher.check_destinations(self.flux.now());
        self.count_telemetry();
        let is_shared = self.config.as_ref().is_some_and(Config::shares_gauges);
        let now = (!is_shared).then(|| Timestamp::from_seconds(self.flux.now()));
        self.collectors.set_ages(now, &self.table, &mut self.publisher);
        self.request_flush();
        self.destinations_changed();
    }

    fn service_destinations(&mut self) {
        self.timers.destinations = None;
        self.publisher.service(self.flux.now());
        self.destinations_changed();
    }

    /// To be called after each use of the destinations: logs, and starts the timer and the
    /// watchers that continue later.
    fn destinations_changed(&mut self) {
        for notice in self.publisher.take_notices() {
            let level = if notice.is_warning { LogLevel::Warning } else { LogLevel::Info };
            self.flux.log(level, &notice.text);
        }
        let next = self.publisher.next_service();
        // An earlier timer stays: flushes do not postpone it.
        let timer = self.timers.destinations.as_ref().map(|(time, _)| *time);
        if next.is_none_or(|next| timer.is_none_or(|time| next < time)) {
            self.timers.destinations = next.and_then(|time| {
                let after = (time - self.flux.now()).max(0.0);
                Some((time, self.timer(after, 0.0, Self::service_destinations)?))
            });
        }
        let full = self.publisher.full_sockets();
        self.writable.retain(|(_, socket)| full.iter().any(|it| Rc::ptr_eq(it, socket)));
        for socket in full {
            if !self.writable.iter().any(|(_, it)| Rc::ptr_eq(it, &socket)) {
                // Without a watcher, the connection continues with its timer.
                let watcher = Watcher::writable(&self.flux, &*socket, Self::service_destinations);
                self.writable.extend(watcher.ok().map(|watcher| (watcher, socket)));
            }
        }
    }

    /// Starts a timer. If Flux is out of memory, this is logged.
    fn timer(&self, after: f64, repeat: f64, callback: fn(&mut Self)) -> Option<Watcher> {
        let timer = Watcher::timer(&self.flux, after, repeat, callback);
        timer.map_err(|error| self.warn(&error.to_string())).ok()
    }

    /// Logs the first anomaly of each kind.
    #[cold]
    fn log_first(&self, anomaly: Anomaly) {
        if self.table.anomalies()[anomaly.kind()] > 1 {
            return;
        }
        let text = match anomaly {
            Anomaly::MissedEvent(State::Inactive) => {
                "an inactive job was purged, but none was counted; the gauge stays 0".to_owned()
            }
            Anomaly::MissedEvent(state) => format!(
                "missed an event for a job entering or leaving {} (did another plugin fail?); \
                 counts corrected",
                state.name(NameForm::Long)
            ),
            Anomaly::UnknownState(number) => format!(
                "job state {number} is unknown to this version of the plugin and not counted"
            ),
            Anomaly::InactiveContradicted => {
                "the job manager's number of inactive jobs differs from the count; corrected"
                    .to_owned()
            }
            Anomaly::JobspecLimit => "a jobspec exceeds a limit: the job counts as requesting no \
                 resources, or with its first 64 dependencies only"
                .to_owned(),
            Anomaly::ResultUnknown => "a job has ended, but Flux no longer has its result (did \
                 another plugin fail?); it is not counted"
                .to_owned(),
            Anomaly::LabelLimit => format!(
                "more than {MAX_QUEUES} queues, {MAX_LABELS} users or banks, or 15 exception types \
                 or dependency schemes at the same time: further ones are counted as \"{OTHER}\""
            ),
        };
        self.warn(&format!("{text} (further ones are counted, and not logged)"));
    }

    fn warn(&self, message: &str) {
        self.flux.log(LogLevel::Warning, message);
    }
}
