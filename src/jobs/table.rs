//! The table of active jobs.

use std::collections::hash_map::{Entry, HashMap};
use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

use super::change::{Anomaly, Change, Event, EventKind};
use super::inactive::{ByQueue, Inactive, InactiveByQueue, InactiveResponse};
use super::job::{Job, JobSource, LabelTables, Needs, Refresh, Timestamp};
use super::label_table::LabelId;
use super::state::State;
use crate::flux_formats::{Housekeeping, QueueResources, QueueStatus, ResourceStatus};

/// A hash of job ids. The standard library's hasher seeds itself from a thread-local, which
/// a plugin must not have (its destructor would run in unmapped code), and resists keys that
/// an attacker chooses. Flux chooses job ids: a time, a generator and a sequence number
/// (RFC 19), for which one multiplication is enough.
#[derive(Default)]
pub struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|&byte| self.write_u64(byte.into()));
    }

    #[inline]
    fn write_u64(&mut self, id: u64) {
        // Multiplied by 2^64 over the golden ratio (Knuth, 6.4), then folded, because
        // hashbrown uses bits from both ends.
        let spread = (self.0 ^ id).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = spread ^ (spread >> 32);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

type Shard = HashMap<u64, Job, BuildHasherDefault<IdHasher>>;

/// The number of maps that the table is divided into. A map moves all its jobs when it grows,
/// while the job manager waits; many small maps grow one at a time. They also let a
/// [`Cursor`](super::Cursor) read the table in parts.
///
/// Measured with a million jobs, in processor time: the slowest insert takes 90 ms in one
/// map, and 0.7 ms in 256. A lookup takes 0.1 to 0.3 µs in either, and 4 µs in a BTreeMap.
pub const SHARDS: usize = 256;

pub(super) fn shard_of(id: u64) -> usize {
    let mut hasher = IdHasher::default();
    hasher.write_u64(id);
    // Bits that the map of the shard does not use: it uses the lowest and the seven highest.
    (hasher.finish() >> 40) as usize % SHARDS
}

/// The active jobs, and the numbers of inactive ones.
#[derive(Debug)]
pub struct JobTable {
    shards: Vec<Shard>,
    needs: Needs,
    labels: LabelTables,
    /// The number of pending jobs of each queue by their time of submission. Filled while the
    /// time of submission is needed.
    pending: BTreeMap<(LabelId, Timestamp), u32>,
    inactive: Inactive,
    /// Updated while queues are needed.
    inactive_by_queue: InactiveByQueue,
    /// `None` while it is not known, or not needed.
    resource_status: Option<ResourceStatus>,
    /// The resources of each queue in `resource_status`, by its label.
    queue_resources: BTreeMap<LabelId, QueueResources>,
    housekeeping: Option<Housekeeping>,
    queue_status: QueueStatuses,
    anomalies: [u64; Anomaly::KINDS],
    events: u64,
    /// `None` after the load.
    restart_replay: Option<RestartReplay>,
    /// `true` after the first complete reconcile pass.
    is_reconciled: bool,
    /// Jobs in DEPEND whose dependencies must be requested, if [`Needs::WAITING`].
    unlisted: i64,
}

/// The jobs that ended during the load, while Flux reports the existing jobs. At a restart,
/// Flux first replays unfinished transitions and then calls `job.new` (flux-core, restart.c).
/// So a job may change state or end before `job.new` reports it in its earlier state.
type RestartReplay = HashSet<u64, BuildHasherDefault<IdHasher>>;

/// The status of each queue, by its label. The anonymous queue of an instance without queues has
/// label 0. Empty while the status is not known, or not needed.
pub type QueueStatuses = BTreeMap<LabelId, QueueStatus>;

impl Default for JobTable {
    fn default() -> Self {
        JobTable {
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            needs: Needs::STATE,
            labels: LabelTables::default(),
            pending: BTreeMap::new(),
            inactive: Inactive::default(),
            inactive_by_queue: InactiveByQueue::default(),
            resource_status: None,
            queue_resources: BTreeMap::new(),
            housekeeping: None,
            queue_status: QueueStatuses::default(),
            anomalies: [0; Anomaly::KINDS],
            events: 0,
            restart_replay: Some(RestartReplay::default()),
            is_reconciled: false,
            unlisted: 0,
        }
    }
}

impl JobTable {
    /// Ends the load. To be called when Flux has reported all existing jobs.
    pub fn loaded(&mut self) {
        self.restart_replay = None;
    }

    /// To be called when a reconcile pass has found all active jobs.
    pub fn reconciled(&mut self) {
        self.is_reconciled = true;
    }

    /// Sets the parts of a job that are needed, and forgets the others. A newly needed part of
    /// an existing job is not known until the job is [reconciled](Self::reconcile).
    pub fn set_needs(&mut self, needs: Needs) {
        if !needs.contains(Needs::QUEUE) {
            self.inactive_by_queue = InactiveByQueue::default();
        }
        if !needs.contains(Needs::RESOURCE_STATUS) {
            self.set_resource_status(None);
        }
        if !needs.contains(Needs::QUEUE_STATUS) {
            self.queue_status.clear();
            self.labels.stopped_queues.clear();
        }
        let had = std::mem::replace(&mut self.needs, needs);
        if !needs.contains(had) {
            self.shards.iter_mut().flat_map(Shard::values_mut).for_each(|job| job.keep(needs));
        }
        self.recount();
    }

    /// Counts again: the active jobs of each label, the pending ones by their time of submission,
    /// and those whose dependencies must be requested. Iterates over all jobs.
    pub fn recount(&mut self) {
        let JobTable { labels, pending, shards, unlisted, .. } = self;
        labels.clear_job_counts();
        pending.clear();
        *unlisted = 0;
        for job in shards.iter().flat_map(Shard::values) {
            labels.count_job(Some(job), 1);
            count_pending(pending, Some(job), 1);
            *unlisted += i64::from(self.needs.contains(Needs::WAITING) && job.needs_list());
        }
    }

    /// The time of submission of the oldest job of a queue (0: no queue) that waits for a
    /// priority or resources and is not held.
    pub fn oldest_pending(&self, queue: LabelId) -> Option<Timestamp> {
        let mut jobs = self.pending.range((queue, Timestamp::MIN)..);
        jobs.next().filter(|((of, _), _)| *of == queue).map(|((_, submitted), _)| *submitted)
    }

    /// The parts of a job that are needed.
    pub fn needs(&self) -> Needs {
        self.needs
    }

    /// The labels that jobs are counted by.
    pub fn labels(&self) -> &LabelTables {
        &self.labels
    }

    /// The labels, to add exception types, which are not part of a job, and reserved labels.
    pub fn labels_mut(&mut self) -> &mut LabelTables {
        &mut self.labels
    }

    /// The number of inactive jobs.
    pub fn inactive(&self) -> &Inactive {
        &self.inactive
    }

    /// The number of inactive jobs by queue.
    pub fn inactive_by_queue(&self) -> &InactiveByQueue {
        &self.inactive_by_queue
    }

    /// The status of the instance's resources. `None` while it is not known, or not needed.
    pub fn resource_status(&self) -> Option<&ResourceStatus> {
        self.resource_status.as_ref()
    }

    /// Sets the status of the instance's resources. `None` if it is no longer known.
    pub fn set_resource_status(&mut self, resource_status: Option<ResourceStatus>) {
        self.resource_status = resource_status;
        self.queue_resources.clear();
        for (name, resources) in self.resource_status.iter().flat_map(|status| &status.queues) {
            // Two queues may have the same label.
            let sum = self.queue_resources.entry(self.labels.queues.id(name)).or_default();
            sum.total += resources.total;
            sum.up += resources.up;
        }
    }

    /// The resources of a queue. `None` if they are not known.
    pub fn queue_resources(&self, queue: LabelId) -> Option<&QueueResources> {
        self.queue_resources.get(&queue)
    }

    /// The nodes in housekeeping. `None` while they are not known.
    pub fn housekeeping(&self) -> Option<&Housekeeping> {
        self.housekeeping.as_ref()
    }

    /// Sets the nodes in housekeeping.
    pub fn set_housekeeping(&mut self, housekeeping: Option<Housekeeping>) {
        self.housekeeping = housekeeping;
    }

    /// The status of the queues.
    pub fn queue_status(&self) -> &QueueStatuses {
        &self.queue_status
    }

    /// Sets the status of the queues, by their names; the name of the anonymous queue is empty.
    /// Returns `true` if the stopped queues changed: [`Job::is_stopped`] may be wrong until the
    /// job is [reconciled](Self::reconcile).
    pub fn set_queue_status(&mut self, status: &[(String, QueueStatus)]) -> bool {
        let queues = &mut self.labels.queues;
        self.queue_status = status.iter().map(|(name, it)| (queues.id(name), *it)).collect();
        let stopped = self.queue_status.iter().filter(|(_, it)| it.is_started != Some(true));
        let stopped = stopped.map(|(&queue, _)| queue).collect();
        std::mem::replace(&mut self.labels.stopped_queues, stopped) != self.labels.stopped_queues
    }

    /// The status of the queues is no longer known. [`Job::is_stopped`] stays.
    pub fn forget_queue_status(&mut self) {
        self.queue_status.clear();
    }

    /// `true` if a job in DEPEND has no dependency in its jobspec: a plugin added one.
    pub fn needs_dependencies(&self) -> bool {
        self.unlisted > 0
    }

    /// Sets the dependencies that a job in DEPEND waits for, by their names. Without names the job
    /// is about to leave DEPEND, or the list is older than the job's dependencies.
    pub fn set_dependencies<'a>(
        &mut self,
        id: u64,
        names: impl Iterator<Item = &'a str>,
    ) -> Change {
        let mut names = names.peekable();
        let is_listed = self.needs.contains(Needs::WAITING) && names.peek().is_some();
        let job = self.shards[shard_of(id)].get_mut(&id).filter(|_| is_listed);
        let Some(job) = job.filter(|job| job.state == Some(State::Depend)) else {
            return Change::default();
        };
        let before = job.clone();
        job.set_dependencies(names, &mut self.labels.schemes);
        let after = job.clone();
        self.labels.count_job(Some(&after), 1);
        self.labels.count_job(Some(&before), -1);
        let change = Change { before: Some(before), after: Some(after), ..Change::default() };
        self.count_unlisted(&change);
        change
    }

    /// The number of anomalies of each kind, by [`Anomaly::kind`].
    pub fn anomalies(&self) -> [u64; Anomaly::KINDS] {
        self.anomalies
    }

    /// The number of events so far.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// The number of active jobs.
    pub fn active(&self) -> u64 {
        self.shards.iter().map(|shard| shard.len() as u64).sum()
    }

    /// The number of jobs in each state. `None` for INACTIVE while it is not known. Iterates
    /// over all jobs.
    pub fn counts(&self) -> [Option<u64>; 7] {
        let mut counts = [0; 7];
        for state in self.jobs().filter_map(|(_, job)| job.state) {
            counts[state as usize] += 1;
        }
        let mut counts = counts.map(Some);
        counts[State::Inactive as usize] = self.inactive.count();
        counts
    }

    /// An active job.
    pub fn job(&self, id: u64) -> Option<&Job> {
        self.shards[shard_of(id)].get(&id)
    }

    /// All active jobs, in no particular order.
    pub fn jobs(&self) -> impl Iterator<Item = (u64, &Job)> {
        self.shards.iter().flatten().map(|(&id, job)| (id, job))
    }

    /// The ids of the jobs in one shard; `shard` is less than `SHARDS`.
    pub fn ids(&self, shard: usize) -> impl Iterator<Item = u64> + '_ {
        self.shards[shard].keys().copied()
    }

    /// Applies an event. Reads from `source` the parts of the job that are needed and may
    /// have changed.
    pub fn apply(&mut self, event: Event, source: &impl JobSource) -> Change {
        self.events += 1;
        let id = event.id;
        let mut change = match event.kind {
            EventKind::New { state } => self.report(id, state, source),
            EventKind::Transition { state, previous: None, .. } => match self.job(id) {
                Some(_) => Change::default(),
                None => self.report(id, state, source),
            },
            EventKind::Transition { state, previous: Some(previous), at } => {
                self.transition(id, state, previous, at, source)
            }
            EventKind::Updated => self.update(id, source),
            EventKind::InactiveAdd => {
                let added = self.inactive.added(id);
                Change { before: self.remove(id), inactive: added.into(), ..Change::default() }
            }
            EventKind::InactiveRemove => {
                let before = self.remove(id);
                let removed = self.inactive.removed(id);
                let anomaly = (!removed).then_some(Anomaly::MissedEvent(State::Inactive));
                Change { before, inactive: -i64::from(removed), anomaly, ..Change::default() }
            }
        };
        if change.inactive != 0 && self.needs.contains(Needs::QUEUE) {
            change.queue = match &change.before {
                Some(job) => job.queue,
                // An inactive job is not in the table, but Flux still has its jobspec. Only
                // the queue is read: the other label tables are for active jobs.
                None => {
                    let mut job = Job::new(Some(State::Inactive));
                    let labels = &mut self.labels;
                    change.read_error = job.read(source, Needs::QUEUE, labels, Refresh::New);
                    job.queue
                }
            };
            self.inactive_by_queue.add(change.queue, change.inactive, &self.labels.queues);
        }
        self.complete(&mut change, Some(event.kind), Some(source));
        change
    }

    /// Replaces a job by `actual`, the job manager's data: its `flux_job_state_t` and a
    /// source for the needed parts. `None` if the job manager has no such active job. The
    /// change is empty if the table was correct.
    pub fn reconcile(&mut self, id: u64, actual: Option<(i32, &impl JobSource)>) -> Change {
        let known = actual.map(|(state, source)| (State::from_number(state), source));
        let mut change = match known {
            Some((state, source)) if state != Some(State::Inactive) => {
                let mut job = Job::new(state);
                let before = self.job(id).cloned();
                if let Some(before) = &before {
                    job.entered = before.entered.filter(|_| before.state == state);
                    job.schemes = before.schemes;
                    job.has_listed_schemes = before.has_listed_schemes;
                }
                let read_error = job.read(source, self.needs, &mut self.labels, Refresh::New);
                self.shards[shard_of(id)].insert(id, job.clone());
                Change { before, after: Some(job), read_error, ..Change::default() }
            }
            _ => Change { before: self.remove(id), ..Change::default() },
        };
        if change.before == change.after {
            change = Change { read_error: change.read_error, ..Change::default() };
        }
        self.complete(&mut change, None, known.map(|(_, source)| source));
        change
    }

    /// To be called when the number of jobs by queue is requested.
    pub fn by_queue_requested(&mut self) {
        self.inactive_by_queue.is_quiet = true;
    }

    /// Processes the response, unless a number of inactive jobs changed since the request. Returns
    /// `true` if the numbers are known; otherwise the request must be repeated. Iterates over all
    /// jobs.
    pub fn by_queue_response(&mut self, response: &ByQueue) -> bool {
        if !self.inactive_by_queue.is_quiet {
            return self.inactive_by_queue.is_known;
        }
        let ids: Vec<_> = response.iter().map(|(name, _)| self.labels.queues.id(name)).collect();
        let mut excess = vec![[0i64; 7]; usize::from(self.labels.queues.last()) + 1];
        // Two queues may have the same label.
        for (id, (_, counts)) in ids.into_iter().zip(response) {
            for (sum, &count) in excess[usize::from(id)].iter_mut().zip(counts) {
                *sum = sum.saturating_add(i64::try_from(count).unwrap_or(i64::MAX));
            }
        }
        for (_, job) in self.jobs() {
            if let Some(state) = job.state {
                excess[usize::from(job.queue)][state as usize] -= 1;
            }
        }
        self.inactive_by_queue.response(&excess, &self.labels.queues);
        self.inactive_by_queue.is_known
    }

    /// To be called when the number of inactive jobs is requested.
    pub fn inactive_requested(&mut self) {
        self.inactive.requested();
    }

    /// Processes the response, the number of inactive jobs.
    pub fn inactive_response(&mut self, inactive: u64) -> InactiveResponse {
        let response = self.inactive.response(inactive);
        if response.contradicted {
            self.anomalies[Anomaly::InactiveContradicted.kind()] += 1;
        }
        response
    }

    /// Adds a job that Flux reports in its current state.
    fn report(&mut self, id: u64, state: i32, source: &impl JobSource) -> Change {
        if let Some(ended) = &self.restart_replay {
            if ended.contains(&id) || self.job(id).is_some() {
                return Change::default();
            }
        }
        let known = State::from_number(state);
        let mut change = Change { before: self.remove(id), ..Change::default() };
        change.anomaly = match (&change.before, known) {
            (_, None) => Some(Anomaly::UnknownState(state)),
            (Some(before), Some(_)) => before.state.map(Anomaly::MissedEvent),
            _ => None,
        };
        if known != Some(State::Inactive) {
            let mut job = Job::new(known);
            change.read_error = job.read(source, self.needs, &mut self.labels, Refresh::New);
            change.after = Some(job.clone());
            self.shards[shard_of(id)].insert(id, job);
        }
        change
    }

    fn transition(
        &mut self,
        id: u64,
        state: i32,
        previous: i32,
        at: Option<Timestamp>,
        source: &impl JobSource,
    ) -> Change {
        let (known, left) = (State::from_number(state), State::from_number(previous));
        if known == Some(State::Inactive) {
            return self.end(id, left);
        }
        let (before, job) = match self.shards[shard_of(id)].entry(id) {
            Entry::Occupied(entry) => {
                let job = entry.into_mut();
                (Some(job.clone()), job)
            }
            Entry::Vacant(entry) => (None, entry.insert(Job::new(known))),
        };
        // A job in an unknown state may have waited; its request is not known.
        let was_unknown = job.state.is_none();
        let waited = job.is_waiting() || was_unknown;
        job.state = known;
        job.entered = at;
        let refresh = match job.is_waiting() {
            _ if before.is_none() => Some(Refresh::New),
            false => waited.then_some(Refresh::Start),
            // Flux before 0.54 does not call job.update for a job whose jobspec was updated;
            // it returns the job to PRIORITY.
            true if known == Some(State::Priority) || job.has_allocation || was_unknown => {
                Some(Refresh::Again)
            }
            true => self.needs.contains(Needs::WAITING).then_some(Refresh::Urgency),
        };
        let read = |refresh| job.read(source, self.needs, &mut self.labels, refresh);
        // If no part of the job changed, the same error was returned before.
        let read_error = refresh.and_then(read).filter(|_| {
            let is_same = |before| job.has_same_info(before);
            refresh != Some(Refresh::Again) || !before.as_ref().is_some_and(is_same)
        });
        let after = Some(job.clone());
        let anomaly = match (known, left, &before) {
            (None, ..) => Some(Anomaly::UnknownState(state)),
            (_, None, _) => Some(Anomaly::UnknownState(previous)),
            (_, Some(left), Some(before)) if before.state != Some(left) => {
                Some(Anomaly::MissedEvent(left))
            }
            (_, Some(left), None) if self.restart_replay.is_none() => {
                Some(Anomaly::MissedEvent(left))
            }
            _ => None,
        };
        Change { before, after, anomaly, read_error, ..Change::default() }
    }

    /// A transition to INACTIVE.
    fn end(&mut self, id: u64, left: Option<State>) -> Change {
        let before = self.remove(id);
        let is_load = self.restart_replay.is_some();
        let is_repeated = self.restart_replay.as_mut().is_some_and(|ended| !ended.insert(id));
        let counted = !is_repeated && self.inactive.ended(id);
        let is_expected = match &before {
            Some(before) => before.state == left,
            None => is_load && !is_repeated,
        };
        let anomaly = left.filter(|_| !is_expected).map(Anomaly::MissedEvent);
        Change { before, inactive: counted.into(), anomaly, ..Change::default() }
    }

    fn update(&mut self, id: u64, source: &impl JobSource) -> Change {
        let needs = self.needs;
        let Some(job) = self.shards[shard_of(id)].get_mut(&id).filter(|_| needs.has_info()) else {
            return Change::default();
        };
        let before = Some(job.clone());
        let read_error = job.read(source, needs, &mut self.labels, Refresh::Again);
        Change { before, after: Some(job.clone()), read_error, ..Change::default() }
    }

    fn remove(&mut self, id: u64) -> Option<Job> {
        self.shards[shard_of(id)].remove(&id)
    }

    /// Counts the labels and the anomaly of a change, and sets the submission and the result.
    /// `kind`: `None` for a reconcile pass. `source`: `None` if Flux does not have the job.
    #[inline]
    fn complete(
        &mut self,
        change: &mut Change,
        kind: Option<EventKind>,
        source: Option<&impl JobSource>,
    ) {
        match (&change.before, &change.after) {
            (Some(before), Some(after)) if before.is_counted_as(after) => (),
            _ => self.count(change, kind, source),
        }
        if self.needs.contains(Needs::WAITING) {
            self.count_unlisted(change);
        }
        let exceeds = |job: &Option<Job>| job.as_ref().is_some_and(|job| job.exceeds_limit);
        if exceeds(&change.after) && !exceeds(&change.before) && change.anomaly.is_none() {
            change.anomaly = Some(Anomaly::JobspecLimit);
        }
        if let Some(anomaly) = change.anomaly {
            self.anomalies[anomaly.kind()] += 1;
        }
    }

    fn count_unlisted(&mut self, Change { before, after, .. }: &Change) {
        let number = |job: &Option<Job>| i64::from(job.as_ref().is_some_and(Job::needs_list));
        self.unlisted += number(after) - number(before);
    }

    /// [`complete`](Self::complete), if a job begins, ends, or is counted otherwise than before.
    #[inline(never)]
    fn count(
        &mut self,
        change: &mut Change,
        kind: Option<EventKind>,
        source: Option<&impl JobSource>,
    ) {
        self.labels.count_job(change.after.as_ref(), 1);
        self.labels.count_job(change.before.as_ref(), -1);
        count_pending(&mut self.pending, change.after.as_ref(), 1);
        count_pending(&mut self.pending, change.before.as_ref(), -1);
        let (had, has) = (change.before.is_some(), change.after.is_some());
        if self.restart_replay.is_some() || had == has && change.inactive <= 0 {
            return;
        }
        if !had {
            let new = State::New.number();
            let is_in_new = match kind {
                Some(EventKind::New { state }) => state == new,
                Some(EventKind::Transition { previous, .. }) => previous == Some(new),
                _ => false,
            };
            change.is_submission = is_in_new || self.is_reconciled || change.inactive > 0;
            let is_noted = self.anomalies[Anomaly::LabelLimit.kind()] > 0;
            if !is_noted && self.labels.is_exceeded() {
                change.anomaly.get_or_insert(Anomaly::LabelLimit);
            }
        }
        if !has && self.needs.contains(Needs::RESULT) {
            change.result = source.and_then(JobSource::result);
            if change.result.is_none() {
                change.anomaly.get_or_insert(Anomaly::ResultUnknown);
            }
        }
    }
}

/// Adds `by` to the number of pending jobs with the queue and the time of submission of a job.
fn count_pending(pending: &mut BTreeMap<(LabelId, Timestamp), u32>, job: Option<&Job>, by: i32) {
    let Some(job) = job.filter(|job| job.is_pending()) else { return };
    let Some(submitted) = job.submitted else { return };
    let jobs = pending.entry((job.queue, submitted)).or_default();
    *jobs = jobs.saturating_add_signed(by);
    if *jobs == 0 {
        pending.remove(&(job.queue, submitted));
    }
}
