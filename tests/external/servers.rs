//! The recorded run in statsd servers. The jobs of a broker are in tests/broker/servers.rs.

use crate::support::servers::*;

macro_rules! recorded_run {
    ($name:ident, $made:expr, $cfg:meta, $need:literal, $needs:literal) => {
        mod $name {
            use super::*;

            #[test]
            #[cfg_attr(not($cfg), ignore = $need)]
            fn the_recorded_run_is_correct() {
                run::recorded($made);
            }
        }
    };
}

for_each_server!(recorded_run);
