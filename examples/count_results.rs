//! Counts in statsd how jobs ended: `jobs.completed:1|c`, and the like. Where to, says
//! the broker's environment: `FLUX_FRIPP_STATSD=127.0.0.1:8125`.
//!
//! Of all callbacks it takes one. Nothing on the way waits for the server.

use state_counts::jobtap::{
    Callbacks, Error, Job, JobResult, JobState, Jobtap, Plugin, Transition,
};
use state_counts::stats::Stats;

struct CountResults {
    stats: Stats,
}

impl Plugin for CountResults {
    const NAME: &'static str = "count-results";

    fn init(_: Jobtap<Self>, callbacks: &mut Callbacks<Self>) -> Result<Self, Error> {
        callbacks.job_enters(JobState::INACTIVE, Self::ended);
        let mut stats = Stats::from_environment();
        stats.set_prefix("jobs").map_err(|error| Error::new(error.to_string()))?;
        Ok(CountResults { stats })
    }
}

impl CountResults {
    fn ended(&mut self, _: Transition, job: &Job) -> Result<(), Error> {
        let name = match job.result()? {
            JobResult::Completed => "completed",
            JobResult::Failed => "failed",
            JobResult::Canceled => "canceled",
            JobResult::Timeout => "timeout",
        };
        self.stats.count(name, 1).map_err(|error| Error::new(error.to_string()))
    }
}

state_counts::export_plugin!(CountResults);
