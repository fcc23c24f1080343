//! Gauges that come right again: after loss, after restarts, summed over periods.

use crate::support::artifact::{plugin, NAME};
use crate::support::fake_job_manager::FakeJobManager;
use crate::support::jobs::{
    live, step, CLEANUP, COURSE, DEPEND, INACTIVE, NEW, PRIORITY, RUN, SCHED,
};
use crate::support::lossy_proxy::LossyProxy;
use crate::support::receiver::{Receiver, Seen};
use crate::support::{counts, trace, Counts};
use serde_json::json;

#[test]
fn what_a_lossy_path_lost_is_healed_by_the_first_resync_that_arrives() {
    for percent in [1, 5, 30] {
        let mut receiver = Receiver::start();
        let relay = LossyProxy::start(&receiver.endpoint(), percent, 7);
        let mut host = FakeJobManager::start(Some(&relay.endpoint()));
        host.load(plugin(), json!({"resync": 10})).unwrap();
        host.advance(0.1);
        for (number, recorded) in trace::callbacks().iter().enumerate() {
            host.call(&recorded.topic, &recorded.args);
            if number % 200 == 0 {
                host.counts();
                receiver.seen_behind(&relay.endpoint());
            }
        }
        let truth = host.counts();
        let drifted = receiver.seen_behind(&relay.endpoint()).gauges;
        assert_ne!(drifted, truth, "{percent} %: the loss can be seen");

        // The resync itself may be lost; that is no more than bad luck.
        for resync in 1.. {
            let lost = relay.dropped();
            host.advance(10.0);
            host.counts();
            let seen = receiver.seen_behind(&relay.endpoint());
            if relay.dropped() == lost {
                println!("{percent} %: {lost} datagrams lost, right after {resync} resyncs");
                assert_eq!(seen.gauges, truth, "{percent} %");
                break;
            }
        }
    }
}

/// 256 queues are the most that are counted, and 200 bytes the longest name of one: 400 KB.
#[test]
fn a_resync_of_the_longest_names_comes_in_bursts_that_a_servers_buffer_holds() {
    const JOBS: i64 = 256;
    let queue = |id: i64| format!("{id:0>200}");
    let (mut host, mut receiver) =
        FakeJobManager::running(json!({"metrics": "queues", "resync": 10, "verify": 0}));
    let job = |id, state| json!({"id": id, "state": state, "jobspec": {"attributes": {"system": {"queue": queue(id)}}}});
    (0..JOBS).for_each(|id| host.call("job.new", &job(id, SCHED)));
    // Past a first resync: a gauge that was never sent is sent as a value.
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
                // Jobs of a queue that was sent already, and of one that was not, go on meanwhile.
                for id in [0, JOBS - 1] {
                    let mut args = job(id, RUN);
                    args["prev_state"] = SCHED.into();
                    host.call("job.state.run", &args);
                }
            }
        }
    }
    // What a server's default buffer holds: see RESYNC_PART.
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
fn without_resync_no_absolute_value_is_ever_sent() {
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
fn a_server_that_forgot_everything_knows_it_again_without_a_job_event() {
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
fn a_server_that_remembers_an_earlier_life_starts_right() {
    let (mut host, mut receiver) = FakeJobManager::running(json!({}));
    live(&mut host, 1, &COURSE[..5]);
    live(&mut host, 2, &COURSE);
    host.counts();
    // The broker is killed: no farewell. The next one has other jobs.
    let mut next = FakeJobManager::start(Some(&receiver.endpoint()));
    live(&mut next, 7, &COURSE[..4]);
    next.load(plugin(), json!({})).unwrap();
    next.advance(0.1);
    next.counts();
    assert_eq!(receiver.seen().gauges, counts(&[("SCHED", 1)]));
}

#[test]
fn values_are_sent_for_servers_that_know_no_increments() {
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
fn a_period_sends_sums_in_one_datagram_and_no_noise() {
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

    // flux-core's own aggregation forgets a gauge that rested for a period, and
    // counts again from 0: RUN would go to -1 here.
    host.advance(5.0);
    step(&mut host, 1, RUN, CLEANUP);
    host.advance(1.0);
    host.counts();
    let seen = receiver.seen();
    assert_eq!(seen.texts[1..], ["flux.job.state.CLEANUP:+1|g\nflux.job.state.RUN:-1|g"]);
    // Pending sums leave with the plugin: all it gave is taken back.
    step(&mut host, 1, CLEANUP, INACTIVE);
    host.remove(NAME).unwrap();
    let sum = |seen: &Seen| -> i64 { seen.gauges["INACTIVE"] };
    assert_eq!(sum(&receiver.seen()), 0, "3 and 1 pending, less 4");
}

#[test]
fn inactive_jobs_announced_twice_at_a_restart_are_counted_once() {
    for announce in ["restart", "restart-doubled"] {
        let mut receiver = Receiver::start();
        let mut host = FakeJobManager::start(Some(&receiver.endpoint()));
        for id in 0..20 {
            live(&mut host, id, &COURSE);
        }
        live(&mut host, 20, &COURSE[..4]);
        host.load_as(plugin(), json!({}), announce).unwrap();
        host.advance(0.1);
        host.counts();
        let seen = receiver.seen();
        assert_eq!(seen.gauges, counts(&[("SCHED", 1), ("INACTIVE", 20)]), "{announce}");
        let wrong = |text: &String| text.contains("INACTIVE") && !text.contains("INACTIVE:20|g");
        assert!(!seen.texts.iter().any(wrong), "{:?}", seen.texts);
    }
}

/// Before flux-core 0.87.0 a restart calls job.inactive-add for active jobs, too.
#[test]
fn active_jobs_that_a_restart_takes_for_inactive_stay_active() {
    let mut receiver = Receiver::start();
    let mut host = FakeJobManager::start(Some(&receiver.endpoint()));
    live(&mut host, 1, &COURSE);
    for (id, last) in [(2, 4), (3, 5)] {
        live(&mut host, id, &COURSE[..last]);
    }
    host.load_as(plugin(), json!({"verify": 0}), "restart-doubled").unwrap();
    for (id, state) in [(2, SCHED), (3, RUN)] {
        host.call("job.inactive-add", &json!({"id": id, "state": state}));
    }
    host.advance(0.1);
    let truth = counts(&[("SCHED", 1), ("RUN", 1), ("INACTIVE", 1)]);
    assert_eq!(host.counts(), truth);
    assert_eq!(receiver.seen().gauges, truth);
    assert_eq!(host.query()["anomalies"]["missed_event"], 0);
    host.end();
}

#[test]
fn what_a_restart_replays_before_it_is_announced_is_counted_once() {
    let mut receiver = Receiver::start();
    let mut host = FakeJobManager::start(Some(&receiver.endpoint()));
    live(&mut host, 1, &COURSE);
    host.load_as(plugin(), json!({}), "restart").unwrap();
    // flux-core, restart.c: what was left undone comes first. One ends there,
    // and is never announced; one moves, and is announced where it is then.
    step(&mut host, 2, CLEANUP, INACTIVE);
    step(&mut host, 3, DEPEND, PRIORITY);
    host.call("job.new", &json!({"id": 3, "state": PRIORITY}));
    host.advance(10.5);
    assert_eq!(host.counts(), counts(&[("INACTIVE", 2), ("PRIORITY", 1)]));
    live(&mut host, 4, &COURSE);
    step(&mut host, 3, PRIORITY, SCHED);
    let truth = host.counts();
    let seen = receiver.seen();
    assert_eq!((seen.gauges.clone(), seen.negative()), (truth, Counts::new()));
    let anomalies = host.query()["anomalies"].clone();
    assert!(anomalies.as_object().unwrap().values().all(|count| count == 0), "{anomalies}");
    host.end();
}

#[test]
fn inactive_is_never_wrong_while_the_question_travels() {
    let mut receiver = Receiver::start();
    let mut host = FakeJobManager::start(Some(&receiver.endpoint()));
    for id in 0..5 {
        live(&mut host, id, &COURSE);
    }
    host.rpc_mode("hold");
    host.load(plugin(), json!({})).unwrap();
    host.advance(0.1);
    live(&mut host, 5, &COURSE);
    host.rpc_take();
    live(&mut host, 6, &COURSE);
    host.call("job.inactive-remove", &json!({"id": 0, "state": INACTIVE}));
    host.rpc_deliver();
    host.counts();
    // One job ended before the broker looked, one after: it could be either.
    assert!(!receiver.seen().gauges.contains_key("INACTIVE"));
    host.rpc_mode("answer");
    host.advance(0.2);
    let truth = host.counts();
    assert_eq!(truth["INACTIVE"], 6);
    let seen = receiver.seen();
    assert_eq!(seen.gauges, truth);
    assert_eq!(seen.texts.iter().filter(|text| text.contains("INACTIVE")).count(), 1);
}

#[test]
fn inactive_is_withheld_while_nobody_answers() {
    let mut receiver = Receiver::start();
    let mut host = FakeJobManager::start(Some(&receiver.endpoint()));
    live(&mut host, 1, &COURSE);
    host.rpc_mode("fail");
    host.load(plugin(), json!({})).unwrap();
    live(&mut host, 2, &COURSE);
    host.advance(60.0);
    let log: Vec<_> = host.log().into_iter().filter(|(level, _)| *level < 6).collect();
    assert_eq!(log.len(), 1, "{log:?}");
    assert!(log[0].1.contains("job-manager.stats-get: "), "{log:?}");
    assert!(!receiver.seen().gauges.contains_key("INACTIVE"));
    host.rpc_mode("answer");
    host.advance(10.1);
    let truth = host.counts();
    assert_eq!(receiver.seen().gauges, truth);
}

#[test]
fn events_that_contradict_the_table_make_nothing_negative_and_are_logged_once() {
    let (mut host, mut receiver) = FakeJobManager::running(json!({}));
    host.log();
    for id in 0..3 {
        step(&mut host, id, SCHED, RUN);
        host.call("job.state.new-in-2031", &json!({"id": id, "state": 128, "prev_state": RUN}));
        host.call("job.new", &json!({"id": id + 100, "state": 0}));
    }
    let log: Vec<_> = host.log().into_iter().map(|(_, text)| text).collect();
    assert_eq!(
        log,
        [
            "state-counts: missed an event for a job entering or leaving SCHED (did another \
             plugin fail?); counts corrected (further ones are counted, and not logged)",
            "state-counts: job state 128 is unknown to this version of the plugin and not \
             counted (further ones are counted, and not logged)",
        ]
    );
    let seen = receiver.seen();
    assert_eq!(seen.gauges, Counts::from(counts(&[])));
    assert_eq!(seen.negative(), Counts::new());
    assert_eq!(host.silenced(), 0);
}
