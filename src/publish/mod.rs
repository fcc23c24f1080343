//! The sending side of the plugin: names of metrics, their values, and destinations.

pub mod connect;
pub mod destination;
pub mod health;
pub mod names;
pub mod publisher;

pub use connect::{Hosts, Notice, CHECK_INTERVAL};
pub use destination::{Destination, Destinations, Target};
pub use names::MetricNames;
pub use publisher::{GaugeMode, Publisher};

#[cfg(test)]
mod tests;
