//! What is known of one active job.

use std::num::NonZeroU64;
use std::rc::Rc;

use super::label_table::{Dash, LabelId, LabelTable};
use super::state::State;
use crate::flux_formats::resources::{allocated, ranks, requested, Amounts, Json};

/// What the enabled collectors need to know of a job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs(u8);

impl Needs {
    /// Nothing but its state.
    pub const STATE: Needs = Needs(0);
    /// Its queue.
    pub const QUEUE: Needs = Needs(1);
    /// Whose it is.
    pub const USER: Needs = Needs(2);
    /// Its bank.
    pub const BANK: Needs = Needs(4);
    /// What it asks for, and what is allocated to it.
    pub const RESOURCES: Needs = Needs(8);
    /// Its urgency, its priority and its dependencies.
    pub const WAITING: Needs = Needs(16);
    /// When it entered its state.
    pub const TIMES: Needs = Needs(32);
    /// What becomes of it, and the exceptions raised on it.
    pub const RESULT: Needs = Needs(64);
    /// No job's: how many nodes there are.
    pub const RESOURCE_STATUS: Needs = Needs(128);

    /// What only the job's [`JobInfo`] say.
    const INFO: Needs =
        Self::QUEUE.union(Self::USER).union(Self::BANK).union(Self::RESOURCES).union(Self::WAITING);

    /// Both.
    pub const fn union(self, other: Needs) -> Needs {
        Needs(self.0 | other.0)
    }

    /// Whether all of `other` is needed.
    pub const fn contains(self, other: Needs) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether something of `INFO` is needed.
    pub(super) const fn info(self) -> bool {
        self.0 & Self::INFO.0 != 0
    }
}

/// When the info of a job are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refresh {
    /// Nothing is known of it yet.
    New,
    /// They may have changed, except for what is allocated to it.
    Again,
    /// Only how urgent it is may have changed.
    Urgency,
    /// It waits no more. Its R, if it has one, says what is allocated to it. Nothing
    /// else is new.
    Start,
}

/// One active job, as far as the enabled collectors need to know it. It takes 64 bytes,
/// and 72 in the table, with its id. All that a job takes is measured in
/// tests/fake/cost.rs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Its state; `None`: one that this version does not know.
    pub state: Option<State>,
    /// When it entered that state; `None` if that is not known.
    pub entered: Option<Timestamp>,
    /// Its queue, in [`LabelTables::queues`].
    pub queue: LabelId,
    /// Its owner, in [`LabelTables::users`].
    pub user: LabelId,
    /// Its bank, in [`LabelTables::banks`].
    pub bank: LabelId,
    /// What is allocated to it if it [has an allocation](Self::has_allocation), else what
    /// it asks for.
    pub amounts: Amounts,
    /// The ranks of the nodes that are allocated to it.
    pub ranks: Ranks,
    /// Whether resources are allocated to it.
    pub has_allocation: bool,
    /// Whether its events are subscribed to.
    pub is_subscribed: bool,
    /// Whether its urgency is 0.
    pub is_held: bool,
    /// Whether its priority is 0, which keeps it from the scheduler.
    pub has_no_priority: bool,
    /// The schemes of its dependencies, each a bit, by the index in
    /// [`LabelTables::schemes`].
    pub schemes: u32,
}

/// A moment of an eventlog, in microseconds since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timestamp(NonZeroU64);

impl Timestamp {
    /// From seconds since the epoch.
    pub fn from_seconds(seconds: f64) -> Timestamp {
        // A cast of what is negative, or no number, is 0.
        Timestamp(NonZeroU64::new((seconds * 1e6).round() as u64).unwrap_or(NonZeroU64::MIN))
    }

    /// The milliseconds from an earlier moment to this. A clock that was set
    /// back made them stand the other way round; that is no time at all.
    pub fn since(self, earlier: Timestamp) -> f64 {
        self.0.get().saturating_sub(earlier.0.get()) as f64 / 1000.0
    }
}

/// Ranks of nodes: nearly always one range, which takes no allocation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Ranks {
    /// No rank.
    #[default]
    None,
    /// From the first to the last.
    One(u32, u32),
    /// Several ranges.
    Many(Rc<[(u32, u32)]>),
}

impl Ranks {
    fn of<J: Json>(r: J) -> Ranks {
        let mut ranges = Ranks::None;
        let mut more = Vec::new();
        ranks(r, &mut |first, last| match ranges {
            Ranks::None => ranges = Ranks::One(first, last),
            Ranks::One(..) | Ranks::Many(_) => more.push((first, last)),
        });
        match ranges {
            Ranks::One(first, last) if !more.is_empty() => {
                more.insert(0, (first, last));
                Ranks::Many(more.into())
            }
            one => one,
        }
    }

    /// The ranges, each from its first to its last.
    pub fn ranges(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        let (one, many) = match self {
            Ranks::None => (None, &[][..]),
            &Ranks::One(first, last) => (Some((first, last)), &[][..]),
            Ranks::Many(ranges) => (None, &ranges[..]),
        };
        one.into_iter().chain(many.iter().copied())
    }
}

/// What Flux says of a job.
#[derive(Clone, Copy, Debug)]
pub struct JobInfo<J> {
    /// Its owner's user id.
    pub user: u32,
    /// Its urgency (RFC 30).
    pub urgency: i32,
    /// Its priority (RFC 30).
    pub priority: i64,
    /// What was submitted.
    pub jobspec: J,
    /// What it got; jobs that wait have none.
    pub r: Option<J>,
}

/// Who can say more of the job that an event is about. Asked only if a collector
/// needs it: the answer takes its time.
pub trait JobSource {
    /// JSON as it was given.
    type Json<'a>: Json
    where
        Self: 'a;

    /// What Flux says of the job.
    ///
    /// # Errors
    /// Why it cannot be read.
    fn info(&self) -> Result<JobInfo<Self::Json<'_>>, ReadError>;
}

/// What could not be read of a job, in words for an administrator. The job counts
/// all the same, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadError(pub String);

/// The lists of names that jobs are counted by.
#[derive(Debug)]
pub struct LabelTables {
    /// Queues. They are an administrator's, so there are few.
    pub queues: LabelTable,
    /// Users, as numbers.
    pub users: LabelTable,
    /// Banks.
    pub banks: LabelTable,
    /// Dependency schemes.
    pub schemes: LabelTable,
    /// Types of exceptions.
    pub exceptions: LabelTable,
}

/// The users, and the banks, that are counted each by itself. Each is seven
/// gauges: with a hundred of each, a resync is about thirty datagrams.
pub const MAX_LABELS: usize = 100;

/// The most queues that are counted each by itself.
pub const MAX_QUEUES: usize = 256;

/// The longest queue that is counted, in bytes: it has to fit a line.
const MAX_QUEUE_LEN: usize = 200;

/// The longest name of the other kinds that is counted by itself.
const MAX_LABEL_LEN: usize = 32;

/// The most schemes that are counted each by itself: with `other`, and a bit for
/// each, they fit a `u32`.
const MAX_SCHEMES: usize = 15;

/// The most exception types that are counted each by itself; users may raise any.
const MAX_EXCEPTION_TYPES: usize = 15;

impl LabelTables {
    /// Empty ones.
    pub(super) fn new(dash: Dash) -> LabelTables {
        LabelTables {
            queues: LabelTable::new(MAX_QUEUES, MAX_QUEUE_LEN, dash),
            users: LabelTable::new(MAX_LABELS, MAX_LABEL_LEN, dash),
            banks: LabelTable::new(MAX_LABELS, MAX_LABEL_LEN, dash),
            schemes: LabelTable::new(MAX_SCHEMES, MAX_LABEL_LEN, dash),
            exceptions: LabelTable::new(MAX_EXCEPTION_TYPES, MAX_LABEL_LEN, dash),
        }
    }
}

impl Job {
    /// A job of which only the state is known.
    pub(super) fn new(state: Option<State>) -> Job {
        Job {
            state,
            entered: None,
            queue: 0,
            user: 0,
            bank: 0,
            amounts: Amounts::default(),
            ranks: Ranks::None,
            has_allocation: false,
            is_subscribed: false,
            is_held: false,
            has_no_priority: false,
            schemes: 0,
        }
    }

    /// Whether it waits for its resources.
    pub fn is_waiting(&self) -> bool {
        self.state.is_some_and(State::is_waiting)
    }

    /// Whether the same was read of it as of another.
    pub(super) fn is_read_as(&self, other: &Job) -> bool {
        Job { state: other.state, entered: other.entered, ..self.clone() } == *other
    }

    /// Forgets what is not needed.
    pub(super) fn forget_all_but(&mut self, needs: Needs) {
        let nothing = Job::new(None);
        if !needs.contains(Needs::QUEUE) {
            self.queue = nothing.queue;
        }
        if !needs.contains(Needs::USER) {
            self.user = nothing.user;
        }
        if !needs.contains(Needs::BANK) {
            self.bank = nothing.bank;
        }
        if !needs.contains(Needs::RESOURCES) {
            (self.has_allocation, self.amounts, self.ranks) =
                (false, nothing.amounts, nothing.ranks);
        }
        if !needs.contains(Needs::WAITING) {
            (self.is_held, self.has_no_priority, self.schemes) = (false, false, 0);
        }
        if !needs.contains(Needs::TIMES) {
            self.entered = None;
        }
    }

    /// Takes over what `info` say and `needs` ask for.
    pub(super) fn read<J: Json>(
        &mut self,
        info: &JobInfo<J>,
        needs: Needs,
        lists: &mut LabelTables,
        refresh: Refresh,
    ) -> Result<(), ReadError> {
        if needs.contains(Needs::WAITING) && refresh != Refresh::Start {
            self.is_held = info.urgency == 0;
            self.has_no_priority = info.priority == 0;
        }
        let needs = match refresh {
            Refresh::Urgency => return Ok(()),
            Refresh::Start => Needs(needs.0 & Needs::RESOURCES.0),
            _ => needs,
        };
        let mut outcome = Ok(());
        let system = info.jobspec.member(c"attributes").and_then(|it| it.member(c"system"));
        let text = |key| system.and_then(|system| system.member(key));
        if needs.contains(Needs::QUEUE) {
            let queue = text(c"queue");
            let queue = queue.as_ref().and_then(Json::text).unwrap_or_default();
            self.queue = match queue.len() {
                0..=MAX_QUEUE_LEN => lists.queues.index(queue),
                length => {
                    outcome = Err(ReadError(format!(
                        "queue: a name of {length} bytes (want at most {MAX_QUEUE_LEN}); the job \
                         counts in no queue"
                    )));
                    0
                }
            };
        }
        if needs.contains(Needs::USER) && self.user == 0 {
            self.user = lists.users.index(itoa::Buffer::new().format(info.user));
        }
        if needs.contains(Needs::BANK) {
            let bank = text(c"bank");
            self.bank = lists.banks.index(bank.as_ref().and_then(Json::text).unwrap_or_default());
        }
        if needs.contains(Needs::WAITING) {
            self.schemes = system.map_or(0, |system| schemes(system, lists));
        }
        if needs.contains(Needs::RESOURCES) {
            if let Err(unread) = self.read_resources(info, system, refresh != Refresh::Again) {
                outcome = Err(unread);
            }
        }
        outcome
    }

    fn read_resources<J: Json>(
        &mut self,
        info: &JobInfo<J>,
        system: Option<J>,
        starts: bool,
    ) -> Result<(), ReadError> {
        if self.is_waiting() {
            (self.has_allocation, self.ranks) = (false, Ranks::None);
            let amounts = requested(info.jobspec);
            self.amounts = amounts.unwrap_or_default();
            return amounts.map(|_| ()).ok_or_else(|| {
                let what = "jobspec: resources not understood; the job counts as asking for none";
                ReadError(what.to_owned())
            });
        }
        if !starts {
            return Ok(());
        }
        (self.has_allocation, self.amounts, self.ranks) = (false, Amounts::default(), Ranks::None);
        // The scheduler allocates nothing to a job that bypasses it. And a job that
        // is canceled while it waits has no R.
        let bypass = system.is_some_and(|system| system.member(c"alloc-bypass").is_some());
        let Some(r) = info.r.filter(|_| !bypass) else { return Ok(()) };
        let Some(amounts) = allocated(r) else {
            return Err(ReadError(
                "R: not understood; the job counts as holding nothing".to_owned(),
            ));
        };
        (self.has_allocation, self.amounts, self.ranks) = (true, amounts, Ranks::of(r));
        Ok(())
    }
}

/// The schemes of the dependencies that a job asks for (RFC 26).
fn schemes<J: Json>(system: J, lists: &mut LabelTables) -> u32 {
    let Some(dependencies) = system.member(c"dependencies") else { return 0 };
    let mut schemes = 0;
    let mut index = 0;
    while let Some(dependency) = dependencies.item(index) {
        index += 1;
        let scheme = dependency.member(c"scheme");
        let scheme = scheme.as_ref().and_then(Json::text).unwrap_or_default();
        schemes |= 1 << lists.schemes.index(scheme);
    }
    // Bit 0 is no name.
    schemes & !1
}
