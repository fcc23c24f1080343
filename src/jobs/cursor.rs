//! Iterates over the jobs of the table in slices. Jobs may be added, change and end between
//! two slices.

use super::table::{shard_of, JobTable, SHARDS};

/// An iterator over the ids of active jobs.
#[derive(Debug, Default)]
pub struct Cursor {
    /// The next shard of the table.
    shard: usize,
    /// The remaining ids of the previous shard.
    ids: Vec<u64>,
}

impl Cursor {
    /// Starts again at the first job.
    pub fn begin(&mut self) {
        *self = Cursor::default();
    }

    /// The next id. `None` at the end. The job may have ended since its shard was read.
    pub fn next(&mut self, table: &JobTable) -> Option<u64> {
        while self.ids.is_empty() && self.shard < SHARDS {
            self.ids.extend(table.ids(self.shard));
            self.shard += 1;
        }
        self.ids.pop()
    }

    /// `true` if `next` will not return this job: it was returned already, or was added to a
    /// shard that was already read.
    pub fn is_past(&self, id: u64) -> bool {
        let shard = shard_of(id);
        shard < self.shard && (shard + 1 < self.shard || !self.ids.contains(&id))
    }
}
