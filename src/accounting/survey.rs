//! How many jobs were inactive before anybody counted.
//!
//! The broker is asked; it answers later, with the number at some moment in
//! between. While the answer travels, jobs end and are purged, so the answer
//! pins the number from before the load only to a range: as wide as the count
//! swung meanwhile. Ranges of several answers intersect, and one answer during
//! which nothing happened settles it.

/// A search for the number of jobs that were inactive at load.
#[derive(Debug, Default)]
pub(super) struct Survey {
    /// Jobs added to INACTIVE since load, less those removed.
    net: i64,
    /// The least and the greatest `net` since the question.
    swing: (i64, i64),
    /// What the number at load can be, from the answers so far.
    possible: Option<(i64, i64)>,
}

impl Survey {
    /// INACTIVE moved by `by` jobs.
    pub(super) fn moved(&mut self, by: i64) {
        self.net += by;
        self.swing = (self.swing.0.min(self.net), self.swing.1.max(self.net));
    }

    /// The question is asked.
    pub(super) fn begin(&mut self) {
        self.swing = (self.net, self.net);
    }

    /// The answer is here. Returns INACTIVE's count, if it is known now, and
    /// whether this answer contradicts an earlier one or the events. After a
    /// contradiction only this answer is believed.
    ///
    /// The number at load may come out negative: brokers before 0.87.0
    /// announced some inactive jobs twice (flux-core #7690), and this is what
    /// was counted too often.
    pub(super) fn end(&mut self, inactive: u64) -> (Option<u64>, bool) {
        let inactive = i64::try_from(inactive).unwrap_or(i64::MAX);
        let answer = (inactive - self.swing.1, inactive - self.swing.0);
        let (possible, contradicted) = match self.possible {
            Some(earlier) => {
                let both = (answer.0.max(earlier.0), answer.1.min(earlier.1));
                if both.0 <= both.1 {
                    (both, false)
                } else {
                    (answer, true)
                }
            }
            None => (answer, false),
        };
        self.possible = Some(possible);
        if possible.0 < possible.1 {
            return (None, contradicted);
        }
        match u64::try_from(possible.0 + self.net) {
            Ok(count) => (Some(count), contradicted),
            // More jobs purged than there ever were: ask again.
            Err(_) => {
                self.possible = None;
                (None, true)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_narrow_the_range_until_one_number_is_left() {
        // Jobs inactive at load: 100. Each row: what INACTIVE moved before the
        // broker took the number, after it, and whether that settled it.
        let table: &[(&[(i64, i64)], bool)] = &[
            (&[(0, 0)], true),
            (&[(3, 0)], false),
            (&[(0, 3)], false),
            // 3 before, then 3 after: [97, 100] and [100, 103] leave 100.
            (&[(0, 3), (3, 0)], true),
            (&[(5, 5), (-2, 4), (0, 0)], true),
            (&[(5, 5), (-2, 4), (1, 1)], false),
        ];
        for (rounds, settled) in table {
            let mut survey = Survey::default();
            let mut truth = 100;
            let mut known = None;
            let mut step = |survey: &mut Survey, by: i64| {
                for _ in 0..by.abs() {
                    survey.moved(by.signum());
                }
                truth += by;
                truth
            };
            for &(before, after) in *rounds {
                survey.begin();
                let taken = step(&mut survey, before);
                step(&mut survey, after);
                let (count, contradicted) = survey.end(taken as u64);
                assert!(!contradicted, "{rounds:?}");
                known = count;
            }
            assert_eq!(known.is_some(), *settled, "{rounds:?}");
            if let Some(count) = known {
                assert_eq!(count as i64, truth, "{rounds:?}");
            }
        }
    }

    #[test]
    fn a_contradiction_is_said_and_the_newest_answer_believed() {
        let mut survey = Survey::default();
        survey.begin();
        survey.moved(1);
        assert_eq!(survey.end(10), (None, false));
        survey.begin();
        assert_eq!(survey.end(50), (Some(50), true));
    }

    #[test]
    fn an_impossible_answer_is_asked_again() {
        let mut survey = Survey::default();
        survey.begin();
        assert_eq!(survey.end(0), (Some(0), false));
        let mut survey = Survey::default();
        survey.moved(-3);
        survey.begin();
        // 0 inactive now, 3 purged since the load: 3 at load.
        assert_eq!(survey.end(0), (Some(0), false));
    }
}
