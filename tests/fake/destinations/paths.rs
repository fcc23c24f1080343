//! The path between the plugin and a UDP server: flows that NAT keeps, and small MTUs.

use std::net::UdpSocket;

use serde_json::json;

use super::send_errors::{host_of_a_server, ip, wait_for};
use crate::support::artifact::plugin;
use crate::support::fake_job_manager::FakeJobManager;

/// The source ports and the texts of all datagrams since the last call.
fn received(server: &UdpSocket) -> Vec<(u16, String)> {
    let (mut buffer, mut datagrams) = ([0; 65536], Vec::new());
    while let Ok((length, from)) = server.recv_from(&mut buffer) {
        datagrams.push((from.port(), String::from_utf8_lossy(&buffer[..length]).into_owned()));
    }
    datagrams
}

fn server_at(address: &str) -> UdpSocket {
    let server = UdpSocket::bind(address).unwrap();
    server.set_nonblocking(true).unwrap();
    server
}

/// NAT sends datagrams of one source port to the server that got the first of them.
#[test]
fn each_lookup_changes_the_source_port_and_sends_all_values() {
    let server = server_at("127.0.0.1:0");
    let endpoint = server.local_addr().unwrap().to_string();
    let mut host = FakeJobManager::start(Some(&endpoint));
    host.load(plugin(), json!({"lookup": "5s", "resync": "1h"})).unwrap();
    host.advance(0.1);
    host.counts();
    let mut ports: Vec<_> = received(&server).into_iter().map(|(port, _)| port).collect();
    ports.dedup();
    assert_eq!(ports.len(), 1);
    for _ in 0..2 {
        host.advance(5.0);
        host.counts();
        let datagrams = received(&server);
        assert!(datagrams.iter().any(|(_, text)| text.contains("flux.job.state.RUN:0|g")));
        assert!(datagrams.iter().all(|(port, _)| !ports.contains(port)), "{datagrams:?}");
        ports.push(datagrams[0].0);
    }
    host.end();
}

#[test]
fn each_probe_of_a_server_that_refuses_has_a_new_source_port() {
    let server = server_at("127.0.0.1:0");
    let address = server.local_addr().unwrap().to_string();
    let mut host = FakeJobManager::start(Some(&address));
    host.load(plugin(), json!({"lookup": "1h", "resync": 1})).unwrap();
    host.advance(0.1);
    host.counts();
    let port = received(&server)[0].0;
    drop(server);
    host.advance(5.0);
    assert_eq!(host.query()["endpoints"][0]["state"], "failing");
    let server = server_at(&address);
    host.advance(20.0);
    host.counts();
    let datagrams = received(&server);
    assert!(!datagrams.is_empty() && datagrams.iter().all(|(from, _)| *from != port));
    assert_eq!(host.query()["endpoints"][0]["state"], "ok");
    host.end();
}

#[test]
#[cfg_attr(
    not(all(have_namespaces, have_ipv6)),
    ignore = "needs IPv6, unshare to be allowed, and scripts/test"
)]
fn datagrams_fit_the_path_mtu() {
    for (kind, endpoint, mtu, max) in [
        ("udp4", "192.0.2.2:8125", 1400, 1400 - 28),
        ("udp6", "[fe80::2%cable0]:8125", 1280, 1280 - 48),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("received");
        let mut host = host_of_a_server(folder.path(), kind, endpoint);
        ip(&host, &format!("link set cable0 mtu {mtu}"));
        let names: Vec<_> = (0..60).map(|number| format!("queue-{number:02}")).collect();
        for (id, queue) in names.iter().enumerate() {
            let jobspec = json!({"attributes": {"system": {"queue": queue}}});
            host.call("job.new", &json!({"id": id, "state": 8, "jobspec": jobspec}));
        }
        host.load(plugin(), json!({"metrics": ["states", "queues"]})).unwrap();
        let all = |text: &str| names.iter().all(|name| text.contains(&format!("{name}.SCHED:1|g")));
        for _ in 0..200 {
            // The name of the interface is looked up in real time.
            host.advance(0.1);
            std::thread::sleep(std::time::Duration::from_millis(10));
            if all(&std::fs::read_to_string(&file).unwrap()) {
                break;
            }
        }
        wait_for(&file, all);
        let sizes = std::fs::read_to_string(folder.path().join("sizes")).unwrap();
        let sizes: Vec<usize> = sizes.lines().map(|size| size.parse().unwrap()).collect();
        let largest = *sizes.iter().max().unwrap();
        assert!((max - 100..=max).contains(&largest), "{kind}: {largest} of at most {max} bytes");
        host.end();
    }
}

#[test]
fn the_key_datagram_bounds_the_payload() {
    let server = server_at("127.0.0.1:0");
    let endpoint = server.local_addr().unwrap().to_string();
    for max in [512, 1000, 1432] {
        let mut host = FakeJobManager::start(Some(&endpoint));
        for id in 0..60 {
            let jobspec = json!({"attributes": {"system": {"queue": format!("queue-{id:02}")}}});
            host.call("job.new", &json!({"id": id, "state": 8, "jobspec": jobspec}));
        }
        let conf = json!({"metrics": ["states", "queues"], "datagram": max});
        host.load(plugin(), conf).unwrap();
        host.advance(0.2);
        host.counts();
        let largest = received(&server).iter().map(|(_, text)| text.len()).max().unwrap();
        assert!((max - 60..=max).contains(&largest), "{largest} of at most {max} bytes");
        host.end();
        received(&server);
    }
}
