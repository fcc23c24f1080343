//! Jobs by queue and state.

use super::State;

/// The most queues that are counted each by itself. Queues are an
/// administrator's, so there are few; this is for the day when they are not.
pub const MOST_QUEUES: usize = 256;

/// The books of the queues. A job without a queue is in none of them.
#[derive(Debug, Default)]
pub struct Queues {
    queues: Vec<Queue>,
    /// Whether the inactive jobs from before the load are counted.
    inactive_known: bool,
    /// Moves of inactive jobs so far: whether any came between two looks.
    inactive_moves: u64,
    /// Moves to INACTIVE whose `job.inactive-add` has not come yet.
    adds_to_come: u64,
}

#[derive(Debug)]
struct Queue {
    name: String,
    counts: [i64; 7],
}

/// Where an active job is counted. 4 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    queue: Option<u16>,
    state: State,
}

/// A gauge of a queue that rose or fell by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved {
    /// The queue, by its number in [`Queues::names`].
    pub queue: usize,
    /// The state.
    pub state: State,
    /// 1 or -1.
    pub by: i64,
}

/// What an event did to the gauges: the arrival, then the departure.
pub type Moves = [Option<Moved>; 2];

impl Queues {
    /// The queues' names, in the order they were first met.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.queues.iter().map(|queue| queue.name.as_str())
    }

    /// The jobs in a state of a queue; `None` for INACTIVE while that is not
    /// known.
    pub fn count(&self, queue: usize, state: State) -> Option<u64> {
        let count = self.queues.get(queue)?.counts[state as usize];
        let known = state != State::Inactive || self.inactive_known;
        known.then(|| u64::try_from(count).unwrap_or(0))
    }

    /// A job is in `queue` and `state` now: announced, moved from another
    /// state, or from another queue. `known` is where it is counted, and is
    /// kept by the caller as long as the job is active.
    pub fn job(&mut self, known: &mut Option<Place>, state: State, queue: Option<&str>) -> Moves {
        let place = Place { queue: queue.and_then(|name| self.number(name)), state };
        let before = known.replace(place);
        if state == State::Inactive {
            self.adds_to_come += 1;
            *known = None;
        }
        if before == Some(place) {
            return [None, None];
        }
        [self.change(place, 1), before.and_then(|before| self.change(before, -1))]
    }

    /// A job went to a state that is not known here.
    pub fn lost(&mut self, known: &mut Option<Place>) -> Moves {
        [None, known.take().and_then(|before| self.change(before, -1))]
    }

    /// `job.inactive-add`, which follows a move to INACTIVE, or announces an
    /// inactive job.
    pub fn inactive_add(&mut self, queue: Option<&str>) -> Moves {
        if self.adds_to_come > 0 {
            self.adds_to_come -= 1;
            return [None, None];
        }
        [self.inactive(queue, 1), None]
    }

    /// A job was purged.
    pub fn inactive_remove(&mut self, queue: Option<&str>) -> Moves {
        [None, self.inactive(queue, -1)]
    }

    /// Moves of inactive jobs so far.
    pub fn inactive_moves(&self) -> u64 {
        self.inactive_moves
    }

    /// Whether the inactive jobs are known.
    pub fn inactive_is_known(&self) -> bool {
        self.inactive_known
    }

    /// The broker says how many jobs each queue has, by state. It is believed
    /// about the inactive jobs if it agrees with these books about the active
    /// ones, for then it has seen all that was seen here. Returns whether it
    /// does.
    pub fn settle(&mut self, answer: &[(String, [u64; 7])]) -> bool {
        for (name, _) in answer {
            self.number(name);
        }
        let told = |name: &str| answer.iter().find(|(queue, _)| queue == name);
        let agrees = self.queues.iter().all(|queue| {
            let told = told(&queue.name).map_or([0; 7], |(_, counts)| *counts);
            // NEW is in no broker's answer.
            (1..6).all(|state| i64::try_from(told[state]) == Ok(queue.counts[state]))
        });
        if agrees {
            for queue in &mut self.queues {
                let inactive = told(&queue.name).map_or(0, |(_, counts)| counts[6]);
                queue.counts[6] = i64::try_from(inactive).unwrap_or(i64::MAX);
            }
            self.inactive_known = true;
        }
        agrees
    }

    fn inactive(&mut self, queue: Option<&str>, by: i64) -> Option<Moved> {
        let queue = queue.and_then(|name| self.number(name));
        self.change(Place { queue, state: State::Inactive }, by)
    }

    fn change(&mut self, place: Place, by: i64) -> Option<Moved> {
        let queue = usize::from(place.queue?);
        self.queues[queue].counts[place.state as usize] += by;
        if place.state == State::Inactive {
            self.inactive_moves += 1;
            if !self.inactive_known {
                return None;
            }
        }
        Some(Moved { queue, state: place.state, by })
    }

    fn number(&mut self, name: &str) -> Option<u16> {
        let known = self.queues.iter().position(|queue| queue.name == name);
        let number = match known {
            None if self.queues.len() == MOST_QUEUES => return None,
            None => {
                self.queues.push(Queue { name: name.to_owned(), counts: [0; 7] });
                self.queues.len() - 1
            }
            Some(number) => number,
        };
        u16::try_from(number).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use State::*;

    fn moved(queue: usize, state: State, by: i64) -> Option<Moved> {
        Some(Moved { queue, state, by })
    }

    #[test]
    fn a_job_is_counted_where_it_is() {
        let (mut queues, mut known) = (Queues::default(), None);
        let known = &mut known;
        assert!(queues.settle(&[]));
        assert_eq!(queues.job(known, New, Some("batch")), [moved(0, New, 1), None]);
        assert_eq!(
            queues.job(known, Sched, Some("batch")),
            [moved(0, Sched, 1), moved(0, New, -1)]
        );
        // Announced again, in the state that it is in.
        assert_eq!(queues.job(known, Sched, Some("batch")), [None, None]);
        // Moved to another queue.
        assert_eq!(
            queues.job(known, Sched, Some("debug")),
            [moved(1, Sched, 1), moved(0, Sched, -1)]
        );
        assert_eq!(
            queues.job(known, Inactive, Some("debug")),
            [moved(1, Inactive, 1), moved(1, Sched, -1)]
        );
        assert_eq!(queues.inactive_add(Some("debug")), [None, None]);
        assert_eq!(queues.inactive_remove(Some("debug")), [None, moved(1, Inactive, -1)]);
        assert_eq!(queues.job(&mut None, Run, None), [None, None]);
        assert_eq!(*known, None, "it is forgotten with the job");
        assert!(std::mem::size_of::<Place>() <= 8);
    }

    #[test]
    fn the_brokers_word_counts_when_it_has_seen_all() {
        let mut queues = Queues::default();
        queues.job(&mut None, Run, Some("batch"));
        assert_eq!(queues.inactive_add(Some("batch")), [None, None], "not known yet");
        assert_eq!(queues.count(0, Inactive), None);
        let answer = |run: u64| vec![("batch".to_owned(), [0, 0, 0, 0, run, 0, 7])];
        assert!(!queues.settle(&answer(0)), "it has not heard of the job that runs");
        assert!(queues.settle(&answer(1)));
        assert_eq!((queues.count(0, Run), queues.count(0, Inactive)), (Some(1), Some(7)));
        assert_eq!(queues.inactive_add(Some("batch"))[0], moved(0, Inactive, 1));
    }

    #[test]
    fn names_do_not_grow_without_bound() {
        let mut queues = Queues::default();
        for id in 0..1000 {
            queues.job(&mut None, Run, Some(&format!("queue-{id}")));
        }
        assert_eq!(queues.names().count(), MOST_QUEUES);
    }
}
