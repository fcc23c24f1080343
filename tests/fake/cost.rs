//! Heap allocations, system calls, bytes and datagrams of a transition.

use crate::support::artifact::plugin;
use crate::support::costs::{aggregated, allocations, bytes_a_job, immediate, syscalls, Server};
use crate::support::fake_job_manager::{idle_plugin, FakeJobManager};
use crate::support::{all_collectors, trace};
use serde_json::json;
use state_counts::stats::{DatagramBuffer, Dialect, Value};

#[test]
fn a_transition_allocates_nothing() {
    let (floor, _) = allocations(idle_plugin(), &json!({}));
    // Not with all collectors: jansson allocates when it unpacks their items.
    for conf in [immediate(), aggregated(), json!({"send": "values", "resync": 0})] {
        let (counted, transitions) = allocations(plugin(), &conf);
        // Fewer than one allocation in 1,000 transitions.
        assert!(
            counted.abs_diff(floor) < transitions / 1000,
            "{transitions} transitions, {conf}: {counted}, the host's own {floor}"
        );
    }
}

#[test]
fn a_transition_takes_one_system_call_or_none_with_a_period() {
    let (counted, transitions) = syscalls(plugin(), &immediate(), Server::Alive);
    assert_eq!(counted, transitions, "one send each");
    let (counted, _) = syscalls(plugin(), &aggregated(), Server::Alive);
    assert_eq!(counted, 0);
}

#[test]
fn transitions_take_hardly_any_system_calls_with_a_dead_server() {
    // Until the next probe nothing is sent.
    let (counted, transitions) = syscalls(plugin(), &immediate(), Server::Dead);
    assert!(counted < transitions / 10, "{counted} calls for {transitions} transitions");
}

/// Datagrams and bytes of the recorded run of 875 jobs.
fn sent(conf: &serde_json::Value, calls_a_second: usize) -> (u64, u64) {
    let (mut host, _receiver) = FakeJobManager::running(conf.clone());
    trace::replay(&mut host, calls_a_second, |host| host.advance(1.0));
    host.advance(1.0);
    let query = host.query();
    let endpoint = &query["endpoints"][0];
    assert_eq!(endpoint["errors"], json!({}));
    (endpoint["datagrams"].as_u64().unwrap(), endpoint["bytes"].as_u64().unwrap())
}

#[test]
fn values_take_as_many_datagrams_as_increments_and_no_more_bytes() {
    for metrics in [vec!["states"], all_collectors()] {
        for (period, calls_a_second) in [(0, 100), (1, 100), (1, 1000)] {
            let sent = |send| {
                let mut conf = json!({"metrics": metrics, "period": period, "send": send});
                // With 0 the first values would not be sent.
                conf["resync"] = 86400.into();
                sent(&conf, calls_a_second)
            };
            let (increments, values) = (sent("increments"), sent("values"));
            let shown = format!("{metrics:?}, period {period}: {increments:?} {values:?}");
            println!("{shown}");
            // A line of another length may need one more datagram.
            assert!(increments.0.abs_diff(values.0) <= increments.0 / 100, "{shown}");
            assert!(values.1 <= increments.1, "{shown}");
        }
    }
}

#[test]
fn an_active_job_takes_at_most_256_bytes_with_all_collectors() {
    let conf = json!({"metrics": all_collectors(), "period": 3600, "resync": 0});
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
                if !buffer.append(template, value, 1432) {
                    buffer.clear();
                    datagrams += 1;
                }
            }
        }
    };
    all();
    let counted = allocation_counter::measure(all);
    assert_eq!(counted.count_total, 0);
    assert!(datagrams > 2);
}
