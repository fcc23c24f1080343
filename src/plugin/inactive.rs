//! Asking the broker how many jobs were inactive before the load.

use super::{give, must, StateCounts};
use crate::accounting::{Anomaly, State};
use crate::flux::{Error, Response, Rpc, Timer};

/// Seconds until a question is given up and asked again.
const TIMEOUT: f64 = 10.0;
/// Seconds between two questions, after an answer and after an error.
const PAUSE: f64 = 0.1;
const PAUSE_AFTER_ERROR: u32 = 10;

/// The question under way.
#[derive(Default)]
pub(super) struct Inactive {
    rpc: Option<Rpc>,
    pause: Option<Timer>,
    /// Whether a question failed: the first is logged.
    failed: bool,
}

impl StateCounts {
    /// Asks the job manager, through its own front door, how many jobs are
    /// inactive: nobody announces those from before the load.
    pub(super) fn ask_for_inactive(&mut self) {
        self.inactive.pause = None;
        self.books.survey_begin();
        match self.jobtap.rpc(c"job-manager.stats-get", TIMEOUT, Self::inactive_answered) {
            Ok(rpc) => self.inactive.rpc = Some(rpc),
            Err(error) => self.no_answer(&error),
        }
    }

    fn inactive_answered(&mut self, response: Response<'_>) {
        self.inactive.rpc = None;
        let inactive = response.integer(c"inactive_jobs").and_then(|number| {
            u64::try_from(number).map_err(|_| Error::new(format!("inactive_jobs is {number}")))
        });
        match inactive {
            Ok(inactive) => {
                let contradictions = self.books.anomalies();
                if self.books.survey_end(inactive) {
                    self.inactive_is_known();
                } else {
                    self.ask_again(PAUSE);
                }
                if self.books.anomalies() != contradictions {
                    self.log_first(Anomaly::SurveyContradicted);
                }
            }
            Err(error) => self.no_answer(&error),
        }
    }

    /// Without an answer INACTIVE stays withheld: no gauge is better than a
    /// wrong one.
    fn no_answer(&mut self, error: &Error) {
        if !self.inactive.failed {
            self.inactive.failed = true;
            self.warn(&format!(
                "job-manager.stats-get: {error}: the gauge of inactive jobs is not sent until \
                 this is answered (asked again every {PAUSE_AFTER_ERROR} s)"
            ));
        }
        self.ask_again(PAUSE_AFTER_ERROR.into());
    }

    fn ask_again(&mut self, pause: f64) {
        match self.jobtap.timer(pause, 0.0, Self::ask_for_inactive) {
            Ok(timer) => self.inactive.pause = Some(timer),
            Err(error) => self.warn(&error.to_string()),
        }
    }

    fn inactive_is_known(&mut self) {
        let absolute = self.owns_its_gauges();
        if let (true, Some(count)) = (self.tells_states, self.books.count(State::Inactive)) {
            let gauge = self.gauges[State::Inactive as usize];
            must(give(&mut self.stats, gauge, count as i64, absolute));
        }
    }
}
