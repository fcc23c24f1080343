//! Requests that are repeated: the job manager's numbers of jobs, the inactive jobs of each
//! queue, the nodes, the status of the queues, and the dependencies that plugins add.

use std::ffi::{CStr, CString};
use std::time::Instant;

use serde_json::json;

use super::pass::{PAUSE, SLICE, TIMEOUT};
use super::StateCounts;
use crate::collectors::Backfill;
use crate::flux::{Error, OnResponse, Payload, Response, Rpc, Watcher};
use crate::flux_formats::{job_stats, queue_status, resource_status, JobList, QueueStatus};
use crate::jobs::{Anomaly, Needs};

/// Seconds from an error to the next request: while an instance starts, the service may be
/// loaded after the job manager; later it may be missing permanently.
const RETRY: f64 = 0.5;
const LATE_RETRY: u32 = 10;
/// Errors until one is logged and `LATE_RETRY` applies: 10 s with these intervals. A request
/// without a response counts as `PATIENCE` errors.
const PATIENCE: u32 = 20;

/// Seconds to the next request, if the numbers changed while the last one was in progress.
const COUNTS_AGAIN: f64 = 0.1;
const BY_QUEUE_AGAIN: f64 = 0.5;
/// Seconds from one response about the nodes to the next request, plus as many for each
/// `LARGE_RESPONSE` bytes of the response. Reading a response holds the job manager's thread: with
/// 50 queues and 10,000 nodes 1 ms, and 3 ms if no two nodes have the same cores (measured).
const RESOURCE_STATUS_INTERVAL: f64 = 5.0;
const LARGE_RESPONSE: usize = 1 << 17;
/// Seconds from the last response about the queues to the next request.
const QUEUE_STATUS_INTERVAL: f64 = 5.0;
/// Seconds from the last list of dependencies to the next request, and between two checks that
/// find that none is needed.
const DEPENDENCIES_INTERVAL: f64 = 5.0;
const DEPENDENCIES_CHECK: f64 = 1.0;

#[derive(Default)]
pub(super) struct Polls {
    polls: [Poll; 5],
    /// The unread part of the list of jobs in DEPEND.
    dependency_list: Option<JobList<Payload>>,
    /// The queues whose status is requested, the next one last.
    queue_names: Vec<String>,
    /// The responses so far.
    queue_statuses: Vec<(String, QueueStatus)>,
}

/// An index in [`POLLS`] and in [`Polls::polls`].
#[derive(Clone, Copy)]
enum PollId {
    Counts,
    ByQueue,
    ResourceStatus,
    QueueStatus,
    Dependencies,
}

type Request = fn(&mut StateCounts);
/// The function that sends each request, and the subject of its response.
const POLLS: [(Request, &str); 5] = [
    (StateCounts::request_counts, "inactive jobs and housekeeping"),
    (StateCounts::request_by_queue, "inactive jobs by queue"),
    (StateCounts::request_resource_status, "nodes, cores and GPUs"),
    (StateCounts::request_queue_status, "the status of queues"),
    (StateCounts::request_dependencies, "dependencies that plugins add"),
];

/// One repeated request: at most one is in progress.
#[derive(Default)]
struct Poll {
    topic: &'static CStr,
    rpc: Option<Rpc>,
    /// Sends the next request.
    next: Option<Watcher>,
    /// Errors since the poll was last complete.
    errors: u32,
    /// `true` if an error was logged: only the first one is.
    is_logged: bool,
}

impl Polls {
    /// Ends a request, and reads the payload of the response.
    fn received<T>(
        &mut self,
        id: PollId,
        response: &Response<'_>,
        parse: impl FnOnce(Payload) -> Option<T>,
    ) -> Result<T, Error> {
        self.polls[id as usize].rpc = None;
        parse(response.payload()?).ok_or_else(|| Error::new("unexpected response"))
    }
}

impl StateCounts {
    /// Sends all needed requests, and again those in progress: their callback may have
    /// panicked.
    pub(super) fn start_polls(&mut self) {
        self.polls.polls.iter_mut().for_each(|poll| poll.rpc = None);
        POLLS.iter().for_each(|(request, _)| request(self));
    }

    /// Requests the job manager's numbers of active and inactive jobs.
    pub(super) fn request_counts(&mut self) {
        if self.is_due(PollId::Counts, Needs::STATE) {
            self.table.inactive_requested();
            self.pass.counts_requested(&self.table);
            let topic = c"job-manager.stats-get";
            self.send(PollId::Counts, topic, None, Self::on_counts_response);
        }
    }

    fn on_counts_response(&mut self, response: Response<'_>) {
        let now = self.flux.now();
        let stats = self.polls.received(PollId::Counts, &response, |payload| {
            job_stats::parse_job_manager_stats(payload.as_ref(), now)
        });
        let next = stats.map(|stats| {
            self.table.set_housekeeping(stats.housekeeping);
            let was_known = self.table.inactive().count().is_some();
            let response = self.table.inactive_response(stats.inactive);
            if response.contradicted {
                self.pass.repairs += u64::from(was_known);
                self.log_first(Anomaly::InactiveContradicted);
            }
            let again = self.compare_counts(stats.active, response.known);
            (again || !was_known && !response.known).then_some(COUNTS_AGAIN)
        });
        self.complete(PollId::Counts, next);
    }

    /// Requests the numbers of jobs by queue, if queues are counted.
    pub(super) fn request_by_queue(&mut self) {
        if self.is_due(PollId::ByQueue, Needs::QUEUE) {
            self.table.by_queue_requested();
            self.send(PollId::ByQueue, c"job-list.job-stats", None, Self::on_by_queue_response);
        }
    }

    fn on_by_queue_response(&mut self, response: Response<'_>) {
        let counts = self.polls.received(PollId::ByQueue, &response, |payload| {
            job_stats::parse_job_list_stats(payload.as_ref())
        });
        let next = counts.map(|counts| {
            // If not known, job-list has not processed all events yet, or a job ended meanwhile.
            (!self.table.by_queue_response(&counts)).then_some(BY_QUEUE_AGAIN)
        });
        self.complete(PollId::ByQueue, next);
    }

    /// Requests the state of the nodes, if a collector needs it. resource.status needs neither
    /// the job manager nor the scheduler. (resource.sched-status, which `flux resource list`
    /// uses, makes the job manager iterate over all jobs; resource.journal exists since 0.72.)
    fn request_resource_status(&mut self) {
        if self.is_due(PollId::ResourceStatus, Needs::RESOURCE_STATUS) {
            // For the nodes in housekeeping.
            self.request_counts();
            let (topic, on_response) = (c"resource.status", Self::on_resource_status_response);
            self.send(PollId::ResourceStatus, topic, None, on_response);
        }
    }

    fn on_resource_status_response(&mut self, response: Response<'_>) {
        let (queues, now) = (&self.queue_requirements, self.flux.now());
        let status = self.polls.received(PollId::ResourceStatus, &response, |payload| {
            let text = payload.as_ref();
            Some((resource_status::parse(text, queues, now)?, text.len()))
        });
        let next = status.map(|(status, bytes)| {
            self.table.set_resource_status(Some(status));
            Some(RESOURCE_STATUS_INTERVAL * (1 + bytes / LARGE_RESPONSE) as f64)
        });
        self.complete(PollId::ResourceStatus, next);
    }

    /// Requests the status of all queues, if a collector needs it: their names, and then one
    /// queue after the other.
    fn request_queue_status(&mut self) {
        if self.is_due(PollId::QueueStatus, Needs::QUEUE_STATUS) {
            let (topic, on_response) = (c"job-manager.queue-list", Self::on_queue_list_response);
            self.send(PollId::QueueStatus, topic, None, on_response);
        }
    }

    fn on_queue_list_response(&mut self, response: Response<'_>) {
        let names = self.polls.received(PollId::QueueStatus, &response, |payload| {
            queue_status::parse_list(payload.as_ref())
        });
        match names {
            Ok(mut names) => {
                if names.is_empty() {
                    names.push(String::new());
                }
                (self.polls.queue_names, self.polls.queue_statuses) = (names, Vec::new());
                self.request_next_queue_status();
            }
            Err(error) => self.complete(PollId::QueueStatus, Err(error)),
        }
    }

    fn request_next_queue_status(&mut self) {
        let Some(name) = self.polls.queue_names.last() else {
            // Many jobs may wait in a queue that was stopped or started.
            let stopped_changed = self.table.set_queue_status(&self.polls.queue_statuses);
            if stopped_changed && self.table.needs().contains(Needs::WAITING) {
                self.start_pass(Backfill::new(&self.pass.filling()));
            }
            return self.complete(PollId::QueueStatus, Ok(Some(QUEUE_STATUS_INTERVAL)));
        };
        let payload = if name.is_empty() { json!({}) } else { json!({ "name": name }) };
        // JSON text has no NUL.
        let payload = CString::new(payload.to_string()).unwrap_or_default();
        let (topic, on_response) = (c"job-manager.queue-status", Self::on_queue_status_response);
        self.send(PollId::QueueStatus, topic, Some(&payload), on_response);
    }

    fn on_queue_status_response(&mut self, response: Response<'_>) {
        let status = self.polls.received(PollId::QueueStatus, &response, |payload| {
            queue_status::parse(payload.as_ref())
        });
        match status {
            Ok(status) => {
                let name = self.polls.queue_names.pop().unwrap_or_default();
                self.polls.queue_statuses.push((name, status));
                self.request_next_queue_status();
            }
            Err(error) => self.complete(PollId::QueueStatus, Err(error)),
        }
    }

    /// Requests the dependencies of the jobs in DEPEND, if some of them have none in the jobspec.
    fn request_dependencies(&mut self) {
        self.polls.dependency_list = None;
        if !self.is_due(PollId::Dependencies, Needs::WAITING) {
            return;
        }
        if !self.table.needs_dependencies() {
            return self.complete(PollId::Dependencies, Ok(Some(DEPENDENCIES_CHECK)));
        }
        // Flux before 0.50 reads all users and the state from the second line.
        let depend = c"{\"max_entries\": 0, \"attrs\": [\"dependencies\"], \
                       \"userid\": 4294967295, \"states\": 2, \"results\": 0, \
                       \"constraint\": {\"states\": [\"depend\"]}}";
        let (topic, on_response) = (c"job-list.list", Self::on_dependencies_response);
        self.send(PollId::Dependencies, topic, Some(depend), on_response);
    }

    fn on_dependencies_response(&mut self, response: Response<'_>) {
        let list = self
            .polls
            .received(PollId::Dependencies, &response, |payload| JobList::new(payload).ok());
        match list {
            Ok(list) => {
                self.polls.dependency_list = Some(list);
                self.read_dependencies();
            }
            Err(error) => self.complete(PollId::Dependencies, Err(error)),
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
                    return self.complete(PollId::Dependencies, Err(Error::new(error)));
                }
                None => self.polls.dependency_list = None,
            }
            if start.elapsed() >= SLICE && self.polls.dependency_list.is_some() {
                let next = self.timer(PAUSE, 0.0, Self::read_dependencies);
                self.polls.polls[PollId::Dependencies as usize].next = next;
                return;
            }
        }
        self.complete(PollId::Dependencies, Ok(Some(DEPENDENCIES_INTERVAL)));
    }

    /// `true` if a request is to be sent: a collector needs it, and none is in progress.
    fn is_due(&mut self, id: PollId, needs: Needs) -> bool {
        let poll = &mut self.polls.polls[id as usize];
        if !self.table.needs().contains(needs) {
            *poll = Poll::default();
            return false;
        }
        poll.rpc.is_none()
    }

    fn send(
        &mut self,
        id: PollId,
        topic: &'static CStr,
        payload: Option<&CStr>,
        on_response: OnResponse,
    ) {
        let rpc = Rpc::send(&self.flux, topic, payload, TIMEOUT, on_response);
        let poll = &mut self.polls.polls[id as usize];
        (poll.topic, poll.next) = (topic, None);
        match rpc {
            Ok(rpc) => poll.rpc = Some(rpc),
            Err(error) => self.complete(id, Err(error)),
        }
    }

    /// Ends a request. The next one is sent after the seconds in `next`, or, after an error,
    /// when a retry is due. An error that lasts is logged, once per poll.
    fn complete(&mut self, id: PollId, next: Result<Option<f64>, Error>) {
        let (request, subject) = POLLS[id as usize];
        let poll = &mut self.polls.polls[id as usize];
        let after = match next {
            Ok(after) => {
                poll.errors = 0;
                after
            }
            Err(error) => {
                let errors = if error.is_timeout { PATIENCE } else { 1 };
                poll.errors = poll.errors.saturating_add(errors);
                let is_late = poll.errors >= PATIENCE;
                if is_late && !std::mem::replace(&mut poll.is_logged, true) {
                    let topic = poll.topic.to_string_lossy();
                    self.warn(&format!(
                        "{topic}: {error}: no news of {subject} until there is a response (retried \
                         at least every {LATE_RETRY} s; further errors are not logged)"
                    ));
                }
                // Old values are not sent again.
                match id {
                    PollId::Counts => self.table.set_housekeeping(None),
                    PollId::ResourceStatus => self.table.set_resource_status(None),
                    PollId::QueueStatus => self.table.forget_queue_status(),
                    PollId::ByQueue | PollId::Dependencies => (),
                }
                Some(if is_late { LATE_RETRY.into() } else { RETRY })
            }
        };
        self.collectors.table_gauges_changed(&self.table, &mut self.publisher);
        self.request_flush();
        // Without `after`, the response may have led to the next request already.
        if let Some(after) = after {
            self.polls.polls[id as usize].next = self.timer(after, 0.0, request);
        }
    }
}
