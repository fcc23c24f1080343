//! What is remembered of an active job.

use super::{queues, usage};

/// One job's, for all families that remember any. It goes when the job goes. 56
/// bytes; what a job takes in all is measured in tests/cost.rs.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Record {
    /// Where it is counted by queue.
    pub queue: Option<queues::Place>,
    /// When it entered the state that it is in, in seconds since the epoch.
    pub entered: Option<f64>,
    /// What it is counted with by user, bank and resources.
    pub usage: Option<usage::Share>,
}

impl Record {
    /// Whether there is nothing to remember.
    pub fn is_empty(&self) -> bool {
        *self == Record::default()
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn it_is_small() {
        assert!(std::mem::size_of::<super::Record>() <= 56);
    }
}
