//! The configuration: each key, each mistake, and names of nested instances.

use std::fs;

use crate::support::artifact::plugin;
use crate::support::broker::Setup;
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
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("nested.sh");
    let text = NESTED
        .replace("PLUGIN", plugin().to_str().unwrap())
        .replace("ENDPOINT", &receiver.endpoint());
    fs::write(&script, text).unwrap();
    let output = format!("--output={}", folder.path().join("output").display());
    // The nested instance does not verify its resources either. (flux batch has --conf since
    // 0.51.)
    fs::write(folder.path().join("inner.toml"), "[resource]\nnoverify = true\n").unwrap();
    let conf = format!("--env=FLUX_CONF_DIR={}", folder.path().display());
    let batch = ["batch", "-n1", &conf, &output, script.to_str().unwrap()];
    let id = broker.flux(&batch).replace('ƒ', "f");
    broker.drain();

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
