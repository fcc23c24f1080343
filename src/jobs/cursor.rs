//! Going through the table's jobs one by one, while they come, change and go.

use super::table::{shard_of, JobTable, SHARDS};

/// Which jobs are still to come.
#[derive(Debug, Default)]
pub struct Cursor {
    /// The next of the table's shards.
    shard: usize,
    /// The ids of the shard before it that are still to come.
    ids: Vec<u64>,
}

impl Cursor {
    /// Begins anew.
    pub fn begin(&mut self) {
        self.shard = 0;
        self.ids.clear();
    }

    /// The next job, which may have ended meanwhile; `None` when all came.
    pub fn next(&mut self, table: &JobTable) -> Option<u64> {
        while self.ids.is_empty() && self.shard < SHARDS {
            self.ids.extend(table.ids(self.shard));
            self.shard += 1;
        }
        self.ids.pop()
    }

    /// Whether a job does not come any more: it did, or it is new among those that did.
    pub fn is_past(&self, id: u64) -> bool {
        let shard = shard_of(id);
        shard < self.shard && (shard + 1 < self.shard || !self.ids.contains(&id))
    }
}
