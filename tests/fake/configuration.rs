//! The configuration: each key, each mistake, and where placeholders come from.

use std::net::UdpSocket;
use std::process::Command;

use serde_json::{json, Value};

use crate::support::artifact::plugin;
use crate::support::fake_job_manager::{program, FakeJobManager};
use crate::support::jobs::RUN;
use crate::support::receiver::Receiver;
use crate::support::DIALECTS;

scenarios!(configuration:
    a_conflict_fails_a_load_only_if_it_is_within_the_conf,
    a_job_manager_starts_with_a_mistake_in_the_table,
    a_mistake_in_the_environment_is_a_warning_and_matters_only_without_an_endpoint,
    a_mistake_outside_the_conf_never_fails_a_load,
    a_reload_logs_what_it_changed,
    each_key_can_be_set_in_each_place,
    each_mistake_is_refused_and_changes_nothing,
    each_wrong_number_with_a_fraction_is_refused,
    the_query_shows_effective_values,
    without_an_endpoint_the_plugin_loads_and_logs_a_warning,
);

const TABLE: &str = "state-counts";

#[test]
fn a_prefix_that_gives_two_metrics_the_same_name_is_refused() {
    // The last part of the prefix, the collector with a metric of this name, and its type.
    let table = [
        ("time", "timings", "timing"),
        ("exception", "results", "counter"),
        ("dependency", "pending", "gauge"),
    ];
    for (part, collector, kind) in table {
        let conf = |metrics: Value| json!({"prefix": format!("x.{part}"), "metrics": metrics});
        for dialect in DIALECTS {
            let mut host = FakeJobManager::start(None);
            let mut both = conf(json!(["states", collector]));
            // In dialects with tags, the metrics of a collector have other tags than the state
            // counts.
            both["dialect"] = json!(dialect);
            let refused = ["plain", "pcp"].contains(&dialect) || collector == "timings";
            let words = format!(
                "prefix: \"x.{part}\" gives a gauge of \"states\" and a {kind} of \"{collector}\" \
                 the same name (expected another prefix)"
            );
            let wanted = if refused { Err(words.clone()) } else { Ok(()) };
            assert_eq!(host.load(plugin(), both.clone()), wanted, "{dialect}");
            if refused {
                // One of both collectors is accepted, and a reload that adds the other is
                // refused.
                host.config(&json!({TABLE: conf(json!(collector))}));
                host.load(plugin(), json!({})).unwrap();
                host.advance(0.1);
                assert_eq!(host.reload(&json!({TABLE: both})), Err(words));
            }
            host.end();
        }
    }
}

#[test]
fn a_configuration_that_is_not_an_object_is_refused() {
    let mut host = FakeJobManager::start(None);
    let words = "conf: 5 (expected an object of keys)";
    assert_eq!(host.load(plugin(), json!(5)), Err(words.into()));
    host.config(&json!({TABLE: [1]}));
    let words = "state-counts: [1] (expected a table of keys)";
    host.load(plugin(), json!({})).unwrap();
    let error = host.query()["config_error"].as_str().unwrap().to_owned();
    assert!(error.starts_with(words), "{error}");
}

/// A nested instance: its level is 1, and its job ƒABC.
#[test]
fn a_nested_instance_sends_nothing_until_a_prefix_is_set() {
    let mut receiver = Receiver::start();
    let mut command = Command::new(program());
    command.env("STATE_COUNTS_HOST_LEVEL", "1");
    let mut host = FakeJobManager::spawn(command, Some(&receiver.endpoint()));
    host.load(plugin(), json!({"resync": "1h"})).unwrap();
    host.call("job.new", &json!({"id": 1, "state": RUN}));
    host.advance(20.0);
    let error = host.query()["config_error"].as_str().unwrap().to_owned();
    assert!(error.starts_with("instance-level is 1 and no prefix is set: no metrics are sent"));
    let log: Vec<_> = host.log().into_iter().map(|(_, text)| text).collect();
    assert_eq!(log, [format!("state-counts: {error}")]);
    assert_eq!(receiver.seen().datagrams, 0);
    for (table, name) in [
        (json!({"prefix": "flux.nested.{jobid}.job.state"}), "flux.nested.fABC.job.state.RUN"),
        (json!({"prefix": "flux.nested.job.state", "resync": 0}), "flux.nested.job.state.RUN"),
    ] {
        host.reload(&json!({TABLE: table})).unwrap();
        host.counts();
        assert!(receiver.values().contains_key(name), "{table}");
        assert_eq!(host.query()["config_error"], Value::Null);
    }
    // The names of the parent, on purpose.
    host.reload(&json!({TABLE: {"prefix": "flux.job.state"}})).unwrap();
    host.counts();
    assert_eq!(receiver.seen().gauges["RUN"], 1);
    host.reload(&json!({TABLE: {}})).unwrap();
    assert_eq!(host.query()["config_error"], error);
    host.end();
}

#[test]
fn a_misspelled_table_is_logged() {
    let (mut host, _) = FakeJobManager::running(json!({}));
    host.log();
    host.reload(&json!({"state_counts": {"period": 1}})).unwrap();
    let log: Vec<_> = host.log().into_iter().map(|(_, text)| text).collect();
    assert!(log[0].starts_with("state-counts: [state_counts] is ignored (expected [state-counts]"));
    host.end();
}

#[test]
fn placeholders_become_attributes_of_the_broker() {
    let table = [
        (json!({}), "flux.job.state.RUN:+1|g"),
        (json!({"states": "l"}), "flux.job.state.run:+1|g"),
        (json!({"states": "S", "prefix": "jobs"}), "jobs.R:+1|g"),
        (json!({"states": "s", "prefix": "jobs"}), "jobs.r:+1|g"),
        (json!({"prefix": "{cluster}.{rank}.{jobid}.{level}"}), "node.0.top.0.RUN:+1|g"),
        (json!({"prefix": "{hostname}"}), "node17_example_org.RUN:+1|g"),
        (json!({"prefix": "{cluster}", "cluster": "x1"}), "x1.RUN:+1|g"),
        (
            json!({"dialect": "dogstatsd", "tags": {"cluster": "{cluster}"}}),
            "flux.job.state:+1|g|#state:RUN,cluster:node",
        ),
        (json!({"dialect": "graphite"}), "flux.job.state;state=RUN:+1|g"),
        (
            json!({"dialect": "influxdb", "tags": {"site": "x"}}),
            "flux.job.state,state=RUN,site=x:+1|g",
        ),
    ];
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    for (conf, line) in table {
        let mut host = FakeJobManager::start(Some(&server.local_addr().unwrap().to_string()));
        let mut conf = conf.as_object().unwrap().clone();
        conf.insert("resync".into(), json!(0));
        host.load(plugin(), Value::Object(conf)).unwrap();
        host.advance(0.1);
        host.call("job.new", &json!({"id": 1, "state": RUN}));
        let mut buffer = [0; 2048];
        let length = server.recv(&mut buffer).unwrap();
        assert_eq!(std::str::from_utf8(&buffer[..length]).unwrap(), line);
        host.end();
        let length = server.recv(&mut buffer).unwrap();
        let last = line.replace("+1", "-1");
        assert_eq!(std::str::from_utf8(&buffer[..length]).unwrap(), last);
    }
}

#[test]
fn collectors_that_show_jobs_of_others_are_logged_once_in_private_mode() {
    let mut receiver = Receiver::start();
    let mut host = FakeJobManager::start(Some(&receiver.endpoint()));
    let conf = |metrics: &str, is_private: bool| json!({"access": {"private-mode": is_private}, "state-counts": {"metrics": metrics}});
    host.config(&conf("users,banks", false));
    host.load(plugin(), json!({})).unwrap();
    host.advance(0.1);
    let mut warnings = |host: &mut FakeJobManager| {
        host.advance(0.1);
        receiver.seen();
        host.log().iter().filter(|(_, text)| text.contains("access.private-mode")).count()
    };
    assert_eq!(warnings(&mut host), 0);
    for (metrics, expected) in [("states", 0), ("banks", 1), ("users", 0)] {
        host.reload(&conf(metrics, true)).unwrap();
        assert_eq!(warnings(&mut host), expected, "{metrics}");
    }
    host.end();
}
