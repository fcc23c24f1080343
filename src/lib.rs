//! A Flux jobtap plugin that sends to a statsd server how many jobs are in every
//! state.
//!
//! It keeps one table of the active jobs. Every gauge is a sum over that table;
//! what changed in one turn of the broker's reactor leaves in one datagram, and
//! never blocks the job manager:
//!
//! ```text
//! broker ── callback ──▶ jobtap ── Event ──▶ jobs ── before, after ──▶ families ── gauge ±n ──▶ output ── end of turn ──▶ stats ──▶ datagram
//!                         (unsafe, thin)    (pure)                    (pure)                  (publisher)              (line, packet, endpoint)
//! ```
//!
//! | module | holds |
//! |---|---|
//! | [`jobtap`] | a safe layer over the part of Flux that a jobtap plugin uses; all `unsafe` code |
//! | [`plugin`] | one loaded plugin: the callbacks, timers and requests that join the others |
//! | [`jobs`] | the job table, and its check against the job manager's own jobs |
//! | [`families`] | which job adds to which gauge, one file a family |
//! | [`output`] | what metrics are called, and which value is sent when |
//! | [`config`] | what an administrator asked for, checked; one row a key |
//! | [`rfc`] | Flux's own formats, pure: jobspec, R, durations |
//! | [`stats`] | the statsd API and the emitter under it; knows nothing of Flux |
//!
//! A transition can be followed through it in ten calls: the shim in [`jobtap`],
//! `StateCounts::job_state`, `StateCounts::apply_event`, [`JobTable::apply`],
//! [`Families::changed`], [`Family::moves`], [`Family::gauges`], [`Sink::add`]; and,
//! at the end of the turn, [`Publisher::flush`], [`Stats::flush`].
//!
//! [`JobTable::apply`]: jobs::JobTable::apply
//! [`Families::changed`]: families::Families::changed
//! [`Family::moves`]: families::Family::moves
//! [`Family::gauges`]: families::Family::gauges
//! [`Sink::add`]: families::Sink::add
//! [`Publisher::flush`]: output::Publisher::flush
//! [`Stats::flush`]: stats::Stats::flush
//!
//! The library is both the `.so` that a broker loads and an ordinary Rust crate.
//! Another jobtap plugin, or a program that only wants to send metrics, takes it
//! without the default feature `plugin`, which exports our `flux_plugin_init`: see
//! [`jobtap`] and `examples/`.

#![deny(unsafe_code)]

pub mod config;
pub mod families;
pub mod jobs;
pub mod jobtap;
pub mod output;
pub mod plugin;
pub mod rfc;
pub mod stats;

#[cfg(all(feature = "plugin", not(test)))]
mod entry {
    crate::export_plugin!(crate::plugin::StateCounts);
}
