//! What a transition may cost the job manager, counted.

use crate::support::artifact::plugin;
use crate::support::costs::{aggregated, allocations, bytes_a_job, immediate, syscalls, Server};
use crate::support::fake_job_manager::{idle_plugin, FakeJobManager};
use crate::support::trace;
use serde_json::json;
use state_counts::stats::{DatagramBuffer, Dialect, Value};

#[test]
fn a_transition_allocates_nothing() {
    let (floor, _) = allocations(idle_plugin(), &json!({}));
    // Not with every family on: what those unpack besides, jansson allocates for.
    for conf in [immediate(), aggregated(), json!({"send": "values", "resync": 0})] {
        let (counted, transitions) = allocations(plugin(), &conf);
        // One in a thousand transitions would be ten.
        assert!(
            counted.abs_diff(floor) < transitions / 1000,
            "{transitions} transitions, {conf}: {counted}, the host's own {floor}"
        );
    }
}

#[test]
fn a_transition_is_one_system_call_at_once_and_none_aggregated() {
    let (counted, transitions) = syscalls(plugin(), &immediate(), Server::Alive);
    assert_eq!(counted, transitions, "one send each");
    let (counted, _) = syscalls(plugin(), &aggregated(), Server::Alive);
    assert_eq!(counted, 0);
}

#[test]
fn a_transition_is_no_more_calls_where_the_server_is_dead() {
    // Ten times a second, a datagram that met a refusal is sent again.
    let (counted, transitions) = syscalls(plugin(), &immediate(), Server::Dead);
    assert!((transitions..transitions * 3 / 2).contains(&counted), "{counted} calls");
}

/// What the recorded run of 875 jobs takes: its datagrams and their bytes.
fn sent(conf: &serde_json::Value, calls_a_second: usize) -> (u64, u64) {
    let (mut host, _receiver) = FakeJobManager::running(conf.clone());
    for (number, recorded) in trace::callbacks().iter().enumerate() {
        host.call(&recorded.topic, &recorded.args);
        if number % calls_a_second == 0 {
            host.advance(1.0);
        }
    }
    host.advance(1.0);
    let query = host.query();
    let endpoint = &query["endpoints"][0];
    assert_eq!(endpoint["errors"], json!({}));
    (endpoint["datagrams"].as_u64().unwrap(), endpoint["bytes"].as_u64().unwrap())
}

#[test]
fn values_are_as_many_datagrams_as_increments_and_no_more_bytes() {
    for metrics in ["states", "states,queues,timings,results,resources,users,banks,pending"] {
        for (period, calls_a_second) in [(0, 100), (1, 100), (1, 1000)] {
            let sent = |send| {
                let mut conf = json!({"metrics": metrics, "period": period, "send": send});
                // Not 0, with which the first values are not sent either.
                conf["resync"] = 86400.into();
                sent(&conf, calls_a_second)
            };
            let (increments, values) = (sent("increments"), sent("values"));
            let shown = format!("{metrics}, period {period}: {increments:?} {values:?}");
            println!("{shown}");
            assert_eq!(increments.0, values.0, "{shown}");
            assert!(values.1 <= increments.1, "{shown}");
        }
    }
}

#[test]
fn an_active_job_takes_at_most_256_bytes_with_every_family_on() {
    let families = "states,queues,timings,results,resources,users,banks,pending";
    let conf = json!({"metrics": families, "period": 3600, "resync": 0});
    for late in [false, true] {
        let floor = bytes_a_job(idle_plugin(), &json!({}), late);
        let bytes = bytes_a_job(plugin(), &conf, late) - floor;
        println!("{bytes} bytes for each active job, of {floor} in the host; late: {late}");
        assert!((1..=256).contains(&bytes), "{bytes} bytes for each active job, late: {late}");
    }
}

#[test]
fn lines_and_datagrams_allocate_nothing_once_the_buffer_has_grown() {
    let template = |number| Dialect::Plain.template("p", &format!("name.{number}"), &[], &[]);
    let templates: Vec<_> = (0..1000).map(|number| template(number).unwrap()).collect();
    let mut buffer = DatagramBuffer::default();
    let mut datagrams = 0;
    let mut all = || {
        for template in &templates {
            for value in [Value::GaugeAdd(1), Value::GaugeSet(-1), Value::timing(1.5)] {
                buffer.append(template, value, |_| datagrams += 1);
            }
        }
        buffer.finish(|_| datagrams += 1);
    };
    all();
    let counted = allocation_counter::measure(all);
    assert_eq!(counted.count_total, 0);
    assert!(datagrams > 2);
}
