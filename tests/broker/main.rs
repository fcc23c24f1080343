//! Tests that need a broker; without one they are ignored.

#[path = "../scenarios/mod.rs"]
mod scenarios;
#[path = "../support/mod.rs"]
mod support;

/// Runs scenarios of a feature in a broker. Attributes ignore those that need a newer Flux or
/// more than a broker.
macro_rules! scenarios {
    ($feature:ident: $($(#[$attribute:meta])* $name:ident),+ $(,)?) => {$(
        #[test]
        #[cfg_attr(not(have_flux), ignore = "needs flux on PATH")]
        $(#[$attribute])*
        fn $name() {
            crate::scenarios::$feature::$name::<crate::host::BrokerHost>();
        }
    )+};
}

mod chaos;
mod configuration;
mod destinations;
mod host;
mod install;
mod load;
mod other_plugins;
mod pending;
mod publisher;
mod queues;
mod reload;
mod resource_status;
mod resources;
mod restart;
mod results;
mod schedules;
mod servers;
mod soak;
mod states;
mod unload;
