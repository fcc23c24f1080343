//! `results`: what becomes of jobs, and the exceptions raised on them.

use super::{Collector, CollectorSpec, EventContext, MetricId, MetricKind, MetricSpec, Out};
use crate::jobs::label_table::{LabelId, LabelTable};
use crate::jobs::{Change, EventKind, LabelTables, Needs, State};

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "results",
    needs: Needs::RESULT,
    tags: &["result", "type"],
    make: || Box::new(Results),
};

struct Results;

/// In the order of [`Ending`].
const RESULTS: [&str; 5] = ["completed", "failed", "canceled", "timeout", "submitted"];
const SUBMITTED: MetricId = MetricId::fixed(4);

/// A job that is new in NEW; others were there before.
const SUBMISSION: EventKind = EventKind::New { state: 1 << State::New as i32 };

impl Collector for Results {
    fn metrics(&self, name: Option<&str>) -> Vec<MetricSpec> {
        let counter = |name, key, value: &str| {
            MetricSpec::new(MetricKind::Counter, name, vec![(key, value.into())])
        };
        match name {
            None => RESULTS.into_iter().map(|it| counter("result", "result", it)).collect(),
            Some(exception) => vec![counter("exception", "type", exception)],
        }
    }

    fn names<'a>(&self, lists: &'a LabelTables) -> Option<&'a LabelTable> {
        Some(&lists.exceptions)
    }

    fn changed(&mut self, _: &Change, context: &EventContext, out: &mut dyn Out) {
        if context.is_new && context.what == SUBMISSION {
            out.count(SUBMITTED, 1);
        }
        if let Some(ending) = context.result {
            out.count(MetricId::fixed(ending as usize), 1);
        }
    }

    fn raised(&mut self, exception: LabelId, out: &mut dyn Out) {
        out.count(MetricId::of(exception, 0), 1);
    }
}
