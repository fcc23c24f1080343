//! The results of jobs, how long they were in each state, and their exceptions.

use serde_json::json;

use crate::host::BrokerHost;
use crate::scenarios::{Host, HostSetup, Job};
use crate::support::samples::counters;

scenarios!(results:
    another_subscriber_keeps_its_exceptions,
    results_and_times_are_those_of_the_host,
);

#[test]
#[cfg_attr(not(have_flux), ignore = "needs flux on PATH")]
fn exceptions_are_counted_that_are_raised_before_job_new() {
    let mut host = BrokerHost::start(HostSetup::default());
    host.load(json!({"metrics": ["states", "results"]})).unwrap();
    let first = host.submit(Job::Short, "", 1).remove(0);
    host.drain();
    // The job that it waits for is inactive: an exception of severity 3, while it is in NEW. Up
    // to Flux 0.78 at least, there is none.
    let second = host.broker().submit(&[&format!("--dependency=after:{first}")]).remove(0);
    host.drain();
    let expected = host.events(&second).contains_key("exception").then_some(1);
    host.assert_same(5.0, |host| {
        let values = host.receiver().values();
        (counters(&values).get("flux.job.exception.dependency").copied(), expected)
    });
    host.end();
}
