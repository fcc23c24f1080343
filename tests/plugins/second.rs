//! Another jobtap plugin on the same layer: it logs each job that it sees run.

use state_counts::jobtap::{Callbacks, Error, Job, JobState, Jobtap, LogLevel, Plugin, Transition};

struct Second(Jobtap<Self>);

impl Plugin for Second {
    const NAME: &'static str = "second";

    fn init(jobtap: Jobtap<Self>, callbacks: &mut Callbacks<Self>) -> Result<Self, Error> {
        callbacks.job_state(Self::job_state);
        Ok(Second(jobtap))
    }
}

impl Second {
    fn job_state(&mut self, transition: Transition, _: &Job) -> Result<(), Error> {
        if transition.state == JobState::RUN {
            self.0.log(LogLevel::Info, "saw a job run");
        }
        Ok(())
    }
}

state_counts::export_plugin!(Second);
