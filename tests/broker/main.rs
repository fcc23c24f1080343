//! All that needs a broker, and nothing else. Where there is none, each is ignored, by
//! name.

#[path = "../support/mod.rs"]
mod support;

mod broker_totals;
mod chaos;
mod configuration;
mod events_lost;
mod families;
mod healing;
mod hosts;
mod install;
mod machine;
mod plugin;
mod queues;
mod schedules;
mod servers;
mod statsd;
mod unload;
