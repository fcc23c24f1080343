//! `timings`: how long jobs stay in each state.

use super::{Collector, CollectorSpec, EventContext, MetricId, MetricKind, MetricSpec, Out};
use crate::jobs::{Change, EventKind, Needs, State};

pub(super) const SPEC: CollectorSpec = CollectorSpec {
    name: "timings",
    needs: Needs::TIMES,
    tags: &["state"],
    make: || Box::new(Timings),
};

struct Timings;

/// Behind the states.
const SUBMIT_TO_RUN: MetricId = MetricId::fixed(State::ALL.len());

impl Collector for Timings {
    fn metrics(&self, name: Option<&str>) -> Vec<MetricSpec> {
        if name.is_some() {
            return Vec::new();
        }
        let mut values: Vec<_> = State::ALL.into_iter().map(Into::into).collect();
        values.push("submit_to_run".into());
        let timing = |value| MetricSpec::new(MetricKind::Timing, "time", vec![("state", value)]);
        values.into_iter().map(timing).collect()
    }

    /// A job whose beginning nobody saw is unknown until its next move: no time is
    /// better than a wrong one.
    fn changed(&mut self, change: &Change, context: &EventContext, out: &mut dyn Out) {
        let EventKind::Moved { state, previous: Some(previous), at: Some(at) } = context.what
        else {
            return;
        };
        let left = State::from_number(previous);
        if let (Some(before), Some(left)) = (&change.before, left) {
            if let (Some(entered), true) = (before.entered, before.state == Some(left)) {
                out.timing(MetricId::fixed(left as usize), at.since(entered));
            }
        }
        if let (Some(State::Run), Some(submitted)) = (State::from_number(state), context.submitted)
        {
            out.timing(SUBMIT_TO_RUN, at.since(submitted));
        }
    }
}
