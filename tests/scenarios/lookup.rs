//! Lookups of host names.

use serde_json::json;

use super::{Environment, Host, HostSetup, Job};
use crate::support::artifact::NAME;
use crate::support::names::Names;

fn start<H: Host>(names: &Names) -> H {
    let mut host = H::start(HostSetup {
        // In a broker, flux-core itself would look the name up, and wait.
        environment: Environment::Unset,
        names: Some(names),
        ..HostSetup::default()
    });
    host.expect_complaints();
    host
}

pub fn a_name_server_that_never_responds_delays_no_job_and_no_removal<H: Host>() {
    let names = Names::silent();
    let mut host: H = start(&names);
    for _ in 0..3 {
        host.load(json!({"endpoint": "statsd.test:8125"})).unwrap();
        host.submit(Job::Short, "", 50);
        host.drain();
        // The lookup is still under way.
        let query = host.query();
        assert_eq!(query["endpoints"][0]["state"], "looking up");
        assert!(query["endpoints"][0]["address"].is_null(), "{query}");
        let inactive = host.counts()["INACTIVE"];
        host.assert_same(1.0, |host| (host.query()["counts"]["INACTIVE"].clone(), json!(inactive)));
        host.remove();
        assert!(!host.is_mapped(NAME), "a lookup does not keep the library in memory");
    }
    host.end();
}

pub fn a_host_that_is_not_found_is_logged_once<H: Host>() {
    let names = Names::known("");
    let mut host: H = start(&names);
    host.load(json!({"endpoint": "statsd.test:8125"})).unwrap();
    host.submit(Job::Short, "", 1);
    host.drain();
    let text = "endpoint \"statsd.test:8125\": host not found";
    host.pass_until(|host| host.log().contains(text));
    host.pass(11.0);
    assert_eq!(host.log().matches(text).count(), 1, "{}", host.log());
    host.end();
}
