//! What may be told besides the state counts: how long jobs stay in each state,
//! and what becomes of them.

use super::configure::{error, tagged_by_state, Names};
use super::{must, StateCounts};
use crate::accounting::stays::{self, milliseconds};
use crate::accounting::State;
use crate::config::Family;
use crate::flux::{Error, Job, JobResult, JobState, Transition};
use crate::stats::{Metric, Stats};

/// Exception types that have a counter of their own, besides `other`; users may
/// raise any type.
const MOST_EXCEPTIONS: usize = 16;
/// The longest such type, in bytes.
const LONGEST_EXCEPTION: usize = 32;
/// What the others are counted as.
const OTHER: &str = "other";

/// The families of metrics besides the state counts.
#[derive(Default)]
pub(super) struct Families {
    pub(super) timings: bool,
    results: bool,
    /// Named whether they are told or not; `None` until there are names.
    metrics: Option<Metrics>,
}

struct Metrics {
    /// Stays, by the state's place in `State::ALL`.
    states: Vec<Metric>,
    submit_to_run: Metric,
    submitted: Metric,
    /// By the result, as `JobResult` lists them.
    results: [Metric; 4],
    /// By the exception's type: few, so that a look at each is quick.
    exceptions: Vec<(String, Metric)>,
}

impl Families {
    /// Gives the metrics these names.
    pub(super) fn name_metrics(&mut self, stats: &mut Stats, names: &Names) -> Result<(), Error> {
        let states = tagged_by_state(stats, "time", &[], names.states)?;
        let mut tagged =
            |name, key, value: &str| stats.tagged(name, &[(key, value)]).map_err(error);
        self.metrics = Some(Metrics {
            states,
            submit_to_run: tagged("time", "state", "submit-to-run")?,
            submitted: tagged("result", "result", "submitted")?,
            results: [
                tagged("result", "result", "completed")?,
                tagged("result", "result", "failed")?,
                tagged("result", "result", "canceled")?,
                tagged("result", "result", "timeout")?,
            ],
            exceptions: Vec::new(),
        });
        Ok(())
    }

    /// Whether any is wanted that is told of a job that moves.
    pub(super) fn are_told(&self) -> bool {
        self.timings || self.results
    }

    /// Tells those that are wanted from now on.
    pub(super) fn switch(&mut self, wanted: &[Family]) {
        self.timings = wanted.contains(&Family::Timings);
        self.results = wanted.contains(&Family::Results);
    }
}

impl StateCounts {
    /// A job was submitted, or was there before the plugin.
    pub(super) fn job_came(&mut self, state: JobState, job: &Job<'_>) -> Result<(), Error> {
        let Families { results: true, metrics: Some(metrics), .. } = &self.families else {
            return Ok(());
        };
        job.subscribe()?;
        // Before the reactor turned, those that were there are announced.
        if self.live && state == JobState::NEW {
            must(self.stats.count(metrics.submitted, 1));
        }
        Ok(())
    }

    /// A job moved from one state to another. `entered` is when it entered the
    /// first, if that is known.
    pub(super) fn job_moved(
        &mut self,
        moved: Transition,
        job: &Job<'_>,
        entered: &mut Option<f64>,
    ) -> Result<(), Error> {
        let Families { timings, results, metrics: Some(metrics) } = &self.families else {
            return Ok(());
        };
        let number = |state: JobState| State::from_number(state.0);
        let (Some(previous), state) = (moved.previous.and_then(number), number(moved.state)) else {
            return Ok(());
        };
        if *timings {
            let times = job.times()?;
            let at = times.event.ok_or_else(|| Error::new("a transition without an event"))?;
            let stay = stays::moved(entered, at);
            must(self.stats.batch(|stats| {
                if let Some(stay) = stay {
                    stats.timing(metrics.states[previous as usize], stay)?;
                }
                if state == Some(State::Run) {
                    stats.timing(metrics.submit_to_run, milliseconds(times.submitted, at))?;
                }
                Ok(())
            }));
        }
        if *results && state == Some(State::Inactive) {
            let result = match job.result()? {
                JobResult::Completed => 0,
                JobResult::Failed => 1,
                JobResult::Canceled => 2,
                JobResult::Timeout => 3,
            };
            must(self.stats.count(metrics.results[result], 1));
        }
        Ok(())
    }

    /// An exception was raised. Its type is a user's text, and may be anything.
    pub(super) fn exception_raised(&mut self, kind: &str) -> Result<(), Error> {
        let Families { results: true, metrics: Some(metrics), .. } = &mut self.families else {
            return Ok(());
        };
        let exceptions = &mut metrics.exceptions;
        let room = exceptions.len() < MOST_EXCEPTIONS;
        let fits = room && kind.len() <= LONGEST_EXCEPTION && !kind.is_empty();
        let find = |kind: &str| exceptions.iter().find(|(known, _)| known == kind);
        let kind = if fits || find(kind).is_some() { kind } else { OTHER };
        let metric = match find(kind) {
            Some((_, metric)) => *metric,
            None => {
                let metric = self.stats.tagged("exception", &[("type", kind)]).map_err(error)?;
                exceptions.push((kind.to_owned(), metric));
                metric
            }
        };
        must(self.stats.count(metric, 1));
        Ok(())
    }
}
