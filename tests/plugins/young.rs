//! A plugin with those functions that old Fluxes have not.

use state_counts::jobtap::{
    Callbacks, Error, Job, JobState, Jobtap, LoadOrder, LogLevel, NameForm, Plugin, Transition,
};

struct Young(Jobtap<Self>);

impl Plugin for Young {
    const NAME: &'static str = "young";

    fn init(jobtap: Jobtap<Self>, callbacks: &mut Callbacks<Self>) -> Result<Self, Error> {
        callbacks.load_order(LoadOrder::ByStateReversed);
        callbacks.job_new(Self::job_new);
        callbacks.job_update(Self::job_update);
        callbacks.job_enters(JobState::SCHED, Self::job_waits);
        Ok(Young(jobtap))
    }
}

impl Young {
    fn job_new(&mut self, job: &Job) -> Result<(), Error> {
        let state = job.state()?;
        self.0.log(LogLevel::Info, &format!("announced in {}", state.name(NameForm::Long)));
        if state == JobState::NEW {
            self.0.update_jobspec(job, r#"{"attributes.system.own": true}"#)?;
            assert!(self.0.update_jobspec(job, "nonsense").is_err());
        }
        Ok(())
    }

    fn job_update(&mut self, _: &Job) -> Result<(), Error> {
        self.0.log(LogLevel::Info, "updated");
        Ok(())
    }

    fn job_waits(&mut self, transition: Transition, job: &Job) -> Result<(), Error> {
        let system = job.facts()?.jobspec.member(c"attributes").and_then(|it| it.member(c"system"));
        if system.is_some_and(|system| system.member(c"other").is_none()) {
            let id = transition.id;
            // Not from a callback of that job's.
            let later = self.0.timer(0.05, 0.0, move |plugin| {
                let updates = r#"{"attributes.system.other": 1}"#;
                if let Err(error) = plugin.0.update_other_jobspec(id, updates) {
                    plugin.0.log(LogLevel::Error, &error.to_string());
                }
            })?;
            std::mem::forget(later);
        }
        Ok(())
    }
}

state_counts::export_plugin!(Young);
