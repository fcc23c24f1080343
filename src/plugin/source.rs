//! What the table asks of a job, answered from the callback's arguments.

use std::ffi::CStr;

use crate::flux::{Job, Json};
use crate::jobs::{JobInfo, JobSource, ReadError};

/// The job that a callback, or a look-up, is about.
pub(super) struct OfJob<'a>(pub(super) &'a Job<'a>);

impl JobSource for OfJob<'_> {
    type Json<'a>
        = Json<'a>
    where
        Self: 'a;

    fn info(&self) -> Result<JobInfo<Json<'_>>, ReadError> {
        let info = self.0.info().map_err(|error| ReadError(error.to_string()))?;
        let crate::flux::JobInfo { user, urgency, priority, jobspec, r } = info;
        Ok(JobInfo { user, urgency, priority, jobspec, r })
    }
}

impl crate::flux_formats::Json for Json<'_> {
    fn member(self, key: &CStr) -> Option<Self> {
        self.member(key)
    }

    fn item(self, index: usize) -> Option<Self> {
        self.item(index)
    }

    fn text(&self) -> Option<&str> {
        self.text()
    }

    fn positive(self) -> Option<u64> {
        self.positive()
    }
}
