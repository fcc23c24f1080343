//! Lookups of host names.

use std::fs;
use std::time::Instant;

use crate::support::artifact::{release_plugin, NAME};
use crate::support::broker::{Broker, Setup, SIMULATED};
use crate::support::names::Names;

scenarios!(lookup:
    #[cfg_attr(
        all(have_flux, not(have_namespaces)),
        ignore = "needs unshare to be allowed, and scripts/test"
    )]
    a_host_that_is_not_found_is_logged_once,
    #[cfg_attr(
        all(have_flux, not(have_namespaces)),
        ignore = "needs unshare to be allowed, and scripts/test"
    )]
    a_name_server_that_never_responds_delays_no_job_and_no_removal,
);

scenarios!(destinations:
    a_unix_server_that_is_stopped_has_all_values_at_the_end,
    a_unix_server_that_restarts_has_all_values_at_the_end,
    a_unix_server_that_takes_over_the_path_has_all_values_at_the_end,
);

#[test]
#[ignore = "long"]
fn full_throughput_with_a_dead_name_server_against_without_the_plugin() {
    dead_name_server(2000, 5);
}

/// Measures the throughput without and with the plugin, in turns.
fn dead_name_server(jobs: usize, pairs: usize) {
    let names = Names::silent();
    // Not in the environment, where flux-core's own content module would look the name up and
    // wait.
    let broker = Setup::new(None).names(&names).start();
    let run = |broker: &Broker| {
        let start = Instant::now();
        broker.submit(&[SIMULATED, &format!("--cc=1-{jobs}"), "--quiet"]);
        broker.drain();
        jobs as f64 / start.elapsed().as_secs_f64()
    };
    // The release build, because the debug build is not optimized.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(NAME);
    fs::copy(release_plugin(), &file).unwrap();
    let run_with = |broker: &Broker| {
        broker.load(&file, &["endpoint=statsd.test:8125"]).unwrap();
        let with = run(broker);
        let address = &broker.query()["endpoints"][0]["address"];
        assert!(address.is_null(), "looked up all the time, and not found");
        broker.remove(NAME);
        with
    };
    run(&broker);
    let mut ratios = Vec::new();
    for pair in 0..pairs {
        // The instance becomes slower with time, so each of the two is first in turn.
        let (without, with) = match pair % 2 {
            0 => (run(&broker), run_with(&broker)),
            _ => {
                let with = run_with(&broker);
                (run(&broker), with)
            }
        };
        println!("{without:.1} jobs/s without, {with:.1} with: {:.3}", with / without);
        ratios.push(with / without);
    }
    ratios.sort_by(f64::total_cmp);
    println!("median of {pairs}: {:.3}", ratios[pairs / 2]);
    broker.end_with_complaints(); // The host was not found.
}
