//! veneur with its sink that writes values to the log.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use super::lines::{values, Timings};
use super::process::{await_udp, free_port, Process};
use super::run::{Server, Told};
use crate::support::found::found;
use crate::support::receiver::vacant;

/// A running veneur.
pub struct Veneur {
    address: SocketAddr,
    folder: TempDir,
    process: Option<Process>,
}

impl Veneur {
    pub fn new() -> Veneur {
        let mut server =
            Veneur { address: vacant(), folder: tempfile::tempdir().unwrap(), process: None };
        server.start();
        server
    }
}

impl Server for Veneur {
    fn endpoint(&self) -> String {
        self.address.to_string()
    }

    fn conf(&self) -> Value {
        let mut conf = values();
        conf["dialect"] = "dogstatsd".into();
        conf
    }

    fn told(&mut self) -> Told {
        let log = fs::read_to_string(self.folder.path().join("output")).unwrap();
        let mut told = Told::default();
        let mut timings = Timings::default();
        // "  GaugeMetric: flux.job.state([state:RUN]) = 3.000000", flush by flush.
        let flushes: Vec<_> = log.split("Flushing ").skip(1).collect();
        for (number, flush) in flushes.iter().enumerate() {
            for line in flush.lines() {
                let Some((_, line)) = line.split_once("Metric: flux.job.") else { continue };
                let Some((name, rest)) = line.split_once("([") else { continue };
                let Some((tag, rest)) = rest.split_once("]) = ") else { continue };
                let (Some((_, tag)), Some((value, _))) =
                    (tag.split_once(':'), rest.split_once('"'))
                else {
                    continue;
                };
                let value: f64 = value.parse().unwrap();
                let (metric, timed) =
                    (format!("flux.job.{name}.{tag}"), format!("flux.job.time.{tag}"));
                match name {
                    // A gauge that is not in the last flushes is not shown.
                    "state" if number + 2 >= flushes.len() => {
                        told.gauges.insert(metric, value);
                    }
                    "result" => *told.counters.entry(metric).or_default() += value,
                    "time.count" => timings.at(&timed, number as i64).0.push(value),
                    "time.avg" => timings.at(&timed, number as i64).1.push(value),
                    _ => (),
                }
            }
        }
        told.timings = Some(timings.sums());
        told
    }

    fn stop(&mut self) {
        self.process = None;
    }

    fn start(&mut self) {
        let config = self.folder.path().join("veneur.yaml");
        let text = format!(
            "statsd_listen_addresses:\n - udp://{}\ninterval: 1s\nnum_workers: 1\n\
             num_readers: 1\nnum_span_workers: 1\nspan_channel_capacity: 10\n\
             percentiles: [0.5]\naggregates: [count, avg]\nmetric_max_length: 4096\n\
             read_buffer_size_bytes: 2097152\nhostname: host\nstats_address: \"127.0.0.1:9\"\n\
             http_address: \"127.0.0.1:{}\"\ndebug: true\n\
             metric_sinks:\n - kind: debug\n   name: debug\n",
            self.address,
            free_port(),
        );
        fs::write(&config, text).unwrap();
        let mut command = Command::new(found("STATE_COUNTS_VENEUR"));
        command.arg("-f").arg(config);
        self.process = Some(Process::start(command, self.folder.path()));
        await_udp(self.address);
    }
}
