//! Events that never come: other plugins fail, or change jobs that are rejected.
//! The gauges are true all the same, at once or within one check of the table.

use std::collections::BTreeMap;

use crate::support::fake_job_manager::FakeJobManager;
use crate::support::gauges::gauges_named;
use crate::support::jobs::{live, live_as, step, CLEANUP, COURSE, INACTIVE, NEW, RUN, SCHED};
use crate::support::Counts;
use serde_json::json;

/// In the fake job manager: what is withheld is right after one check.
#[test]
fn whatever_is_withheld_is_put_right_within_one_check() {
    let conf = json!({"verify": "2s", "resync": "1h", "metrics": ["states", "users", "resources"]});
    let (mut host, mut receiver) = FakeJobManager::running(conf);
    live(&mut host, 1, &COURSE[..5]);
    live(&mut host, 2, &COURSE[..5]);
    // A job's end, a job's whole life until now, the purge of two.
    host.withhold("job.state.cleanup", &json!({"id": 1, "state": CLEANUP, "prev_state": RUN}));
    host.withhold("job.state.inactive", &json!({"id": 1, "state": INACTIVE, "prev_state": 32}));
    host.withhold("job.new", &json!({"id": 3, "state": SCHED, "userid": 5}));
    for id in [4, 5] {
        live(&mut host, id, &COURSE);
        host.withhold("job.inactive-remove", &json!({"id": id, "state": INACTIVE}));
    }
    host.log();
    host.advance(2.1);
    let truth = host.counts();
    assert_eq!(receiver.seen().gauges, truth);
    assert_eq!(gauges_named(&mut receiver, |name| name.starts_with("user.5.")).len(), 1);
    let verify = host.query()["verify"].clone();
    // Jobs 1 and 3, and the number of inactive jobs.
    assert_eq!((&verify["repairs"], &verify["checks"]), (&json!(3), &json!(1)));
    let log: Vec<_> = host.log().into_iter().map(|(_, text)| text).collect();
    let repaired = log
        .iter()
        .filter(|text| text.contains("job 1 is RUN in the table and not active in the job manager"))
        .count();
    assert_eq!((repaired, log.len()), (1, 2), "the first repair, and the number: {log:?}");

    // Then there is nothing to repair.
    host.advance(10.0);
    let truth = host.counts();
    assert_eq!(receiver.seen().gauges, truth);
    let verify = host.query()["verify"].clone();
    assert_eq!((&verify["repairs"], &verify["checks"]), (&json!(3), &json!(6)));
    assert_eq!(host.log(), []);
    host.end();
}

/// 2,000 jobs go some way, and of their 12,000 callbacks every twentieth is
/// withheld, wherever that falls.
#[test]
fn five_of_a_hundred_callbacks_withheld_are_put_right_within_one_check() {
    let conf = json!({"verify": "2s", "resync": "1h", "period": "1s", "metrics": "states,users"});
    let (mut host, mut receiver) = FakeJobManager::running(conf);
    let mut withheld = 0;
    // Knuth's MMIX generator: numbers that seem random, and are the same each time.
    let mut number: u64 = 0x5deece66d;
    let mut random = |below: u64| {
        number = number.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (number >> 33) % below
    };
    for id in 0..2000 {
        let path = &COURSE[..1 + random(7) as usize];
        let mut calls = vec![("job.new", json!({"id": id, "state": NEW, "userid": 7}))];
        for pair in path.windows(2) {
            let (state, previous) = (pair[1], pair[0]);
            let args = json!({"id": id, "state": state, "prev_state": previous, "userid": 7});
            calls.push(("job.state.any", args));
            if state == INACTIVE {
                let args = json!({"id": id, "state": INACTIVE, "userid": 7});
                calls.push(("job.inactive-add", args.clone()));
                if random(2) == 0 {
                    calls.push(("job.inactive-remove", args));
                }
            }
        }
        for (topic, args) in calls {
            match random(20) {
                0 => {
                    withheld += 1;
                    host.withhold(topic, &args);
                }
                _ => host.call(topic, &args),
            }
        }
    }
    assert!(withheld > 300, "{withheld}");
    host.advance(4.0);
    let truth = host.counts();
    let seen = receiver.seen();
    assert_eq!((&seen.gauges, seen.negative()), (&truth, Counts::new()));
    let users = gauges_named(&mut receiver, |name| name.starts_with("user."));
    let mut wanted: BTreeMap<_, _> =
        truth.iter().map(|(state, &count)| (format!("user.7.{state}"), count)).collect();
    wanted.retain(|name, count| !name.ends_with("INACTIVE") && *count > 0);
    assert_eq!(users, wanted);
    assert!(host.query()["verify"]["repairs"].as_u64() > Some(50), "{}", host.query());
    host.end();
}

#[test]
fn a_job_whose_event_was_withheld_is_right_at_its_next() {
    let (mut host, mut receiver) = FakeJobManager::running(json!({"verify": 0}));
    live(&mut host, 1, &COURSE[..4]);
    host.withhold("job.state.run", &json!({"id": 1, "state": RUN, "prev_state": SCHED}));
    step(&mut host, 1, RUN, CLEANUP);
    let truth = host.counts();
    let seen = receiver.seen();
    assert_eq!((seen.gauges.clone(), seen.negative()), (truth, Counts::new()));
    assert_eq!(host.query()["anomalies"]["missed_event"], 1);
    host.end();
}

/// Several callbacks in one turn of the reactor leave in one datagram; and what
/// rises and falls within it never leaves.
#[test]
fn what_happens_in_one_turn_is_one_datagram() {
    let (mut host, mut receiver) = FakeJobManager::running(json!({}));
    receiver.forget();
    let moved = |id: i64, state: i64, previous: i64| {
        ("job.state.any", json!({"id": id, "state": state, "prev_state": previous}))
    };
    let mut calls: Vec<_> =
        (0..60).map(|id| ("job.new", json!({"id": id, "state": NEW}))).collect();
    for id in 0..60 {
        calls.extend([moved(id, 2, NEW), moved(id, 4, 2), moved(id, SCHED, 4)]);
    }
    host.turn(&calls);
    host.counts();
    assert_eq!(receiver.seen().texts, ["flux.job.state.SCHED:+60|g"]);
    receiver.forget();
    host.turn(&[moved(0, RUN, SCHED), moved(1, RUN, SCHED), moved(2, CLEANUP, SCHED)]);
    host.counts();
    let wanted = "flux.job.state.RUN:+2|g\nflux.job.state.CLEANUP:+1|g\nflux.job.state.SCHED:-3|g";
    assert_eq!(receiver.seen().texts, [wanted], "what rose before what fell");
    host.end();
}

#[test]
fn names_that_clean_to_one_are_one_in_every_dialect() {
    for dialect in ["plain", "dogstatsd", "graphite", "influxdb"] {
        let conf = json!({"metrics": "queues,banks", "dialect": dialect, "resync": 3600});
        let (mut host, mut receiver) = FakeJobManager::running(conf);
        for (id, name) in ["gpu.a100", "gpu_a100", "gpu/a100", "gpu a100"].into_iter().enumerate() {
            let system = json!({"queue": name, "bank": name});
            let job = json!({"id": id, "jobspec": {"attributes": {"system": system}}});
            live_as(&mut host, &job, &[NEW, SCHED]);
        }
        host.counts();
        // Each line's name, tags included, and the sum of its values.
        let mut sums: BTreeMap<String, i64> = BTreeMap::new();
        for (name, values) in receiver.values() {
            for value in values {
                let (number, tags) = value.split_once("|g").unwrap();
                *sums.entry(format!("{name}{tags}")).or_default() += number.parse::<i64>().unwrap();
            }
        }
        sums.retain(|_, sum| *sum != 0);
        assert_eq!(sums.len(), 2, "{dialect}: {sums:?}");
        assert!(sums.iter().all(|(name, &sum)| sum == 4 && name.contains("gpu_a100")), "{sums:?}");
        host.end();
    }
}
