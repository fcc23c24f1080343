//! Hosts that are found late, that move, and a name server that is dead.

use std::fs;
use std::time::Instant;

use crate::support::artifact::{plugin, release_plugin, NAME};
use crate::support::broker::{Broker, Setup, SIMULATED};
use crate::support::counts;
use crate::support::names::Names;
use crate::support::receiver::Receiver;

#[test]
#[ignore = "long"]
fn full_throughput_with_a_dead_name_server_against_without_the_plugin() {
    dead_name_server(2000, 5);
}

#[test]
#[cfg_attr(
    not(all(have_flux, have_namespaces)),
    ignore = "needs flux on PATH, unshare to be allowed, and scripts/test"
)]
fn a_broker_with_a_dead_name_server_runs_its_jobs_and_still_looks_up() {
    dead_name_server(50, 1);
}

/// Issue 4's measurement: throughput without the plugin and with it, in turns.
fn dead_name_server(jobs: usize, pairs: usize) {
    let names = Names::silent();
    // Not in the environment: flux-core's own content module would wait there.
    let broker = Setup::new(None).names(&names).start();
    let run = |broker: &Broker| {
        let start = Instant::now();
        broker.submit(&[SIMULATED, &format!("--cc=1-{jobs}"), "--quiet"]);
        broker.drain();
        jobs as f64 / start.elapsed().as_secs_f64()
    };
    // As it is installed: cargo test's own build is not optimised.
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
        // An instance that grows older grows slower: each goes first in turn.
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

/// Loads the plugin where it runs, in the nested instance, and leaves its truth.
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
    // Its resources are pretended, as ours are. (flux batch knows --conf since 0.51.)
    fs::write(folder.path().join("inner.toml"), "[resource]\nnoverify = true\n").unwrap();
    let conf = format!("--env=FLUX_CONF_DIR={}", folder.path().display());
    let batch = ["batch", "-n1", &conf, &output, script.to_str().unwrap()];
    let id = broker.flux(&batch).replace('ƒ', "f");
    broker.drain();

    let sent = receiver.values();
    let last = |name: &str| sent.get(name).and_then(|values| values.last()).cloned();
    // What happens in one turn of the reactor is one line.
    let sum = |name: &str, before: &str, behind: &str| -> i64 {
        let values = sent.get(name).into_iter().flatten();
        let numbers = values.filter_map(|value| value.strip_prefix(before)?.strip_suffix(behind));
        numbers.map(|number| number.parse::<i64>().unwrap()).sum()
    };
    let increments = |name: &str| sum(name, "+", "|g");
    // The outer instance saw one job, the inner one six.
    assert_eq!(increments("0.top.RUN"), 1, "{sent:?}");
    assert_eq!(increments(&format!("1.{id}.RUN")), 6, "{sent:?}");
    assert_eq!(increments(&format!("1.{id}.INACTIVE")), 6, "5, and 1 at its end");
    assert_eq!(last(&format!("1.{id}.RUN")).as_deref(), Some("0|g"), "no ghost");
    // Not the state counts alone.
    let submitted = |name: &str| sum(&format!("{name}.result.submitted"), "", "|c");
    assert_eq!((submitted("0.top"), submitted(&format!("1.{id}"))), (1, 6));
    assert_eq!(broker.stats(), counts(&[("INACTIVE", 1)]));
    broker.end();
}
