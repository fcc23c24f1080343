//! The reconcile pass: compares the job table with the job manager, corrects it, and fills
//! collectors that were enabled while there are jobs.
//!
//! If another plugin hides an event from this one, the job's next event corrects the table.
//! The last event of a job has no successor, and a priority may change without an event.
//! Therefore, at least every `verify` seconds each job of the table is looked up, a slice per
//! reactor loop iteration. Then the job manager's number of active jobs is compared with the
//! table's ([`Reconcile`]). If they differ, a list of jobs is requested, and the jobs that the
//! table does not have are looked up, too.
//!
//! A collector that is enabled by a reload must count the existing jobs, and may need parts
//! of them that the table does not have. A pass begins at once and fills the collector. The
//! collector's metrics are sent when it has counted all jobs. A pass over 100,000 jobs takes
//! about twelve seconds; a few dozen jobs are one slice. After a caught panic a pass fills
//! all collectors again.

use std::ffi::CStr;
use std::time::{Duration, Instant};

use super::StateCounts;
use crate::collectors::{Backfill, CollectorId};
use crate::flux::{JobArgs, LogLevel, Payload, Response, Rpc, Watcher};
use crate::flux_formats::{f58, JobList};
use crate::jobs::{Change, Comparison, Job, JobTable, NameForm, Reconcile, State};

/// A slice ends after this time and the lookup in progress, which takes 8 µs on average
/// (measured with 8,000 jobs and four collectors, flux-core 0.88.0).
pub(super) const SLICE: Duration = Duration::from_micros(400);
/// Seconds that one lookup takes, and the share of the time that all lookups may take if passes
/// are more frequent than `verify`. 1,000 jobs are looked up every five seconds, 10,000 every
/// 16 s.
const LOOKUP: f64 = 8e-6;
const SHARE: f64 = 0.005;
/// Seconds between two passes that are more frequent than `verify`.
const MIN_INTERVAL: f64 = 5.0;
/// Seconds between two slices, in which the job manager does other work.
pub(super) const PAUSE: f64 = 0.005;
/// The requests for a list of active jobs. The module job-list has a thread of its own, but may
/// lag, or may not be loaded; before 0.50 it requires other arguments. job-manager.list delays
/// jobs by 33 to 66 ms if there are 10,000 (measured, flux-core 0.88.0).
const LISTS: [(&CStr, &CStr); 2] = [
    (
        c"job-list.list",
        c"{\"max_entries\": 0, \"attrs\": [], \"constraint\": \
          {\"states\": [\"depend\", \"priority\", \"sched\", \"run\", \"cleanup\"]}}",
    ),
    (c"job-manager.list", c"{\"max_entries\": 0}"),
];
/// The timeout of a request in seconds.
pub(super) const TIMEOUT: f64 = 10.0;
/// Seconds from a caught panic to the pass that corrects its effects; doubled, at most to 64 s,
/// at each panic before that pass ends.
const RECOVERY_DELAY: f64 = 1.0;

/// The reconcile pass, in progress or not.
#[derive(Default)]
pub(super) struct Pass {
    stage: Stage,
    reconcile: Reconcile,
    /// Collectors that count the jobs in this pass.
    backfill: Backfill,
    /// Starts the next slice.
    next_slice: Option<Watcher>,
    /// Completed passes.
    pub(super) completed: u64,
    /// Jobs in the wrong state, and numbers of inactive jobs, that were corrected.
    pub(super) repairs: u64,
    /// Jobs with other properties that changed without an event, such as the priority.
    pub(super) updates: u64,
    /// The index in [`LISTS`] of the next list to request.
    next_list: usize,
    /// `true` if a pass for a panic must follow this one.
    is_recovery_due: bool,
    /// Recoveries since the last pass without a panic.
    recoveries: i32,
    is_repair_logged: bool,
    is_update_logged: bool,
    is_list_error_logged: bool,
}

#[derive(Default)]
enum Stage {
    #[default]
    Idle,
    /// Looks up the jobs of the table.
    Jobs,
    /// Waits for the job manager's number of jobs.
    Counts,
    /// Waits for a list of jobs.
    List { _rpc: Rpc },
    /// Looks up the jobs in the list.
    Listed(JobList<Payload>),
}

impl Pass {
    /// `true` while collectors are being filled.
    pub(super) fn is_filling(&self) -> bool {
        !self.backfill.is_empty()
    }

    /// The collectors that are being filled.
    pub(super) fn filling(&self) -> Vec<CollectorId> {
        self.backfill.collectors()
    }

    /// Processes a change of a job. A job that the pass has not reached yet is counted later.
    #[inline]
    pub(super) fn job_changed(&mut self, id: u64, change: &Change) {
        if self.is_filling() && self.reconcile.cursor().is_past(id) {
            self.backfill.on_change(change);
        }
    }

    /// To be called when the number of active jobs is requested.
    pub(super) fn counts_requested(&mut self, table: &JobTable) {
        if let Stage::Counts = self.stage {
            self.reconcile.requested(table);
        }
    }
}

impl StateCounts {
    /// Runs every `verify` seconds. A type of exceptions that was not raised since the last call
    /// can lose its place to a new one; this limits how many series users can create.
    pub(super) fn verify(&mut self) {
        self.table.labels_mut().exceptions.clear_counts();
        self.reconcile();
    }

    /// Schedules the next pass, if it is due before the one of `verify`.
    pub(super) fn schedule_pass(&mut self) {
        let next = (self.table.active() as f64 * LOOKUP / SHARE).max(MIN_INTERVAL);
        let is_due = self.config.as_ref().is_some_and(|config| next < config.verify);
        if let (Stage::Idle, true) = (&self.pass.stage, is_due) {
            self.pass.next_slice = self.timer(next, 0.0, Self::reconcile);
        }
    }

    /// Begins a pass, unless one is in progress.
    pub(super) fn reconcile(&mut self) {
        if let (Stage::Idle, true) = (&self.pass.stage, self.publisher.is_running()) {
            // A pass ends before it filled its collectors if a timer could not be created.
            self.start_pass(Backfill::new(&self.pass.filling()));
        }
    }

    /// Enables these collectors and disables all others. Those that are enabled already
    /// continue; the others are enabled when a pass has filled them.
    pub(super) fn enable_collectors(&mut self, wanted: &[CollectorId]) {
        self.collectors.retain(wanted, &mut self.publisher);
        self.table.set_needs(CollectorId::needs(wanted));
        self.update_subscription();
        let filling = self.pass.filling();
        let fill: Vec<_> = wanted
            .iter()
            .copied()
            .filter(|id| !self.collectors.ids().any(|it| it == *id) || filling.contains(id))
            .collect();
        if fill != filling {
            self.start_pass(Backfill::new(&fill));
        }
    }

    /// After a caught panic table and gauges may be wrong: a pass looks up all jobs again and
    /// fills all collectors again.
    pub fn recover(&mut self) {
        if self.timers.recovery.is_none() {
            let delay = RECOVERY_DELAY * 2f64.powi(self.pass.recoveries.min(6));
            self.timers.recovery = self.timer(delay, 0.0, Self::start_recovery);
        }
    }

    fn start_recovery(&mut self) {
        self.timers.recovery = None;
        let (Some(config), true) = (&self.config, self.publisher.is_running()) else { return };
        let all = Backfill::new(&config.metrics);
        self.table.recount();
        self.pass.recoveries = self.pass.recoveries.saturating_add(1);
        match self.pass.stage {
            // It continues after the job at which a lookup may have panicked. If each panic
            // restarted the pass, it might never be complete.
            Stage::Jobs => {
                self.pass.is_recovery_due = true;
                self.pass_jobs();
            }
            _ => self.start_pass(all),
        }
        self.start_polls();
    }

    /// Begins a pass that fills these collectors. A pass in progress is abandoned.
    pub(super) fn start_pass(&mut self, backfill: Backfill) {
        self.pass.reconcile.begin();
        self.pass.next_list = 0;
        (self.pass.stage, self.pass.backfill) = (Stage::Jobs, backfill);
        self.pass.next_slice = None;
        self.pass_jobs();
    }

    /// Looks up the table's jobs and then enables the filled collectors, until the slice is
    /// over.
    fn pass_jobs(&mut self) {
        let start = Instant::now();
        // While Flux loads the plugin there are no loop iterations, and hardly any jobs.
        let limit = if self.publisher.is_running() { SLICE } else { Duration::MAX };
        while let Some(id) = self.pass.reconcile.cursor().next(&self.table) {
            self.look_up_job(id);
            if let (Some(job), true) = (self.table.job(id), self.pass.is_filling()) {
                self.pass.backfill.add(job);
            }
            if start.elapsed() >= limit {
                return self.schedule_slice(Self::pass_jobs);
            }
        }
        // The metrics of a collector with many labels are defined and sent in one iteration.
        while let Some(filled) = self.pass.backfill.take_one() {
            self.collectors.install(filled, &self.table, &mut self.publisher);
            self.request_flush();
            if start.elapsed() >= limit {
                return self.schedule_slice(Self::pass_jobs);
            }
        }
        match self.publisher.is_running() {
            true => self.request_active(),
            // `start` requests the counts.
            false => self.pass.stage = Stage::Idle,
        }
    }

    /// Requests the job manager's number of active jobs.
    fn request_active(&mut self) {
        self.pass.stage = Stage::Counts;
        self.request_counts();
    }

    fn schedule_slice(&mut self, slice: fn(&mut Self)) {
        self.pass.next_slice = self.timer(PAUSE, 0.0, slice);
        if self.pass.next_slice.is_none() {
            // The next pass begins again.
            self.pass.stage = Stage::Idle;
        }
    }

    /// Looks a job up and corrects table and gauges.
    fn look_up_job(&mut self, id: u64) {
        let table = &mut self.table;
        let change = self.flux.with_job(id, |job| {
            // A job without a state cannot be counted.
            table.reconcile(id, job.state().ok().map(|state| (state, job)))
        });
        let change =
            change.unwrap_or_else(|| self.table.reconcile(id, None::<(i32, &JobArgs<'_>)>));
        self.collectors.on_change(&change, None, &self.table, &mut self.publisher);
        self.request_flush();
        if let Some(anomaly) = change.anomaly {
            self.log_first(anomaly);
        }
        let state = |job: &Option<Job>| job.as_ref().map(|job| job.state);
        let (before, after) = (state(&change.before), state(&change.after));
        if before != after {
            self.pass.repairs += 1;
            if !std::mem::replace(&mut self.pass.is_repair_logged, true) {
                self.log_repair(id, before, after);
            }
        } else if before.is_some() && !self.pass.is_filling() {
            // Flux has no event for plugins when a priority changes in the same state. (A new
            // collector needs more parts of a job: no update.)
            self.pass.updates += 1;
            if !std::mem::replace(&mut self.pass.is_update_logged, true) {
                let text = "changed without an event for plugins, such as its priority or the \
                            status of its queue; gauges updated (further updates are counted, \
                            and not logged)";
                self.flux.log(LogLevel::Info, &format!("job {}: {text}", f58(id)));
            }
        }
    }

    /// Processes the job manager's number of active jobs. `is_settled` is set if the response
    /// determined the number of inactive jobs. Returns `true` if the numbers must be
    /// requested again.
    pub(super) fn compare_counts(&mut self, active: u64, is_settled: bool) -> bool {
        let Stage::Counts = self.pass.stage else { return false };
        match self.pass.reconcile.response(active, &self.table) {
            Comparison::RequestAgain => return true,
            Comparison::Equal if !is_settled && self.pass.reconcile.may_request_again() => {
                return true
            }
            Comparison::Equal => {
                self.table.reconciled();
                self.complete_pass();
            }
            Comparison::TooBusy => self.complete_pass(),
            Comparison::List => {
                let (topic, active) = LISTS[self.pass.next_list];
                self.pass.next_list += 1;
                match Rpc::send(&self.flux, topic, Some(active), TIMEOUT, Self::on_list_response) {
                    Ok(rpc) => self.pass.stage = Stage::List { _rpc: rpc },
                    Err(error) => self.on_list_error(&error.to_string()),
                }
            }
        }
        false
    }

    fn on_list_response(&mut self, response: Response<'_>) {
        match response.payload().map_err(|error| error.to_string()).and_then(JobList::new) {
            Ok(list) => {
                self.pass.stage = Stage::Listed(list);
                self.pass_listed();
            }
            Err(error) => self.on_list_error(&error),
        }
    }

    /// Looks up the listed jobs that the table does not have, until the slice is over.
    fn pass_listed(&mut self) {
        let start = Instant::now();
        while let Stage::Listed(list) = &mut self.pass.stage {
            match list.next() {
                Some(Ok(job)) if self.table.job(job.id).is_none() => self.look_up_job(job.id),
                Some(Ok(_)) => (),
                Some(Err(error)) => return self.on_list_error(&error),
                None if self.pass.next_list < LISTS.len() => return self.request_active(),
                None => {
                    self.table.reconciled();
                    return self.complete_pass();
                }
            }
            if start.elapsed() >= SLICE {
                return self.schedule_slice(Self::pass_listed);
            }
        }
    }

    fn on_list_error(&mut self, error: &str) {
        if self.pass.next_list < LISTS.len() {
            return self.request_active();
        }
        if !std::mem::replace(&mut self.pass.is_list_error_logged, true) {
            self.warn(&format!(
                "job-manager.list: {error}: jobs may be missing until a later pass succeeds \
                 (further errors are not logged)"
            ));
        }
        self.complete_pass();
    }

    fn complete_pass(&mut self) {
        self.pass.stage = Stage::Idle;
        self.pass.completed += 1;
        self.request_by_queue();
        self.schedule_pass();
        match (std::mem::take(&mut self.pass.is_recovery_due), &self.config) {
            (true, Some(config)) => self.start_pass(Backfill::new(&config.metrics)),
            _ => self.pass.recoveries = 0,
        }
    }

    #[cold]
    fn log_repair(&self, id: u64, before: Option<Option<State>>, after: Option<Option<State>>) {
        let name = |state: Option<Option<State>>| match state {
            Some(Some(state)) => state.name(NameForm::Long),
            Some(None) => "in an unknown state",
            None => "not active",
        };
        self.warn(&format!(
            "job {} is {} in the table and {} in the job manager: missed an event (did another \
             plugin fail?); counts corrected (further repairs are counted, and not logged)",
            f58(id),
            name(before),
            name(after),
        ));
    }
}
