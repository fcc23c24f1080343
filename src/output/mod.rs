//! What leaves the plugin: the names of metrics, and when which value is sent.

pub mod names;
pub mod publisher;

pub use names::MetricNames;
pub use publisher::{Publisher, Target};
