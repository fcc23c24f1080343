//! The check commands of docs/servers.md, for the servers that scripts/test fetches.

use std::net::UdpSocket;
use std::process::Command;
use std::time::{Duration, Instant};
use std::{fs, thread};

use crate::support::found::{found, TOP};
use crate::support::receiver::vacant;
use crate::support::servers::exporter::Exporter;
use crate::support::servers::netdata::Netdata;
use crate::support::servers::process::{await_tcp, free_port, Process};
use crate::support::servers::run::Server;

/// The first code of this line in the section of a server.
fn line(server: &str, name: &str) -> String {
    let text = fs::read_to_string(format!("{TOP}/docs/servers.md")).unwrap();
    let mut sections = text.split("\n## ");
    let section = sections.find(|section| section.starts_with(server)).expect("the section");
    let line = section.lines().find_map(|line| line.strip_prefix(&format!("- {name}:")));
    let code = line.and_then(|line| line.split('`').nth(1));
    code.unwrap_or_else(|| panic!("{server}: {name} has no code in its first line")).to_owned()
}

/// Sends a gauge until the check of the server prints its value.
fn check(server: &str, endpoint: &str, ports: &[(&str, u16)]) {
    let mut check = line(server, "Check");
    for (documented, port) in ports {
        assert!(check.contains(documented), "{check}");
        check = check.replace(documented, &port.to_string());
    }
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        socket.send_to(b"flux.job.state.RUN:4217|g", endpoint).unwrap();
        let output = Command::new("bash").args(["-c", &check]).output().unwrap();
        let printed = String::from_utf8_lossy(&output.stdout);
        if printed.lines().count() == 1 && printed.contains("4217") {
            return;
        }
        assert!(Instant::now() < end, "{check}: {output:?}");
        thread::sleep(Duration::from_millis(500));
    }
}

#[test]
#[cfg_attr(not(have_statsd), ignore = "needs npm's statsd: scripts/test")]
fn etsys_statsd_prints_the_gauge() {
    let (address, management, folder) = (vacant(), free_port(), tempfile::tempdir().unwrap());
    let documented = line("Etsy's statsd", "Server");
    let config = documented
        .replace("8125", &address.port().to_string())
        .replace("8126", &management.to_string());
    let path = folder.path().join("config.js");
    fs::write(&path, config).unwrap();
    let mut command = Command::new("node");
    command.arg(format!("{}/stats.js", found("STATE_COUNTS_STATSD"))).arg(path);
    let _process = Process::start(command, folder.path());
    await_tcp(management);
    check("Etsy's statsd", &address.to_string(), &[("8126", management)]);
}

#[test]
#[cfg_attr(not(have_netdata), ignore = "needs Debian 12's netdata-core: scripts/test")]
fn netdata_prints_the_gauge() {
    let charts = fs::read_to_string(format!("{TOP}/dashboards/netdata.conf")).unwrap();
    let server = Netdata::with(vec![("statsd.d/flux.conf", charts)]);
    check("Netdata", &server.endpoint(), &[("19999", server.web)]);
}

#[test]
#[cfg_attr(not(have_exporter), ignore = "needs statsd_exporter on PATH")]
fn statsd_exporter_prints_the_gauge() {
    let server = Exporter::new();
    check("statsd_exporter", &server.endpoint(), &[("9102", server.web)]);
}
