//! The books: which event changes which count.
//!
//! Pure: events in, changes out, no Flux and no statsd. What jobtap really
//! calls, and when, is measured in flux-core 0.88.0; flux-jobtap-plugins(7)
//! says less.
//!
//! - `job.new` opens a job's account in the state it is announced in: NEW for a
//!   submitted job (there is no `job.state.new`), any active state for a job
//!   that was there before the plugin.
//! - `job.state.*` with a previous state moves the job. Without one it is a
//!   second announcement of a job in DEPEND, and changes nothing.
//! - `job.inactive-add` follows each move to INACTIVE, and changes nothing then.
//!   Without a move before it, at a restart, it announces an inactive job.
//! - `job.inactive-remove` closes the account: the job was purged.
//!
//! Until the reactor turns after a load, jobs are [announced], in an order of
//! their own: at a restart flux-core replays what was left undone before any
//! `job.new` (restart.c), so a job may move before it is announced, and one that
//! ends there never is. So until then the books know each job by its id.
//!
//! Jobs that were inactive before the plugin was loaded are announced by nobody.
//! The broker knows their number, so INACTIVE is withheld until a [survey] has
//! found it.
//!
//! [announced]: Accounting::announced
//! [survey]: Accounting::survey_begin

pub mod amounts;
pub mod queues;
pub mod record;
pub mod stays;
mod survey;
pub mod usage;

use std::collections::BTreeMap;

use survey::Survey;

/// A job state, in the order in which a job passes through them (RFC 21).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Submitted, not yet validated.
    New,
    /// Waits for its dependencies.
    Depend,
    /// Waits for a priority.
    Priority,
    /// Waits for resources.
    Sched,
    /// Has resources.
    Run,
    /// Gives its resources back.
    Cleanup,
    /// Is over, and in the KVS until it is purged.
    Inactive,
}

impl State {
    /// All states, in order.
    pub const ALL: [State; 7] = [
        State::New,
        State::Depend,
        State::Priority,
        State::Sched,
        State::Run,
        State::Cleanup,
        State::Inactive,
    ];

    /// The state behind a `flux_job_state_t`, a power of two (libjob/job.h).
    /// `None` for a number that this version does not know.
    pub fn from_number(number: i32) -> Option<State> {
        // Its place is the number of its one bit.
        let place = number.trailing_zeros() as usize;
        Self::ALL.get(place).copied().filter(|_| number == 1 << place)
    }
}

/// What happened to a job. States are `flux_job_state_t` numbers, as they came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
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
    },
    /// `job.inactive-add`
    InactiveAdd,
    /// `job.inactive-remove`
    InactiveRemove,
}

/// What an event did to the published counts: one job more here, one less there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// The state with one job more.
    pub inc: Option<State>,
    /// The state with one job less.
    pub dec: Option<State>,
}

/// An event that contradicts the books.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anomaly {
    /// A job left a state in which the books have none; the count stays 0.
    NoJobToMove(State),
    /// A `flux_job_state_t` that this version does not know; not counted.
    UnknownState(i32),
    /// The broker's numbers of inactive jobs contradict each other or the
    /// events; the newest is believed.
    SurveyContradicted,
}

impl Anomaly {
    /// How many kinds there are.
    pub const KINDS: usize = 3;

    /// The kinds' names, by their index.
    pub const NAMES: [&'static str; Self::KINDS] =
        ["no_job_to_move", "unknown_state", "survey_contradicted"];

    /// The index of this one's kind.
    pub fn kind(self) -> usize {
        match self {
            Anomaly::NoJobToMove(_) => 0,
            Anomaly::UnknownState(_) => 1,
            Anomaly::SurveyContradicted => 2,
        }
    }
}

/// The books of one loaded plugin.
#[derive(Debug, Default)]
pub struct Accounting {
    /// Jobs in each active state. (INACTIVE's place is unused: see `inactive`.)
    active: [u64; 7],
    /// Where each job is that was met before [`start`](Accounting::start); `None`
    /// in a state that is not known here.
    announced: BTreeMap<u64, Option<State>>,
    inactive: Inactive,
    /// Moves to INACTIVE whose `job.inactive-add` has not come yet.
    adds_to_come: u64,
    anomalies: [u64; Anomaly::KINDS],
}

/// The inactive jobs.
#[derive(Debug)]
enum Inactive {
    /// Known only but for those from before the load.
    Sought(Survey),
    Known(u64),
}

impl Default for Inactive {
    fn default() -> Self {
        Inactive::Sought(Survey::default())
    }
}

impl Accounting {
    /// Enters an event of the job `id` from before [`start`](Self::start), while
    /// nothing is published. Returns whether it told where the job is, and what
    /// was wrong with it.
    pub fn announced(&mut self, id: u64, event: Event) -> (bool, Option<Anomaly>) {
        let (number, previous) = match event {
            Event::New { state } => (state, None),
            Event::Moved { state, previous: Some(previous) } => (state, Some(previous)),
            Event::Moved { previous: None, .. } => return (false, None),
            Event::InactiveAdd | Event::InactiveRemove => return (true, self.apply(event).1),
        };
        let known = self.announced.get(&id).copied();
        // It moved before its job.new, which was made ready before that.
        if previous.is_none() && known.is_some() {
            return (false, None);
        }
        let state = State::from_number(number);
        self.announced.insert(id, state);
        if state == Some(State::Inactive) && previous.is_some() && known != Some(state) {
            self.add(State::Inactive);
            self.adds_to_come += 1;
        }
        let left = previous.and_then(State::from_number);
        let anomaly = match (state, known, left) {
            (None, ..) => Some(Anomaly::UnknownState(number)),
            (_, Some(known), Some(left)) if known != Some(left) => Some(Anomaly::NoJobToMove(left)),
            _ => None,
        };
        if let Some(anomaly) = anomaly {
            self.note(anomaly);
        }
        (true, anomaly)
    }

    /// All jobs that were there are announced. From now on events need no id.
    pub fn start(&mut self) {
        for state in std::mem::take(&mut self.announced).into_values().flatten() {
            if state != State::Inactive {
                self.add(state);
            }
        }
    }

    /// Enters an event. The change is what it did to the published counts, the
    /// anomaly what was wrong with it. Never makes a count negative.
    pub fn apply(&mut self, event: Event) -> (Change, Option<Anomaly>) {
        let mut change = Change::default();
        let mut anomaly = None;
        match event {
            Event::New { state } => self.enter(state, &mut change, &mut anomaly),
            Event::Moved { previous: None, .. } => (),
            Event::Moved { state, previous: Some(previous) } => {
                self.leave(previous, &mut change, &mut anomaly);
                self.enter(state, &mut change, &mut anomaly);
                if State::from_number(state) == Some(State::Inactive) {
                    self.adds_to_come += 1;
                }
            }
            Event::InactiveAdd if self.adds_to_come > 0 => self.adds_to_come -= 1,
            Event::InactiveAdd => change.inc = self.add(State::Inactive),
            Event::InactiveRemove => match self.take(State::Inactive) {
                Ok(dec) => change.dec = dec,
                Err(found) => anomaly = Some(found),
            },
        }
        if let Some(anomaly) = anomaly {
            self.note(anomaly);
        }
        (change, anomaly)
    }

    /// The jobs in `state`; `None` for INACTIVE while that is not known.
    pub fn count(&self, state: State) -> Option<u64> {
        match (state, &self.inactive) {
            (State::Inactive, Inactive::Known(count)) => Some(*count),
            (State::Inactive, Inactive::Sought(_)) => None,
            _ => {
                let announced = self.announced.values().filter(|&&other| other == Some(state));
                Some(self.active[state as usize] + announced.count() as u64)
            }
        }
    }

    /// How often each kind of anomaly was met.
    pub fn anomalies(&self) -> [u64; Anomaly::KINDS] {
        self.anomalies
    }

    /// The broker is being asked for the number of its inactive jobs.
    ///
    /// It answers with the number at some moment between now and
    /// [`survey_end`](Self::survey_end); which moment, nobody can tell.
    pub fn survey_begin(&mut self) {
        if let Inactive::Sought(survey) = &mut self.inactive {
            survey.begin();
        }
    }

    /// The broker answered `inactive` jobs. Returns whether INACTIVE is known
    /// now; if not, too much happened meanwhile, and it must be asked again.
    pub fn survey_end(&mut self, inactive: u64) -> bool {
        let Inactive::Sought(survey) = &mut self.inactive else {
            return true;
        };
        let (known, contradicted) = survey.end(inactive);
        if let Some(count) = known {
            self.inactive = Inactive::Known(count);
        }
        if contradicted {
            self.note(Anomaly::SurveyContradicted);
        }
        known.is_some()
    }

    fn enter(&mut self, number: i32, change: &mut Change, anomaly: &mut Option<Anomaly>) {
        match State::from_number(number) {
            Some(state) => change.inc = self.add(state),
            None => *anomaly = Some(Anomaly::UnknownState(number)),
        }
    }

    fn leave(&mut self, number: i32, change: &mut Change, anomaly: &mut Option<Anomaly>) {
        let taken = match State::from_number(number) {
            Some(state) => self.take(state),
            None => Err(Anomaly::UnknownState(number)),
        };
        match taken {
            Ok(dec) => change.dec = dec,
            Err(found) => *anomaly = Some(found),
        }
    }

    /// One job more in `state`; returns it if its count is published.
    fn add(&mut self, state: State) -> Option<State> {
        match (state, &mut self.inactive) {
            (State::Inactive, Inactive::Known(count)) => *count += 1,
            (State::Inactive, Inactive::Sought(survey)) => {
                survey.moved(1);
                return None;
            }
            _ => self.active[state as usize] += 1,
        }
        Some(state)
    }

    /// One job less in `state`; returns it if its count is published.
    fn take(&mut self, state: State) -> Result<Option<State>, Anomaly> {
        let count = match (state, &mut self.inactive) {
            (State::Inactive, Inactive::Known(count)) => count,
            (State::Inactive, Inactive::Sought(survey)) => {
                survey.moved(-1);
                return Ok(None);
            }
            _ => &mut self.active[state as usize],
        };
        *count = count.checked_sub(1).ok_or(Anomaly::NoJobToMove(state))?;
        Ok(Some(state))
    }

    fn note(&mut self, anomaly: Anomaly) {
        self.anomalies[anomaly.kind()] += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use State::*;

    const NEW: i32 = 1;
    const DEPEND: i32 = 2;
    const SCHED: i32 = 8;
    const RUN: i32 = 16;
    const CLEANUP: i32 = 32;
    const INACTIVE: i32 = 64;

    fn moved(previous: i32, state: i32) -> Event {
        Event::Moved { state, previous: Some(previous) }
    }

    fn change(inc: Option<State>, dec: Option<State>) -> Change {
        Change { inc, dec }
    }

    /// Books of an instance that had `inactive` jobs at load.
    fn books(inactive: u64) -> Accounting {
        let mut books = Accounting::default();
        books.survey_begin();
        assert!(books.survey_end(inactive));
        books
    }

    #[test]
    fn each_event_changes_what_it_should() {
        // What came before, the event, its change, its anomaly.
        type Case<'a> = (&'a [Event], Event, Change, Option<Anomaly>);
        let ended = [Event::New { state: CLEANUP }, moved(CLEANUP, INACTIVE)];
        let cases: &[Case] = &[
            (&[], Event::New { state: NEW }, change(Some(New), None), None),
            (&[], Event::New { state: RUN }, change(Some(Run), None), None),
            (
                &[Event::New { state: NEW }],
                moved(NEW, DEPEND),
                change(Some(Depend), Some(New)),
                None,
            ),
            (
                &[Event::New { state: DEPEND }],
                Event::Moved { state: DEPEND, previous: None },
                Change::default(),
                None,
            ),
            (
                &[Event::New { state: CLEANUP }],
                moved(CLEANUP, INACTIVE),
                change(Some(Inactive), Some(Cleanup)),
                None,
            ),
            (&ended, Event::InactiveAdd, Change::default(), None),
            (&[], Event::InactiveAdd, change(Some(Inactive), None), None),
            (&[Event::InactiveAdd], Event::InactiveRemove, change(None, Some(Inactive)), None),
            (&[], Event::InactiveRemove, Change::default(), Some(Anomaly::NoJobToMove(Inactive))),
            (&[], moved(SCHED, RUN), change(Some(Run), None), Some(Anomaly::NoJobToMove(Sched))),
            (
                &[Event::New { state: RUN }],
                moved(RUN, 128),
                change(None, Some(Run)),
                Some(Anomaly::UnknownState(128)),
            ),
            (&[], moved(128, RUN), change(Some(Run), None), Some(Anomaly::UnknownState(128))),
            (&[], Event::New { state: 0 }, Change::default(), Some(Anomaly::UnknownState(0))),
            // What was wrong once does not take the next job away.
            (
                &[moved(SCHED, CLEANUP)],
                Event::New { state: SCHED },
                change(Some(Sched), None),
                None,
            ),
        ];
        for (before, event, change, anomaly) in cases {
            let mut books = books(0);
            for &event in *before {
                books.apply(event);
            }
            let anomalies = books.anomalies().iter().sum::<u64>() + u64::from(anomaly.is_some());
            assert_eq!(books.apply(*event), (*change, *anomaly), "{event:?} after {before:?}");
            assert_eq!(books.anomalies().iter().sum::<u64>(), anomalies);
        }
    }

    #[test]
    fn until_the_start_a_job_is_where_it_moved_last() {
        // A job's events, the state that it is counted in from the start on, and
        // how many of them were anomalies.
        type Case<'a> = (&'a [Event], Option<State>, u64);
        let cases: &[Case] = &[
            (&[Event::New { state: RUN }], Some(Run), 0),
            (&[Event::New { state: DEPEND }, moved(DEPEND, SCHED)], Some(Sched), 0),
            // Replayed at a restart, then announced where it was, or where it is.
            (&[moved(DEPEND, SCHED), Event::New { state: DEPEND }], Some(Sched), 0),
            (&[moved(DEPEND, SCHED), Event::New { state: SCHED }], Some(Sched), 0),
            // Ended there, and never announced; or cancelled by another plugin.
            (&[moved(CLEANUP, INACTIVE), Event::InactiveAdd], Some(Inactive), 0),
            (
                &[
                    moved(SCHED, CLEANUP),
                    moved(CLEANUP, INACTIVE),
                    Event::InactiveAdd,
                    Event::New { state: SCHED },
                ],
                Some(Inactive),
                0,
            ),
            (
                &[Event::New { state: DEPEND }, Event::Moved { state: DEPEND, previous: None }],
                Some(Depend),
                0,
            ),
            // Into a state that is not known here, and announced where it was.
            (&[Event::New { state: RUN }, moved(RUN, 128)], None, 1),
            (&[moved(SCHED, 128), Event::New { state: SCHED }], None, 1),
            // Contradictions: said, and the last word counts.
            (&[Event::New { state: RUN }, moved(SCHED, CLEANUP)], Some(Cleanup), 1),
            (
                &[moved(CLEANUP, INACTIVE), Event::InactiveAdd, moved(CLEANUP, INACTIVE)],
                Some(Inactive),
                1,
            ),
        ];
        for (events, place, anomalies) in cases {
            let mut books = Accounting::default();
            for &event in *events {
                books.announced(7, event);
            }
            for started in [false, true] {
                for state in State::ALL.into_iter().filter(|&state| state != Inactive) {
                    let want = u64::from(*place == Some(state));
                    assert_eq!(books.count(state), Some(want), "{state:?} {started} {events:?}");
                }
                books.start();
            }
            books.survey_begin();
            let ended = u64::from(*place == Some(Inactive));
            assert!(books.survey_end(ended));
            assert_eq!(books.count(Inactive), Some(ended));
            assert_eq!(books.anomalies().iter().sum::<u64>(), *anomalies, "{events:?}");
            // The next job is an ordinary one.
            books.apply(Event::New { state: NEW });
            assert_eq!(
                books.apply(moved(NEW, INACTIVE)),
                (change(Some(Inactive), Some(New)), None)
            );
        }
    }

    #[test]
    fn a_job_that_ran_its_course_is_one_inactive_job() {
        let mut books = books(7);
        books.apply(Event::New { state: NEW });
        for pair in [1, 2, 4, 8, 16, 32, 64].windows(2) {
            books.apply(moved(pair[0], pair[1]));
        }
        books.apply(Event::InactiveAdd);
        for state in State::ALL {
            let want = if state == Inactive { 8 } else { 0 };
            assert_eq!(books.count(state), Some(want), "{state:?}");
        }
    }

    #[test]
    fn inactive_is_withheld_until_the_survey_ends() {
        let mut books = Accounting::default();
        books.apply(Event::New { state: CLEANUP });
        books.survey_begin();
        let end = moved(CLEANUP, INACTIVE);
        assert_eq!(books.apply(end), (change(None, Some(Cleanup)), None));
        assert_eq!(books.count(Inactive), None);
        // Asked while the job ended: 5 may or may not hold it.
        assert!(!books.survey_end(5));
        books.survey_begin();
        assert!(books.survey_end(5));
        assert_eq!(books.count(Inactive), Some(5));
    }

    #[test]
    fn a_restart_that_announces_twice_is_mended_by_the_survey() {
        // flux-core before 0.87.0, #7690: each inactive job came twice.
        let mut books = Accounting::default();
        for _ in 0..2 * 2000 {
            books.apply(Event::InactiveAdd);
        }
        books.survey_begin();
        assert!(books.survey_end(2000));
        assert_eq!(books.count(Inactive), Some(2000));
    }
}
