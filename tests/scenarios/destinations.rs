//! Unix servers that are slow, stop, restart, or are replaced, with more values than a socket
//! holds.

use std::collections::BTreeMap;
use std::thread;
use std::time::Duration;

use serde_json::json;

use super::{Environment, Host, HostSetup, Job};
use crate::support::gauges::Gauges;
use crate::support::queues::is_of_states;
use crate::support::unix_server::UnixServer;

/// What happens to the server.
#[derive(Clone, Copy, Debug)]
enum Disturbance {
    /// It does not read for a while.
    Stopped,
    /// It ends, and another one starts at the path.
    Restarted,
    /// Another one takes over the path, while it continues.
    Replaced,
}

pub fn a_unix_server_that_is_stopped_has_all_values_at_the_end<H: Host>() {
    disturb::<H>(Disturbance::Stopped);
}

pub fn a_unix_server_that_restarts_has_all_values_at_the_end<H: Host>() {
    disturb::<H>(Disturbance::Restarted);
}

pub fn a_unix_server_that_takes_over_the_path_has_all_values_at_the_end<H: Host>() {
    disturb::<H>(Disturbance::Replaced);
}

/// Disturbs the server in the middle of the first values, of a resync, of the values of a new
/// collector, and of the final values of a removed one.
fn disturb<H: Host>(disturbance: Disturbance) {
    let queues: Vec<_> = (0..60).map(|number| format!("queue-{number:02}")).collect();
    let names: Vec<_> = queues.iter().map(String::as_str).collect();
    let setup =
        HostSetup { queues: &names, environment: Environment::Unset, ..HostSetup::default() };
    let mut host = H::start(setup);
    host.expect_complaints();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("statsd.sock");
    let mut server = UnixServer::start(&path);
    names.iter().for_each(|queue| drop(host.submit(Job::Held, queue, 1)));
    let table = |metrics: &[&str]| {
        json!({"endpoint": format!("unix:{}", path.display()), "metrics": metrics,
               "resync": 1, "lookup": 2})
    };
    let (most, all) = (["states", "queues"], ["states", "queues", "banks"]);
    // A table in the configuration, because keys of the load cannot be reloaded.
    host.reload(&table(&most)).unwrap();

    // The server reads nothing of what is sent at first.
    server.set_reading(false);
    host.load(json!({})).unwrap();
    settle(&mut host, &mut server, disturbance, &expected(&names, &["queue"]));
    // A resync.
    server.set_reading(false);
    host.pass(1.1);
    settle(&mut host, &mut server, disturbance, &expected(&names, &["queue"]));
    // A new collector.
    server.set_reading(false);
    host.reload(&table(&all)).unwrap();
    settle(&mut host, &mut server, disturbance, &expected(&names, &["queue", "bank"]));
    // A removed collector.
    server.set_reading(false);
    host.reload(&table(&most)).unwrap();
    settle(&mut host, &mut server, disturbance, &expected(&names, &["queue"]));
    host.cancel_all();
    host.drain();
    host.end();
}

/// Disturbs the server, and waits until the present one has these gauges.
fn settle<H: Host>(
    host: &mut H,
    server: &mut UnixServer,
    disturbance: Disturbance,
    expected: &Gauges,
) {
    host.pass(0.5);
    let endpoint = server.endpoint();
    let path = endpoint.strip_prefix("unix:").unwrap();
    match disturbance {
        Disturbance::Stopped => server.set_reading(true),
        // The new server binds the path before the old one is dropped.
        Disturbance::Replaced | Disturbance::Restarted => {
            let new = UnixServer::start(path.as_ref());
            let old = std::mem::replace(server, new);
            if let Disturbance::Replaced = disturbance {
                old.set_reading(true);
                host.pass(3.0);
            }
        }
    }
    host.pass_until(|_| {
        // The server reads in real time.
        thread::sleep(Duration::from_millis(5));
        let mut gauges = server.gauges();
        gauges.retain(|name, _| is_of_states(name) && !name.ends_with(".INACTIVE"));
        gauges == *expected
    });
}

/// One held job in each queue, and in the bank of the same name.
fn expected(names: &[&str], labels: &[&str]) -> Gauges {
    let gauges = labels
        .iter()
        .flat_map(|label| names.iter().map(move |name| (format!("{label}.{name}.SCHED"), 1)));
    let all = [("state.SCHED".to_owned(), names.len() as i64)];
    gauges.chain(all).collect::<BTreeMap<_, _>>()
}
