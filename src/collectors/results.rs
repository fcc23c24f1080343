//! `results`: the results of jobs, submissions, and exceptions by type.

use super::{Collector, CollectorRecorder, CollectorSpec, MetricId, MetricKind, MetricSpec};
use crate::jobs::{Change, LabelId, LabelTable, LabelTables, Needs};

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "results",
    needs: Needs::RESULT,
    tags: &["result", "type"],
    make: || Box::new(Results),
};

struct Results;

/// In the order of [`JobResult`](crate::jobs::JobResult).
pub(super) const ENDED: [&str; 4] = ["completed", "failed", "canceled", "timeout"];
/// The metric after those of the results.
const SUBMITTED: MetricId = MetricId::fixed(ENDED.len());

impl Collector for Results {
    fn metrics(&self, label: Option<&str>) -> Vec<MetricSpec> {
        let counter = |name, key, value: &str| {
            MetricSpec::new(MetricKind::Counter, name, vec![(key, value.into())])
        };
        match label {
            None => {
                let results = ENDED.into_iter().chain(["submitted"]);
                results.map(|it| counter("result", "result", it)).collect()
            }
            Some(exception) => vec![counter("exception", "type", exception)],
        }
    }

    fn labels<'a>(&self, tables: &'a LabelTables) -> Option<&'a LabelTable> {
        Some(&tables.exceptions)
    }

    fn delta(&mut self, change: &Change, out: &mut CollectorRecorder) {
        if change.is_submission {
            out.increment(SUBMITTED);
        }
        if let Some(result) = change.result {
            out.increment(MetricId::fixed(result as usize));
        }
    }

    fn on_exception(&mut self, exception: LabelId, out: &mut CollectorRecorder) {
        out.increment(MetricId::of(exception, 0));
    }
}
