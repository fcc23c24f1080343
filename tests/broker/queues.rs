//! Jobs by queue.

use serde_json::json;

use crate::host::BrokerHost;
use crate::scenarios::queues::assert_queues;
use crate::scenarios::{Host, HostSetup};

scenarios!(queues:
    a_reload_to_dialect_pcp_replaces_dashes_and_keeps_the_counts,
    an_instance_without_queues_has_the_anonymous_queue,
    jobs_are_counted_by_queue,
    jobs_of_a_stopped_queue_do_not_wait_for_resources,
    pending_timings_and_results_are_also_counted_by_queue,
    two_queues_with_the_same_cleaned_name_share_a_gauge,
);
scenarios!(queues:
    #[cfg_attr(
        all(have_flux, not(flux_r)),
        ignore = "needs a Flux that passes R to plugins (scripts/test detects it)"
    )]
    resources_are_counted_by_label
);
scenarios!(queues:
    #[cfg_attr(
        all(have_flux, not(flux_update)),
        ignore = "needs a Flux that moves jobs to other queues, flux update (scripts/test detects it)"
    )]
    a_job_that_moves_to_another_queue_is_counted_there
);

/// 64 queues with names of 200 bytes are 100 KB, more than one part of a resync.
#[test]
#[cfg_attr(not(have_flux), ignore = "needs flux on PATH")]
fn a_resync_in_parts_contains_each_gauge() {
    let names: Vec<_> = (0..64).map(|number| format!("{number:0>200}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    let mut host = BrokerHost::start(HostSetup { queues: &names, ..HostSetup::default() });
    let submit = ["bulksubmit", "--quiet", "--urgency=0", "--queue={}", "true", ":::"];
    host.broker().flux(&[&submit, &names[..]].concat());
    for conf in [json!({"resync": 1}), json!({"resync": 2, "period": 1})] {
        host.reload(&conf).unwrap();
        host.load(json!({"metrics": "queues"})).unwrap();
        assert_queues(&mut host);
        host.receiver().forget();
        assert_queues(&mut host);
        host.remove();
    }
    host.end();
}
