//! statsd_exporter, with the mapping of dashboards/, and Prometheus behind it.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{json, Value};
use tempfile::TempDir;

use super::http::get;
use super::process::{await_tcp, free_port, Process};
use super::run::{Server, Told};
use crate::support::found::{found, TOP};
use crate::support::receiver::vacant;

/// A running statsd_exporter.
pub struct Exporter {
    address: SocketAddr,
    /// The path of its Unix socket, if it has one.
    path: Option<PathBuf>,
    /// The port for HTTP.
    pub web: u16,
    folder: TempDir,
    process: Option<Process>,
}

impl Exporter {
    /// Starts one that listens on UDP.
    pub fn new() -> Exporter {
        Self::make(false)
    }

    /// Starts one that listens on a Unix socket.
    pub fn unix() -> Exporter {
        Self::make(true)
    }

    fn make(unix: bool) -> Exporter {
        let folder = tempfile::tempdir().unwrap();
        let path = unix.then(|| folder.path().join("socket"));
        let mut server =
            Exporter { address: vacant(), path, web: free_port(), folder, process: None };
        server.start();
        server
    }

    /// The value of a metric of the exporter itself.
    pub fn own(&self, name: &str) -> f64 {
        let text = get(self.web, "/metrics");
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{text}: no {name}")).parse().unwrap()
    }
}

impl Server for Exporter {
    fn endpoint(&self) -> String {
        match &self.path {
            Some(path) => format!("unix:{}", path.display()),
            None => self.address.to_string(),
        }
    }

    fn conf(&self) -> Value {
        match &self.path {
            Some(_) => json!({"period": "50ms"}),
            None => json!({}),
        }
    }

    fn has_read(&mut self, datagrams: u64) -> bool {
        let packets = if self.path.is_some() { "unixgram" } else { "udp" };
        self.own(&format!("statsd_exporter_{packets}_packets_total")) >= datagrams as f64
    }

    fn told(&mut self) -> Told {
        told(get(self.web, "/metrics").lines())
    }

    fn stop(&mut self) {
        self.process = None;
        // A killed exporter does not remove its socket.
        if let Some(path) = &self.path {
            let _ = std::fs::remove_file(path);
        }
    }

    fn start(&mut self) {
        let mapping = format!("{TOP}/dashboards/statsd_exporter.yml");
        let mut command = Command::new(found("STATE_COUNTS_EXPORTER"));
        command.arg(format!("--statsd.mapping-config={mapping}"));
        command.arg(format!("--web.listen-address=127.0.0.1:{}", self.web));
        command.arg("--statsd.listen-tcp=");
        match &self.path {
            Some(path) => {
                command.arg("--statsd.listen-udp=");
                command.arg(format!("--statsd.listen-unixgram={}", path.display()))
            }
            None => command.arg(format!("--statsd.listen-udp={}", self.address)),
        };
        self.process = Some(Process::start(command, self.folder.path()));
        await_tcp(self.web);
    }
}

/// The metrics in lines for Prometheus, by the names that the plugin sends.
pub fn told<'a>(lines: impl Iterator<Item = &'a str>) -> Told {
    let mut told = Told { timings: Some(Default::default()), ..Told::default() };
    for line in lines.filter(|line| !line.starts_with('#')) {
        let Some((series, value)) = line.rsplit_once(' ') else { continue };
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let label = labels.split('"').nth(1).unwrap_or_default();
        let value: f64 = value.parse().unwrap();
        let timing = match name.strip_prefix("flux_job_wait_seconds_") {
            Some(what) => Some((what, "submit_to_run")),
            None => name.strip_prefix("flux_job_state_seconds_").map(|what| (what, label)),
        };
        let timings = told.timings.as_mut().unwrap();
        match (name, timing) {
            ("flux_jobs", _) => {
                told.gauges.insert(format!("flux.job.state.{label}"), value);
            }
            ("flux_jobs_submitted_total", _) => {
                told.counters.insert("flux.job.result.submitted".to_owned(), value);
            }
            ("flux_jobs_ended_total", _) => {
                told.counters.insert(format!("flux.job.result.{label}"), value);
            }
            (_, Some((what @ ("count" | "sum"), timed))) => {
                let entry = timings.entry(format!("flux.job.time.{timed}")).or_default();
                if what == "count" {
                    entry.0 = value;
                } else {
                    entry.1 = value * 1000.0;
                }
            }
            _ => (),
        }
    }
    for (count, mean) in told.timings.iter_mut().flat_map(|timings| timings.values_mut()) {
        *mean /= *count;
    }
    told
}
