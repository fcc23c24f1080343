//! `timings`: the time that jobs spend in each state.

use super::{Collector, CollectorRecorder, CollectorSpec, MetricId, MetricKind, MetricSpec};
use crate::jobs::{Change, EventKind, Needs, State};

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "timings",
    needs: Needs::TIMES.union(Needs::SUBMITTED),
    tags: &["state"],
    make: || Box::new(Timings),
};

struct Timings;

/// The metric after those of the states.
const SUBMIT_TO_RUN: MetricId = MetricId::fixed(State::ALL.len());

impl Collector for Timings {
    fn metrics(&self, _: Option<&str>) -> Vec<MetricSpec> {
        let values = State::ALL.into_iter().map(Into::into).chain(["submit_to_run".into()]);
        let timing = |value| MetricSpec::new(MetricKind::Timing, "time", vec![("state", value)]);
        values.map(timing).collect()
    }

    /// A job enters NEW when it is submitted. Records no time for another state if its start is
    /// not known, or if the job was in another state according to the table.
    fn on_event(&mut self, change: &Change, kind: EventKind, out: &mut CollectorRecorder) {
        let EventKind::Transition { state, previous: Some(previous), at: Some(at) } = kind else {
            return;
        };
        let job = change.after.as_ref().or(change.before.as_ref());
        let submitted = job.and_then(|job| job.submitted);
        let left = State::from_number(previous);
        let entered = match (left, &change.before) {
            (Some(State::New), _) => submitted,
            (_, Some(before)) if before.state == left => before.entered,
            _ => None,
        };
        if let (Some(left), Some(entered)) = (left, entered) {
            out.timing(MetricId::fixed(left as usize), at.since(entered));
        }
        if let Some(submitted) = submitted.filter(|_| state == State::Run.number()) {
            out.timing(SUBMIT_TO_RUN, at.since(submitted));
        }
    }
}
