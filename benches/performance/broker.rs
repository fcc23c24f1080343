//! Job throughput of a broker with the plugin and without.

use super::report::Report;
use super::Options;

#[cfg(not(have_flux))]
pub fn measure(report: &mut Report, _: Options) {
    report.leave_out("throughput of a broker", "needs flux on PATH");
}

#[cfg(have_flux)]
pub use with_flux::measure;

#[cfg(have_flux)]
mod with_flux {
    use std::cell::RefCell;
    use std::fs;
    use std::net::UdpSocket;
    use std::path::{Path, PathBuf};
    use std::time::{Duration, Instant};

    use super::super::alternate::{Contestant, Samples};
    use super::super::drain::{Drain, Reader};
    use super::super::support::artifact::release_plugin;
    use super::super::support::broker::{Broker, Setup, SIMULATED};
    use super::super::support::fake_job_manager::idle_plugin;
    use super::*;

    /// Smallest and largest number of pairs per mode.
    const LEAST_PAIRS: usize = 6;
    const MOST_PAIRS: usize = 21;

    const WITHOUT: &str = "without the plugin";
    const IDLE: &str = "with a plugin in C that does nothing";
    const WITH: &str = "with the plugin";

    pub fn measure(report: &mut Report, options: Options) {
        // On a busy machine, many short pairs are more precise than few long ones. Pairs
        // after the time limit of a mode are omitted.
        let (jobs, time_limit) = match options.full {
            true => (10_000, Duration::ZERO),
            false => (500, Duration::from_secs(110)),
        };
        let plugin = release_plugin();
        let drain = Drain::start(Reader::Sleeps);
        let alive = drain.address().to_string();
        let dead = {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.local_addr().unwrap().to_string()
        };
        for (mode, endpoint, conf) in [
            ("immediate, a server that reads", &alive, "period=0"),
            ("immediate, no server", &dead, "period=0"),
            ("aggregated, a server that reads", &alive, "period=1"),
        ] {
            let broker = Setup::new(endpoint.to_owned()).start();
            // Warm up the broker.
            batch(&broker, 500);
            let (throughput, busy) = compare(&broker, &plugin, conf, jobs, time_limit);
            match endpoint == &dead {
                // The plugin logs that sends fail.
                true => broker.end_with_complaints(),
                false => broker.end(),
            }
            let pairs = throughput.rounds();
            let what = format!("broker, {pairs} pairs of {jobs} jobs, {mode}");
            report.figure(
                &format!("{what}: without, with"),
                format!("{:.0}, {:.0} jobs/s", throughput.median(WITHOUT), throughput.median(WITH)),
            );
            let [low, ratio, high] = throughput.ratio_quartiles(WITH, WITHOUT);
            report.figure(
                &format!("{what}: throughput, ratio to without"),
                format!("{ratio:.3} (quartiles {low:.3}, {high:.3})"),
            );
            let [low, ratio, high] = busy.ratio_interval(WITH, IDLE);
            let most = if conf == "period=0" { 1.15 } else { 1.05 };
            report.goal(
                &format!("{what}: processor time of the job manager, ratio to an idle plugin in C"),
                format!("{ratio:.3} (95 %: {low:.3} to {high:.3})"),
                &format!("at most {most}"),
                ratio <= most,
            );
            let [low, ratio, high] = busy.ratio_interval(WITH, WITHOUT);
            report.figure(
                &format!("{what}: processor time of the job manager, ratio to without"),
                format!("{ratio:.3} (95 %: {low:.3} to {high:.3})"),
            );
        }
    }

    /// Measures without a plugin, with an idle one and with ours, alternately in one broker:
    /// jobs per second, and seconds of processor time of the job manager's thread.
    fn compare(
        broker: &Broker,
        plugin: &Path,
        conf: &str,
        jobs: usize,
        time_limit: Duration,
    ) -> (Samples, Samples) {
        let idle = idle_plugin();
        let all = RefCell::new((vec![], vec![], vec![]));
        let mut throughput = Samples::default();
        let mut contestants = [
            Contestant::new(WITHOUT, || {
                let (throughput, busy) = batch(broker, jobs);
                all.borrow_mut().0.push(busy);
                throughput
            }),
            Contestant::new(IDLE, || {
                let (throughput, busy) = batch_with(broker, idle, &[], jobs);
                all.borrow_mut().1.push(busy);
                throughput
            }),
            Contestant::new(WITH, || {
                let (throughput, busy) = batch_with(broker, plugin, &[conf], jobs);
                all.borrow_mut().2.push(busy);
                throughput
            }),
        ];
        let start = Instant::now();
        // Three rounds at a time, so that each contestant is first equally often.
        while throughput.rounds() < LEAST_PAIRS
            || (throughput.rounds() < MOST_PAIRS && start.elapsed() < time_limit)
        {
            throughput.add(3, &mut contestants);
        }
        drop(contestants);
        let (without, idle, with) = all.into_inner();
        (throughput, Samples::from_rounds(vec![(WITHOUT, without), (IDLE, idle), (WITH, with)]))
    }

    /// Runs `batch` with a plugin loaded.
    fn batch_with(broker: &Broker, plugin: &Path, conf: &[&str], jobs: usize) -> (f64, f64) {
        broker.load(plugin, conf).expect("the plugin loads");
        let measured = batch(broker, jobs);
        broker.remove(plugin.file_name().unwrap().to_str().unwrap());
        measured
    }

    /// Runs jobs. Returns jobs per second, from the first submission to the end of the last
    /// job, and the seconds of processor time of the job manager's thread.
    fn batch(broker: &Broker, jobs: usize) -> (f64, f64) {
        let before = busy(broker);
        let start = Instant::now();
        broker.submit(&[SIMULATED, &format!("--cc=1-{jobs}")]);
        broker.drain();
        let seconds = start.elapsed().as_secs_f64();
        (jobs as f64 / seconds, busy(broker) - before)
    }

    /// Processor time of the job manager's thread in seconds; of all threads of the broker
    /// if none is named after the job manager.
    fn busy(broker: &Broker) -> f64 {
        let process = broker.flux(&["getattr", "broker.pid"]);
        let threads = fs::read_dir(format!("/proc/{process}/task")).unwrap();
        let threads: Vec<_> = threads.map(|thread| thread.unwrap().path()).collect();
        let read =
            |path: &Path, file: &str| fs::read_to_string(path.join(file)).unwrap_or_default();
        let is_its = |path: &&PathBuf| read(path, "comm").trim() == "job-manager";
        let run = |path: &PathBuf| {
            let text = read(path, "schedstat");
            text.split(' ').next().and_then(|first| first.parse::<f64>().ok()).unwrap_or(0.0)
        };
        let all: f64 = threads.iter().map(run).sum();
        let its: Option<f64> = threads.iter().filter(is_its).map(run).reduce(|a, b| a + b);
        its.unwrap_or(all) / 1e9
    }
}
