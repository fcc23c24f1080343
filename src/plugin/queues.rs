//! Asking the broker how many inactive jobs each queue has.

use serde_json::Value;

use super::configure::error;
use super::StateCounts;
use crate::flux::{Error, Response, Rpc, Timer};
use crate::jobs::ByQueue;
use crate::jobs::Needs;

/// Seconds until a question is given up and asked again.
const TIMEOUT: f64 = 10.0;
/// Seconds between two questions, after an answer and after an error.
const PAUSE: f64 = 0.5;
const PAUSE_AFTER_ERROR: u32 = 10;
/// Failed questions until one is logged: with the pauses between them, ten
/// seconds.
const PATIENCE: u32 = 20;

/// The question under way.
#[derive(Default)]
pub(super) struct QueuesQuestion {
    rpc: Option<Rpc>,
    pause: Option<Timer>,
    /// Questions that failed.
    failures: u32,
}

impl StateCounts {
    /// Asks, if queues are wanted.
    pub(super) fn ask_for_queues(&mut self) {
        self.queues.pause = None;
        if !self.table.needs().contains(Needs::QUEUE) {
            return;
        }
        self.table.queues_requested();
        match self.flux.rpc(c"job-list.job-stats", None, TIMEOUT, Self::queues_answered) {
            Ok(rpc) => self.queues.rpc = Some(rpc),
            Err(error) => self.no_queues(&error),
        }
    }

    fn queues_answered(&mut self, response: Response<'_>) {
        self.queues.rpc = None;
        if !self.table.needs().contains(Needs::QUEUE) {
            return;
        }
        match response.text().and_then(|text| counts_by_queue(&text)) {
            Ok(answer) if self.table.queues_response(&answer) => {
                self.queues.failures = 0;
                self.collectors.table_gauges_changed(&self.table, &mut self.publisher);
                self.request_flush();
            }
            // job-list does not know all jobs that we do, or it was not quiet. What is
            // known already waits for the next check.
            Ok(_) if self.table.queues().inactive_is_known() => (),
            Ok(_) => self.ask_for_queues_again(PAUSE),
            Err(error) => self.no_queues(&error),
        }
    }

    /// As an instance added up, job-list is loaded after the job manager: that it
    /// is not there yet is worth no line in the log.
    fn no_queues(&mut self, error: &Error) {
        self.queues.failures += 1;
        let patient = self.queues.failures < PATIENCE;
        if self.queues.failures == PATIENCE {
            self.warn(&format!(
                "job-list.job-stats: {error}: the gauges of inactive jobs by queue are not sent \
                 until this is answered (asked again every {PAUSE_AFTER_ERROR} s)"
            ));
        }
        self.ask_for_queues_again(if patient { PAUSE } else { PAUSE_AFTER_ERROR.into() });
    }

    fn ask_for_queues_again(&mut self, pause: f64) {
        match self.flux.timer(pause, 0.0, Self::ask_for_queues) {
            Ok(timer) => self.queues.pause = Some(timer),
            Err(error) => self.warn(&error.to_string()),
        }
    }
}

/// What job-list.job-stats answers.
fn counts_by_queue(text: &str) -> Result<ByQueue, Error> {
    let wrong = || Error::new("its answer is not what flux job stats prints");
    let answer: Value = serde_json::from_slice(text.as_bytes()).map_err(error)?;
    let mut queues = Vec::new();
    for queue in answer["queues"].as_array().ok_or_else(wrong)? {
        let name = queue["name"].as_str().ok_or_else(wrong)?;
        let mut counts = [0; 7];
        for (index, state) in
            ["depend", "priority", "sched", "run", "cleanup", "inactive"].iter().enumerate()
        {
            counts[index + 1] = queue["job_states"][state].as_u64().ok_or_else(wrong)?;
        }
        queues.push((name.to_owned(), counts));
    }
    Ok(queues)
}
