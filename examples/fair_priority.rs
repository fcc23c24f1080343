//! Gives jobs priority by how few jobs of their bank run: of two jobs of the same
//! urgency, that of the bank with fewer running jobs goes first.
//! When one starts or ends, all that wait are prioritized again.

use std::collections::HashMap;

use state_counts::jobtap::{Callbacks, Error, Job, JobState, Jobtap, Plugin, Priority, Transition};

struct FairPriority {
    jobtap: Jobtap<Self>,
    /// The running jobs, and their banks.
    running: HashMap<u64, String>,
}

impl Plugin for FairPriority {
    const NAME: &'static str = "fair-priority";

    fn init(jobtap: Jobtap<Self>, callbacks: &mut Callbacks<Self>) -> Result<Self, Error> {
        callbacks.job_priority(Self::priority);
        callbacks.job_new(Self::announced);
        callbacks.job_enters(JobState::RUN, Self::changed);
        callbacks.job_enters(JobState::CLEANUP, Self::changed);
        Ok(FairPriority { jobtap, running: HashMap::new() })
    }
}

impl FairPriority {
    fn priority(&mut self, job: &Job) -> Result<Priority, Error> {
        let bank = bank(job)?;
        let running = self.running.values().filter(|other| **other == bank).count();
        // A step of urgency outweighs 10,000 running jobs.
        let urgency = job.facts()?.urgency as u32;
        Ok(Priority::Is((urgency * 10_000).saturating_sub(running as u32)))
    }

    /// A job that ran when the plugin was loaded.
    fn announced(&mut self, job: &Job) -> Result<(), Error> {
        if job.state()? == JobState::RUN {
            self.running.insert(job.id()?, bank(job)?);
        }
        Ok(())
    }

    fn changed(&mut self, transition: Transition, job: &Job) -> Result<(), Error> {
        match transition.state {
            JobState::RUN => self.running.insert(transition.id, bank(job)?),
            _ => self.running.remove(&transition.id),
        };
        self.jobtap.reprioritize_all();
        Ok(())
    }
}

/// A job's bank; those without one share one.
fn bank(job: &Job) -> Result<String, Error> {
    let system = job.facts()?.jobspec.member(c"attributes").and_then(|it| it.member(c"system"));
    let bank = system.and_then(|system| system.member(c"bank"));
    Ok(bank.and_then(|bank| bank.text()).unwrap_or_default().to_owned())
}

state_counts::export_plugin!(FairPriority);
