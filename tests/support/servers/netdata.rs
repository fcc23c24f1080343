//! Netdata's own statsd server.

use std::fs;
use std::net::SocketAddr;

use serde_json::{json, Value};
use tempfile::TempDir;

use super::http::get;
use super::process::{await_tcp, await_udp, command_of, free_port, Process};
use super::run::{Server, Told};
use crate::support::found::found;
use crate::support::receiver::vacant;

/// A running Netdata with only its statsd server.
pub struct Netdata {
    pub address: SocketAddr,
    /// The port for HTTP.
    pub web: u16,
    /// Files below its configuration folder, and their contents.
    files: Vec<(&'static str, String)>,
    folder: TempDir,
    process: Option<Process>,
}

impl Netdata {
    pub fn new() -> Netdata {
        Netdata::with(Vec::new())
    }

    /// With charts, and alarms if there are any.
    pub fn with(files: Vec<(&'static str, String)>) -> Netdata {
        let folder = tempfile::tempdir().unwrap();
        let (address, web) = (vacant(), free_port());
        let mut server = Netdata { address, web, files, folder, process: None };
        server.start();
        server
    }
}

impl Server for Netdata {
    fn endpoint(&self) -> String {
        self.address.to_string()
    }

    fn conf(&self) -> Value {
        json!({})
    }

    /// The collected values: the charts show rates of counters. Timings exist for the last
    /// second only.
    fn told(&mut self) -> Told {
        let text = get(self.web, "/api/v1/allmetrics?format=prometheus&source=as-collected");
        let mut told = Told::default();
        // …{chart="statsd_flux.job.state.run_gauge",…,dimension="gauge"} 5000 1795609243381
        for line in text.lines() {
            let Some((_, rest)) = line.split_once("{chart=\"statsd_flux.job.") else { continue };
            let Some((chart, rest)) = rest.split_once('"') else { continue };
            let value = rest.split_once("} ").and_then(|(_, rest)| rest.split(' ').next());
            let Some(value) = value.and_then(|value| value.parse::<f64>().ok()) else { continue };
            if let Some(state) =
                chart.strip_prefix("state.").and_then(|it| it.strip_suffix("_gauge"))
            {
                // The values of gauges are multiplied by 1,000.
                let name = format!("flux.job.state.{}", state.to_uppercase());
                told.gauges.insert(name, value / 1000.0);
            } else if let Some(result) = chart.strip_suffix("_counter") {
                told.counters.insert(format!("flux.job.{result}"), value);
            }
        }
        told
    }

    fn stop(&mut self) {
        self.process = None;
    }

    fn start(&mut self) {
        let home = self.folder.path().display();
        let folders = ["etc/statsd.d", "etc/health.d", "cache", "lib/registry", "log", "run"];
        for folder in folders {
            fs::create_dir_all(self.folder.path().join(folder)).unwrap();
        }
        for (name, text) in &self.files {
            fs::write(self.folder.path().join("etc").join(name), text).unwrap();
        }
        let health = if self.files.is_empty() { "no" } else { "yes" };
        let user = nix::unistd::User::from_uid(nix::unistd::getuid()).unwrap().unwrap().name;
        let text = format!(
            "[global]\n run as user = {user}\n hostname = host\n\
             [directories]\n config = {home}/etc\n stock config = {home}/etc\n cache = {home}/cache\n \
             lib = {home}/lib\n log = {home}/log\n home = {home}\n web = {home}\n \
             plugins = {home}\n\
             [logs]\n access = none\n[db]\n mode = ram\n\
             [web]\n bind to = 127.0.0.1:{web}\n\
             [ml]\n enabled = no\n[health]\n enabled = {health}\n \
             run at least every seconds = 1\n[registry]\n enabled = no\n\
             [plugins]\n apps = no\n cgroups = no\n diskspace = no\n idlejitter = no\n \
             netdata monitoring = no\n nfacct = no\n perf = no\n proc = no\n slabinfo = no\n tc = no\n \
             timex = no\n statsd = yes\n enable running new plugins = no\n \
             check for new plugins every = 86400\n\
             [statsd]\n bind to = udp:{address}\n",
            web = self.web,
            address = self.address,
        );
        let config = self.folder.path().join("netdata.conf");
        fs::write(&config, text).unwrap();
        let mut command = command_of(found("STATE_COUNTS_NETDATA"), "sbin/netdata");
        command.arg("-D").arg("-c").arg(config);
        command.arg("-P").arg(self.folder.path().join("run/netdata.pid"));
        self.process = Some(Process::start(command, self.folder.path()));
        await_tcp(self.web);
        await_udp(self.address);
    }
}
