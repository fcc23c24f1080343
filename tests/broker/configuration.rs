//! The configuration: each key, each mistake, and names of nested instances.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::{json, Value};

use crate::support::artifact::plugin;
use crate::support::broker::{Broker, Setup, SIMULATED};
use crate::support::counts;
use crate::support::receiver::Receiver;

scenarios!(configuration:
    a_conflict_fails_a_load_only_if_it_is_within_the_conf,
    a_job_manager_starts_with_a_mistake_in_the_table,
    a_mistake_in_the_environment_is_a_warning_and_matters_only_without_an_endpoint,
    a_mistake_outside_the_conf_never_fails_a_load,
    a_reload_logs_what_it_changed,
    each_key_can_be_set_in_each_place,
    each_mistake_is_refused_and_changes_nothing,
    the_query_shows_effective_values,
    without_an_endpoint_the_plugin_loads_and_logs_a_warning,
);
scenarios!(configuration:
    #[cfg_attr(
        all(have_flux, not(flux_config_floats)),
        ignore = "needs a Flux on PATH whose configuration takes 0.5 in this locale, and scripts/test"
    )]
    each_wrong_number_with_a_fraction_is_refused
);

/// Runs a script in a nested instance, until it ends; the id of the job that it runs in.
fn nested(broker: &Broker, script: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("nested.sh");
    fs::write(&path, script.replace("PLUGIN", plugin().to_str().unwrap())).unwrap();
    let output = format!("--output={}", folder.path().join("output").display());
    // The nested instance does not verify its resources either. (flux batch has --conf since
    // 0.51.)
    fs::write(folder.path().join("inner.toml"), "[resource]\nnoverify = true\n").unwrap();
    let conf = format!("--env=FLUX_CONF_DIR={}", folder.path().display());
    let id = broker.flux(&["batch", "-n1", &conf, &output, path.to_str().unwrap()]);
    broker.drain();
    id.replace('ƒ', "f")
}

/// Loads the plugin with the default prefix, which is refused, and then with a shared one.
const DEFAULT_PREFIX: &str = "#!/bin/sh
flux jobtap load PLUGIN endpoint=ENDPOINT
flux submit --setattr=exec.test.run_duration=1h --quiet true
until flux job stats | grep -q '\"run\":1'; do sleep 0.1; done
sleep 1
flux jobtap query state-counts.so >FILE
flux dmesg >>FILE
flux jobtap remove state-counts.so
flux jobtap load PLUGIN endpoint=ENDPOINT prefix=flux.nested.job.state resync=0
sleep 1
flux start flux getattr instance-level >FILE.level
";

#[test]
#[cfg_attr(not(have_flux), ignore = "needs flux on PATH")]
fn a_nested_instance_does_not_overwrite_its_parent() {
    let (broker, mut receiver) = Broker::loaded("resync=1h");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("query");
    let script = DEFAULT_PREFIX.replace("FILE", file.to_str().unwrap());
    nested(&broker, &script.replace("ENDPOINT", &receiver.endpoint()));
    let text = fs::read_to_string(&file).unwrap();
    let reason = "instance-level is 1 and no prefix is set: no metrics are sent";
    assert_eq!(text.matches(reason).count(), 2, "in the query and in the log: {text}");
    let values = receiver.values();
    let nested = |state: &str| values.get(&format!("flux.nested.job.state.{state}"));
    assert_eq!(nested("RUN").unwrap(), &["+1|g", "-1|g"]);
    // Without Flux's PMI a nested instance is not recognized (the manual says so).
    let level = fs::read_to_string(folder.path().join("query.level")).unwrap();
    assert_eq!(level.trim(), "0");
    let seen = broker.assert_true(&mut receiver);
    assert_eq!(seen.gauges, counts(&[("INACTIVE", 1)]));
    broker.end();
}

#[test]
#[cfg_attr(not(have_flux), ignore = "needs flux on PATH")]
fn an_instance_starts_with_mistakes_in_its_configuration() {
    // FLUX_FRIPP_STATSD (None: the receiver), the table, and the beginning of the error.
    let table = [
        (Some("statsd"), json!({}), "FLUX_FRIPP_STATSD: endpoint \"statsd\": missing \":PORT\""),
        (None, json!({"perod": 1}), "[state-counts] unknown key \"perod\""),
        (None, json!({"tags": {"site": "x"}}), "tags: {\"site\":\"x\"}: dialect \"plain\""),
    ];
    for (environment, mistake, text) in table {
        let mut receiver = Receiver::start();
        let endpoint = receiver.endpoint();
        let setup = Setup::new(environment.unwrap_or(&endpoint).to_owned())
            .plugin(plugin(), "resync = \"1h\"");
        let broker = setup.table(json!({"state-counts": mistake})).start();
        let error = broker.query()["config_error"].as_str().unwrap().to_owned();
        assert!(error.starts_with(text), "{error}");
        let log = broker.log();
        assert_eq!(log.iter().filter(|line| line.contains(&error)).count(), 1, "{log:?}");
        broker.submit(&[SIMULATED]);
        broker.drain();
        assert_eq!(receiver.seen().datagrams, 0);
        broker.configure(&json!({"state-counts": {"endpoint": endpoint}})).unwrap();
        assert_eq!(broker.query()["config_error"], Value::Null);
        let end = Instant::now() + Duration::from_secs(5);
        while receiver.seen().gauges != broker.stats() {
            assert!(Instant::now() < end);
        }
        broker.end_with_complaints();
    }
}

/// The tables that Flux ignores, and the log line.
#[test]
#[cfg_attr(not(have_flux), ignore = "needs flux on PATH")]
fn ignored_tables_are_logged() {
    let broker = Setup::new(None).start();
    broker.load(plugin(), &["endpoint=127.0.0.1:1"]).unwrap();
    for (table, name) in [
        (json!({"state_counts": {"period": 1}}), "[state_counts]"),
        (json!({"job-manager": {"state-counts": {"period": 1}}}), "[job-manager.state-counts]"),
    ] {
        // Flux refuses some unknown tables itself.
        if broker.configure(&table).is_ok() {
            let text = format!("{name} is ignored (expected [state-counts]");
            assert!(broker.log().iter().any(|line| line.contains(&text)), "{name}");
        }
    }
    broker.end_with_complaints();
}

/// Loads the plugin in the nested instance, and runs jobs there.
const NESTED: &str = "#!/bin/sh
flux jobtap load PLUGIN endpoint=ENDPOINT prefix='{level}.{jobid}' metrics=states,results
flux submit --cc=1-5 --setattr=exec.test.run_duration=10ms --quiet true
flux queue drain
flux submit --setattr=exec.test.run_duration=1h --quiet true
until flux job stats | grep -q '\"run\":1'; do sleep 0.1; done
sleep 1
";

#[test]
#[cfg_attr(not(have_flux), ignore = "needs flux on PATH")]
fn nested_instances_report_under_their_own_names() {
    let mut receiver = Receiver::start();
    let broker = Setup::new(None).start();
    let endpoint = format!("endpoint={}", receiver.endpoint());
    let conf = [endpoint.as_str(), "prefix={level}.{jobid}", "metrics=states,results"];
    broker.load(plugin(), &conf).unwrap();
    let id = nested(&broker, &NESTED.replace("ENDPOINT", &receiver.endpoint()));

    let sent = receiver.values();
    let last = |name: &str| sent.get(name).and_then(|values| values.last()).cloned();
    // Changes of one iteration of the reactor loop are one line.
    let sum = |name: &str, before: &str, behind: &str| -> i64 {
        let values = sent.get(name).into_iter().flatten();
        let numbers = values.filter_map(|value| value.strip_prefix(before)?.strip_suffix(behind));
        numbers.map(|number| number.parse::<i64>().unwrap()).sum()
    };
    let increments = |name: &str| sum(name, "+", "|g");
    // The outer instance has one job, the inner one six.
    assert_eq!(increments("0.top.RUN"), 1, "{sent:?}");
    assert_eq!(increments(&format!("1.{id}.RUN")), 6, "{sent:?}");
    assert_eq!(increments(&format!("1.{id}.INACTIVE")), 6, "5, and 1 at its end");
    assert_eq!(last(&format!("1.{id}.RUN")).as_deref(), Some("0|g"), "no running jobs are left");
    // Other collectors use the prefix, too.
    let submitted = |name: &str| sum(&format!("{name}.result.submitted"), "", "|c");
    assert_eq!((submitted("0.top"), submitted(&format!("1.{id}"))), (1, 6));
    assert_eq!(broker.stats(), counts(&[("INACTIVE", 1)]));
    broker.end();
}
