//! An active job, and the parts of it that are read from Flux.

use std::num::NonZeroU64;
use std::rc::Rc;

use super::label_table::{LabelId, LabelTable};
use super::state::State;
use crate::flux_formats::jobspec::{requested, JobspecError};
use crate::flux_formats::resource_set::allocated;
use crate::flux_formats::{Amounts, Json};

/// The parts of a job that the enabled collectors need, as a set of bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs(u16);

impl Needs {
    /// Only the state.
    pub const STATE: Needs = Needs(0);
    /// The queue (`attributes.system.queue`).
    pub const QUEUE: Needs = Needs(1 << 0);
    /// The owner (`userid`).
    pub const USER: Needs = Needs(1 << 1);
    /// The bank (`attributes.system.bank`).
    pub const BANK: Needs = Needs(1 << 2);
    /// The requested and the allocated resources.
    pub const RESOURCES: Needs = Needs(1 << 3);
    /// The urgency, the priority and the dependencies.
    pub const WAITING: Needs = Needs(1 << 4);
    /// The time of its last transition.
    pub const TIMES: Needs = Needs(1 << 5);
    /// The result, and the exceptions raised on it.
    pub const RESULT: Needs = Needs(1 << 6);
    /// The time of submission.
    pub const SUBMITTED: Needs = Needs(1 << 8);
    /// The status of the instance's resources, which is not a property of a job.
    pub const RESOURCE_STATUS: Needs = Needs(1 << 7);
    /// The status of the queues and of the scheduler, which are not properties of a job.
    pub const QUEUE_STATUS: Needs = Needs(1 << 10);

    /// The needs that are read from [`JobInfo`].
    const INFO: Needs =
        Self::QUEUE.union(Self::USER).union(Self::BANK).union(Self::RESOURCES).union(Self::WAITING);

    /// The needs in either set.
    pub const fn union(self, other: Needs) -> Needs {
        Needs(self.0 | other.0)
    }

    /// `true` if all bits of `other` are set.
    pub const fn contains(self, other: Needs) -> bool {
        self.0 & other.0 == other.0
    }

    /// `true` if [`JobInfo`] must be read.
    pub(super) const fn has_info(self) -> bool {
        self.0 & Self::INFO.0 != 0
    }
}

/// The parts of a job's [`JobInfo`] that may have changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refresh {
    /// All parts.
    New,
    /// All parts except the owner and the allocation.
    Again,
    /// Only the urgency and the priority.
    Urgency,
    /// Only the allocation: the job no longer waits.
    Start,
}

/// An active job, with the parts that the enabled collectors need. A table entry, including
/// the id, has 80 bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Job {
    /// `None` for a state that this version does not support.
    pub state: Option<State>,
    /// The time of the last transition. `None` if it is not known.
    pub entered: Option<Timestamp>,
    /// The time of submission. `None` if it is not known.
    pub submitted: Option<Timestamp>,
    /// The queue, in [`LabelTables::queues`].
    pub queue: LabelId,
    /// The owner, in [`LabelTables::users`].
    pub user: LabelId,
    /// The bank, in [`LabelTables::banks`].
    pub bank: LabelId,
    /// The allocated resources if `has_allocation`, otherwise the requested ones.
    pub amounts: Amounts,
    /// The ranks of the allocated nodes.
    pub ranks: Ranks,
    /// `true` if resources are allocated to the job.
    pub has_allocation: bool,
    /// `true` if the urgency is 0.
    pub is_held: bool,
    /// `true` if the priority is 0, so that the job is not passed to the scheduler.
    pub has_no_priority: bool,
    /// `true` if the job waits, and its queue is stopped or there is no scheduler, according to
    /// [`LabelTables::stopped_queues`].
    pub is_stopped: bool,
    /// `true` if the job waits and its jobspec exceeds a limit: it is counted as requesting
    /// no resources, or only its first 64 dependencies are counted.
    pub exceeds_limit: bool,
    /// `true` if `schemes` is from a list of the dependencies that the job waits for, `false` if
    /// it is from the jobspec, which does not have those that plugins add.
    pub has_listed_schemes: bool,
    /// The schemes of its dependencies, one bit each, by the id in [`LabelTables::schemes`].
    pub schemes: u32,
}

/// A time from an eventlog, in microseconds since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(NonZeroU64);

impl Timestamp {
    /// The earliest time.
    pub const MIN: Timestamp = Timestamp(NonZeroU64::MIN);

    /// Converts seconds since the epoch. Negative numbers and NaN become the epoch.
    pub fn from_seconds(seconds: f64) -> Timestamp {
        Timestamp(NonZeroU64::new((seconds * 1e6).round() as u64).unwrap_or(NonZeroU64::MIN))
    }

    /// The milliseconds since `earlier`; 0 if `earlier` is later, after a clock was set back.
    pub fn since(self, earlier: Timestamp) -> f64 {
        self.0.get().saturating_sub(earlier.0.get()) as f64 / 1000.0
    }
}

/// Ranks of nodes. They are nearly always one range, which is stored without an allocation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Ranks {
    /// No rank.
    #[default]
    None,
    /// The first and the last rank of one range.
    One(u32, u32),
    /// The first and the last rank of several ranges.
    Many(Rc<[(u32, u32)]>),
}

impl Ranks {
    /// The first and the last rank of each range.
    pub fn ranges(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        let (one, many) = match self {
            Ranks::None => (None, &[][..]),
            &Ranks::One(first, last) => (Some((first, last)), &[][..]),
            Ranks::Many(ranges) => (None, &ranges[..]),
        };
        one.into_iter().chain(many.iter().copied())
    }
}

/// A job as Flux passes it to plugins.
#[derive(Clone, Copy, Debug)]
pub struct JobInfo<J> {
    /// The owner's user id.
    pub user: u32,
    /// The urgency (RFC 30), from 0 to 31.
    pub urgency: i32,
    /// The priority (RFC 30).
    pub priority: i64,
    /// The jobspec.
    pub jobspec: J,
    /// R. `None` if nothing is allocated to the job.
    pub r: Option<J>,
}

/// The result of a job (`flux_job_result_t`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JobResult {
    /// All tasks exited with status 0.
    Completed,
    /// A task exited with another status, or an exception ended the job.
    Failed,
    /// It was canceled.
    Canceled,
    /// The time limit expired.
    Timeout,
}

/// The job that an event is about. It is read only if a collector needs it, because reading
/// takes time.
pub trait JobSource {
    /// JSON that borrows from the source.
    type Json<'a>: Json
    where
        Self: 'a;

    /// Reads the job.
    ///
    /// # Errors
    /// The reason why it cannot be read.
    fn info(&self) -> Result<JobInfo<Self::Json<'_>>, ReadError>;

    /// The time of submission.
    ///
    /// # Errors
    /// If it is missing.
    fn submitted(&self) -> Result<Timestamp, ReadError>;

    /// `true` if R was not allocated by the scheduler, but by the plugin alloc-bypass.so.
    /// `has_attribute`: the jobspec has the attribute `alloc-bypass`, which has no effect
    /// without that plugin.
    fn bypasses_scheduler(&self, has_attribute: bool) -> bool;

    /// The result of a job that has ended. `None` if it is not known.
    fn result(&self) -> Option<JobResult>;
}

/// The reason why a part of a job could not be read, for an administrator. The job is
/// counted with the parts that are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadError(pub String);

/// The tables of the labels that jobs are counted by. A label without active jobs can lose its
/// place to another one.
#[derive(Debug)]
pub struct LabelTables {
    /// Queues.
    pub queues: LabelTable,
    /// User ids, as decimal numbers.
    pub users: LabelTable,
    /// Banks.
    pub banks: LabelTable,
    /// Dependency schemes (RFC 26).
    pub schemes: LabelTable,
    /// Exception types.
    pub exceptions: LabelTable,
    /// The queues whose jobs cannot start. 0: jobs without a queue.
    pub stopped_queues: Vec<LabelId>,
}

impl LabelTables {
    /// Adds `by` to the number of active jobs of each label of a job.
    pub(super) fn count_job(&mut self, job: Option<&Job>, by: i32) {
        let Some(job) = job else { return };
        self.queues.count(job.queue, by);
        self.users.count(job.user, by);
        self.banks.count(job.bank, by);
        let mut schemes = job.schemes;
        while schemes != 0 {
            self.schemes.count(schemes.trailing_zeros() as LabelId, by);
            schemes &= schemes - 1;
        }
    }

    /// Sets the number of active jobs of each label to 0. An exception type keeps its place.
    pub(super) fn clear_job_counts(&mut self) {
        let LabelTables { queues, users, banks, schemes, .. } = self;
        [queues, users, banks, schemes].into_iter().for_each(LabelTable::clear_counts);
    }

    /// A number that changes with the version of each table.
    #[inline]
    pub fn version(&self) -> u32 {
        let LabelTables { queues, users, banks, schemes, exceptions } = self;
        let tables = [queues, users, banks, schemes, exceptions];
        tables.into_iter().map(LabelTable::version).fold(0, u32::wrapping_add)
    }

    /// `true` if a label was counted as [`OTHER`](super::OTHER) because its table was full.
    pub(super) fn is_exceeded(&self) -> bool {
        let LabelTables { queues, users, banks, schemes, exceptions, .. } = self;
        [queues, users, banks, schemes, exceptions].into_iter().any(LabelTable::is_exceeded)
    }
}

/// The maximum number of users, and of banks, with their own gauges: twelve for each label. A
/// resync of 100 users and 100 banks is about 70 datagrams.
pub const MAX_LABELS: usize = 100;

/// The maximum number of queues with their own gauges. Administrators define queues.
pub const MAX_QUEUES: usize = 256;

/// The maximum length of a queue's name in bytes: a line must fit in a datagram.
const MAX_QUEUE_LEN: usize = 200;

/// The maximum length of other labels in bytes.
const MAX_LABEL_LEN: usize = 32;

/// The maximum number of schemes with their own gauges. Together with `other` they use bits 1
/// to 16 of [`Job::schemes`].
const MAX_SCHEMES: usize = 15;

/// The maximum number of exception types with their own counters, besides those of Flux.
/// Users can raise exceptions of any type.
const MAX_EXCEPTION_TYPES: usize = 15;

/// The types of the exceptions that flux-core 0.88.0 raises.
const FLUX_EXCEPTION_TYPES: [&str; 10] = [
    "alloc",
    "alloc-check",
    "cancel",
    "dependency",
    "epilog",
    "exec",
    "node-failure",
    "prolog",
    "scheduler-restart",
    "timeout",
];

/// The maximum number of dependencies that are read from a jobspec.
const MAX_DEPENDENCIES: usize = 64;

impl Default for LabelTables {
    fn default() -> LabelTables {
        LabelTables {
            queues: LabelTable::new(MAX_QUEUES, MAX_QUEUE_LEN, &[]),
            users: LabelTable::new(MAX_LABELS, MAX_LABEL_LEN, &[]),
            banks: LabelTable::new(MAX_LABELS, MAX_LABEL_LEN, &[]),
            schemes: LabelTable::new(MAX_SCHEMES, MAX_LABEL_LEN, &[]),
            exceptions: LabelTable::new(MAX_EXCEPTION_TYPES, MAX_LABEL_LEN, &FLUX_EXCEPTION_TYPES),
            stopped_queues: Vec::new(),
        }
    }
}

impl Job {
    /// A job with this state. Its other properties are not known.
    pub(crate) fn new(state: Option<State>) -> Job {
        Job { state, ..Job::default() }
    }

    /// `true` if the job is in a state before RUN.
    pub fn is_waiting(&self) -> bool {
        self.state.is_some_and(State::is_waiting)
    }

    /// Sets the dependencies that the job waits for, by their names.
    pub(super) fn set_dependencies<'a>(
        &mut self,
        names: impl Iterator<Item = &'a str>,
        schemes: &mut LabelTable,
    ) {
        self.has_listed_schemes = true;
        self.schemes = bits(names.take(MAX_DEPENDENCIES).map(|name| schemes.id(name)));
    }

    /// `true` if the list of dependencies must be requested to know what the job waits for.
    pub(super) fn needs_list(&self) -> bool {
        self.state == Some(State::Depend) && (self.schemes == 0 || self.has_listed_schemes)
    }

    /// `true` if the job waits for a priority or resources, and is not held.
    pub(super) fn is_pending(&self) -> bool {
        matches!(self.state, Some(State::Priority | State::Sched)) && !self.is_held
    }

    /// `true` if both jobs are counted by the same labels, and by the same time of submission
    /// if they are pending.
    #[inline]
    pub(super) fn is_counted_as(&self, other: &Job) -> bool {
        let labels = |job: &Job| (job.queue, job.user, job.bank, job.schemes);
        let since = |job: &Job| job.submitted.filter(|_| job.is_pending());
        labels(self) == labels(other) && since(self) == since(other)
    }

    /// `true` if all properties are equal, except the state and the time of the last transition.
    pub(super) fn has_same_info(&self, other: &Job) -> bool {
        Job { state: other.state, entered: other.entered, ..self.clone() } == *other
    }

    /// Clears the parts that are not in `needs`.
    pub(super) fn keep(&mut self, needs: Needs) {
        let label = |need, label| if needs.contains(need) { label } else { 0 };
        self.queue = label(Needs::QUEUE, self.queue);
        self.user = label(Needs::USER, self.user);
        self.bank = label(Needs::BANK, self.bank);
        self.entered = self.entered.filter(|_| needs.contains(Needs::TIMES));
        self.submitted = self.submitted.filter(|_| needs.contains(Needs::SUBMITTED));
        let (resources, waiting) =
            (needs.contains(Needs::RESOURCES), needs.contains(Needs::WAITING));
        if !resources {
            (self.has_allocation, self.amounts, self.ranks) = Default::default();
        }
        if !waiting {
            (self.is_held, self.has_no_priority, self.schemes) = Default::default();
            (self.is_stopped, self.has_listed_schemes) = Default::default();
        }
        self.exceeds_limit &= resources || waiting;
    }

    /// Reads from `source` the parts that are needed and may have changed. Returns an error
    /// if the source cannot be read, or if the resources are malformed; the other parts are
    /// read nevertheless.
    ///
    /// At most 1,024 resource vertices and 64 dependencies of a jobspec are read. These
    /// numbers, and the length of the strings that are read, bound the cost of each call.
    pub(super) fn read(
        &mut self,
        source: &impl JobSource,
        needs: Needs,
        labels: &mut LabelTables,
        refresh: Refresh,
    ) -> Option<ReadError> {
        let mut submitted = Ok(());
        if refresh == Refresh::New && needs.contains(Needs::SUBMITTED) {
            submitted = source.submitted().map(|time| self.submitted = Some(time));
        }
        if !needs.has_info() {
            return submitted.err();
        }
        let read = |info| self.read_info(source, &info, needs, labels, refresh);
        let error = source.info().and_then(read).and(submitted).err();
        self.is_stopped = needs.contains(Needs::WAITING)
            && self.is_waiting()
            && labels.stopped_queues.contains(&self.queue);
        error
    }

    fn read_info<S: JobSource>(
        &mut self,
        source: &S,
        info: &JobInfo<S::Json<'_>>,
        needs: Needs,
        labels: &mut LabelTables,
        refresh: Refresh,
    ) -> Result<(), ReadError> {
        if needs.contains(Needs::WAITING) && refresh != Refresh::Start {
            self.is_held = info.urgency == 0;
            self.has_no_priority = info.priority == 0;
        }
        if refresh == Refresh::Urgency {
            return Ok(());
        }
        self.exceeds_limit = false;
        let system = info.jobspec.member(c"attributes").and_then(|it| it.member(c"system"));
        if refresh != Refresh::Start {
            let member = |key| system.and_then(|system| system.member(key));
            if needs.contains(Needs::QUEUE) {
                self.queue = label(member(c"queue"), &mut labels.queues);
            }
            if needs.contains(Needs::USER) && self.user == 0 {
                self.user = labels.users.id(itoa::Buffer::new().format(info.user));
            }
            if needs.contains(Needs::BANK) {
                self.bank = label(member(c"bank"), &mut labels.banks);
            }
            if needs.contains(Needs::WAITING) {
                self.read_dependencies(member(c"dependencies"), &mut labels.schemes);
            }
        }
        match needs.contains(Needs::RESOURCES) {
            true if self.is_waiting() => self.read_request(info.jobspec),
            true if refresh != Refresh::Again => {
                let has_attribute =
                    system.is_some_and(|system| system.member(c"alloc-bypass").is_some());
                let r = info.r.filter(|_| !source.bypasses_scheduler(has_attribute));
                self.read_allocation(r)
            }
            _ => Ok(()),
        }
    }

    fn read_dependencies<J: Json>(&mut self, dependencies: Option<J>, schemes: &mut LabelTable) {
        if !self.has_listed_schemes {
            let items = dependencies.into_iter().flat_map(Json::items).take(MAX_DEPENDENCIES);
            self.schemes =
                bits(items.map(|dependency| label(dependency.member(c"scheme"), schemes)));
        }
        let Some(dependencies) = dependencies else { return };
        self.exceeds_limit = self.is_waiting() && dependencies.item(MAX_DEPENDENCIES).is_some();
    }

    fn read_request<J: Json>(&mut self, jobspec: J) -> Result<(), ReadError> {
        (self.has_allocation, self.ranks) = (false, Ranks::None);
        let amounts = requested(jobspec);
        self.amounts = amounts.unwrap_or_default();
        self.exceeds_limit |= amounts == Err(JobspecError::TooLarge);
        match amounts {
            Err(JobspecError::NotUnderstood) => Err(ReadError(
                "jobspec: resources not understood; the job is counted as requesting none".into(),
            )),
            _ => Ok(()),
        }
    }

    /// `r` is `None` if the scheduler allocated nothing, or if the job was canceled before RUN.
    fn read_allocation<J: Json>(&mut self, r: Option<J>) -> Result<(), ReadError> {
        (self.has_allocation, self.amounts, self.ranks) = Default::default();
        let Some(r) = r else { return Ok(()) };
        let (mut first_range, mut more) = (None, Vec::new());
        let amounts = allocated(r, &mut |first, last| match first_range {
            None => first_range = Some((first, last)),
            Some(_) => more.push((first, last)),
        });
        let Some(amounts) = amounts else {
            let text = "R: not understood; the job is counted as holding nothing";
            return Err(ReadError(text.into()));
        };
        (self.has_allocation, self.amounts) = (true, amounts);
        self.ranks = match first_range {
            None => Ranks::None,
            Some((first, last)) if more.is_empty() => Ranks::One(first, last),
            Some(range) => Ranks::Many(std::iter::once(range).chain(more).collect()),
        };
        Ok(())
    }
}

/// The bit of each id. 0, a dependency without a scheme, has none.
fn bits(ids: impl Iterator<Item = LabelId>) -> u32 {
    ids.fold(0, |bits, id| bits | 1 << id) & !1
}

/// The id of a label in a jobspec; 0 if there is none.
fn label<J: Json>(label: Option<J>, table: &mut LabelTable) -> LabelId {
    table.id(label.as_ref().and_then(J::text).unwrap_or_default())
}
