//! Holds jobs until an hour of the day, in UTC: `flux submit --dependency=hour:22:30`.
//!
//! A user's dependency `hour:HOUR[:MINUTE[:SECOND]]` becomes a dependency of the job
//! that a timer removes. The timer is the job's own data: a job that is cancelled takes
//! it along. When the plugin is loaded again, Flux calls it for the jobs that wait.

use std::time::UNIX_EPOCH;

use state_counts::jobtap::{Callbacks, Dependency, DependencyRequest, Error, Job, Jobtap, Plugin};

const DAY: f64 = 24.0 * 3600.0;

struct HoldByHour {
    jobtap: Jobtap<Self>,
}

impl Plugin for HoldByHour {
    const NAME: &'static str = "hold-by-hour";

    fn init(jobtap: Jobtap<Self>, callbacks: &mut Callbacks<Self>) -> Result<Self, Error> {
        callbacks.job_dependency("hour", Self::hold);
        Ok(HoldByHour { jobtap })
    }
}

impl HoldByHour {
    fn hold(&mut self, asked: &DependencyRequest, job: &Job) -> Result<Dependency, Error> {
        let hour = seconds_of_day(asked.value)
            .ok_or_else(|| Error::new(format!("hour:{}: want hour:22[:30[:59]]", asked.value)))?;
        // The first such hour behind the submission; it may be over at a reload.
        let submitted = job.times()?.submitted;
        let due = submitted + (hour - submitted).rem_euclid(DAY);
        let now = UNIX_EPOCH.elapsed().unwrap_or_default().as_secs_f64();
        let (id, description) = (job.id()?, format!("hour={}", asked.value));
        let removed = description.clone();
        let timer = self.jobtap.timer((due - now).max(0.0), 0.0, move |plugin| {
            plugin.jobtap.remove_dependency(id, &removed);
        })?;
        self.jobtap.set_job_data(id, timer)?;
        Ok(Dependency::Waits(description))
    }
}

/// `22:30` as seconds since midnight.
fn seconds_of_day(text: &str) -> Option<f64> {
    let mut parts = text.split(':').map(str::parse::<u32>);
    let mut next = |limit| match parts.next() {
        Some(part) => part.ok().filter(|part| *part < limit),
        None => Some(0),
    };
    let (hour, minute, second) = (next(24)?, next(60)?, next(60)?);
    parts.next().is_none().then(|| f64::from((hour * 60 + minute) * 60 + second))
}

state_counts::export_plugin!(HoldByHour);
