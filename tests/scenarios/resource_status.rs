//! How many nodes there are, and which of them are down or drained.

use serde_json::{json, Value};

use super::{Host, HostSetup};
use crate::support::gauges::{gauges_named, Gauges};

pub fn the_gauges_follow_the_resource_status<H: Host>() {
    // The status is requested again without a resync.
    follow::<H>(json!({"metrics": "resources", "resync": 3600}));
}

pub fn follow<H: Host>(conf: Value) {
    let mut host = H::start(HostSetup { six_nodes: true, ..HostSetup::default() });
    // From the configuration: the job manager is loaded before the resource module.
    host.restart(&conf);
    let expect = |host: &mut H, expected: &[(&str, i64)]| {
        host.assert_same(6.0, |host| {
            let status = host.resource_status();
            let level = |name: &str| *status.get(&format!("resource.{name}")).unwrap_or(&0);
            let levels: Vec<_> = expected.iter().map(|&(name, _)| (name, level(name))).collect();
            ((received(host), levels), (status, expected.to_vec()))
        });
    };
    let all = [("nodes.total", 5), ("nodes.excluded", 1), ("gpus.total", 4), ("nodes.up", 5)];
    expect(&mut host, &all);
    // A node on which a job runs, and an idle one.
    let busy = host.occupy_node();
    let idle = ["1", "2", "3"].into_iter().find(|&rank| rank != busy).unwrap();
    host.drain_nodes(&[&busy, idle]);
    let (drained, draining) = if H::SLACK == 0.0 || cfg!(flux_r) { (1, 1) } else { (2, 0) };
    let drained = [("nodes.drained", drained), ("nodes.draining", draining), ("nodes.down", 2)];
    expect(&mut host, &drained);
    host.lose_node("4");
    let offline = host.resource_status()["resource.nodes.offline"];
    let lost = [("nodes.offline", offline), ("nodes.down", 3), ("nodes.up", 2), ("nodes.total", 5)];
    expect(&mut host, &lost);
    host.undrain_node(&busy);
    let back = [("nodes.drained", 1), ("nodes.down", 2), ("cores.down", 128)];
    expect(&mut host, &back);
    // For a while there is no response.
    host.cancel_all();
    host.drain();
    host.reload_resource_module();
    expect(&mut host, &back);
    host.remove();
    let left = gauges_named(host.receiver(), |name| name.starts_with("resource."));
    assert_eq!(left, Gauges::new());
    host.end();
}

/// The gauges of the resource status that the receiver has.
fn received(host: &mut impl Host) -> Gauges {
    gauges_named(host.receiver(), |name| {
        let name = name.strip_prefix("resource.");
        name.is_some_and(|name| {
            ![".allocated", ".requested", "_seconds"].iter().any(|end| name.ends_with(end))
        })
    })
}
