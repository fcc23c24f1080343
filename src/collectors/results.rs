//! `results`: the results of jobs, submissions, and exceptions by type.

use super::{
    Collector, CollectorRecorder, CollectorSpec, EventContext, MetricId, MetricKind, MetricSpec,
};
use crate::jobs::{Change, EventKind, LabelId, LabelTable, LabelTables, Needs, State};

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "results",
    needs: Needs::RESULT,
    tags: &["result", "type"],
    make: || Box::new(Results),
};

struct Results;

/// In the order of [`JobResult`](crate::jobs::JobResult), then submissions.
const RESULTS: [&str; 5] = ["completed", "failed", "canceled", "timeout", "submitted"];
const SUBMITTED: MetricId = MetricId::fixed(4);

impl Collector for Results {
    fn metrics(&self, label: Option<&str>) -> Vec<MetricSpec> {
        let counter = |name, key, value: &str| {
            MetricSpec::new(MetricKind::Counter, name, vec![(key, value.into())])
        };
        match label {
            None => RESULTS.into_iter().map(|it| counter("result", "result", it)).collect(),
            Some(exception) => vec![counter("exception", "type", exception)],
        }
    }

    fn labels<'a>(&self, tables: &'a LabelTables) -> Option<&'a LabelTable> {
        Some(&tables.exceptions)
    }

    fn on_event(&mut self, _: &Change, context: &EventContext, out: &mut CollectorRecorder) {
        // A job that existed before the load may also be reported in NEW.
        if context.is_new && context.kind == (EventKind::New { state: State::New.number() }) {
            out.increment(SUBMITTED);
        }
        if let Some(result) = context.result {
            out.increment(MetricId::fixed(result as usize));
        }
    }

    fn on_exception(&mut self, exception: LabelId, out: &mut CollectorRecorder) {
        out.increment(MetricId::of(exception, 0));
    }
}
