//! A run with one server, from the fake job manager or a broker.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{json, Value};

use crate::support::artifact::plugin;
use crate::support::broker::{in_an_hour, Broker, Setup, ENDLESS, SIMULATED};
use crate::support::fake_job_manager::FakeJobManager;
use crate::support::jobs::{live, COURSE};
use crate::support::receiver::{Receiver, PREFIX};
use crate::support::{trace, Counts};

/// A running server and its values.
pub trait Server {
    /// The endpoint on which it listens.
    fn endpoint(&self) -> String;
    /// The settings of the plugin in docs/servers.md.
    fn conf(&self) -> Value;
    /// The conversion of a timing, in milliseconds; `None`: the server does not count it.
    fn reads(&self, milliseconds: f64) -> Option<f64> {
        Some(milliseconds)
    }
    /// Returns `false` if it is known that the server has read fewer datagrams. A Unix socket
    /// has room for only a few, and others are lost.
    fn has_read(&mut self, _datagrams: u64) -> bool {
        true
    }
    /// The present values.
    fn told(&mut self) -> Told;
    /// Kills it.
    fn stop(&mut self);
    /// Starts it again, at the same address.
    fn start(&mut self);
}

/// The values of a server, by the names that the plugin sends.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Told {
    pub gauges: BTreeMap<String, f64>,
    /// The sum of each counter.
    pub counters: BTreeMap<String, f64>,
    /// The number of each timing and its mean in milliseconds. `None`: the server does not
    /// show them.
    pub timings: Option<BTreeMap<String, (f64, f64)>>,
}

/// The limit until a server has the correct values: many flushes.
const PATIENCE: Duration = Duration::from_secs(30);
/// Longer than two flushes.
const IDLE: Duration = Duration::from_millis(2200);

/// The jobs of a host.
trait Jobs {
    /// The plugin's `period`.
    const PERIOD: &str;

    fn truth(&mut self) -> Counts;
    /// Lets this time pass, also in the host.
    fn wait(&mut self, time: Duration);
    /// Changes the states of some jobs.
    fn change(&mut self);
    fn configure(&mut self, conf: &Value);
    fn query(&mut self) -> Value;
    /// The sums of counters that are known without the plugin.
    fn results(&self) -> BTreeMap<String, f64>;
}

/// The recorded run of 875 jobs, in the fake job manager.
pub fn recorded(mut server: impl Server) {
    let receiver = Receiver::start();
    let mut host = FakeJobManager::start(None);
    host.config(&conf::<Recorded>(&server, &receiver, true));
    host.load(plugin(), json!({})).unwrap();
    host.advance(0.1);
    trace::replay(&mut host, 100, |host| {
        host.advance(0.05);
        // The socket of the server has room for a few hundred datagrams.
        thread::sleep(Duration::from_millis(10));
        wait_for_reading(&mut server, &host.query());
    });
    run(&mut server, receiver, Recorded { host, next: 1_000_000 });
}

/// 441 jobs in a broker.
pub fn broker(mut server: impl Server) {
    let receiver = Receiver::start();
    let broker = Setup::new(None).start();
    broker.configure(&conf::<Real>(&server, &receiver, true)).unwrap();
    broker.load(plugin(), &[]).unwrap();
    for _ in 0..8 {
        broker.submit(&[SIMULATED, "--cc=1-52", "--quiet"]);
        broker.drain();
        wait_for_reading(&mut server, &broker.query());
    }
    broker.submit(&[ENDLESS, "--cc=1-5", "--quiet"]);
    broker.submit(&["--urgency=hold", "--cc=1-13", "--quiet"]);
    broker.submit(&[&in_an_hour(), "--cc=1-7", "--quiet"]);
    broker.wait_stats(|stats| {
        (stats["DEPEND"], stats["SCHED"], stats["RUN"], stats["INACTIVE"]) == (7, 13, 5, 416)
    });
    run(&mut server, receiver, Real(broker));
}

/// All that was sent, when it includes `results`.
fn all_sent(
    server: &impl Server,
    receiver: &mut Receiver,
    results: &BTreeMap<String, f64>,
) -> Told {
    let end = Instant::now() + PATIENCE;
    loop {
        let sent = sent(server, receiver);
        if results.iter().all(|(name, count)| sent.counters.get(name) == Some(count)) {
            assert!(sent.timings.as_ref().is_some_and(|timings| timings.len() >= 5), "{sent:?}");
            return sent;
        }
        assert!(Instant::now() < end, "sent {:?}, true is {results:?}", sent.counters);
        thread::sleep(Duration::from_millis(50));
    }
}

fn wait_for_reading(server: &mut impl Server, query: &Value) {
    let end = Instant::now() + PATIENCE;
    let datagrams = query["endpoints"][0]["datagrams"].as_u64().unwrap();
    while !server.has_read(datagrams) {
        assert!(Instant::now() < end, "the server has not read {datagrams} datagrams");
        thread::sleep(Duration::from_millis(10));
    }
}

/// The table `[state-counts]`. The receiver gets the same metrics as the server.
fn conf<J: Jobs>(server: &impl Server, receiver: &Receiver, without_resync: bool) -> Value {
    let mut conf = json!({
        "endpoint": [server.endpoint(), receiver.endpoint()],
        "period": J::PERIOD, "metrics": "states,timings,results", "resync": "1s",
    });
    for (key, value) in server.conf().as_object().unwrap() {
        conf[key] = value.clone();
    }
    // Servers that need values need resyncs.
    if without_resync && conf["send"] != "values" {
        conf["resync"] = "1h".into();
    }
    json!({"state-counts": conf})
}

fn run<J: Jobs>(server: &mut impl Server, mut receiver: Receiver, mut jobs: J) {
    let all = all_sent(server, &mut receiver, &jobs.results());
    wait_for_all(server, &mut jobs, &all, "after the run, before a resync");
    // A server that forgets idle gauges would count from 0 now.
    jobs.wait(IDLE);
    jobs.change();
    wait_for_gauges(server, &mut jobs, "after it was idle, before a resync");

    jobs.configure(&conf::<J>(server, &receiver, false));
    let resyncs = |jobs: &mut J| jobs.query()["resyncs"].as_u64().unwrap();
    let before = resyncs(&mut jobs);
    while resyncs(&mut jobs) < before + 2 {
        jobs.wait(Duration::from_millis(200));
    }
    jobs.wait(IDLE);
    wait_for_gauges(server, &mut jobs, "after a resync");

    server.stop();
    jobs.change();
    server.start();
    wait_for_gauges(server, &mut jobs, "after a restart");
    jobs.change();
    wait_for_gauges(server, &mut jobs, "after a restart, and more changes");
}

/// The counters and timings of the receiver, converted like those of the server. The receiver
/// loses no datagram.
fn sent(server: &impl Server, receiver: &mut Receiver) -> Told {
    let (mut counters, mut timings) = (BTreeMap::new(), BTreeMap::new());
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, values) in receiver.values() {
        for value in values {
            // With DogStatsD's tags: 2.5|ms|#state:RUN
            let (value, tag) = value.split_once("|#").unwrap_or((&value, ""));
            let tag = tag.split_once(':').map(|(_, tag)| format!(".{tag}")).unwrap_or_default();
            all.entry(format!("{name}{tag}")).or_default().push(value.to_owned());
        }
    }
    for (name, values) in all {
        let numbers = |kind: &str| -> Vec<f64> {
            values.iter().filter_map(|it| it.strip_suffix(kind)?.parse().ok()).collect()
        };
        let (counted, timed) = (numbers("|c"), numbers("|ms"));
        let timed: Vec<_> = timed.into_iter().filter_map(|time| server.reads(time)).collect();
        if !counted.is_empty() {
            counters.insert(name, counted.iter().sum());
        } else if !timed.is_empty() {
            let count = timed.len() as f64;
            timings.insert(name, (count, timed.iter().sum::<f64>() / count));
        }
    }
    Told { gauges: BTreeMap::new(), counters, timings: Some(timings) }
}

#[track_caller]
fn wait_for_gauges(server: &mut impl Server, jobs: &mut impl Jobs, when: &str) {
    let end = Instant::now() + PATIENCE;
    loop {
        jobs.wait(Duration::from_millis(200));
        let (told, truth) = (states(&server.told()), jobs.truth());
        if told == truth {
            return;
        }
        assert!(Instant::now() < end, "{when}: the server has {told:?}, true is {truth:?}");
    }
}

#[track_caller]
fn wait_for_all(server: &mut impl Server, jobs: &mut impl Jobs, sent: &Told, when: &str) {
    wait_for_gauges(server, jobs, when);
    let end = Instant::now() + PATIENCE;
    loop {
        let told = server.told();
        let differs = [
            (counted(&told) != counted(sent))
                .then(|| format!("counters {:?}, sent {:?}", told.counters, sent.counters)),
            timings_differ(&told, sent),
        ];
        let differs: Vec<_> = differs.into_iter().flatten().collect();
        if differs.is_empty() {
            return;
        }
        assert!(Instant::now() < end, "{when}: the server has {}", differs.join("\n"));
        jobs.wait(Duration::from_millis(200));
    }
}

/// The counters of results that are not 0. Each counter starts with 0, which not all servers
/// show.
fn counted(told: &Told) -> BTreeMap<&String, f64> {
    let is_result = |name: &str| name.starts_with("flux.job.result.");
    let counters = told.counters.iter().filter(|(name, &count)| count != 0.0 && is_result(name));
    counters.map(|(name, &count)| (name, count)).collect()
}

/// The numbers must be equal, and the means to the decimals of the server.
fn timings_differ(told: &Told, sent: &Told) -> Option<String> {
    let (Some(told), Some(sent)) = (&told.timings, &sent.timings) else { return None };
    let is_same = |name: &String| {
        let (Some(told), sent) = (told.get(name), sent[name]) else { return false };
        told.0 == sent.0 && (told.1 - sent.1).abs() <= sent.1 * 0.002 + 0.05
    };
    (!sent.keys().all(is_same) || told.len() != sent.len())
        .then(|| format!("timings {told:?}, sent {sent:?}"))
}

/// The state counts. A gauge of a server that is not a whole number is not one of the plugin.
fn states(told: &Told) -> Counts {
    let ours = told.gauges.iter().filter_map(|(name, level)| {
        let whole = if level.fract() == 0.0 { *level as i64 } else { i64::MIN };
        Some((name.strip_prefix(PREFIX)?.to_owned(), whole))
    });
    ours.collect()
}

struct Recorded {
    host: FakeJobManager,
    next: i64,
}

impl Jobs for Recorded {
    /// The run takes a second: one datagram per loop iteration would be too many for the
    /// socket of a server.
    const PERIOD: &str = "50ms";

    fn truth(&mut self) -> Counts {
        self.host.counts()
    }

    fn wait(&mut self, time: Duration) {
        self.host.advance(time.as_secs_f64());
        self.host.counts();
        thread::sleep(time);
    }

    fn change(&mut self) {
        for length in 2..COURSE.len() {
            live(&mut self.host, self.next, &COURSE[..length]);
            self.next += 1;
        }
    }

    fn configure(&mut self, conf: &Value) {
        self.host.reload(conf).unwrap();
    }

    fn query(&mut self) -> Value {
        self.host.query()
    }

    fn results(&self) -> BTreeMap<String, f64> {
        let stats = trace::stats("before-purge");
        ["failed", "canceled", "timeout"]
            .map(|name| (format!("flux.job.result.{name}"), stats[name].as_f64().unwrap()))
            .into()
    }
}

struct Real(Broker);

impl Jobs for Real {
    /// The default.
    const PERIOD: &str = "0";

    fn truth(&mut self) -> Counts {
        self.0.stats()
    }

    fn wait(&mut self, time: Duration) {
        thread::sleep(time);
    }

    fn change(&mut self) {
        self.0.submit(&[SIMULATED, "--cc=1-20", "--quiet"]);
        self.0.submit(&["--urgency=hold", "--cc=1-3", "--quiet"]);
        self.0.wait_stats(|stats| stats["INACTIVE"] % 20 == 16 && stats["CLEANUP"] == 0);
    }

    fn configure(&mut self, conf: &Value) {
        self.0.configure(conf).unwrap();
    }

    fn query(&mut self) -> Value {
        self.0.query()
    }

    fn results(&self) -> BTreeMap<String, f64> {
        [("submitted", 441.0), ("completed", 416.0)]
            .map(|(name, count)| (format!("flux.job.result.{name}"), count))
            .into()
    }
}
