//! What leaves the plugin: the names of metrics, when which value is sent, and to
//! whom.

pub mod connect;
pub mod destinations;
pub mod names;
pub mod publisher;

pub use destinations::Destinations;
pub use names::MetricNames;
pub use publisher::{Publisher, Target};

#[cfg(test)]
mod tests;
