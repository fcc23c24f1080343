//! Tests that need neither a broker nor a server: of the plugin in the fake job manager, and
//! of documents, scripts and packages.

#[path = "../scenarios/mod.rs"]
mod scenarios;
#[path = "../support/mod.rs"]
mod support;

/// Runs scenarios of a feature in the fake job manager.
macro_rules! scenarios {
    ($feature:ident: $($(#[$attribute:meta])* $name:ident),+ $(,)?) => {$(
        #[test]
        $(#[$attribute])*
        fn $name() {
            crate::scenarios::$feature::$name::<crate::host::FakeHost>();
        }
    )+};
}

mod artifact;
mod callbacks;
mod client;
mod configuration;
mod cost;
mod dashboards;
mod demo;
mod destinations;
mod dialects;
mod docs;
mod fuzz;
mod fuzz_lines;
mod golden;
mod headers;
mod host;
mod install;
mod jobspec_limits;
mod leaks;
mod load;
mod other_plugins;
mod package;
mod panics;
mod pending;
mod properties;
mod publisher;
mod queues;
mod rc1_example;
mod reconcile;
mod reload;
mod resource_status;
mod resources;
mod restart;
mod results;
mod setup;
mod soak;
mod states;
mod telemetry;
