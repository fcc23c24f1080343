//! The jobtap layer in a real broker: callbacks that post events, and what they lead to.

mod support;

use std::collections::BTreeMap;

use support::artifact::{example, plugin, NAME};
use support::broker::{Broker, Setup, ENDLESS, SIMULATED};
use support::compiled::compiled;
use support::receiver::Receiver;

/// Jobs that wait for a plugin, until another job runs.
fn submit_waiting(broker: &Broker, scheme: &str, count: usize) -> Vec<String> {
    let (dependency, copies) = (format!("--dependency={scheme}:x"), format!("--cc=1-{count}"));
    broker.submit(&[SIMULATED, &dependency, &copies])
}

#[test]
#[cfg_attr(not(have_flux), ignore = "needs flux on PATH")]
fn another_plugin_that_posts_from_its_callbacks_leaves_the_gauges_true() {
    let releasing = compiled("tests/host/releasing.c", "releasing.so", &["-shared", "-fPIC"]);
    for is_first in [true, false] {
        let mut receiver = Receiver::start();
        let broker = Setup::new(receiver.endpoint()).start();
        // Neither a resync nor a check puts anything right.
        let conf = ["resync=1h", "verify=0", "metrics=states,results,timings"];
        if is_first {
            broker.load(&releasing, &[]).unwrap();
        }
        broker.load(plugin(), &conf).unwrap();
        if !is_first {
            broker.load(&releasing, &[]).unwrap();
        }
        submit_waiting(&broker, "releasing", 5);
        broker.wait_stats(|stats| stats["DEPEND"] == 5);
        broker.assert_true(&mut receiver);
        let last = broker.submit(&[ENDLESS]);
        broker.wait_stats(|stats| stats["INACTIVE"] == 5);
        broker.assert_true(&mut receiver);
        broker.flux(&["cancel", &last[0]]);
        broker.drain();
        broker.assert_true(&mut receiver);
        let anomalies = &broker.query()["anomalies"];
        let counts: Vec<_> = anomalies.as_object().unwrap().values().collect();
        assert!(counts.iter().all(|count| **count == 0), "first: {is_first}: {anomalies}");
        broker.remove(NAME);
        broker.end();
    }
}

/// The names of a job's events, from its eventlog.
fn events(broker: &Broker, job: &str) -> Vec<String> {
    let log = broker.flux(&["job", "eventlog", job]);
    log.lines().filter_map(|line| line.split_whitespace().nth(1)).map(str::to_owned).collect()
}

#[test]
#[cfg_attr(not(have_flux), ignore = "needs flux on PATH")]
fn a_plugin_that_posts_from_its_callback_hears_all_that_follows_in_order() {
    let broker = Setup::new(None).start();
    broker.load(&example("posting"), &[]).unwrap();
    let waiting = submit_waiting(&broker, "posting", 3);
    broker.wait_stats(|stats| stats["DEPEND"] == 3);
    let poster = broker.submit(&[SIMULATED]).remove(0);
    broker.drain();

    let number = |job: &str| broker.flux(&["job", "id", "--to=dec", job]);
    let log = broker.flux(&["dmesg"]);
    let lines: Vec<_> = log.lines().filter_map(|line| line.split_once("posting: ")).collect();
    let (complaints, lines): (Vec<_>, Vec<_>) =
        lines.into_iter().map(|(_, text)| text).partition(|text| text.contains("further errors"));
    let mut heard: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for line in &lines {
        // Annotations are events that the eventlog does not keep.
        if let Some((id, name)) = line.split_once(" event ").filter(|it| it.1 != "annotations") {
            heard.entry(id).or_default().push(name);
        }
    }
    // Of each job every event, in the eventlog's order: behind the first, which is
    // posted before the plugin is told of the job.
    for job in waiting.iter().chain([&poster]) {
        let posted = events(&broker, job);
        assert_eq!(posted[0], "submit");
        assert_eq!(heard[&*number(job)], posted[1..], "{job}: {lines:#?}");
        let own = posted.iter().filter(|name| ["posted", "exception"].contains(&&***name));
        assert_eq!(own.count(), if *job == poster { 0 } else { 2 }, "{posted:?}");
    }

    // What the posts lead to comes when the callback that posts is over, and before the
    // job manager goes on: one waiting job after the other, to the end of what each post
    // leads to.
    let poster = number(&poster);
    let index = |text: String| lines.iter().position(|line| *line == text).expect(&text);
    let begin = index(format!("{poster} posts"));
    assert_eq!(lines[begin + 1], format!("{poster} has posted"));
    let mut wanted = Vec::new();
    for job in &waiting {
        let id = number(job);
        for what in [
            "event dependency-remove",
            "event depend",
            "state PRIORITY",
            "event priority",
            "state SCHED",
            "event posted",
            "event exception",
        ] {
            wanted.push(format!("{id} {what}"));
        }
    }
    assert_eq!(lines[begin + 2..][..wanted.len()], wanted);
    // Each of the three asked for something in vain: the first is told.
    assert_eq!(complaints.len(), 1, "{complaints:?}");
    assert!(
        complaints[0].starts_with("flux_jobtap_dependency_remove: ")
            && complaints[0].contains("os error 22"),
        "{complaints:?}"
    );
    broker.remove("posting.so");
    broker.end();
}
