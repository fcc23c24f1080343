//! What needs statsd servers, or the tools of those who read them. `scripts/test` fetches
//! what a registry brings; the others are used where they are on PATH.

#[path = "../support/mod.rs"]
mod support;

mod dialects;
mod exporter;
mod graphite;
mod prometheus;
mod servers;
mod statsd;
mod wire;
