//! statsd servers with the settings of docs/servers.md, and a flush interval of a second.

pub mod exporter;
pub mod http;
pub mod lines;
pub mod netdata;
pub mod process;
pub mod run;
pub mod veneur;

/// Calls `$run` for each server with its name, its constructor, the cfg that is set if it
/// exists, and the reasons for which tests without and with a broker are ignored.
#[allow(unused_macros)] // In tests/fake.
macro_rules! for_each_server {
    ($run:ident) => {
        $run!(
            etsys_statsd,
            lines::etsy(),
            have_statsd,
            "needs npm's statsd: scripts/test",
            "needs flux on PATH, and npm's statsd: scripts/test"
        );
        $run!(
            etsys_statsd_that_deletes_idle_gauges,
            lines::etsy_that_deletes_gauges(),
            have_statsd,
            "needs npm's statsd: scripts/test",
            "needs flux on PATH, and npm's statsd: scripts/test"
        );
        $run!(
            netdatas_statsd,
            netdata::Netdata::new(),
            have_netdata,
            "needs netdata, as in Debian 12's netdata-core: scripts/test",
            "needs flux on PATH, and netdata, as in Debian 12's netdata-core: scripts/test"
        );
        $run!(
            collectds_statsd,
            lines::collectd(),
            have_collectd,
            "needs Debian's collectd-core: scripts/test",
            "needs flux on PATH, and Debian's collectd-core: scripts/test"
        );
        $run!(
            statsd_exporter,
            exporter::Exporter::new(),
            have_exporter,
            "needs statsd_exporter on PATH",
            "needs flux and statsd_exporter on PATH"
        );
        $run!(
            statsd_exporter_on_a_unix_socket,
            exporter::Exporter::unix(),
            have_exporter,
            "needs statsd_exporter on PATH",
            "needs flux and statsd_exporter on PATH"
        );
        $run!(
            brubeck,
            lines::brubeck(),
            have_brubeck,
            "needs brubeck on PATH",
            "needs flux and brubeck on PATH"
        );
        $run!(
            statsite,
            lines::statsite(),
            have_statsite,
            "needs statsite on PATH",
            "needs flux and statsite on PATH"
        );
        $run!(
            bitlys_statsdaemon,
            lines::bitly(),
            have_bitly,
            "needs bitly's statsdaemon on PATH, as bitly-statsdaemon",
            "needs flux, and bitly's statsdaemon, as bitly-statsdaemon, on PATH"
        );
        $run!(
            raintanks_statsdaemon,
            lines::raintank(),
            have_raintank,
            "needs raintank's statsdaemon on PATH, as raintank-statsdaemon",
            "needs flux, and raintank's statsdaemon, as raintank-statsdaemon, on PATH"
        );
        $run!(
            veneurs_statsd,
            veneur::Veneur::new(),
            have_veneur,
            "needs veneur on PATH",
            "needs flux and veneur on PATH"
        );
    };
}
#[allow(unused_imports)]
pub(crate) use for_each_server;
