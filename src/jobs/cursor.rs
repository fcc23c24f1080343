//! Iteration over the table's jobs in slices, between which jobs are added, change and end.

use super::table::{shard_of, JobTable, SHARDS};

/// The jobs that are left.
#[derive(Debug, Default)]
pub struct Cursor {
    /// The next shard of the table.
    shard: usize,
    /// The ids that are left of the shard before it.
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

    /// `true` if `next` will not return this job: it did already, or the job was added to a
    /// part of the table that was read before.
    pub fn is_past(&self, id: u64) -> bool {
        let shard = shard_of(id);
        shard < self.shard && (shard + 1 < self.shard || !self.ids.contains(&id))
    }
}
