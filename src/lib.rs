//! A Flux flux plugin that sends to a statsd server how many jobs are in every
//! state.
//!
//! It keeps one table of the active jobs. Every gauge is a sum over that table. What
//! changed in one turn of the broker's reactor leaves in one datagram. Nothing blocks
//! the job manager.
//!
//! ```text
//! broker ── callback ──▶ flux ── Event ──▶ jobs ── before, after ──▶ collectors
//!                   (unsafe, thin)         (pure)                       (pure)
//!                                                                         │
//!                                                                    gauge ±n
//!                                                                         ▼
//! server ◀── datagram ── destination ◀── datagram ── stats ◀── end of turn ── destination
//!                     (connection)         (line, packet)            (publisher)
//! ```
//!
//! | module | holds |
//! |---|---|
//! | [`flux`] | a safe layer over the part of Flux that a flux plugin uses; all `unsafe` code |
//! | [`plugin`] | one loaded plugin: the callbacks, timers and requests that join the others |
//! | [`jobs`] | the job table, and its check against the job manager's own jobs |
//! | [`collectors`] | which job adds to which gauge, one file a collector |
//! | [`destination`] | what metrics are called, and which value is sent when |
//! | [`config`] | what an administrator asked for, checked; one row a key |
//! | [`flux_formats`] | Flux's own formats, pure: jobspec, R, durations |
//! | [`stats`] | the statsd API and the emitter under it; knows nothing of Flux |
//!
//! # The path of a transition
//!
//! The job manager calls, and the table and the gauges change:
//!
//! ```text
//! flux/callbacks.rs         trampoline                what Flux calls
//! flux/callbacks.rs         Moved::call               the topic is job.state.*
//! flux/job.rs               Job::current              what the job can be asked
//! flux/instance.rs          Instance::dispatch        an error is logged once
//! flux/panics.rs            catch_panic               no panic reaches C
//! flux/args.rs              Args::transition          the arguments, as types
//! plugin/mod.rs               StateCounts::job_state    an Event of them
//! plugin/mod.rs               StateCounts::apply_event  joins the steps below
//! jobs/table.rs               JobTable::apply           the job before and after
//! collectors/set.rs             Collectors::changed         each enabled collector
//! collectors/mod.rs             Collector::moves             after, less before
//! collectors/states.rs          Collector::gauges            one for each collector
//! destination/publisher.rs         Recorder::add                 the gauge's new level
//! plugin/mod.rs               StateCounts::request_flush
//! flux/turn.rs              PrepareWatcher::request          and back to Flux
//! ```
//!
//! At the end of the turn, or of a period, what changed is sent:
//!
//! ```text
//! flux/turn.rs              on_turn_end               what Flux calls
//! plugin/mod.rs               StateCounts::flush
//! destination/publisher.rs         Publisher::flush          rising gauges first
//! destination/publisher.rs         Entry::send_change        an increment, or a value
//! stats/mod.rs                Stats::gauge_add, put     summed by metric
//! stats/mod.rs                Stats::flush              each sum once
//! stats/context.rs            Context::append           a datagram for it
//! stats/packet.rs             Packet::group             whole lines only
//! stats/line.rs               append                    the line's text
//! stats/context.rs            Context::send             the last datagram
//! destination/destinations/mod.rs       Destinations::send             to each endpoint
//! destination/destinations/destination.rs    Destination::send              if it is live
//! stats/connection.rs         Connection::send          send(2), non-blocking
//! ```
//!
//! The library is both the `.so` that a broker loads and an ordinary Rust crate.
//! Another flux plugin, or a program that only wants to send metrics, takes it
//! without the default feature `plugin`, which exports our `flux_plugin_init`: see
//! [`flux`] and `examples/`.

#![deny(unsafe_code)]

pub mod collectors;
pub mod config;
pub mod flux;
pub mod flux_formats;
pub mod jobs;
pub mod plugin;
pub mod publish;
pub mod stats;

#[cfg(all(feature = "plugin", not(test)))]
mod entry {
    crate::export_plugin!(crate::plugin::StateCounts);
}
