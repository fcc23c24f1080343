//! The plugin's metrics in the servers that people run, each with the settings that
//! docs/servers.md recommends: what a server says, against what is true. Its flush
//! interval is a second here.
//!
//! Those that a registry brings, scripts/test fetches; the others are used where they
//! are on PATH. What is not there is ignored, by name.

mod exporter;
mod http;
mod lines;
mod netdata;
mod process;
mod run;
#[path = "../support/mod.rs"]
mod support;
mod veneur;

/// Two runs of one server: `$made` starts it, `$cfg` says whether it is there.
macro_rules! runs {
    ($name:ident, $made:expr, $cfg:meta, $need:literal, $needs:literal) => {
        mod $name {
            use super::*;

            #[test]
            #[cfg_attr(not($cfg), ignore = $need)]
            fn the_recorded_run_is_right() {
                run::recorded($made);
            }

            #[test]
            #[cfg_attr(not(all(have_flux, $cfg)), ignore = $needs)]
            fn a_brokers_jobs_are_right() {
                run::broker($made);
            }
        }
    };
}

runs!(
    etsys_statsd,
    lines::etsy(),
    have_statsd,
    "needs npm's statsd: scripts/test",
    "needs flux on PATH, and npm's statsd: scripts/test"
);
runs!(
    etsys_statsd_that_deletes_idle_gauges,
    lines::etsy_that_deletes_gauges(),
    have_statsd,
    "needs npm's statsd: scripts/test",
    "needs flux on PATH, and npm's statsd: scripts/test"
);
runs!(
    netdatas_statsd,
    netdata::Netdata::new(),
    have_netdata,
    "needs netdata, as in Debian 12's netdata-core: scripts/test",
    "needs flux on PATH, and netdata, as in Debian 12's netdata-core: scripts/test"
);
runs!(
    collectds_statsd,
    lines::collectd(),
    have_collectd,
    "needs Debian's collectd-core: scripts/test",
    "needs flux on PATH, and Debian's collectd-core: scripts/test"
);
runs!(
    statsd_exporter,
    exporter::Exporter::new(),
    have_exporter,
    "needs statsd_exporter on PATH",
    "needs flux and statsd_exporter on PATH"
);
runs!(
    statsd_exporter_on_a_unix_socket,
    exporter::Exporter::unix(),
    have_exporter,
    "needs statsd_exporter on PATH",
    "needs flux and statsd_exporter on PATH"
);
runs!(
    brubeck,
    lines::brubeck(),
    have_brubeck,
    "needs brubeck on PATH",
    "needs flux and brubeck on PATH"
);
runs!(
    statsite,
    lines::statsite(),
    have_statsite,
    "needs statsite on PATH",
    "needs flux and statsite on PATH"
);
runs!(
    bitlys_statsdaemon,
    lines::bitly(),
    have_bitly,
    "needs bitly's statsdaemon on PATH, as bitly-statsdaemon",
    "needs flux, and bitly's statsdaemon, as bitly-statsdaemon, on PATH"
);
runs!(
    raintanks_statsdaemon,
    lines::raintank(),
    have_raintank,
    "needs raintank's statsdaemon on PATH, as raintank-statsdaemon",
    "needs flux, and raintank's statsdaemon, as raintank-statsdaemon, on PATH"
);
runs!(
    veneurs_statsd,
    veneur::Veneur::new(),
    have_veneur,
    "needs veneur on PATH",
    "needs flux and veneur on PATH"
);

#[test]
#[cfg_attr(not(have_exporter), ignore = "needs statsd_exporter on PATH")]
fn statsd_exporter_maps_every_line_of_every_family() {
    exporter::maps_all();
}

#[test]
#[cfg_attr(
    not(all(have_exporter, have_prometheus)),
    ignore = "needs statsd_exporter on PATH, and Debian's prometheus: scripts/test"
)]
fn prometheus_behind_statsd_exporter_has_what_is_true() {
    exporter::prometheus_has_what_is_true();
}
