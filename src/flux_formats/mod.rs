//! Formats that Flux defines, one per file. Pure functions: text or JSON in, values out.

use std::ffi::CStr;

pub mod duration;
pub mod idset;
pub mod job_id;
pub mod job_list;
pub mod job_stats;
pub mod jobspec;
pub mod queue_status;
pub mod resource_set;
pub mod resource_status;

pub use duration::parse_seconds;
pub use job_id::f58;
pub use job_list::{JobList, ListedJob};
pub use job_stats::Housekeeping;
pub use queue_status::QueueStatus;
pub use resource_status::{QueueRequirements, QueueResources, ResourceStatus};

/// A JSON value that is read in place, without a copy.
pub trait Json: Copy {
    /// The member of an object. `None` if there is no such member, or if this is not an
    /// object.
    fn member(self, key: &CStr) -> Option<Self>;
    /// The item of an array. `None` past the end, or if this is not an array.
    fn item(self, index: usize) -> Option<Self>;
    /// The string. `None` if this is not a string.
    fn text(&self) -> Option<&str>;
    /// The integer. `None` if this is not an integer of at least 1.
    fn positive(self) -> Option<u64>;

    /// The items of an array; none if this is not an array.
    fn items(self) -> impl Iterator<Item = Self> {
        (0..).map_while(move |index| self.item(index))
    }
}

/// Numbers of nodes, cores and GPUs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amounts {
    /// Nodes. A jobspec that names no nodes requests 0. A node that R allocates in part
    /// counts as a node.
    pub nodes: u32,
    /// Cores.
    pub cores: u32,
    /// GPUs.
    pub gpus: u32,
}

impl std::ops::AddAssign for Amounts {
    fn add_assign(&mut self, other: Amounts) {
        self.nodes = self.nodes.saturating_add(other.nodes);
        self.cores = self.cores.saturating_add(other.cores);
        self.gpus = self.gpus.saturating_add(other.gpus);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    impl Json for &Value {
        fn member(self, key: &CStr) -> Option<Self> {
            self.get(key.to_str().unwrap())
        }
        fn item(self, index: usize) -> Option<Self> {
            self.get(index)
        }
        fn text(&self) -> Option<&str> {
            self.as_str()
        }
        fn positive(self) -> Option<u64> {
            self.as_u64().filter(|&number| number > 0)
        }
    }
}
