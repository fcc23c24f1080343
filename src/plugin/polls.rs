//! Requests that are repeated: the job manager's numbers of jobs, the inactive jobs of each
//! queue, the nodes, and the status of the queues.

use std::ffi::{CStr, CString};
use std::time::Instant;

use serde::Deserialize;
use serde_json::{json, Value};

use super::pass::{PAUSE, SLICE};
use super::StateCounts;
use crate::collectors::Backfill;
use crate::flux::{Error, OnResponse, Payload, Response, Rpc, Watcher};
use crate::flux_formats::{housekeeping, queue_status, resource_status, JobList, QueueStatus};
use crate::jobs::{Anomaly, ByQueue, Needs};

/// The timeout of a request in seconds.
const TIMEOUT: f64 = 10.0;
/// Seconds from an error to the next request: while an instance starts, the service may be
/// loaded after the job manager; later it may be missing permanently.
const RETRY: f64 = 0.5;
const LATE_RETRY: u32 = 10;
/// Errors until one is logged and `LATE_RETRY` applies: 10 s with these intervals. A request
/// without a response counts as `PATIENCE` errors.
const PATIENCE: u32 = 20;

/// Seconds from a response during which the numbers changed to the next request.
const COUNTS_AGAIN: f64 = 0.1;
const QUEUES_AGAIN: f64 = 0.5;
/// Seconds from one response about the nodes to the next request, plus as many for each
/// `LARGE_RESPONSE` bytes of the response. Reading a response holds the job manager's thread:
/// 33 µs for 10,000 equal nodes (2 KB), 8 ms for 10,000 different ones (600 KB), measured.
const RESOURCE_STATUS_INTERVAL: f64 = 5.0;
const LARGE_RESPONSE: usize = 1 << 17;
/// Seconds from the last response about the queues to the next request.
const QUEUE_STATUS_INTERVAL: f64 = 5.0;
/// Seconds from the last list of dependencies to the next request, and between two checks that
/// find no job without a reason.
const DEPENDENCIES_INTERVAL: f64 = 5.0;
const DEPENDENCIES_CHECK: f64 = 1.0;

#[derive(Default)]
pub(super) struct Polls {
    counts: Poll,
    queues: Poll,
    resource_status: Poll,
    dependencies: Poll,
    /// The list of jobs in DEPEND, as far as it was not read yet.
    dependency_list: Option<JobList<Payload>>,
    queue_status: Poll,
    /// The queues whose status is requested, the next one last, and the responses so far.
    queue_names: Vec<String>,
    queue_statuses: Vec<(String, QueueStatus)>,
}

/// One repeated request: at most one is in progress.
#[derive(Default)]
struct Poll {
    rpc: Option<Rpc>,
    /// Sends the next request.
    next: Option<Watcher>,
    /// Errors since the last response.
    errors: u32,
    /// `true` if an error was logged: only the first one is.
    is_logged: bool,
}

impl Poll {
    fn received(&mut self) {
        (self.rpc, self.errors) = (None, 0);
    }
}

impl StateCounts {
    /// Requests the job manager's numbers of active and inactive jobs.
    pub(super) fn request_counts(&mut self) {
        if self.polls.counts.rpc.is_some() {
            return;
        }
        self.polls.counts.next = None;
        self.table.inactive_requested();
        self.pass.counts_requested(&self.table);
        match self.send(c"job-manager.stats-get", Self::on_counts_response) {
            Ok(rpc) => self.polls.counts.rpc = Some(rpc),
            Err(error) => self.on_counts_error(error),
        }
    }

    fn on_counts_response(&mut self, response: Response<'_>) {
        self.polls.counts.rpc = None;
        let counts = response.payload().and_then(|payload| {
            self.table.set_housekeeping(housekeeping::parse(payload.as_ref(), self.flux.now()));
            let counts: Result<Counts, _> = serde_json::from_slice(payload.as_ref());
            counts.map_err(|error| Error::new(error.to_string()))
        });
        match counts {
            Ok(counts) => self.on_counts(counts.active_jobs, counts.inactive_jobs),
            Err(error) => self.on_counts_error(error),
        }
    }

    fn on_counts(&mut self, active: u64, inactive: u64) {
        self.polls.counts.received();
        let was_known = self.table.inactive().count().is_some();
        let response = self.table.inactive_response(inactive);
        if response.contradicted {
            self.pass.repairs += u64::from(was_known);
            self.log_first(Anomaly::InactiveContradicted);
        }
        self.table_gauges_changed();
        let again = self.compare_counts(active, response.known);
        if again || !was_known && !response.known {
            self.polls.counts.next = self.timer(COUNTS_AGAIN, 0.0, Self::request_counts);
        }
    }

    fn on_counts_error(&mut self, error: Error) {
        self.table.set_housekeeping(None);
        self.table_gauges_changed();
        self.polls.counts.next = self.retry(
            |polls| &mut polls.counts,
            "job-manager.stats-get",
            &error,
            "the gauges of inactive jobs and of housekeeping are not sent",
            Self::request_counts,
        );
    }

    /// Requests the numbers of jobs by queue, if queues are counted.
    pub(super) fn request_queues(&mut self) {
        self.polls.queues.next = None;
        if !self.table.needs().contains(Needs::QUEUE) {
            return;
        }
        self.table.queues_requested();
        match self.send(c"job-list.job-stats", Self::on_queues_response) {
            Ok(rpc) => self.polls.queues.rpc = Some(rpc),
            Err(error) => self.on_queues_error(error),
        }
    }

    fn on_queues_response(&mut self, response: Response<'_>) {
        self.polls.queues.rpc = None;
        if !self.table.needs().contains(Needs::QUEUE) {
            return;
        }
        match response.payload().and_then(|payload| counts_by_queue(&payload)) {
            Ok(counts) => {
                self.polls.queues.received();
                if self.table.queues_response(&counts) {
                    self.table_gauges_changed();
                } else if !self.table.queues().inactive_is_known() {
                    // job-list has not processed all events yet, or a job ended meanwhile.
                    self.polls.queues.next = self.timer(QUEUES_AGAIN, 0.0, Self::request_queues);
                }
            }
            Err(error) => self.on_queues_error(error),
        }
    }

    fn on_queues_error(&mut self, error: Error) {
        self.polls.queues.next = self.retry(
            |polls| &mut polls.queues,
            "job-list.job-stats",
            &error,
            "the gauges of inactive jobs by queue are not sent",
            Self::request_queues,
        );
    }

    /// Requests the state of the nodes, if a collector needs it. resource.status needs neither
    /// the job manager nor the scheduler. (resource.sched-status, which `flux resource list`
    /// uses, makes the job manager iterate over all jobs; resource.journal exists since 0.72.)
    pub(super) fn request_resource_status(&mut self) {
        let poll = &mut self.polls.resource_status;
        poll.next = None;
        if !self.table.needs().contains(Needs::RESOURCE_STATUS) {
            *poll = Poll::default();
        } else if poll.rpc.is_none() {
            // For the nodes in housekeeping.
            self.request_counts();
            match self.send(c"resource.status", Self::on_resource_status_response) {
                Ok(rpc) => self.polls.resource_status.rpc = Some(rpc),
                Err(error) => self.on_resource_status_error(error),
            }
        }
    }

    fn on_resource_status_response(&mut self, response: Response<'_>) {
        self.polls.resource_status.rpc = None;
        let status = response.payload().and_then(|payload| {
            let bytes = payload.as_ref();
            let status = resource_status::parse(bytes, &self.queues, self.flux.now());
            let status = status.ok_or_else(|| Error::new("unexpected response"))?;
            Ok((status, bytes.len()))
        });
        match status {
            Ok((status, bytes)) => {
                self.polls.resource_status.received();
                self.table.set_resource_status(Some(status));
                self.table_gauges_changed();
                let interval = RESOURCE_STATUS_INTERVAL * (1 + bytes / LARGE_RESPONSE) as f64;
                self.polls.resource_status.next =
                    self.timer(interval, 0.0, Self::request_resource_status);
            }
            Err(error) => self.on_resource_status_error(error),
        }
    }

    fn on_resource_status_error(&mut self, error: Error) {
        // An old number is not sent again.
        self.table.set_resource_status(None);
        self.table_gauges_changed();
        self.polls.resource_status.next = self.retry(
            |polls| &mut polls.resource_status,
            "resource.status",
            &error,
            "the gauges of existing nodes, cores and GPUs are not sent",
            Self::request_resource_status,
        );
    }

    /// Requests the status of all queues, if a collector needs it: their names, and then one
    /// queue after the other.
    pub(super) fn request_queue_status(&mut self) {
        let poll = &mut self.polls.queue_status;
        poll.next = None;
        if !self.table.needs().contains(Needs::QUEUE_STATUS) {
            *poll = Poll::default();
        } else if poll.rpc.is_none() {
            match self.send(c"job-manager.queue-list", Self::on_queue_list_response) {
                Ok(rpc) => self.polls.queue_status.rpc = Some(rpc),
                Err(error) => self.on_queue_status_error(error),
            }
        }
    }

    fn on_queue_list_response(&mut self, response: Response<'_>) {
        self.polls.queue_status.rpc = None;
        match parsed(&response, queue_status::parse_list) {
            Ok(names) => {
                self.polls.queue_names = names;
                if self.polls.queue_names.is_empty() {
                    self.polls.queue_names.push(String::new());
                }
                self.polls.queue_statuses.clear();
                self.request_next_queue_status();
            }
            Err(error) => self.on_queue_status_error(error),
        }
    }

    fn request_next_queue_status(&mut self) {
        let Some(name) = self.polls.queue_names.last() else {
            self.polls.queue_status.received();
            self.queue_status_changed();
            self.polls.queue_status.next =
                self.timer(QUEUE_STATUS_INTERVAL, 0.0, Self::request_queue_status);
            return;
        };
        let payload = if name.is_empty() { json!({}) } else { json!({ "name": name }) };
        // JSON text has no NUL.
        let payload = CString::new(payload.to_string()).unwrap_or_default();
        let topic = c"job-manager.queue-status";
        let on_response = Self::on_queue_status_response;
        match Rpc::send(&self.flux, topic, Some(&payload), TIMEOUT, on_response) {
            Ok(rpc) => self.polls.queue_status.rpc = Some(rpc),
            Err(error) => self.on_queue_status_error(error),
        }
    }

    fn on_queue_status_response(&mut self, response: Response<'_>) {
        self.polls.queue_status.rpc = None;
        match parsed(&response, queue_status::parse) {
            Ok(status) => {
                let name = self.polls.queue_names.pop().unwrap_or_default();
                self.polls.queue_statuses.push((name, status));
                self.request_next_queue_status();
            }
            Err(error) => self.on_queue_status_error(error),
        }
    }

    /// If other queues are stopped, all jobs are looked up again: many may wait in a queue.
    fn queue_status_changed(&mut self) {
        if self.table.set_queue_status(&self.polls.queue_statuses) {
            self.start_pass(Backfill::new(&self.pass.filling()));
        }
        self.table_gauges_changed();
    }

    fn on_queue_status_error(&mut self, error: Error) {
        self.polls.queue_statuses.clear();
        self.queue_status_changed();
        self.polls.queue_status.next = self.retry(
            |polls| &mut polls.queue_status,
            "job-manager.queue-status",
            &error,
            "the gauges of the status of queues are not sent",
            Self::request_queue_status,
        );
    }

    /// Requests the dependencies of the jobs in DEPEND, if some of them have none in the jobspec.
    pub(super) fn request_dependencies(&mut self) {
        let poll = &mut self.polls.dependencies;
        poll.next = None;
        if !self.table.needs().contains(Needs::WAITING) {
            *poll = Poll::default();
        } else if !self.table.needs_dependencies() {
            self.polls.dependencies.next =
                self.timer(DEPENDENCIES_CHECK, 0.0, Self::request_dependencies);
        } else if poll.rpc.is_none() {
            // Flux before 0.50 reads all users and the state from the second line.
            let depend = c"{\"max_entries\": 0, \"attrs\": [\"dependencies\"], \
                           \"userid\": 4294967295, \"states\": 2, \"results\": 0, \
                           \"constraint\": {\"states\": [\"depend\"]}}";
            let on_response = Self::on_dependencies_response;
            match Rpc::send(&self.flux, c"job-list.list", Some(depend), TIMEOUT, on_response) {
                Ok(rpc) => self.polls.dependencies.rpc = Some(rpc),
                Err(error) => self.on_dependencies_error(error),
            }
        }
    }

    fn on_dependencies_response(&mut self, response: Response<'_>) {
        self.polls.dependencies.rpc = None;
        match response.payload().and_then(|payload| JobList::new(payload).map_err(Error::new)) {
            Ok(list) => {
                self.polls.dependency_list = Some(list);
                self.read_dependencies();
            }
            Err(error) => self.on_dependencies_error(error),
        }
    }

    /// Reads the list until the slice is over.
    fn read_dependencies(&mut self) {
        let start = Instant::now();
        while let Some(list) = &mut self.polls.dependency_list {
            match list.next() {
                Some(Ok(job)) => {
                    let change = self.table.set_dependencies(job.id, job.dependencies());
                    self.collectors.on_change(&change, None, &self.table, &mut self.publisher);
                    self.pass.job_changed(job.id, &change);
                    self.request_flush();
                }
                Some(Err(error)) => {
                    self.polls.dependency_list = None;
                    return self.on_dependencies_error(Error::new(error));
                }
                None => self.polls.dependency_list = None,
            }
            if start.elapsed() >= SLICE && self.polls.dependency_list.is_some() {
                self.polls.dependencies.next = self.timer(PAUSE, 0.0, Self::read_dependencies);
                return;
            }
        }
        self.polls.dependencies.received();
        self.polls.dependencies.next =
            self.timer(DEPENDENCIES_INTERVAL, 0.0, Self::request_dependencies);
    }

    fn on_dependencies_error(&mut self, error: Error) {
        self.polls.dependencies.next = self.retry(
            |polls| &mut polls.dependencies,
            "job-list.list",
            &error,
            "dependencies that plugins add are not counted by name",
            Self::request_dependencies,
        );
    }

    fn send(&self, topic: &CStr, on_response: OnResponse) -> Result<Rpc, Error> {
        Rpc::send(&self.flux, topic, None, TIMEOUT, on_response)
    }

    fn table_gauges_changed(&mut self) {
        self.collectors.table_gauges_changed(&self.table, &mut self.publisher);
        self.request_flush();
    }

    /// Logs an error that lasts, once per poll, and returns the timer of the next request.
    fn retry(
        &mut self,
        poll: fn(&mut Polls) -> &mut Poll,
        topic: &str,
        error: &Error,
        effect: &str,
        request: fn(&mut Self),
    ) -> Option<Watcher> {
        let poll = poll(&mut self.polls);
        poll.rpc = None;
        poll.errors = poll.errors.saturating_add(if error.is_timeout { PATIENCE } else { 1 });
        let is_late = poll.errors >= PATIENCE;
        if is_late && !std::mem::replace(&mut poll.is_logged, true) {
            self.warn(&format!(
                "{topic}: {error}: {effect} until there is a response (retried every \
                 {LATE_RETRY} s; further errors are not logged)"
            ));
        }
        self.timer(if is_late { LATE_RETRY.into() } else { RETRY }, 0.0, request)
    }
}

/// The members of the response to job-manager.stats-get that all versions have.
#[derive(Deserialize)]
struct Counts {
    active_jobs: u64,
    inactive_jobs: u64,
}

/// The response of job-list.job-stats, which `flux job stats` prints.
fn counts_by_queue(payload: &Payload) -> Result<ByQueue, Error> {
    let unexpected = || Error::new("unexpected response");
    let stats = parse(payload)?;
    let mut queues = Vec::new();
    for queue in stats["queues"].as_array().ok_or_else(unexpected)? {
        let name = queue["name"].as_str().ok_or_else(unexpected)?;
        let mut counts = [0; 7];
        for (index, state) in
            ["depend", "priority", "sched", "run", "cleanup", "inactive"].iter().enumerate()
        {
            counts[index + 1] = queue["job_states"][state].as_u64().ok_or_else(unexpected)?;
        }
        queues.push((name.to_owned(), counts));
    }
    Ok(queues)
}

/// The payload of a response, as `parse` reads it.
fn parsed<T>(response: &Response<'_>, parse: fn(&[u8]) -> Option<T>) -> Result<T, Error> {
    let payload = response.payload()?;
    parse(payload.as_ref()).ok_or_else(|| Error::new("unexpected response"))
}

fn parse(payload: &Payload) -> Result<Value, Error> {
    serde_json::from_slice(payload.as_ref()).map_err(|error| Error::new(error.to_string()))
}
