//! The jobs of each queue, and the numbers of its inactive ones.

use super::label_table::{LabelId, LabelTable};
use super::state::State;

/// Jobs by queue and state. A job without a queue is in none of them.
#[derive(Debug, Default)]
pub struct Queues {
    /// By the queue's index in [`LabelTables::queues`](super::LabelTables::queues).
    counts: Vec<[i64; 7]>,
    /// Whether the inactive jobs from before the load are among them.
    inactive_known: bool,
    /// How often a number of inactive jobs changed.
    changes: u64,
    /// The same, when the broker was asked.
    asked_at: u64,
}

/// The jobs of each queue, by its name and by the state's index in
/// [`State::ALL`].
pub type ByQueue = Vec<(String, [u64; 7])>;

impl Queues {
    /// The inactive jobs of a queue; `None` while that is not known.
    pub fn inactive(&self, queue: LabelId) -> Option<i64> {
        let counts = self.counts.get(usize::from(queue));
        self.inactive_known.then(|| counts.map_or(0, |counts| counts[State::Inactive as usize]))
    }

    /// Whether the inactive jobs are known.
    pub fn inactive_is_known(&self) -> bool {
        self.inactive_known
    }

    pub(super) fn add(&mut self, queue: LabelId, state: State, by: i64) {
        let queue = usize::from(queue);
        if queue == 0 {
            return;
        }
        if self.counts.len() <= queue {
            self.counts.resize(queue + 1, [0; 7]);
        }
        let count = &mut self.counts[queue][state as usize];
        *count = (*count + by).max(if state == State::Inactive && !self.inactive_known {
            i64::MIN
        } else {
            0
        });
        self.changes += u64::from(state == State::Inactive);
    }

    pub(super) fn asked(&mut self) {
        self.asked_at = self.changes;
    }

    /// The broker says how many jobs each queue has, by state. It is believed
    /// about the inactive jobs if it agrees with what is known here about the
    /// active ones, for then it has seen all that was seen here; and if nothing
    /// changed while it answered. Returns whether it is.
    pub(super) fn answered(&mut self, answer: &ByQueue, names: &mut LabelTable) -> bool {
        if self.asked_at != self.changes {
            return false;
        }
        // Two queues may come to one name.
        let mut counted = vec![[0i64; 7]; self.counts.len()];
        for (name, counts) in answer {
            let queue = usize::from(names.index(name));
            if counted.len() <= queue {
                counted.resize(queue + 1, [0; 7]);
            }
            for (sum, count) in counted[queue].iter_mut().zip(counts) {
                *sum = sum.saturating_add(i64::try_from(*count).unwrap_or(i64::MAX));
            }
        }
        self.counts.resize(counted.len().max(self.counts.len()), [0; 7]);
        // NEW is in no broker's answer.
        let active = State::Depend as usize..State::Inactive as usize;
        let both = || self.counts.iter().zip(&counted).skip(1);
        let agrees =
            both().all(|(known, counted)| known[active.clone()] == counted[active.clone()]);
        if agrees {
            for (known, counted) in self.counts.iter_mut().zip(counted).skip(1) {
                known[State::Inactive as usize] = counted[State::Inactive as usize];
            }
            self.inactive_known = true;
        }
        agrees
    }
}

#[cfg(test)]
mod tests {
    use super::super::label_table::Dash;
    use super::*;
    use State::*;

    #[test]
    fn the_brokers_answer_counts_when_it_has_seen_all() {
        let (mut queues, mut names) = (Queues::default(), LabelTable::new(9, 99, Dash::default()));
        let batch = names.index("gpu.batch");
        queues.add(batch, Run, 1);
        queues.add(batch, Inactive, 1);
        assert_eq!(queues.inactive(batch), None);
        let mut answered = |queues: &mut Queues, run: u64| {
            queues.asked();
            // Two that come to one name.
            let answer = vec![
                ("gpu.batch".to_owned(), [0, 0, 0, 0, run, 0, 3]),
                ("gpu_batch".to_owned(), [0, 0, 0, 0, 0, 0, 4]),
                ("debug".to_owned(), [0, 0, 0, 0, 0, 0, 9]),
            ];
            queues.answered(&answer, &mut names)
        };
        assert!(!answered(&mut queues, 0), "it does not know the job that runs");
        assert!(answered(&mut queues, 1));
        assert_eq!((queues.inactive(batch), queues.inactive(2)), (Some(7), Some(9)));
        queues.add(batch, Inactive, 1);
        assert_eq!(queues.inactive(batch), Some(8));
        queues.asked();
        queues.add(batch, Inactive, -1);
        assert!(!queues.answered(&Vec::new(), &mut names), "something changed meanwhile");
        assert_eq!(queues.inactive(batch), Some(7));
    }
}
