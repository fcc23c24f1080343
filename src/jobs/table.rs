//! The table itself.

use std::collections::hash_map::{Entry, HashMap};
use std::collections::HashSet;
use std::hash::{BuildHasherDefault, Hasher};

use super::inactive::Inactive;
use super::job::{Job, JobSource, LabelTables, Needs, ReadError, Refresh, Timestamp};
use super::label_table::{Dash, LabelId};
use super::queues::{ByQueue, Queues};
use super::state::State;
use crate::flux_formats::status::ResourceStatus;

/// An event of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// The job's id.
    pub id: u64,
    /// Which event.
    pub what: EventKind,
}

/// Which event it was. States are `flux_job_state_t` numbers, as they came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// `job.new`
    New {
        /// The job's current state.
        state: i32,
    },
    /// `job.state.*`
    Moved {
        /// The state entered.
        state: i32,
        /// The state left; `None` where the call is an announcement.
        previous: Option<i32>,
        /// When; `None` if that is not known, or not needed.
        at: Option<Timestamp>,
    },
    /// `job.update`
    Updated,
    /// `job.inactive-add`
    InactiveAdd,
    /// `job.inactive-remove`
    InactiveRemove,
}

/// What an event did to the table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// The job as it was known; `None` if it was not.
    pub before: Option<Job>,
    /// The job as it is known now; `None` if it is not active.
    pub after: Option<Job>,
    /// By how many the inactive jobs increase.
    pub inactive: i64,
    /// The queue that these are of, if queues are needed.
    pub queue: LabelId,
    /// What was wrong with the event.
    pub anomaly: Option<Anomaly>,
    /// What could not be read of the job.
    pub unread: Option<ReadError>,
}

/// An event that contradicts what is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anomaly {
    /// A job left a state in which it was not known to be: an event never came.
    MissedEvent(State),
    /// A `flux_job_state_t` that this version does not know; not counted.
    UnknownState(i32),
    /// The broker's numbers of inactive jobs contradict each other or the
    /// events; the newest is believed.
    InactiveContradicted,
}

impl Anomaly {
    /// How many kinds there are.
    pub const KINDS: usize = 3;

    /// The kinds' names, by their index.
    pub const NAMES: [&'static str; Self::KINDS] =
        ["missed_event", "unknown_state", "inactive_contradicted"];

    /// The index of this one's kind.
    pub fn kind(self) -> usize {
        match self {
            Anomaly::MissedEvent(_) => 0,
            Anomaly::UnknownState(_) => 1,
            Anomaly::InactiveContradicted => 2,
        }
    }
}

/// A hash of job ids. std's own would seed itself from a thread-local, which a
/// plugin may not have (its destructor would run in unmapped code); and it is
/// made for keys that an enemy chooses. Ids are Flux's own: a time, a generator
/// and a sequence number (RFC 19), which one multiplication spreads.
#[derive(Default)]
pub struct IdHasher(u64);

impl Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    #[inline]
    fn write_u64(&mut self, id: u64) {
        // By 2^64 over the golden ratio (Knuth, 6.4), then folded: hashbrown
        // takes its bits from both ends.
        let spread = (self.0 ^ id).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = spread ^ (spread >> 32);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

type Shard = HashMap<u64, Job, BuildHasherDefault<IdHasher>>;

/// How many maps the table is divided into. A map moves all its jobs at once when it
/// grows, and the job manager waits meanwhile. Many small maps grow one by one. And
/// the check of the table can cursor them one by one.
///
/// Measured with a million jobs of 72 bytes (8 of them the id), in processor time: the
/// worst insert takes 90 ms in one map, and 0.7 ms in 256. A look-up takes 0.1 to 0.3
/// µs in either, and 4 µs in a BTreeMap.
pub const SHARDS: usize = 256;

/// The active jobs, and the number of those that are not.
#[derive(Debug)]
pub struct JobTable {
    shards: Vec<Shard>,
    needs: Needs,
    lists: LabelTables,
    /// The jobs in each active state.
    counts: [u64; 7],
    inactive: Inactive,
    /// Kept while queues are needed.
    queues: Queues,
    /// Where the jobs run; `None` while that is not known, or not needed.
    resource_status: Option<ResourceStatus>,
    anomalies: [u64; Anomaly::KINDS],
    /// Events so far: whether any came between two looks.
    events: u64,
    loading: Option<RestartReplay>,
}

/// What is kept only until the reactor turns after a load. Until then Flux reports the
/// jobs that exist. At a restart it first replays what was left undone, and then calls
/// `job.new` (flux-core, restart.c). So a job may move or end before it is reported,
/// and then be reported in its earlier state.
#[derive(Debug, Default)]
struct RestartReplay {
    ended: HashSet<u64, BuildHasherDefault<IdHasher>>,
}

impl Default for JobTable {
    fn default() -> Self {
        JobTable {
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            needs: Needs::STATE,
            lists: LabelTables::new(Dash::default()),
            counts: [0; 7],
            inactive: Inactive::default(),
            queues: Queues::default(),
            resource_status: None,
            anomalies: [0; Anomaly::KINDS],
            events: 0,
            loading: Some(RestartReplay::default()),
        }
    }
}

impl JobTable {
    /// The load is over: all jobs that were there are reported.
    pub fn loaded(&mut self) {
        self.loading = None;
    }

    /// What is needed of jobs from now on. What is not any more is forgotten; what
    /// was not before is not known of the jobs that are there, until each is
    /// [reconciled](Self::reconcile).
    pub fn set_needs(&mut self, needs: Needs) {
        if !needs.contains(Needs::QUEUE) {
            self.queues = Queues::default();
        }
        if !needs.contains(Needs::RESOURCE_STATUS) {
            self.resource_status = None;
        }
        let had = std::mem::replace(&mut self.needs, needs);
        if needs.contains(had) {
            return;
        }
        for job in self.shards.iter_mut().flat_map(Shard::values_mut) {
            job.forget_all_but(needs);
        }
    }

    /// Begins the lists of names anew, cleaned so. No job may be known by a name
    /// any more: see [`set_needs`](Self::set_needs).
    pub fn restart_lists(&mut self, dash: Dash) {
        self.lists = LabelTables::new(dash);
    }

    /// What is needed of jobs.
    pub fn needs(&self) -> Needs {
        self.needs
    }

    /// The names that jobs are counted by.
    pub fn lists(&self) -> &LabelTables {
        &self.lists
    }

    /// The names that jobs are counted by.
    pub fn lists_mut(&mut self) -> &mut LabelTables {
        &mut self.lists
    }

    /// The number of inactive jobs.
    pub fn inactive(&self) -> &Inactive {
        &self.inactive
    }

    /// The jobs of each queue, while queues are needed.
    pub fn queues(&self) -> &Queues {
        &self.queues
    }

    /// Where the jobs run, as far as the broker said it.
    pub fn resource_status(&self) -> Option<&ResourceStatus> {
        self.resource_status.as_ref()
    }

    /// The broker said where the jobs run; `None`: it does not any more.
    pub fn set_resource_status(&mut self, resource_status: Option<ResourceStatus>) {
        self.resource_status = resource_status;
    }

    /// How often each kind of anomaly was found.
    pub fn anomalies(&self) -> [u64; Anomaly::KINDS] {
        self.anomalies
    }

    /// How many events there were.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// How many active jobs are known.
    pub fn active(&self) -> u64 {
        self.shards.iter().map(|shard| shard.len() as u64).sum()
    }

    /// The jobs in `state`; `None` for INACTIVE while that is not known.
    pub fn count(&self, state: State) -> Option<u64> {
        match state {
            State::Inactive => self.inactive.count(),
            _ => Some(self.counts[state as usize]),
        }
    }

    /// What is known of a job.
    pub fn job(&self, id: u64) -> Option<&Job> {
        self.shards[shard_of(id)].get(&id)
    }

    /// All active jobs, in no order.
    pub fn jobs(&self) -> impl Iterator<Item = (u64, &Job)> {
        self.shards.iter().flatten().map(|(&id, job)| (id, job))
    }

    /// The ids of the jobs in one of the table's shards.
    pub fn ids(&self, shard: usize) -> impl Iterator<Item = u64> + '_ {
        self.shards[shard].keys().copied()
    }

    /// Applies an event. `source` is asked for what the collectors need to know of
    /// the job, where the event can have changed it.
    pub fn apply(&mut self, event: Event, source: &impl JobSource) -> Change {
        self.events += 1;
        let id = event.id;
        let mut change = match event.what {
            EventKind::New { state } => self.job_reported(id, state, source),
            EventKind::Moved { state, previous: None, .. } => match self.job(id) {
                Some(_) => Change::default(),
                None => self.job_reported(id, state, source),
            },
            EventKind::Moved { state, previous: Some(previous), at } => {
                self.moved(id, state, previous, at, source)
            }
            EventKind::Updated => self.updated(id, source),
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
                // An inactive job is in no table, but it has its jobspec still.
                None => {
                    let mut job = Job::new(Some(State::Inactive));
                    // Nothing else: the lists have ends, and are for active jobs.
                    change.unread = self.read(&mut job, source, Needs::QUEUE);
                    job.queue
                }
            };
        }
        self.finish(&mut change);
        change
    }

    /// The job manager says what it knows of a job: `actual` is its state, if it is
    /// active, and who can say more. Puts the job right if that is something
    /// else; returns what changed.
    pub fn reconcile(&mut self, id: u64, actual: Option<(i32, &impl JobSource)>) -> Change {
        let actual = actual.map(|(state, source)| (State::from_number(state), source));
        let mut change = match actual {
            Some((state, source)) if state != Some(State::Inactive) => {
                let before = self.job(id).cloned();
                let mut after = Job::new(state);
                let unread = self.read(&mut after, source, self.needs);
                after.is_subscribed = before.as_ref().is_some_and(|before| before.is_subscribed);
                if let Some(before) = before.as_ref().filter(|before| before.state == state) {
                    after.entered = before.entered;
                }
                self.shards[shard_of(id)].insert(id, after.clone());
                Change { before, after: Some(after), unread, ..Change::default() }
            }
            _ => Change { before: self.remove(id), ..Change::default() },
        };
        if change.before == change.after {
            change = Change { unread: change.unread, ..Change::default() };
        }
        self.finish(&mut change);
        change
    }

    /// Notes that an active job's events are subscribed to. Returns whether that is
    /// new: a second subscription would bring each event twice.
    pub fn note_subscription(&mut self, id: u64) -> bool {
        let job = self.shards[shard_of(id)].get_mut(&id);
        job.is_some_and(|job| !std::mem::replace(&mut job.is_subscribed, true))
    }

    /// The broker is asked how many jobs each queue has.
    pub fn queues_asked(&mut self) {
        self.queues.asked();
    }

    /// The broker answered how many jobs each queue has. Returns whether it could
    /// be believed; if not, it must be asked again.
    pub fn queues_answered(&mut self, answer: &ByQueue) -> bool {
        self.queues.answered(answer, &mut self.lists.queues)
    }

    /// The broker is asked how many jobs are inactive.
    pub fn inactive_asked(&mut self) {
        self.inactive.asked();
    }

    /// The broker answered how many jobs are inactive.
    pub fn inactive_answered(&mut self, count: u64) -> super::inactive::Answered {
        let answered = self.inactive.answered(count);
        if answered.contradicted {
            self.anomalies[Anomaly::InactiveContradicted.kind()] += 1;
        }
        answered
    }

    fn job_reported(&mut self, id: u64, state: i32, source: &impl JobSource) -> Change {
        // It moved, or ended, before its job.new, which was made ready before that.
        if self.loading.as_ref().is_some_and(|loading| loading.ended.contains(&id))
            || self.loading.is_some() && self.job(id).is_some()
        {
            return Change::default();
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
            change.unread = self.read(&mut job, source, self.needs);
            change.after = Some(job.clone());
            self.shards[shard_of(id)].insert(id, job);
        }
        change
    }

    fn moved(
        &mut self,
        id: u64,
        state: i32,
        previous: i32,
        at: Option<Timestamp>,
        source: &impl JobSource,
    ) -> Change {
        let (known, left) = (State::from_number(state), State::from_number(previous));
        if known == Some(State::Inactive) {
            return self.ended(id, left);
        }
        let (needs, loading) = (self.needs, self.loading.is_some());
        let lists = &mut self.lists;
        let (before, job) = match self.shards[shard_of(id)].entry(id) {
            Entry::Occupied(entry) => {
                let job = entry.into_mut();
                (Some(job.clone()), job)
            }
            Entry::Vacant(entry) => (None, entry.insert(Job::new(known))),
        };
        // In a state of a newer Flux it may have been waiting; what it asks for is not known.
        let was_unknown = job.state.is_none();
        let waited = job.is_waiting() || was_unknown;
        job.state = known;
        job.entered = at;
        let refresh = match job.is_waiting() {
            _ if before.is_none() => Some(Refresh::New),
            false => waited.then_some(Refresh::Start),
            // Old versions of Flux send a job whose jobspec was updated back to
            // PRIORITY, and do not call job.update.
            true if known == Some(State::Priority) || job.has_allocation || was_unknown => {
                Some(Refresh::Again)
            }
            true => needs.contains(Needs::WAITING).then_some(Refresh::Urgency),
        };
        let mut unread = None;
        if let Some(refresh) = refresh.filter(|_| needs.info()) {
            let info = source.info();
            unread = info.and_then(|info| job.read(&info, needs, lists, refresh)).err();
            // Nothing changed: the same error was returned before.
            if refresh == Refresh::Again && before.as_ref().is_some_and(|it| job.is_read_as(it)) {
                unread = None;
            }
        }
        let after = Some(job.clone());
        let anomaly = match (known, left, &before) {
            (None, ..) => Some(Anomaly::UnknownState(state)),
            (_, None, _) => Some(Anomaly::UnknownState(previous)),
            (_, Some(left), Some(before)) if before.state != Some(left) => {
                Some(Anomaly::MissedEvent(left))
            }
            // A restart replays moves before it reports the jobs.
            (_, Some(left), None) if !loading => Some(Anomaly::MissedEvent(left)),
            _ => None,
        };
        Change { before, after, anomaly, unread, ..Change::default() }
    }

    fn ended(&mut self, id: u64, left: Option<State>) -> Change {
        let before = self.remove(id);
        let again = match &mut self.loading {
            Some(loading) => !loading.ended.insert(id),
            None => false,
        };
        let counted = !again && self.inactive.ended(id);
        let known = before.as_ref().map(|job| job.state);
        let anomaly = match left {
            _ if known == Some(left) => None,
            _ if known.is_none() && !again && self.loading.is_some() => None,
            left => left.map(Anomaly::MissedEvent),
        };
        Change { before, inactive: counted.into(), anomaly, ..Change::default() }
    }

    fn updated(&mut self, id: u64, source: &impl JobSource) -> Change {
        let needs = self.needs;
        let Some(job) = self.shards[shard_of(id)].get_mut(&id).filter(|_| needs.info()) else {
            return Change::default();
        };
        let before = job.clone();
        let read =
            source.info().and_then(|info| job.read(&info, needs, &mut self.lists, Refresh::Again));
        let (before, after) = (Some(before), Some(job.clone()));
        Change { before, after, unread: read.err(), ..Change::default() }
    }

    fn count_queues(&mut self, change: &Change) {
        for (job, by) in [(&change.after, 1), (&change.before, -1)] {
            if let Some(Job { queue, state: Some(state), .. }) = job {
                self.queues.add(*queue, *state, by);
            }
        }
        if change.inactive != 0 {
            self.queues.add(change.queue, State::Inactive, change.inactive);
        }
    }

    fn read(&mut self, job: &mut Job, source: &impl JobSource, needs: Needs) -> Option<ReadError> {
        if !needs.info() {
            return None;
        }
        let info = source.info();
        info.and_then(|info| job.read(&info, needs, &mut self.lists, Refresh::New)).err()
    }

    fn remove(&mut self, id: u64) -> Option<Job> {
        self.shards[shard_of(id)].remove(&id)
    }

    fn finish(&mut self, change: &mut Change) {
        if self.needs.contains(Needs::QUEUE) {
            self.count_queues(change);
        }
        let state = |job: &Option<Job>| job.as_ref().and_then(|job| job.state);
        let (before, after) = (state(&change.before), state(&change.after));
        if before != after {
            if let Some(state) = after {
                self.counts[state as usize] += 1;
            }
            if let Some(state) = before {
                self.counts[state as usize] -= 1;
            }
        }
        if let Some(anomaly) = change.anomaly {
            self.anomalies[anomaly.kind()] += 1;
        }
    }
}

pub(super) fn shard_of(id: u64) -> usize {
    let mut hasher = IdHasher::default();
    hasher.write_u64(id);
    // Not the bits that the shard's own map takes: its lowest, and the seven
    // highest.
    (hasher.finish() >> 40) as usize % SHARDS
}
