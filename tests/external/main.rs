//! Tests that need statsd servers, or tools that read from them. `scripts/test` downloads
//! those that a package registry has; others are used if they are on PATH.

#[path = "../support/mod.rs"]
mod support;

mod checks;
mod dialects;
mod exporter;
mod graphite;
mod netdata;
mod prometheus;
mod servers;
