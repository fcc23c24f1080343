//! Rejects jobs that ask for more cores than a limit:
//! `flux jobtap load liblimit_cores.so limit=64`.
//!
//! `job.validate` is asked of each job that is submitted, and of each update of one:
//! an error is what the user reads, instead of the job's id.

use serde_json::Value;
use state_counts::jobtap::{Callbacks, Conf, Error, Job, Jobtap, Plugin};
use state_counts::rfc::resources;

struct LimitCores {
    limit: u64,
}

impl Plugin for LimitCores {
    const NAME: &'static str = "limit-cores";

    fn init(_: Jobtap<Self>, callbacks: &mut Callbacks<Self>) -> Result<Self, Error> {
        callbacks.conf_update(Self::configure);
        callbacks.job_validate(Self::validate);
        Ok(LimitCores { limit: u64::MAX })
    }
}

impl LimitCores {
    /// Called first at the load, which an error fails.
    fn configure(&mut self, conf: Conf) -> Result<(), Error> {
        let conf: Value = serde_json::from_str(conf.plugin.unwrap_or("{}"))
            .map_err(|error| Error::new(error.to_string()))?;
        self.limit = conf["limit"].as_u64().ok_or_else(|| {
            Error::new(format!("limit-cores: limit={}: want a number", conf["limit"]))
        })?;
        Ok(())
    }

    fn validate(&mut self, job: &Job) -> Result<(), Error> {
        let asked = resources::requested(job.facts()?.jobspec)
            .ok_or_else(|| Error::new("the jobspec's resources are not understood"))?;
        match u64::from(asked.cores) > self.limit {
            true => {
                Err(Error::new(format!("{} cores exceed the limit of {}", asked.cores, self.limit)))
            }
            false => Ok(()),
        }
    }
}

state_counts::export_plugin!(LimitCores);
