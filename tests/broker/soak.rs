//! A broker at work for a long time: jobs of new banks, exceptions of new types, cancels, purges,
//! servers that restart, endpoints and collectors that come and go, lookups, and reloads of the
//! plugin. Memory, descriptors and tables are printed beside those of a broker without the
//! plugin, whose memory grows as well.
//!
//! ```sh
//! STATE_COUNTS_SOAK_SECONDS=3600 cargo test --workspace --test broker -- --ignored --nocapture soak::
//! ```

use std::time::{Duration, Instant};
use std::{env, fs, thread};

use serde_json::{json, Value};

use crate::support::artifact::{plugin, NAME};
use crate::support::broker::{Broker, Setup, SIMULATED};
use crate::support::broker_totals::states;
use crate::support::unix_server::UnixServer;
use crate::support::wire::Wire;
use crate::support::{all_collectors, STATES};

/// Jobs of a round without a bank, and as many with banks that no other job has.
const JOBS: usize = 10;
/// Rounds until the plugin is loaded again: more than enough to use all places of banks.
const RELOAD: u64 = 30;
/// Not the default one, whose gauges the receiver keeps apart.
const PREFIX: &str = "prefix=soak.job.state";
/// Inactive jobs that a purge keeps.
const KEPT: &str = "--num-limit=100";
/// At least as many seconds per round.
const ROUND: Duration = Duration::from_secs(4);

/// Resident memory in KiB, and descriptors (proc(5)): the least number within some seconds,
/// because commands connect to the broker.
fn size(broker: &Broker) -> (u64, usize) {
    let folder = format!("/proc/{}", broker.pid());
    let status = fs::read_to_string(format!("{folder}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("proc(5)");
    let resident = line.trim().trim_end_matches(" kB").parse().unwrap();
    let descriptors = (0..30).map(|_| {
        thread::sleep(Duration::from_millis(100));
        fs::read_dir(format!("{folder}/fd")).unwrap().count()
    });
    (resident, descriptors.min().unwrap())
}

/// The labels in use, by collector. No table has more than its bound.
fn labels(query: &Value) -> String {
    let collectors = query["collectors"].as_object().unwrap().iter();
    let labels = collectors.filter_map(|(name, sizes)| {
        let used = sizes["labels"]["used"].as_u64()?;
        assert!(used <= sizes["labels"]["max"].as_u64().unwrap(), "{name}: {sizes}");
        Some(format!("{name} {used}"))
    });
    labels.collect::<Vec<_>>().join(", ")
}

/// Jobs of the round, which end in it.
fn work(broker: &Broker, round: u64) {
    let jobs = format!("--cc=1-{JOBS}");
    broker.submit(&[SIMULATED, &jobs]);
    broker.submit(&[SIMULATED, &jobs, &format!("--setattr=bank=bank-{round}-{{cc}}")]);
    let held = broker.submit(&[SIMULATED, "--urgency=hold"]).remove(0);
    let kind = format!("--type=kind-{round}");
    broker.flux(&["job", "raise", "--severity=7", &kind, &held]);
    broker.flux(&["cancel", &held]);
    broker.drain();
    broker.flux(&["job", "purge", "--force", KEPT]);
}

#[test]
#[ignore = "long"]
fn full_a_broker_at_work_keeps_its_descriptors_and_tables_and_correct_gauges() {
    let seconds = env::var("STATE_COUNTS_SOAK_SECONDS").map_or(120, |it| it.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("statsd.sock");
    let (mut calm, mut restarting) = (Wire::start(), Wire::start());
    let mut local = UnixServer::start(&path);
    let named = restarting.endpoint().replace("127.0.0.1", "localhost");
    let few = json!([calm.endpoint()]);
    let most = json!([calm.endpoint(), named, local.endpoint(), "no-such-host.invalid:8125"]);
    let table = |endpoints: &Value, metrics: &[&str]| {
        json!({"state-counts": {"endpoint": endpoints, "metrics": metrics, "resync": 2,
               "lookup": 1, "verify": 5, "telemetry": true}})
    };
    let all = all_collectors();
    let tables = [table(&most, &all), table(&few, &["states", "banks"]), table(&most, &["states"])];
    let broker = Setup::new(None).table(tables[0].clone()).start();
    let control = Setup::new(None).start();
    broker.load(plugin(), &[PREFIX]).unwrap();

    let (start, mut quarter, mut descriptors) = (Instant::now(), 0, Vec::new());
    for round in 0.. {
        let began = Instant::now();
        work(&broker, round);
        work(&control, round);
        match round % 6 {
            1 => broker.configure(&tables[1]).unwrap(),
            2 => restarting.close(),
            3 => restarting.open(),
            4 => broker.configure(&tables[2]).unwrap(),
            5 => local = UnixServer::start(&path),
            _ => (),
        }
        if round % RELOAD == RELOAD - 1 {
            broker.remove(NAME);
            broker.load(plugin(), &[PREFIX]).unwrap();
        }
        let elapsed = start.elapsed();
        if elapsed.as_secs_f64() >= seconds as f64 * f64::from(quarter) / 4.0 {
            broker.configure(&tables[0]).unwrap();
            assert_true(&broker, &mut [&mut calm, &mut restarting]);
            let (resident, open) = size(&broker);
            let (without, _) = size(&control);
            let query = broker.query();
            println!(
                "{:5} s, round {round}: {resident} KiB, without the plugin {without} KiB; {open} \
                 descriptors; labels: {}; {} resyncs since the last load",
                elapsed.as_secs(),
                labels(&query),
                query["resyncs"],
            );
            descriptors.push(open);
            quarter += 1;
        }
        if quarter > 4 {
            break;
        }
        thread::sleep(ROUND.saturating_sub(began.elapsed()));
    }
    drop(local);
    let (most, least) = (descriptors.iter().max(), descriptors.iter().min());
    assert!(most.unwrap() - least.unwrap() <= 2, "{descriptors:?}");
    assert!(calm.negative().is_empty(), "{:?}", calm.negative());
    broker.end_with_complaints();
    control.end();
}

/// The servers have the broker's numbers of jobs in each state.
fn assert_true(broker: &Broker, servers: &mut [&mut Wire]) {
    servers.iter_mut().for_each(|server| server.open());
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        let mut truth = states(broker);
        truth.retain(|name, _| name.starts_with("state."));
        let gauges = servers.iter_mut().map(|server| {
            let mut gauges = server.gauges();
            gauges.retain(|name, _| STATES.iter().any(|state| *name == format!("state.{state}")));
            gauges
        });
        let gauges: Vec<_> = gauges.collect();
        if gauges.iter().all(|it| *it == truth) {
            return;
        }
        assert!(Instant::now() < end, "{gauges:?}, the broker: {truth:?}\n{}", broker.query());
        thread::sleep(Duration::from_millis(200));
    }
}
