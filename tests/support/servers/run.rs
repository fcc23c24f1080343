//! One run with one server, from the fake job manager or a real broker.

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

/// A server that runs, and what it says.
pub trait Server {
    /// Where it listens.
    fn endpoint(&self) -> String;
    /// The settings of ours that docs/servers.md recommends for it.
    fn conf(&self) -> Value;
    /// What it makes of a timing, in milliseconds; `None`: it does not count it.
    fn reads(&self, milliseconds: f64) -> Option<f64> {
        Some(milliseconds)
    }
    /// Whether it has read so many datagrams, as far as it says. A unix socket holds
    /// only a few, and what does not fit is lost.
    fn has_read(&mut self, _datagrams: u64) -> bool {
        true
    }
    /// What it says now.
    fn told(&mut self) -> Told;
    /// Kills it.
    fn stop(&mut self);
    /// Starts it where it was, knowing nothing.
    fn start(&mut self);
}

/// What a server says, by the names that the plugin sends.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Told {
    pub gauges: BTreeMap<String, f64>,
    /// What each counter came to.
    pub counters: BTreeMap<String, f64>,
    /// Of each timing the number, and the mean in milliseconds. `None`: it does
    /// not say.
    pub timings: Option<BTreeMap<String, (f64, f64)>>,
}

/// How long a server may take to say what is true: many flushes.
const PATIENCE: Duration = Duration::from_secs(30);
/// Longer than two flushes.
const IDLE: Duration = Duration::from_millis(2200);

/// Where jobs live.
trait Jobs {
    /// The `period` to run them with.
    const PERIOD: &str;

    fn truth(&mut self) -> Counts;
    /// Time passes, and a little happens if anything is to.
    fn wait(&mut self, time: Duration);
    /// Some jobs move.
    fn change(&mut self);
    fn configure(&mut self, conf: &Value);
    fn query(&mut self) -> Value;
    /// What the counters must have come to, as far as anybody but the plugin knows.
    fn results(&self) -> BTreeMap<String, f64>;
}

/// The recorded run of 875 jobs, in the fake job manager.
pub fn recorded(mut server: impl Server) {
    let receiver = Receiver::start();
    let mut host = FakeJobManager::start(None);
    host.config(&conf::<Recorded>(&server, &receiver, true));
    host.load(plugin(), json!({})).unwrap();
    host.advance(0.1);
    for (number, recorded) in trace::callbacks().iter().enumerate() {
        host.call(&recorded.topic, &recorded.args);
        if number % 100 == 0 {
            host.advance(0.05);
            // A UDP socket holds a few hundred.
            thread::sleep(Duration::from_millis(10));
            wait_for_reading(&mut server, &host.query());
        }
    }
    run(&mut server, receiver, Recorded { host, next: 1_000_000 });
}

/// 441 jobs in a real broker.
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

/// What was sent, when all `results` were.
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

/// The table `[state-counts]`. The receiver hears all that the server hears.
fn conf<J: Jobs>(server: &impl Server, receiver: &Receiver, without_resync: bool) -> Value {
    let mut conf = json!({
        "endpoint": [server.endpoint(), receiver.endpoint()],
        "period": J::PERIOD, "metrics": "states,timings,results", "resync": "1s",
    });
    for (key, value) in server.conf().as_object().unwrap() {
        conf[key] = value.clone();
    }
    // What needs values needs them again and again.
    if without_resync && conf["send"] != "values" {
        conf["resync"] = "1h".into();
    }
    json!({"state-counts": conf})
}

fn run<J: Jobs>(server: &mut impl Server, mut receiver: Receiver, mut jobs: J) {
    let all = all_sent(server, &mut receiver, &jobs.results());
    wait_for_all(server, &mut jobs, &all, "after the run, before a resync");
    // A server that forgets a gauge in which nothing changes counts from 0 now.
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

/// What the receiver got of counters and timings, as the server reads them: no
/// datagram to it was lost.
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

/// The counters that counted something. Each begins at 0, and not every server shows that.
fn counted(told: &Told) -> BTreeMap<&String, f64> {
    let counters = told.counters.iter().filter(|(_, &count)| count != 0.0);
    counters.map(|(name, &count)| (name, count)).collect()
}

/// The number is exact, the mean as exact as a server's decimals.
fn timings_differ(told: &Told, sent: &Told) -> Option<String> {
    let (Some(told), Some(sent)) = (&told.timings, &sent.timings) else { return None };
    let is_same = |name: &String| {
        let (Some(told), sent) = (told.get(name), sent[name]) else { return false };
        told.0 == sent.0 && (told.1 - sent.1).abs() <= sent.1 * 0.002 + 0.05
    };
    (!sent.keys().all(is_same) || told.len() != sent.len())
        .then(|| format!("timings {told:?}, sent {sent:?}"))
}

/// The state counts, as the fake job manager and `flux job stats` have them. A server
/// may have a gauge that is no whole number: then it is none of ours.
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
    /// All of it comes within a second: a datagram a turn would be more than a server's
    /// socket holds.
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
