//! A Flux jobtap plugin that sends to a statsd server how many jobs are in every
//! state.
//!
//! It keeps one table of the active jobs. Every gauge is a sum over that table. What
//! changed in one turn of the broker's reactor leaves in one datagram. Nothing blocks
//! the job manager.
//!
//! ```text
//! broker ── callback ──▶ jobtap ── Event ──▶ jobs ── before, after ──▶ families
//!                   (unsafe, thin)         (pure)                       (pure)
//!                                                                         │
//!                                                                    gauge ±n
//!                                                                         ▼
//! server ◀── datagram ── output ◀── datagram ── stats ◀── end of turn ── output
//!                     (connection)         (line, packet)            (publisher)
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
//! # The path of a transition
//!
//! The job manager calls, and the table and the gauges change:
//!
//! ```text
//! jobtap/callbacks.rs         trampoline                what Flux calls
//! jobtap/callbacks.rs         Moved::call               the topic is job.state.*
//! jobtap/job.rs               Job::current              what the job can be asked
//! jobtap/instance.rs          Instance::dispatch        an error is logged once
//! jobtap/panics.rs            catch_panic               no panic reaches C
//! jobtap/args.rs              Args::transition          the arguments, as types
//! plugin/mod.rs               StateCounts::job_state    an Event of them
//! plugin/mod.rs               StateCounts::apply_event  joins the steps below
//! jobs/table.rs               JobTable::apply           the job before and after
//! families/set.rs             Families::changed         each enabled family
//! families/mod.rs             Family::moves             after, less before
//! families/states.rs          Family::gauges            one for each family
//! output/publisher.rs         Sink::add                 the gauge's new level
//! plugin/mod.rs               StateCounts::request_flush
//! jobtap/turn.rs              TurnEnd::request          and back to Flux
//! ```
//!
//! At the end of the turn, or of a period, what changed is sent:
//!
//! ```text
//! jobtap/turn.rs              on_turn_end               what Flux calls
//! plugin/mod.rs               StateCounts::flush
//! output/publisher.rs         Publisher::flush          rising gauges first
//! output/publisher.rs         Entry::send_change        an increment, or a value
//! stats/mod.rs                Stats::gauge_add, put     summed by metric
//! stats/mod.rs                Stats::flush              each sum once
//! stats/context.rs            Context::append           a datagram for it
//! stats/packet.rs             Packet::group             whole lines only
//! stats/line.rs               append                    the line's text
//! stats/context.rs            Context::send             the last datagram
//! output/outputs/mod.rs       Outputs::send             to each endpoint
//! output/outputs/output.rs    Output::send              if it is live
//! stats/connection.rs         Connection::send          send(2), non-blocking
//! ```
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
