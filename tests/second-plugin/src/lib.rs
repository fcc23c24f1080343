//! Another jobtap plugin on the same layer: it tells the log of each job it sees run.

use state_counts::jobtap::{Callback, Error, Job, JobState, Jobtap, LogLevel, Plugin, Transition};

struct Second(Jobtap<Self>);

impl Plugin for Second {
    const NAME: &'static str = "second";
    const CALLBACKS: &'static [Callback] = &[Callback::JobState];

    fn init(jobtap: Jobtap<Self>) -> Result<Self, Error> {
        Ok(Second(jobtap))
    }

    fn job_state(&mut self, transition: Transition, _: &Job) -> Result<(), Error> {
        if transition.state == JobState::RUN {
            self.0.log(LogLevel::Info, "saw a job run");
        }
        Ok(())
    }
}

state_counts::export_plugin!(Second);
