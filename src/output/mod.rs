//! What leaves the plugin: the names of metrics, when which value is sent, and to
//! whom.

pub mod connect;
pub mod names;
pub mod outputs;
pub mod publisher;

pub use names::MetricNames;
pub use outputs::Outputs;
pub use publisher::{Publisher, Target};

#[cfg(test)]
mod tests;
