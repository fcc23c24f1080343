//! The jobtap layer in a real broker: callbacks that post events, and what they lead to;
//! callbacks that decide.

use std::collections::BTreeMap;

use crate::support::artifact::{example, plugin, NAME};
use crate::support::broker::{Broker, Setup, ENDLESS, SIMULATED};
use crate::support::compiled::compiled;
use crate::support::receiver::Receiver;

/// Jobs that wait for a plugin, until another job runs.
fn submit_waiting(broker: &Broker, scheme: &str, count: usize) -> Vec<String> {
    let (dependency, copies) = (format!("--dependency={scheme}:x"), format!("--cc=1-{count}"));
    broker.submit(&[SIMULATED, &dependency, &copies])
}

#[test]
#[cfg_attr(not(have_flux), ignore = "needs flux on PATH")]
fn another_plugin_that_posts_from_its_callbacks_leaves_the_gauges_true() {
    let releasing =
        compiled("tests/fake_job_manager/releasing.c", "releasing.so", &["-shared", "-fPIC"]);
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

/// The names of a job's events, from its eventlog, when it is over.
fn events(broker: &Broker, job: &str) -> Vec<String> {
    let log = broker.eventlog(job, "clean");
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
    let mut by_job: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for line in &lines {
        // Annotations are events that the eventlog does not keep.
        if let Some((id, name)) = line.split_once(" event ").filter(|it| it.1 != "annotations") {
            by_job.entry(id).or_default().push(name);
        }
    }
    // Of each job every event, in the eventlog's order: behind the first, which is
    // posted before Flux calls the plugin for the job.
    for job in waiting.iter().chain([&poster]) {
        let posted = events(&broker, job);
        assert_eq!(posted[0], "submit");
        assert_eq!(by_job[&*number(job)], posted[1..], "{job}: {lines:#?}");
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
    // For each of the three a dependency was removed that it has not: the first failure
    // is logged.
    assert_eq!(complaints.len(), 1, "{complaints:?}");
    assert!(
        complaints[0].starts_with("flux_jobtap_dependency_remove: ")
            && complaints[0].contains("os error 22"),
        "{complaints:?}"
    );
    broker.remove("posting.so");
    broker.end();
}

/// What `flux submit` says to a job of this name, which is refused.
fn refused(broker: &Broker, name: &str) -> String {
    let output = broker.try_flux(&["submit", "--job-name", name, "true"]);
    assert!(!output.status.success(), "{name}: it was submitted");
    String::from_utf8(output.stderr).unwrap()
}

/// The entries of a job's eventlog up to this event, and what is behind it already, each
/// `NAME CONTEXT`.
fn entries(broker: &Broker, job: &str, event: &str) -> Vec<String> {
    let log = broker.eventlog(job, event);
    log.lines().map(|line| line.split_once(' ').unwrap().1.to_owned()).collect()
}

#[test]
#[cfg_attr(not(have_flux), ignore = "needs flux on PATH")]
fn a_plugin_decides_what_becomes_of_jobs() {
    let broker = Setup::new(None).start();
    broker.load(&example("deciding"), &[]).unwrap();
    // The job's name, and what the user reads.
    for (name, text) in
        [("create", "not created"), ("validate", "not valid: 100%s"), ("panic", "a bug: panicked")]
    {
        let said = refused(&broker, name);
        assert!(said.contains(text), "{name}: {said}");
    }
    let submit = |name: &str| broker.submit(&[SIMULATED, "--job-name", name]).remove(0);
    // The job's name, and what its eventlog holds.
    for (name, wanted) in [
        ("plain", &[r#"priority priority=5"#][..]),
        ("error", &["priority priority=16"]),
        ("later", &["priority priority=4294967290"]),
        ("flag", &[r#"set-flags flags=["debug"]"#]),
        ("fatal", &[r#"exception type="test" severity=0 .. note="100%s""#]),
        (
            "perilog",
            &[
                r#"prolog-start description="before""#,
                r#"prolog-finish description="before" status=0"#,
                r#"epilog-start description="behind""#,
                r#"epilog-finish description="behind" status=3"#,
            ],
        ),
        // The old data's destructor posts: at the end of the next callback.
        ("replace", &[r#"exception type="dropped" severity=7 .. note="its data""#]),
        ("remove", &[r#"exception type="dropped" severity=7 .. note="its data""#]),
    ] {
        let job = submit(name);
        broker.drain();
        let log = entries(&broker, &job, "clean");
        let mut rest = log.iter();
        for entry in wanted {
            // Old Fluxes have more in some entries.
            let is_it = |other: &String| entry.split(" .. ").all(|part| other.contains(part));
            assert!(rest.any(is_it), "{name}: {entry}: {log:#?}");
        }
        assert_eq!(log.iter().any(|entry| entry.starts_with("alloc")), name != "fatal", "{log:?}");
    }
    let query = || -> serde_json::Value {
        serde_json::from_str(&broker.flux(&["jobtap", "query", "deciding.so"])).unwrap()
    };
    // Eight jobs, one of which had two; three were rejected.
    let answer = query();
    assert_eq!((&answer["dropped"], &answer["destroyed"]), (&9.into(), &11.into()), "{answer}");
    // Each passes four states at least, and one of them counts a hundred more while its
    // data is replaced.
    assert!(answer["states"].as_u64() > Some(100 + 8 * 4), "{answer}");
    // The data of a job that is active at the removal goes with the plugin.
    let last = broker.submit(&[ENDLESS]).remove(0);
    broker.wait_stats(|stats| stats["RUN"] == 1);
    broker.remove("deciding.so");
    broker.flux(&["cancel", &last]);
    broker.drain();
    let log = broker.flux(&["dmesg"]);
    assert!(!log.contains("leaking job aux"), "{log}");
    let complaints: Vec<_> = log.lines().filter(|line| line.contains("further errors")).collect();
    assert!(complaints.iter().any(|line| line.contains("job.state.priority: no priority")));
    // And of those whose data was dropped when they were over, the first.
    let others = complaints.iter().filter(|line| line.contains("flux_jobtap_raise_exception"));
    assert_eq!((others.count(), complaints.len()), (1, 2), "{complaints:#?}");
    broker.end();
}

#[test]
#[cfg_attr(
    not(all(have_flux, flux_update)),
    ignore = "needs a Flux on PATH whose jobs that wait can be updated, and scripts/test"
)]
fn a_plugin_decides_about_updates() {
    let broker = Setup::new(None).start();
    broker.load(&example("deciding"), &[]).unwrap();
    let job = broker.submit(&[SIMULATED, "--urgency=hold"]).remove(0);
    let output = broker.try_flux(&["update", &job, "color=blue"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("want red, not Some(\"blue\")"), "{said}");
    broker.flux(&["update", &job, "color=red"]);
    let log = entries(&broker, &job, "jobspec-update");
    let update = log.iter().find(|entry| entry.starts_with("jobspec-update")).expect("an update");
    for part in [r#"attributes.system.color="red""#, r#"attributes.system.shade="dark""#] {
        assert!(update.contains(part), "{update}");
    }
    broker.flux(&["cancel", &job]);
    broker.drain();
    broker.end();
}

#[test]
#[cfg_attr(not(have_flux), ignore = "needs flux on PATH")]
fn job_data_goes_with_the_job_manager_and_its_destructor_harms_nobody() {
    let broker = Setup::new(None).start();
    for name in ["deciding", "forgetful", "posting"] {
        broker.load(&example(name), &[]).unwrap();
    }
    broker.submit(&[ENDLESS, "--cc=1-3"]);
    broker.submit(&[ENDLESS, "--urgency=hold"]);
    submit_waiting(&broker, "posting", 2);
    broker.wait_stats(|stats| stats["RUN"] == 3 && stats["SCHED"] == 1 && stats["DEPEND"] == 2);
    // Events, and what is posted to, are gone already when the data is dropped.
    broker.reload_job_manager();
    let stats = broker.flux(&["module", "stats", "job-manager"]);
    assert!(stats.contains("\"active_jobs\": 6"), "{stats}");
    let log = broker.flux(&["dmesg"]);
    assert!(!log.contains("a bug") && !log.contains("leaking"), "{log}");
    broker.kill();
}

/// Sends a request to the plugin, and prints the answer, or the error.
const REQUEST: &str = "
import sys, json, flux
payload = json.loads(sys.argv[1])
try:
    print(json.dumps(flux.Flux().rpc('job-manager.deciding.echo', payload).get()))
except OSError as error:
    print(error)
";

#[test]
#[cfg_attr(not(have_flux), ignore = "needs flux on PATH")]
fn a_plugin_answers_requests() {
    let broker = Setup::new(None).start();
    let ask = |payload: &str| broker.flux(&["python", "-c", REQUEST, payload]);
    broker.load(&example("deciding"), &[]).unwrap();
    let user = crate::support::flux::user();
    assert_eq!(ask(r#"{"a": 1}"#), format!(r#"{{"user": {user}, "echo": {{"a": 1}}}}"#));
    assert!(ask("null").contains("nothing to echo: 100%s"));
    assert!(ask(r#"{"panic": 1}"#).contains("a bug: panicked"));
    assert!(ask("{}").contains("user"), "it goes on");
    broker.remove("deciding.so");
    assert!(!ask("{}").contains("user"), "nobody answers");
    broker.end();
}

/// The version of the Flux on PATH, as (major, minor).
fn version(broker: &Broker) -> (u32, u32) {
    let version = broker.flux(&["getattr", "version"]);
    let mut numbers = version.split(['.', '-']).map(|number| number.parse().unwrap());
    (numbers.next().unwrap(), numbers.next().unwrap())
}

#[test]
#[cfg_attr(not(have_flux), ignore = "needs flux on PATH")]
fn what_an_old_flux_has_not_keeps_only_those_plugins_out_that_use_it() {
    let broker = Setup::new(None).start();
    broker.submit(&["--urgency=hold"]);
    let running = broker.submit(&[ENDLESS]).remove(0);
    broker.wait_stats(|stats| stats["RUN"] == 1 && stats["SCHED"] == 1);
    let outcome = broker.load(&example("young"), &[]);
    if version(&broker) < (0, 81) {
        let error = outcome.unwrap_err();
        assert!(error.contains("undefined symbol: flux_jobtap_"), "{error}");
        broker.end();
        return;
    }
    outcome.unwrap();
    let logged = || -> Vec<String> {
        let log = broker.flux(&["dmesg"]);
        log.lines().filter_map(|line| line.split_once("young: ")).map(|it| it.1.into()).collect()
    };
    assert_eq!(logged(), ["announced in RUN", "announced in SCHED"]);
    broker.flux(&["cancel", &running]);
    let job = broker.submit(&[ENDLESS, "--urgency=hold"]).remove(0);
    let has_both = |entries: Vec<String>| {
        let updates: Vec<_> =
            entries.into_iter().filter(|entry| entry.starts_with("jobspec-update")).collect();
        updates.len() == 2 && updates[0].contains("own") && updates[1].contains("other")
    };
    broker.wait_stats(|_| has_both(entries(&broker, &job, "jobspec-update")));
    assert_eq!(logged()[2..], ["announced in NEW", "updated", "updated"]);
    broker.flux(&["cancel", "--all"]);
    broker.drain();
    broker.end();
}
