//! What the table asks of a job, answered from the callback's arguments.

use std::ffi::CStr;

use crate::jobs::{Facts, ReadError, Source};
use crate::jobtap::{Job, Json};
use crate::rfc::resources;

/// The job that a callback, or a look-up, is about.
pub(super) struct OfJob<'a>(pub(super) &'a Job<'a>);

impl Source for OfJob<'_> {
    type Json<'a>
        = Json<'a>
    where
        Self: 'a;

    fn facts(&self) -> Result<Facts<Json<'_>>, ReadError> {
        let facts = self.0.facts().map_err(|error| ReadError(error.to_string()))?;
        let crate::jobtap::Facts { user, urgency, priority, jobspec, r } = facts;
        Ok(Facts { user, urgency, priority, jobspec, r })
    }
}

impl resources::Json for Json<'_> {
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
