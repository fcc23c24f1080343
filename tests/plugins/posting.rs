//! A plugin that posts events from within its callbacks, and logs every
//! callback: each event of each job, and each state.
//!
//! Jobs with the dependency `posting:X` wait; when another job runs, each of them is sent
//! on its way, and gets an event and an exception, all from that one callback.

use state_counts::jobtap::{
    Callbacks, Dependency, DependencyRequest, Error, Job, JobEvent, JobState, Jobtap, LogLevel,
    NameForm, Plugin, Transition,
};

struct Posting {
    jobtap: Jobtap<Self>,
    /// Jobs that wait, each with its dependency.
    waiting: Vec<(u64, String)>,
}

impl Plugin for Posting {
    const NAME: &'static str = "posting";

    fn init(jobtap: Jobtap<Self>, callbacks: &mut Callbacks<Self>) -> Result<Self, Error> {
        callbacks.job_create(Self::job_create);
        callbacks.job_dependency("posting", Self::job_dependency);
        callbacks.job_state(Self::job_state);
        callbacks.job_enters(JobState::RUN, Self::job_runs);
        callbacks.job_event("*", Self::job_event);
        Ok(Posting { jobtap, waiting: Vec::new() })
    }
}

impl Posting {
    fn job_create(&mut self, job: &Job) -> Result<(), Error> {
        self.jobtap.subscribe(job.id()?)
    }

    fn job_dependency(
        &mut self,
        asked: &DependencyRequest,
        job: &Job,
    ) -> Result<Dependency, Error> {
        let description = format!("posting={}", asked.value);
        self.waiting.push((job.id()?, description.clone()));
        Ok(Dependency::Waits(description))
    }

    fn job_state(&mut self, transition: Transition, _: &Job) -> Result<(), Error> {
        let name = transition.state.name(NameForm::Long);
        self.log(&format!("{} state {name}", transition.id));
        Ok(())
    }

    fn job_runs(&mut self, transition: Transition, _: &Job) -> Result<(), Error> {
        let waiting = std::mem::take(&mut self.waiting);
        if waiting.is_empty() {
            return Ok(());
        }
        self.log(&format!("{} posts", transition.id));
        for (id, description) in &waiting {
            self.jobtap.remove_dependency(*id, description);
            let context = r#"{"by": "posting"}"#;
            self.jobtap.post_event(*id, "posted", Some(context))?;
            self.jobtap.raise_exception(*id, "test", 7, "100% harmless");
            // It is gone, or was never there: logged once, and nothing else.
            self.jobtap.remove_dependency(*id, "unknown");
        }
        self.log(&format!("{} has posted", transition.id));
        Ok(())
    }

    fn job_event(&mut self, event: &JobEvent, job: &Job) -> Result<(), Error> {
        self.log(&format!("{} event {}", job.id()?, event.name()?));
        Ok(())
    }

    fn log(&self, text: &str) {
        self.jobtap.log(LogLevel::Info, text);
    }
}

state_counts::export_plugin!(Posting);
