//! The examples in a real broker: each decides what it says that it decides.

use std::thread;
use std::time::{Duration, Instant, UNIX_EPOCH};

use crate::support::artifact::example;
use crate::support::broker::{Broker, Setup, ENDLESS, SIMULATED};
use crate::support::receiver::Receiver;

/// The time of day in so many seconds, in UTC, as `HH:MM:SS`.
fn in_seconds(seconds: u64) -> String {
    let time = (UNIX_EPOCH.elapsed().expect("it is after 1970").as_secs() + seconds) % 86_400;
    format!("{:02}:{:02}:{:02}", time / 3600, time / 60 % 60, time % 60)
}

/// What `flux submit` says when it refuses.
fn refused(broker: &Broker, arguments: &[&str]) -> String {
    let output = broker.try_flux(&[&["submit"], arguments, &["true"]].concat());
    assert!(!output.status.success(), "{arguments:?}: it was submitted");
    String::from_utf8(output.stderr).unwrap()
}

#[test]
#[cfg_attr(not(have_flux), ignore = "needs flux on PATH")]
fn hold_by_hour_holds_jobs_and_releases_them() {
    let broker = Setup::new(None).start();
    let plugin = example("hold_by_hour");
    broker.load(&plugin, &[]).unwrap();
    for wrong in ["x", "24", "12:60", "12:0:0:0", ""] {
        let said = refused(&broker, &[&format!("--dependency=hour:{wrong}")]);
        assert!(said.contains("want hour:22[:30[:59]]"), "{said}");
    }
    let submit = |time: &str| {
        let dependency = format!("--dependency=hour:{time}");
        broker.submit(&[SIMULATED, &dependency]).remove(0)
    };
    // Half a day away, whatever the time.
    let far = in_seconds(43_200);
    let (held, canceled) = (submit(&far), submit(&far));
    broker.wait_stats(|stats| stats["DEPEND"] == 2);
    // Its timer goes with it.
    broker.flux(&["cancel", &canceled]);
    // Submitted before its hour comes, however slow the machine is.
    let submit_near = || {
        for delay in [2, 4, 8, 16, 32, 64] {
            let (begin, job) = (Instant::now(), submit(&in_seconds(delay)));
            if begin.elapsed().as_secs() + 1 < delay {
                return job;
            }
            broker.flux(&["cancel", &job]);
        }
        panic!("flux submit takes half a minute");
    };
    let is_inactive =
        |job: &String| broker.flux(&["jobs", "-a", "-n", "-o", "{state}", job]) == "INACTIVE";
    let near = submit_near();
    broker.wait_stats(|_| is_inactive(&near));
    let reloaded = submit_near();
    broker.remove("hold_by_hour.so");
    // Flux calls the plugin again for those that wait, even if their hour came meanwhile.
    thread::sleep(Duration::from_secs(2));
    broker.load(&plugin, &[]).unwrap();
    broker.wait_stats(|_| is_inactive(&reloaded));
    for job in [&near, &reloaded] {
        let log = broker.eventlog(job, "clean");
        assert!(log.contains("dependency-remove description=\"hour="), "{log}");
    }
    let log = broker.eventlog(&held, "dependency-add");
    assert!(log.contains(&format!("dependency-add description=\"hour={far}\"")), "{log}");
    assert!(!log.contains("dependency-remove"), "{log}");
    let log = broker.flux(&["dmesg"]);
    assert!(!log.contains("hold-by-hour: "), "no complaints: {log}");
    broker.end();
}

#[test]
#[cfg_attr(not(have_flux), ignore = "needs flux on PATH")]
fn limit_cores_rejects_jobs_that_ask_for_more() {
    let broker = Setup::new(None).start();
    let plugin = example("limit_cores");
    let said = broker.load(&plugin, &["limit=many"]).unwrap_err();
    assert!(said.contains("limit-cores: limit=\"many\": want a number"), "{said}");
    broker.load(&plugin, &["limit=8"]).unwrap();
    broker.submit(&[SIMULATED, "-n8"]);
    broker.submit(&[SIMULATED, "-n2", "-c4"]);
    for arguments in [&["-n9"][..], &["-n3", "-c3"]] {
        let said = refused(&broker, arguments);
        assert!(said.contains("9 cores exceed the limit of 8"), "{said}");
    }
    broker.drain();
    broker.wait_stats(|stats| stats["INACTIVE"] == 2);
    broker.remove("limit_cores.so");
    broker.submit(&[SIMULATED, "-n9"]);
    broker.drain();
    broker.end();
}

#[test]
#[cfg_attr(not(have_flux), ignore = "needs flux on PATH")]
fn fair_priority_prefers_the_bank_with_fewer_running_jobs() {
    let broker = Setup::new(None).start();
    broker.load(&example("fair_priority"), &[]).unwrap();
    let submit = |bank: &str, cores: &str, urgency: &str| {
        let bank = format!("--setattr=bank={bank}");
        broker.submit(&[ENDLESS, &bank, "-n", cores, urgency]).remove(0)
    };
    let priority = |job: &str| -> i64 {
        let jobs = broker.flux(&["jobs", "-a", "-n", "-o", "{priority}", job]);
        jobs.parse().unwrap_or_else(|_| panic!("{job}: {jobs}"))
    };
    let default = "--urgency=16";
    let running =
        [("a", "30"), ("a", "30"), ("b", "4")].map(|(bank, cores)| submit(bank, cores, default));
    broker.wait_stats(|stats| stats["RUN"] == 3);
    // All cores are taken. Of those that wait, a's came first.
    let a = submit("a", "34", default);
    let b = submit("b", "34", default);
    let urgent = submit("a", "34", "--urgency=17");
    broker.wait_stats(|stats| stats["SCHED"] == 3);
    assert_eq!((priority(&urgent), priority(&b), priority(&a)), (169_998, 159_999, 159_998));
    // A job that ends changes the priorities of those that wait.
    broker.flux(&["cancel", &running[0]]);
    broker.wait_stats(|stats| stats["INACTIVE"] == 1);
    assert_eq!((priority(&urgent), priority(&b), priority(&a)), (169_999, 159_999, 159_999));
    // Now there is room for one of them. One of a's still runs.
    broker.flux(&["cancel", &running[2]]);
    let mut order = Vec::new();
    for waiting in [2, 1, 0] {
        broker.wait_stats(|stats| stats["RUN"] == 2 && stats["SCHED"] == waiting);
        let jobs = broker.flux(&["jobs", "-n", "--filter=running", "-o", "{id}"]);
        let job = jobs.lines().find(|job| *job != running[1]).unwrap().to_owned();
        broker.flux(&["cancel", &job]);
        order.push(job);
    }
    assert_eq!(order, [urgent, b, a]);
    broker.flux(&["cancel", &running[1]]);
    broker.drain();
    broker.end();
}

#[test]
#[cfg_attr(not(have_flux), ignore = "needs flux on PATH")]
fn count_results_counts_how_jobs_ended() {
    let mut receiver = Receiver::start();
    let broker = Setup::new(receiver.endpoint()).start();
    broker.load(&example("count_results"), &[]).unwrap();
    broker.submit(&[SIMULATED, "--cc=1-3"]);
    broker.flux(&["submit", "--quiet", "false"]);
    let job = broker.submit(&[ENDLESS]).remove(0);
    broker.flux(&["cancel", &job]);
    broker.submit(&[ENDLESS, "--time-limit=100ms"]);
    broker.drain();
    let wanted = [("completed", 3), ("failed", 1), ("canceled", 1), ("timeout", 1)];
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        let values = receiver.values();
        let count = |name: &str| values.get(&format!("jobs.{name}")).map_or(0, Vec::len);
        if wanted.iter().all(|(name, wanted)| count(name) == *wanted) {
            assert!(values["jobs.completed"].iter().all(|value| value == "1|c"), "{values:?}");
            break;
        }
        assert!(Instant::now() < end, "{values:?}");
        thread::sleep(Duration::from_millis(50));
    }
    broker.end();
}
