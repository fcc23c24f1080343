//! Gauges of the jobs in each queue and state.

use serde_json::Value;

use super::configure::{error, tagged_by_state};
use super::{give, must, Body, StateCounts};
use crate::accounting::queues::{Moves, Place, Queues};
use crate::accounting::State;
use crate::config::SendAs;
use crate::flux::{Error, Job, JobState, NameForm, Response, Rpc, Timer};
use crate::stats::{Metric, Stats};

/// Seconds until a question is given up and asked again.
const TIMEOUT: f64 = 10.0;
/// Seconds between two questions, after an answer and after an error.
const PAUSE: f64 = 0.5;
const PAUSE_AFTER_ERROR: u32 = 10;
/// Failed questions until one is logged: with the pauses between them, ten
/// seconds.
const PATIENCE: u32 = 20;

/// The queues' gauges, while they are wanted.
#[derive(Default)]
pub(super) struct QueueGauges {
    pub(super) books: Queues,
    /// By the queue's number, and the state's place in `State::ALL`.
    metrics: Vec<Vec<Metric>>,
    states: NameForm,
    rpc: Option<Rpc>,
    pause: Option<Timer>,
    /// How many moves of inactive jobs there had been when it was asked.
    asked_at: u64,
    /// Questions that failed.
    failures: u32,
}

impl QueueGauges {
    /// Names that were given before are void.
    pub(super) fn rename(&mut self, states: NameForm) {
        self.states = states;
        self.metrics.clear();
    }

    /// Gives the gauges of queues that have none their names. A queue whose name
    /// is too long gets no gauge.
    fn name_metrics(&mut self, stats: &mut Stats) -> Result<(), Error> {
        let mut outcome = Ok(());
        for name in self.books.names().skip(self.metrics.len()) {
            // A dot would divide the name in two.
            let queue = name.replace('.', "_");
            let tags = [("queue", queue.as_str())];
            let metrics = tagged_by_state(stats, "queue", &tags, self.states);
            self.metrics.push(metrics.unwrap_or_else(|error| {
                outcome = Err(error);
                Vec::new()
            }));
        }
        outcome
    }

    /// Calls `body` with each gauge whose count is known.
    pub(super) fn tell_known(
        &mut self,
        stats: &mut Stats,
        body: Body<'_>,
    ) -> Result<(), crate::stats::Error> {
        // That a name is too long was said when a job came with it.
        let _ = self.name_metrics(stats);
        for (queue, metrics) in self.metrics.iter().enumerate() {
            for state in State::ALL {
                let metric = metrics.get(state as usize);
                if let (Some(&metric), Some(count)) = (metric, self.books.count(queue, state)) {
                    body(stats, metric, state, count as i64)?;
                }
            }
        }
        Ok(())
    }
}

impl StateCounts {
    /// A job is where the callback says.
    pub(super) fn queue_job(
        &mut self,
        state: JobState,
        job: &Job<'_>,
        known: &mut Option<Place>,
    ) -> Result<(), Error> {
        let Some(queues) = &mut self.queues else { return Ok(()) };
        let queue = job.queue()?;
        let moves = match State::from_number(state.0) {
            Some(state) => queues.books.job(known, state, queue),
            None => queues.books.lost(known),
        };
        self.tell_queues(moves)
    }

    pub(super) fn queue_inactive(&mut self, job: &Job<'_>, add: bool) -> Result<(), Error> {
        let Some(queues) = &mut self.queues else { return Ok(()) };
        let queue = job.queue()?;
        let moves = match add {
            true => queues.books.inactive_add(queue),
            false => queues.books.inactive_remove(queue),
        };
        self.tell_queues(moves)
    }

    fn tell_queues(&mut self, moves: Moves) -> Result<(), Error> {
        let StateCounts { queues: Some(queues), stats, config, live: true, .. } = self else {
            return Ok(());
        };
        let named = queues.name_metrics(stats);
        let values = config.as_ref().is_some_and(|config| config.send == SendAs::Values);
        must(stats.batch(|stats| {
            for moved in moves.into_iter().flatten() {
                let metrics = &queues.metrics[moved.queue];
                let Some(&metric) = metrics.get(moved.state as usize) else { continue };
                match queues.books.count(moved.queue, moved.state) {
                    Some(count) if values => stats.gauge_set(metric, count as i64)?,
                    _ => stats.gauge_add(metric, moved.by)?,
                }
            }
            Ok(())
        }));
        named
    }

    /// Asks job-list, which `flux job stats` asks, how many inactive jobs each
    /// queue has: nobody announces those from before the load.
    pub(super) fn ask_for_queues(&mut self) {
        let Some(queues) = &mut self.queues else { return };
        queues.pause = None;
        queues.asked_at = queues.books.inactive_moves();
        match self.jobtap.rpc(c"job-list.job-stats", TIMEOUT, Self::queues_answered) {
            Ok(rpc) => queues.rpc = Some(rpc),
            Err(error) => self.no_answer_about_queues(&error),
        }
    }

    fn queues_answered(&mut self, response: Response<'_>) {
        let Some(queues) = &mut self.queues else { return };
        queues.rpc = None;
        let answer = match response.text().and_then(|text| counts_by_queue(&text)) {
            Ok(answer) => answer,
            Err(error) => return self.no_answer_about_queues(&error),
        };
        let quiet = queues.asked_at == queues.books.inactive_moves();
        if !quiet || !queues.books.settle(&answer) {
            return self.ask_for_queues_again(PAUSE);
        }
        let absolute = self.config.as_ref().is_some_and(|config| config.owns_its_gauges());
        let StateCounts { queues: Some(queues), stats, .. } = self else { return };
        must(stats.batch(|stats| {
            queues.tell_known(stats, &|stats, metric, state, count| match state {
                State::Inactive => give(stats, metric, count, absolute),
                _ => Ok(()),
            })
        }));
    }

    /// As an instance comes up, job-list is loaded after the job manager: that it
    /// is not there yet is worth no word.
    fn no_answer_about_queues(&mut self, error: &Error) {
        let Some(queues) = &mut self.queues else { return };
        queues.failures += 1;
        let patient = queues.failures < PATIENCE;
        if queues.failures == PATIENCE {
            self.warn(&format!(
                "job-list.job-stats: {error}: the gauges of inactive jobs by queue are not sent \
                 until this is answered (asked again every {PAUSE_AFTER_ERROR} s)"
            ));
        }
        self.ask_for_queues_again(if patient { PAUSE } else { PAUSE_AFTER_ERROR.into() });
    }

    fn ask_for_queues_again(&mut self, pause: f64) {
        let timer = self.jobtap.timer(pause, 0.0, Self::ask_for_queues);
        match (timer, &mut self.queues) {
            (Ok(timer), Some(queues)) => queues.pause = Some(timer),
            (Err(error), _) => self.warn(&error.to_string()),
            _ => (),
        }
    }
}

/// What job-list.job-stats answers, by queue, and by the state's place in
/// `State::ALL`.
fn counts_by_queue(text: &str) -> Result<Vec<(String, [u64; 7])>, Error> {
    let wrong = || Error::new("its answer is not what flux job stats prints");
    let answer: Value = serde_json::from_str(text).map_err(error)?;
    let mut queues = Vec::new();
    for queue in answer["queues"].as_array().ok_or_else(wrong)? {
        let name = queue["name"].as_str().ok_or_else(wrong)?;
        let mut counts = [0; 7];
        for (place, state) in
            ["depend", "priority", "sched", "run", "cleanup", "inactive"].iter().enumerate()
        {
            counts[place + 1] = queue["job_states"][state].as_u64().ok_or_else(wrong)?;
        }
        queues.push((name.to_owned(), counts));
    }
    Ok(queues)
}
