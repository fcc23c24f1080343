//! Asking the job manager how many jobs it has.
//!
//! At load, for Flux does not report the jobs that were inactive before; and in each
//! check of the table.

use super::StateCounts;
use crate::flux::{Error, Response, Rpc, Timer};
use crate::jobs::Anomaly;

/// Seconds until a question is given up and asked again.
const TIMEOUT: f64 = 10.0;
/// Seconds between two questions, after an answer and after an error.
const PAUSE: f64 = 0.1;
const PAUSE_AFTER_ERROR: u32 = 10;

/// The question under way.
#[derive(Default)]
pub(super) struct CountsQuestion {
    rpc: Option<Rpc>,
    pause: Option<Timer>,
    /// Whether a question failed: the first is logged.
    failed: bool,
}

impl StateCounts {
    /// Asks, unless a question is under way.
    pub(super) fn ask_for_counts(&mut self) {
        if self.counts.rpc.is_some() {
            return;
        }
        self.counts.pause = None;
        self.table.inactive_requested();
        self.verify.asked(&self.table);
        let topic = c"job-manager.stats-get";
        match self.flux.rpc(topic, None, TIMEOUT, Self::counts_answered) {
            Ok(rpc) => self.counts.rpc = Some(rpc),
            Err(error) => self.no_counts(&error),
        }
    }

    fn counts_answered(&mut self, response: Response<'_>) {
        self.counts.rpc = None;
        let count = |key| {
            response.integer(key).and_then(|number| {
                u64::try_from(number)
                    .map_err(|_| Error::new(format!("{} is {number}", key.to_string_lossy())))
            })
        };
        match (count(c"active_jobs"), count(c"inactive_jobs")) {
            (Ok(active), Ok(inactive)) => self.counted(active, inactive),
            (Err(error), _) | (_, Err(error)) => self.no_counts(&error),
        }
    }

    fn counted(&mut self, active: u64, inactive: u64) {
        let was_known = self.table.inactive().count().is_some();
        let answered = self.table.inactive_response(inactive);
        if answered.contradicted {
            if was_known {
                self.verify.repaired();
            }
            self.log_first(Anomaly::InactiveContradicted);
        }
        self.collectors.table_gauges_changed(&self.table, &mut self.publisher);
        self.request_flush();
        let again = self.counts_checked(active, answered.known);
        if again || !was_known && !answered.known {
            self.ask_for_counts_again(PAUSE);
        }
    }

    /// Without an answer INACTIVE is not sent: no gauge is better than a
    /// wrong one.
    fn no_counts(&mut self, error: &Error) {
        if !self.counts.failed {
            self.counts.failed = true;
            self.warn(&format!(
                "job-manager.stats-get: {error}: the gauge of inactive jobs is not sent until \
                 this is answered (asked again every {PAUSE_AFTER_ERROR} s)"
            ));
        }
        self.ask_for_counts_again(PAUSE_AFTER_ERROR.into());
    }

    fn ask_for_counts_again(&mut self, pause: f64) {
        match self.flux.timer(pause, 0.0, Self::ask_for_counts) {
            Ok(timer) => self.counts.pause = Some(timer),
            Err(error) => self.warn(&error.to_string()),
        }
    }
}
