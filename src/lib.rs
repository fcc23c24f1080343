//! A Flux jobtap plugin that sends the number of jobs in each state to a statsd server.
//!
//! The plugin keeps one table of the active jobs; each gauge is a sum over that table. All
//! changes of one reactor loop iteration are sent together. The job manager never waits for a
//! server.
//!
//! ```text
//! Flux ── callback ──▶ flux ── event ──▶ jobs ── before, after ──▶ collectors
//!                                                                      │
//!                                                                   gauge ±n
//!                                                                      ▼
//! server ◀── datagram ── stats ◀── end of loop iteration ── publish ◀──┘
//! ```
//!
//! | module | contains |
//! |---|---|
//! | `flux` | the safe wrapper around Flux, and `flux_plugin_init`; `unsafe` |
//! | `os` | non-blocking name lookup, host name; `unsafe` |
//! | `plugin` | one loaded plugin: callbacks, timers, polls, the reconcile pass |
//! | `jobs` | the job table; pure |
//! | `collectors` | the metrics, and the contribution of a job to each gauge; pure |
//! | `publish` | the publisher, metric names, destinations |
//! | `stats` | line formats, datagrams, sockets, and the public statsd client |
//! | `config` | the configuration keys; pure |
//! | `flux_formats` | jobspec, R, idset, duration, resource.status; pure |
//!
//! docs/design.md shows the two stacks of the plugin, from a callback of Flux to
//! `Publisher::add` and from the end of a reactor loop iteration to send(2).
//!
//! The public interface is [`stats`], a small statsd client. A crate that uses it disables
//! the default feature `plugin`, which exports `flux_plugin_init`.

#![deny(unsafe_code)]

#[doc(hidden)]
pub mod collectors;
#[doc(hidden)]
pub mod config;
#[doc(hidden)]
pub mod flux;
#[doc(hidden)]
pub mod flux_formats;
#[allow(unsafe_code)]
mod flux_sys;
#[doc(hidden)]
pub mod jobs;
#[doc(hidden)]
pub mod os;
#[doc(hidden)]
pub mod plugin;
#[doc(hidden)]
pub mod publish;
pub mod stats;
