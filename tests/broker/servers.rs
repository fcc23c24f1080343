//! The jobs of a broker in statsd servers, compared with the broker's numbers. The recorded
//! run is in tests/external/servers.rs.

use crate::support::servers::*;

macro_rules! brokers_jobs {
    ($name:ident, $made:expr, $cfg:meta, $need:literal, $needs:literal) => {
        mod $name {
            use super::*;

            #[test]
            #[cfg_attr(not(all(have_flux, $cfg)), ignore = $needs)]
            fn the_jobs_of_a_broker_are_correct() {
                run::broker($made);
            }
        }
    };
}

for_each_server!(brokers_jobs);
