//! The datagrams of each loop iteration, each period and each resync, and of instances that
//! share names.

use serde_json::json;

use crate::support::artifact::{plugin, NAME};
use crate::support::fake_job_manager::FakeJobManager;
use crate::support::jobs::{live, step, CLEANUP, COURSE, DEPEND, INACTIVE, NEW, RUN, SCHED};
use crate::support::receiver::{Receiver, Seen};
use crate::support::{counts, Counts};

scenarios!(publisher: the_first_resync_that_arrives_corrects_what_was_lost);

#[test]
fn a_transition_is_one_datagram_with_the_rising_gauge_first() {
    let (mut host, mut receiver) = FakeJobManager::running(json!({}));
    receiver.forget();
    live(&mut host, 1, &[NEW, DEPEND]);
    host.counts();
    assert_eq!(
        receiver.seen().texts,
        ["flux.job.state.NEW:+1|g", "flux.job.state.DEPEND:+1|g\nflux.job.state.NEW:-1|g"]
    );
}

/// The changes of one iteration of the reactor loop are one datagram, without gauges that rise
/// and fall by the same number.
#[test]
fn all_changes_of_a_reactor_loop_iteration_are_one_datagram() {
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
fn a_period_sends_sums_in_one_datagram() {
    let (mut host, mut receiver) = FakeJobManager::running(json!({"period": 1, "resync": 0}));
    host.advance(1.0);
    live(&mut host, 1, &COURSE[..5]);
    host.advance(1.0);
    host.counts();
    receiver.forget();
    for id in 2..5 {
        live(&mut host, id, &COURSE);
    }
    host.counts();
    assert_eq!(receiver.seen().datagrams, 0, "not before the period's end");
    host.advance(1.0);
    host.counts();
    assert_eq!(receiver.seen().texts, ["flux.job.state.INACTIVE:+3|g"], "the others are level");

    // flux-core's own statsd client forgets a gauge that did not change for a period, and
    // counts from 0 again: RUN would be -1 here.
    host.advance(5.0);
    step(&mut host, 1, RUN, CLEANUP);
    host.advance(1.0);
    host.counts();
    let seen = receiver.seen();
    assert_eq!(seen.texts[1..], ["flux.job.state.CLEANUP:+1|g\nflux.job.state.RUN:-1|g"]);
    // At a removal, pending changes are sent, and the part of this instance is subtracted.
    step(&mut host, 1, CLEANUP, INACTIVE);
    host.remove(NAME).unwrap();
    let sum = |seen: &Seen| -> i64 { seen.gauges["INACTIVE"] };
    assert_eq!(sum(&receiver.seen()), 0, "3 and 1 pending, less 4");
}

#[test]
fn a_resync_within_a_long_period_is_sent_at_once() {
    let (mut host, mut receiver) =
        FakeJobManager::running(json!({"period": "1h", "resync": "10s"}));
    live(&mut host, 1, &COURSE[..5]);
    receiver.forget();
    host.advance(10.0);
    let truth = host.counts();
    assert_eq!(receiver.seen().gauges, truth);
    host.end();
}

/// At most 256 queues are counted, and their names have at most 200 bytes: together 400 KB.
#[test]
fn the_longest_resync_is_sent_in_bursts_that_fit_a_receive_buffer() {
    const JOBS: i64 = 256;
    let queue = |id: i64| format!("{id:0>200}");
    let (mut host, mut receiver) =
        FakeJobManager::running(json!({"metrics": "queues", "resync": 10, "verify": 0}));
    let job = |id, state| json!({"id": id, "state": state, "jobspec": {"attributes": {"system": {"queue": queue(id)}}}});
    (0..JOBS).for_each(|id| host.call("job.new", &job(id, SCHED)));
    // After the first resync each gauge was sent as a value once.
    host.advance(15.0);
    host.counts();
    receiver.take_others(&receiver.endpoint());

    let mut bursts: Vec<Vec<String>> = Vec::new();
    for _ in 0..2000 {
        host.advance(0.005);
        host.counts();
        let datagrams = receiver.take_others(&receiver.endpoint());
        if !datagrams.is_empty() {
            bursts.push(datagrams);
            if bursts.len() == 1 {
                // Meanwhile, a job changes of a queue that was sent, and one of a queue that
                // was not.
                for id in [0, JOBS - 1] {
                    let mut args = job(id, RUN);
                    args["prev_state"] = SCHED.into();
                    host.call("job.state.run", &args);
                }
            }
        }
    }
    // The default receive buffer has room for 92 datagrams.
    let sizes: Vec<_> = bursts.iter().map(Vec::len).collect();
    assert!(sizes.iter().all(|&size| size <= 92), "{sizes:?}");
    let (mut gauges, mut values) = (Counts::new(), Counts::new());
    for line in bursts.iter().flatten().flat_map(|datagram| datagram.lines()) {
        let (name, value) = line.strip_suffix("|g").unwrap().split_once(':').unwrap();
        let number: i64 = value.parse().unwrap();
        match value.starts_with(['+', '-']) {
            true => *gauges.entry(name.to_owned()).or_default() += number,
            false => {
                gauges.insert(name.to_owned(), number);
                *values.entry(name.to_owned()).or_default() += 1;
            }
        }
    }
    for id in 0..JOBS {
        let moved = id == 0 || id == JOBS - 1;
        for (state, wanted) in [("SCHED", !moved), ("RUN", moved), ("CLEANUP", false)] {
            let name = format!("flux.job.queue.{}.{state}", queue(id));
            assert_eq!(gauges[&name], i64::from(wanted), "{state} of queue {id}");
            assert_eq!(values[&name], 1, "{state} of queue {id}: each value is sent once");
        }
    }
    host.end();
}

#[test]
fn without_resyncs_no_absolute_value_is_sent() {
    let (mut host, mut receiver) = FakeJobManager::running(json!({"resync": 0}));
    live(&mut host, 1, &COURSE);
    live(&mut host, 2, &COURSE[..5]);
    host.advance(100.0);
    host.remove(NAME).unwrap();
    for text in receiver.seen().texts {
        for line in text.lines() {
            let (_, value) = line.split_once(':').unwrap();
            assert!(value.starts_with(['+', '-']), "{line}");
        }
    }
}

#[test]
fn values_are_sent_instead_of_increments() {
    let (mut host, mut receiver) = FakeJobManager::running(json!({"send": "values", "resync": 0}));
    receiver.forget();
    live(&mut host, 1, &[NEW, CLEANUP, INACTIVE]);
    host.counts();
    assert_eq!(
        receiver.seen().texts,
        [
            "flux.job.state.NEW:1|g",
            "flux.job.state.CLEANUP:1|g\nflux.job.state.NEW:0|g",
            "flux.job.state.INACTIVE:1|g\nflux.job.state.CLEANUP:0|g",
        ]
    );
}

#[test]
fn a_restarted_server_has_all_counts_after_a_resync() {
    for conf in [json!({}), json!({"period": 1}), json!({"send": "values"})] {
        let (mut host, mut receiver) = FakeJobManager::running(conf.clone());
        live(&mut host, 1, &COURSE);
        live(&mut host, 2, &COURSE[..4]);
        host.advance(5.0);
        let truth = host.counts();
        receiver.forget();
        host.advance(11.0);
        host.counts();
        assert_eq!(receiver.seen().gauges, truth, "{conf}");
    }
}

#[test]
fn a_server_that_remembers_an_earlier_instance_has_correct_counts() {
    let (mut host, mut receiver) = FakeJobManager::running(json!({}));
    live(&mut host, 1, &COURSE[..5]);
    live(&mut host, 2, &COURSE);
    host.counts();
    // The broker is killed: no final values are sent. The next instance has other jobs.
    let mut next = FakeJobManager::start(Some(&receiver.endpoint()));
    live(&mut next, 7, &COURSE[..4]);
    next.load(plugin(), json!({})).unwrap();
    next.advance(0.1);
    next.counts();
    assert_eq!(receiver.seen().gauges, counts(&[("SCHED", 1)]));
}

#[test]
fn no_value_is_sent_after_a_reload_to_shared_gauges() {
    let mut receiver = Receiver::start();
    let mut host = FakeJobManager::start(Some(&receiver.endpoint()));
    let conf = |resync: u32| json!({"state-counts": {"resync": resync, "period": 5, "verify": 0}});
    host.config(&conf(8));
    host.load(plugin(), json!({})).unwrap();
    live(&mut host, 1, &COURSE[..5]);
    // A resync is due after 8 s and is sent after 10 s.
    host.advance(9.0);
    let sent = |host: &mut FakeJobManager| host.query()["endpoints"][0]["datagrams"].as_u64();
    host.reload(&conf(0)).unwrap();
    let before = sent(&mut host);
    host.advance(20.0);
    assert_eq!(sent(&mut host), before, "{:?}", receiver.seen().texts);
    host.end();
}

#[test]
fn instances_that_share_names_subtract_their_part_at_a_removal() {
    let mut receiver = Receiver::start();
    let mut hosts: Vec<_> =
        (0..2).map(|_| FakeJobManager::start(Some(&receiver.endpoint()))).collect();
    for host in &mut hosts {
        live(host, 1, &COURSE);
        live(host, 2, &COURSE[..5]);
        host.load(plugin(), json!({"resync": 0})).unwrap();
        host.advance(0.1);
        live(host, 3, &COURSE[..5]);
        host.counts();
    }
    assert_eq!(receiver.seen().gauges, {
        let mut both = Counts::new();
        both.extend([("RUN".to_owned(), 4), ("INACTIVE".to_owned(), 2)]);
        both.extend(["NEW", "DEPEND", "PRIORITY", "SCHED"].map(|state| (state.to_owned(), 0)));
        both
    });
    hosts[0].remove(NAME).unwrap();
    let seen = receiver.seen();
    assert_eq!((seen.gauges["RUN"], seen.gauges["INACTIVE"]), (2, 1));
    hosts[1].remove(NAME).unwrap();
    assert!(receiver.seen().gauges.values().all(|&count| count == 0));
}
