//! `states`: the jobs in each state.

use super::{Collector, CollectorRecorder, CollectorSpec, MetricId, MetricKind, MetricSpec};
use crate::jobs::{Job, JobTable, LabelId, Needs, State};

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "states",
    needs: Needs::STATE,
    tags: &["state"],
    make: || Box::new(States),
};

struct States;

impl Collector for States {
    fn metrics(&self, _: Option<&str>) -> Vec<MetricSpec> {
        let gauge = |state: State| MetricSpec {
            name: None,
            tags: vec![("state", state.into())],
            kind: match state {
                State::Inactive => MetricKind::TableCount,
                _ => MetricKind::JobSum,
            },
        };
        State::ALL.into_iter().map(gauge).collect()
    }

    #[inline]
    fn contributions(&self, job: &Job, out: &mut CollectorRecorder) {
        if let Some(state) = job.state {
            out.add(MetricId::fixed(state as usize), 1);
        }
    }

    fn inactive(&self, table: &JobTable, _: LabelId, out: &mut CollectorRecorder) {
        let inactive = table.inactive().count().map(|count| count as i64);
        out.set(MetricId::fixed(State::Inactive as usize), inactive);
    }
}
