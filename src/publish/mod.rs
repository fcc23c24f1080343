//! The sending side of the plugin: names of metrics, their values, and destinations.

mod connection;
pub mod destination;
pub mod names;
pub mod publisher;
mod sent;

pub use destination::{Destination, Notice, CHECK_INTERVAL};
pub use names::MetricNames;
pub use publisher::{GaugeMode, Publisher};

#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod tests;
