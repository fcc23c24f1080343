//! `results`: what becomes of jobs, and the exceptions raised on them.

use super::{Family, FamilySpec, Kind, MetricSpec, Occasion, Out, Series};
use crate::jobs::names::{NameIndex, Names};
use crate::jobs::{Change, EventKind, Lists, Needs, State};

pub(super) const SPEC: FamilySpec = FamilySpec {
    name: "results",
    needs: Needs::RESULT,
    tags: &["result", "type"],
    make: || Box::new(Results),
};

struct Results;

/// In the order of [`Ending`].
const RESULTS: [&str; 5] = ["completed", "failed", "canceled", "timeout", "submitted"];
const SUBMITTED: Series = Series::fixed(4);

/// A job that is new in NEW; others were there before.
const SUBMISSION: EventKind = EventKind::New { state: 1 << State::New as i32 };

impl Family for Results {
    fn metrics(&self, name: Option<&str>) -> Vec<MetricSpec> {
        let counter = |name, key, value: &str| {
            MetricSpec::new(Kind::Counter, name, vec![(key, value.into())])
        };
        match name {
            None => RESULTS.into_iter().map(|it| counter("result", "result", it)).collect(),
            Some(exception) => vec![counter("exception", "type", exception)],
        }
    }

    fn names<'a>(&self, lists: &'a Lists) -> Option<&'a Names> {
        Some(&lists.exceptions)
    }

    fn changed(&mut self, _: &Change, occasion: &Occasion, out: &mut dyn Out) {
        if occasion.is_new && occasion.what == SUBMISSION {
            out.count(SUBMITTED, 1);
        }
        if let Some(ending) = occasion.result {
            out.count(Series::fixed(ending as usize), 1);
        }
    }

    fn raised(&mut self, exception: NameIndex, out: &mut dyn Out) {
        out.count(Series::of(exception, 0), 1);
    }
}
