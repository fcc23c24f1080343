//! A Flux jobtap plugin that tells a statsd server how many jobs are in every
//! state.
//!
//! Every job event becomes a pure change of counts, every change becomes statsd
//! lines, and lines leave in as few datagrams as possible, without ever
//! blocking the job manager:
//!
//! ```text
//! broker ── callback ──▶ flux ── Event ──▶ accounting ── Change ──▶ stats ──▶ datagram
//!                       (unsafe, thin)       (pure)              (line, packet, endpoint)
//! ```
//!
//! | room | holds |
//! |---|---|
//! | [`flux`] | a safe layer over the part of Flux that a jobtap plugin uses; all `unsafe` code |
//! | [`plugin`] | one loaded plugin: the handlers that join the other rooms |
//! | [`accounting`] | which event changes which count |
//! | [`config`] | what an administrator asked for, checked |
//! | [`rfc`] | Flux's own formats, pure |
//! | [`stats`] | the statsd API and the emitter under it; knows nothing of Flux |
//!
//! The library is both the `.so` that a broker loads and an ordinary Rust crate.
//! Another jobtap plugin, or a program that only wants to send metrics, takes it
//! without the default feature `plugin`, which exports our `flux_plugin_init`.

#![deny(unsafe_code)]

pub mod accounting;
pub mod config;
#[allow(unsafe_code)]
pub mod flux;
pub mod plugin;
pub mod rfc;
pub mod stats;

#[cfg(all(feature = "plugin", not(test)))]
mod entry {
    #![allow(unsafe_code)]
    crate::export_plugin!(crate::plugin::StateCounts);
}
