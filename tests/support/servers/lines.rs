//! Servers that send their values at each flush as lines for Graphite: name, value and time.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::{json, Value};
use tempfile::TempDir;

use super::process::{await_udp, command_of, free_port, Process};
use super::run::{Server, Told};
use crate::support::found::found;
use crate::support::receiver::vacant;

/// The meaning of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    Gauge,
    /// The sum of a counter since the last flush.
    Counter,
    /// The sum of a counter since the start of the server.
    Total,
    /// The number of timings since the last flush.
    Count,
    /// The mean of these timings, in milliseconds.
    Mean,
    /// The mean of these timings, in seconds.
    MeanSeconds,
}
use What::*;

/// A server of this kind.
struct Spec {
    /// Writes its configuration.
    command: fn(&Path, SocketAddr, u16) -> Command,
    /// Prefixes and suffixes of names, with their meaning.
    names: &'static [(What, &'static str, &'static str)],
    /// The settings of the plugin.
    conf: fn() -> Value,
    /// The conversion of a timing; `None`: the server does not count it.
    reads: fn(f64) -> Option<f64>,
}

/// A running server, and the lines that it sent.
pub struct Lined {
    spec: Spec,
    address: SocketAddr,
    folder: TempDir,
    port: u16,
    lines: Arc<Mutex<Vec<(String, f64, i64)>>>,
    process: Option<Process>,
}

impl Lined {
    fn new(spec: Spec) -> Lined {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let sink = lines.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let sink = sink.clone();
                thread::spawn(move || {
                    for line in BufReader::new(stream).lines().map_while(Result::ok) {
                        let fields: Vec<_> = line.split([' ', '|']).collect();
                        let &[name, value, time] = &fields[..] else { continue };
                        let (Ok(value), Ok(time)) = (value.parse(), time.parse()) else { continue };
                        sink.lock().unwrap().push((name.to_owned(), value, time));
                    }
                });
            }
        });
        let folder = tempfile::tempdir().unwrap();
        let mut server = Lined { spec, address: vacant(), folder, port, lines, process: None };
        server.start();
        server
    }

    /// The meaning of a line, and the name that the plugin sent.
    fn meaning<'a>(&self, name: &'a str) -> Option<(What, &'a str)> {
        let (head, name) = name.split_at(name.find("flux.job.")?);
        self.spec.names.iter().find_map(|&(what, before, behind)| {
            let name = name.strip_suffix(behind).filter(|_| head.ends_with(before))?;
            let part = match what {
                Gauge => "state",
                Counter | Total => "result",
                Count | Mean | MeanSeconds => "time",
            };
            let rest = name.strip_prefix("flux.job.")?.strip_prefix(part)?.strip_prefix('.')?;
            (!rest.contains('.')).then_some((what, name))
        })
    }
}

impl Server for Lined {
    fn endpoint(&self) -> String {
        self.address.to_string()
    }

    fn conf(&self) -> Value {
        (self.spec.conf)()
    }

    fn reads(&self, milliseconds: f64) -> Option<f64> {
        (self.spec.reads)(milliseconds)
    }

    fn told(&mut self) -> Told {
        let lines = self.lines.lock().unwrap();
        let latest = lines.iter().map(|(.., time)| *time).max().unwrap_or_default();
        let mut told = Told::default();
        let mut timings = Timings::default();
        for (name, value, time) in lines.iter() {
            let Some((what, name)) = self.meaning(name) else { continue };
            match what {
                // A gauge that is not in the last flushes is not shown.
                Gauge if *time >= latest - 1 => {
                    told.gauges.insert(name.to_owned(), *value);
                }
                Gauge => (),
                Counter => *told.counters.entry(name.to_owned()).or_default() += value,
                Total => {
                    told.counters.insert(name.to_owned(), *value);
                }
                Count => timings.at(name, *time).0.push(*value),
                Mean => timings.at(name, *time).1.push(*value),
                MeanSeconds => timings.at(name, *time).1.push(*value * 1000.0),
            }
        }
        told.timings = Some(timings.sums());
        told
    }

    fn stop(&mut self) {
        self.process = None;
        self.lines.lock().unwrap().clear();
    }

    fn start(&mut self) {
        let command = (self.spec.command)(self.folder.path(), self.address, self.port);
        self.process = Some(Process::start(command, self.folder.path()));
        await_udp(self.address);
    }
}

/// The numbers and means of timings, by name and time. Two flushes may have the same time.
#[derive(Default)]
pub struct Timings(BTreeMap<(String, i64), (Vec<f64>, Vec<f64>)>);

impl Timings {
    /// The numbers and the means of one time.
    pub fn at(&mut self, name: &str, time: i64) -> &mut (Vec<f64>, Vec<f64>) {
        self.0.entry((name.to_owned(), time)).or_default()
    }

    /// The number and the mean of all timings.
    pub fn sums(self) -> BTreeMap<String, (f64, f64)> {
        let mut sums: BTreeMap<String, (f64, f64)> = BTreeMap::new();
        for ((name, _), (mut counts, means)) in self.0 {
            // Some servers send a number of 0 without a mean.
            if counts.len() != means.len() {
                counts.retain(|count| *count > 0.0);
            }
            for (count, mean) in counts.into_iter().zip(means).filter(|(count, _)| *count > 0.0) {
                let sum = sums.entry(name.clone()).or_default();
                *sum = (sum.0 + count, sum.1 + count * mean);
            }
        }
        sums.into_iter().map(|(name, (count, sum))| (name, (count, sum / count))).collect()
    }
}

fn nothing() -> Value {
    json!({})
}

/// Half of a flush interval, for servers that forget gauges at each flush.
pub fn values() -> Value {
    json!({"send": "values", "resync": "500ms"})
}

fn etsys(folder: &Path, address: SocketAddr, port: u16, more: &str) -> Command {
    let config = folder.join("statsd.js");
    let text = format!(
        "{{ address: '{}', port: {}, mgmt_address: '127.0.0.1', mgmt_port: {},\n\
         flushInterval: 1000, backends: ['./backends/graphite'], graphiteHost: '127.0.0.1',\n\
         graphitePort: {port}, graphite: {{ legacyNamespace: false }} {more} }}\n",
        address.ip(),
        address.port(),
        free_port(),
    );
    fs::write(&config, text).unwrap();
    let mut command = Command::new("node");
    command.arg(format!("{}/stats.js", found("STATE_COUNTS_STATSD"))).arg(config);
    command
}

const ETSYS: &[(What, &str, &str)] = &[
    (Gauge, "stats.gauges.", ""),
    (Counter, "stats.counters.", ".count"),
    (Count, "stats.timers.", ".count"),
    (Mean, "stats.timers.", ".mean"),
];

/// Etsy's statsd with the backend for Graphite.
pub fn etsy() -> Lined {
    Lined::new(Spec {
        command: |folder, address, port| etsys(folder, address, port, ""),
        names: ETSYS,
        conf: nothing,
        reads: Some,
    })
}

/// Etsy's statsd with deleteGauges.
pub fn etsy_that_deletes_gauges() -> Lined {
    Lined::new(Spec {
        command: |folder, address, port| etsys(folder, address, port, ", deleteGauges: true"),
        names: ETSYS,
        conf: values,
        reads: Some,
    })
}

/// collectd's plugin statsd, with its write_graphite.
pub fn collectd() -> Lined {
    let command = |folder: &Path, address: SocketAddr, port: u16| {
        let prefix = found("STATE_COUNTS_COLLECTD");
        let (config, home) = (folder.join("collectd.conf"), folder.display());
        let text = format!(
            "Hostname \"host\"\nFQDNLookup false\nInterval 1\nBaseDir \"{home}\"\n\
             PIDFile \"{home}/pid\"\nPluginDir \"{prefix}/lib/collectd\"\n\
             TypesDB \"{prefix}/share/collectd/types.db\"\n\
             LoadPlugin statsd\n<Plugin statsd>\n  Host \"{}\"\n  Port \"{}\"\n  TimerCount true\n\
             </Plugin>\n\
             <LoadPlugin write_graphite>\n  FlushInterval 1\n</LoadPlugin>\n\
             <Plugin write_graphite>\n  <Node \"test\">\n    Host \"127.0.0.1\"\n    Port \"{port}\"\n    \
             StoreRates false\n    PreserveSeparator true\n  </Node>\n</Plugin>\n",
            address.ip(),
            address.port(),
        );
        fs::write(&config, text).unwrap();
        let mut command = command_of(prefix, "sbin/collectd");
        command.arg("-f").arg("-C").arg(config);
        command
    };
    let names = &[
        (Count, "gauge-", "-count"),
        (MeanSeconds, "latency-", "-average"),
        (Total, "derive-", ""),
        (Gauge, "gauge-", ""),
    ];
    // It truncates to whole milliseconds, and drops timings of 0.
    let reads = |time: f64| Some(time.trunc()).filter(|time| *time >= 1.0);
    Lined::new(Spec { command, names, conf: nothing, reads })
}

/// brubeck.
pub fn brubeck() -> Lined {
    let command = |folder: &Path, address: SocketAddr, port: u16| {
        let config = folder.join("brubeck.json");
        let text = json!({
            "server_name": "brubeck", "dumpfile": folder.join("dump"), "capacity": 15, "expire": 20,
            "backends": [{
                "type": "carbon", "address": "127.0.0.1", "port": port, "frequency": 1,
            }],
            "samplers": [{
                "type": "statsd", "address": address.ip(), "port": address.port(), "workers": 1,
                "multisock": false, "multimsg": 8,
            }],
        });
        fs::write(&config, text.to_string()).unwrap();
        let mut command = Command::new(found("STATE_COUNTS_BRUBECK"));
        command.arg(format!("--config={}", config.display()));
        command
    };
    let names = &[(Gauge, "", ""), (Counter, "", ""), (Count, "", ".count"), (Mean, "", ".mean")];
    Lined::new(Spec { command, names, conf: nothing, reads: Some })
}

/// statsite.
pub fn statsite() -> Lined {
    let command = |folder: &Path, address: SocketAddr, port: u16| {
        let config = folder.join("statsite.conf");
        let text = format!(
            "[statsite]\nport = 0\nudp_port = {}\nbind_address = {}\nflush_interval = 1\n\
             stream_cmd = exec bash -c 'exec cat >/dev/tcp/127.0.0.1/{port}'\n",
            address.port(),
            address.ip(),
        );
        fs::write(&config, text).unwrap();
        let mut command = Command::new(found("STATE_COUNTS_STATSITE"));
        command.arg("-f").arg(config);
        command
    };
    let names = &[
        (Gauge, "gauges.", ""),
        (Counter, "counts.", ""),
        (Count, "timers.", ".count"),
        (Mean, "timers.", ".mean"),
    ];
    Lined::new(Spec { command, names, conf: values, reads: Some })
}

/// bitly's statsdaemon.
pub fn bitly() -> Lined {
    let command = |_: &Path, address: SocketAddr, port: u16| {
        let mut command = Command::new(found("STATE_COUNTS_BITLY"));
        command.arg(format!("-address={address}")).arg("-tcpaddr=");
        command.arg(format!("-graphite=127.0.0.1:{port}")).arg("-flush-interval=1");
        command
    };
    let names = &[(Gauge, "", ""), (Counter, "", ""), (Count, "", ".count"), (Mean, "", ".mean")];
    Lined::new(Spec { command, names, conf: values, reads: Some })
}

/// raintank's statsdaemon.
pub fn raintank() -> Lined {
    let command = |folder: &Path, address: SocketAddr, port: u16| {
        let config = folder.join("statsdaemon.ini");
        let text = format!(
            "listen_addr = \"{address}\"\nadmin_addr = \"127.0.0.1:{}\"\n\
             graphite_addr = \"127.0.0.1:{port}\"\nflush_interval = 1\nprocesses = 1\n\
             instance = \"x\"\nlegacy_namespace = false\nprefix_rates = \"stats.counters.\"\n\
             prefix_counters = \"stats.counters.\"\nprefix_timers = \"stats.timers.\"\n\
             prefix_gauges = \"stats.gauges.\"\nflush_rates = false\nflush_counts = true\n\
             percentile_thresholds = \"90\"\nmax_timers_per_s = 1000\nlog_level = \"info\"\n\
             proftrigger_path = \"{home}\"\nproftrigger_heap_freq = \"0\"\n\
             proftrigger_cpu_freq = \"0\"\n",
            free_port(),
            home = folder.display(),
        );
        fs::write(&config, text).unwrap();
        let mut command = Command::new(found("STATE_COUNTS_RAINTANK"));
        command.arg(format!("-config_file={}", config.display()));
        command
    };
    Lined::new(Spec { command, names: ETSYS, conf: values, reads: Some })
}
