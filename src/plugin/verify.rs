//! The self-check: see [`crate::jobs::reconcile`] for what is compared, and why.

use std::time::{Duration, Instant};

use super::source::OfJob;
use super::StateCounts;
use crate::flux::{Payload, Response, Rpc, Timer};
use crate::flux_formats::JobList;
use crate::jobs::cursor::Cursor;
use crate::jobs::reconcile::{Comparison, Reconcile};
use crate::jobs::{Change, Job, JobTable, NameForm};

/// How long one turn of the reactor is held by a check, but for the look-ups that
/// are begun: 8 µs each, as measured with 8,000 jobs and four collectors in
/// flux-core 0.88.0.
pub(super) const SLICE: Duration = Duration::from_micros(400);
/// Look-ups between two looks at the clock.
const AT_ONCE: usize = 4;
/// Seconds between two slices: the job manager has other work.
const PAUSE: f64 = 0.005;
/// Seconds until a question is given up.
const TIMEOUT: f64 = 10.0;

/// The check, under way or not.
#[derive(Default)]
pub(super) struct Verify {
    check: Reconcile,
    stage: Stage,
    timer: Option<Timer>,
    /// Jobs, and numbers of jobs, that were put right.
    repairs: u64,
    /// Whether a job that was put right is in the log.
    has_logged: bool,
    /// Whether it is that the job manager does not list its jobs.
    has_logged_list: bool,
    /// Checks that came to their end.
    checks: u64,
}

/// Where a check is.
#[derive(Default)]
enum Stage {
    /// Nowhere: none is under way.
    #[default]
    Idle,
    /// In the table's jobs. The timer wakes it for the next slice.
    Cursor { _next: Timer },
    /// It waits for the job manager's number of jobs.
    Counts,
    /// It waits for the job manager's list.
    List { _rpc: Rpc },
    /// In the job manager's list: the jobs in it are still to be looked up.
    Listed { list: JobList<Payload>, _next: Option<Timer> },
}

impl Verify {
    /// Checks from now on when this timer fires; `None`: never.
    pub(super) fn set_timer(&mut self, timer: Option<Timer>) {
        self.timer = timer;
    }

    /// Something was put right that is no job.
    pub(super) fn repaired(&mut self) {
        self.repairs += 1;
    }

    /// What was put right so far.
    pub(super) fn repairs(&self) -> u64 {
        self.repairs
    }

    /// How many checks there were.
    pub(super) fn checks(&self) -> u64 {
        self.checks
    }

    /// The job manager is asked for its number of jobs.
    pub(super) fn asked(&mut self, table: &JobTable) {
        if let Stage::Counts = self.stage {
            self.check.requested(table);
        }
    }
}

impl StateCounts {
    /// It is time for a check. One that is under way is left alone.
    pub(super) fn verify(&mut self) {
        // Collectors that come look all jobs up themselves.
        let is_free = self.publisher.is_running() && !self.switch.is_under_way();
        if let (Stage::Idle, true) = (&self.verify.stage, is_free) {
            self.verify.check.begin();
            self.verify_walk();
        }
    }

    /// Gives up a check that is under way: the next one begins anew.
    pub(super) fn stop_check(&mut self) {
        self.verify.stage = Stage::Idle;
    }

    /// Looks up the table's jobs, until the slice is over.
    fn verify_walk(&mut self) {
        let mut cursor = std::mem::take(self.verify.check.cursor());
        let is_over = self.slice(&mut cursor, SLICE, Self::check_job);
        *self.verify.check.cursor() = cursor;
        if is_over {
            self.verify.stage = Stage::Counts;
            return self.ask_for_counts();
        }
        self.verify.stage = match self.next_slice(Self::verify_walk) {
            Some(next) => Stage::Cursor { _next: next },
            None => Stage::Idle,
        };
    }

    /// Calls `each` for the next jobs, as long as this. Returns whether there are no more.
    pub(super) fn slice(
        &mut self,
        cursor: &mut Cursor,
        limit: Duration,
        each: fn(&mut Self, u64),
    ) -> bool {
        let start = Instant::now();
        loop {
            for _ in 0..AT_ONCE {
                match cursor.next(&self.table) {
                    Some(id) => each(self, id),
                    None => return true,
                }
            }
            if start.elapsed() >= limit {
                return false;
            }
        }
    }

    /// Calls `slice` when the job manager has done other work. Where that cannot be, the
    /// cursor is given up.
    pub(super) fn next_slice(&self, slice: fn(&mut Self)) -> Option<Timer> {
        let timer = self.flux.timer(PAUSE, 0.0, slice);
        timer.map_err(|error| self.warn(&error.to_string())).ok()
    }

    /// Puts a job right by what the job manager knows of it.
    fn check_job(&mut self, id: u64) {
        let change = self.look_up_job(id);
        if change.before != change.after {
            self.verify.repairs += 1;
            if !std::mem::replace(&mut self.verify.has_logged, true) {
                self.log_repair(id, &change);
            }
        }
    }

    /// Looks a job up: the table knows it as the job manager does then, and the collectors
    /// count it so.
    pub(super) fn look_up_job(&mut self, id: u64) -> Change {
        let change = self.reconcile(id);
        self.job_changed(id, &change, None);
        // One that is gone meanwhile has no exceptions any more.
        let _ = self.subscribe(id);
        self.request_flush();
        change
    }

    /// Puts into the table what the job manager knows of a job.
    fn reconcile(&mut self, id: u64) -> Change {
        let table = &mut self.table;
        let change = self.flux.with_job(id, |job| {
            // Without a state it is none that could be counted.
            let (state, source) = (job.state().ok(), OfJob(job));
            table.reconcile(id, state.map(|state| (state.0, &source)))
        });
        change.unwrap_or_else(|| self.table.reconcile(id, None::<(i32, &OfJob<'_>)>))
    }

    /// The job manager has so many active jobs; `settled`: its number of inactive
    /// ones was believed. Returns whether to ask again.
    pub(super) fn counts_checked(&mut self, active: u64, settled: bool) -> bool {
        let Stage::Counts = self.verify.stage else { return false };
        match self.verify.check.response(active, &self.table) {
            Comparison::AskAgain => return true,
            Comparison::Equal if !settled && self.verify.check.may_ask_again() => return true,
            Comparison::Equal | Comparison::TooBusy => self.verified(),
            Comparison::List => {
                let (topic, all) = (c"job-manager.list", c"{\"max_entries\": 0}");
                match self.flux.rpc(topic, Some(all), TIMEOUT, Self::listed) {
                    Ok(rpc) => self.verify.stage = Stage::List { _rpc: rpc },
                    Err(error) => self.no_list(&error.to_string()),
                }
            }
        }
        false
    }

    fn listed(&mut self, response: Response<'_>) {
        match response.payload().map_err(|error| error.to_string()).and_then(JobList::new) {
            Ok(list) => {
                self.verify.stage = Stage::Listed { list, _next: None };
                self.verify_listed();
            }
            Err(error) => self.no_list(&error),
        }
    }

    /// Looks up the listed jobs that the table has not, until the slice is over.
    fn verify_listed(&mut self) {
        let mut list = match std::mem::take(&mut self.verify.stage) {
            Stage::Listed { list, .. } => list,
            other => {
                self.verify.stage = other;
                return;
            }
        };
        let start = Instant::now();
        loop {
            for _ in 0..AT_ONCE {
                match list.next() {
                    Some(Ok(id)) if self.table.job(id).is_none() => self.check_job(id),
                    Some(Ok(_)) => (),
                    Some(Err(error)) => return self.no_list(&error),
                    None => return self.verified(),
                }
            }
            if start.elapsed() >= SLICE {
                break;
            }
        }
        self.verify.stage = match self.next_slice(Self::verify_listed) {
            Some(next) => Stage::Listed { list, _next: Some(next) },
            None => Stage::Idle,
        };
    }

    /// Old job managers may not list: then the next check tries again.
    fn no_list(&mut self, error: &str) {
        if !std::mem::replace(&mut self.verify.has_logged_list, true) {
            self.warn(&format!(
                "job-manager.list: {error}: jobs may be missing until a check has its answer \
                 (further ones are not logged)"
            ));
        }
        self.verified();
    }

    fn verified(&mut self) {
        self.verify.stage = Stage::Idle;
        self.verify.checks += 1;
        self.ask_for_queues();
    }

    #[cold]
    fn log_repair(&self, id: u64, change: &Change) {
        let state = |job: &Option<Job>| match job.as_ref().map(|job| job.state) {
            Some(Some(state)) => state.name(NameForm::Long),
            Some(None) => "an unknown state",
            None => "no active job",
        };
        self.warn(&format!(
            "job {id} is {}, and was counted as {}: an event never came (does another plugin \
             fail?); put right (further ones are counted, and not logged)",
            state(&change.after),
            state(&change.before),
        ));
    }
}
