//! A broker's jobs in the servers that people run: what a server says, against what is
//! true. The recorded run in them is in tests/external/servers.rs.

use crate::support::servers::*;

macro_rules! brokers_jobs {
    ($name:ident, $made:expr, $cfg:meta, $need:literal, $needs:literal) => {
        mod $name {
            use super::*;

            #[test]
            #[cfg_attr(not(all(have_flux, $cfg)), ignore = $needs)]
            fn a_brokers_jobs_are_right() {
                run::broker($made);
            }
        }
    };
}

for_each_server!(brokers_jobs);
