//! What needs no broker and no server: the plugin in the fake job manager, and what is
//! read, built or computed without any.

#[path = "../support/mod.rs"]
mod support;

mod artifact;
mod callbacks;
mod configuration;
mod cost;
mod cycles;
mod dashboards;
mod dialects;
mod docs;
mod environment;
mod events_lost;
mod families;
mod faults;
mod fuzz;
mod fuzz_lines;
mod headers;
mod healing;
mod hosts;
mod install;
mod jobspec_limits;
mod machine;
mod package;
mod panics;
mod plugin;
mod properties;
mod queues;
mod reload;
mod resources;
mod setup;
mod soak;
mod wire;
