//! Item 5: how fast a real broker runs jobs, with the plugin and without.

use super::report::Report;
use super::Options;

const WHAT: &str = "throughput of a broker";

#[cfg(not(have_flux))]
pub fn measure(report: &mut Report, _: Options) {
    report.leave_out(WHAT, "needs flux on PATH");
}

#[cfg(have_flux)]
pub use with_flux::measure;

#[cfg(have_flux)]
mod with_flux {
    use std::fs;
    use std::net::UdpSocket;
    use std::path::Path;
    use std::time::Instant;

    use super::super::alternate::{Contestant, Samples};
    use super::super::drain::{Drain, Reader};
    use super::super::plot;
    use super::super::support::artifact::release_plugin;
    use super::super::support::broker::{Broker, Setup, SIMULATED};
    use super::*;

    const WITHOUT: &str = "without the plugin";
    const IMMEDIATE: &str = "immediate, a server that reads";
    const DEAD: &str = "immediate, a dead server";
    const AGGREGATED: &str = "aggregated, a server that reads";

    pub fn measure(report: &mut Report, options: Options) {
        let plugin = release_plugin();
        let (jobs, rounds) = if options.full { (10_000, 5) } else { (2_000, 7) };
        let drain = Drain::start(Reader::Sleeps);
        let alive = drain.address().to_string();
        let dead = {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.local_addr().unwrap().to_string()
        };
        let mut busy: Vec<(&'static str, Vec<f64>)> = Vec::new();
        let mut samples = Samples::default();
        let shared = std::cell::RefCell::new(&mut busy);
        let ways: [(&'static str, &str, Option<&[&str]>); 4] = [
            (WITHOUT, &alive, None),
            (IMMEDIATE, &alive, Some(&[])),
            (DEAD, &dead, Some(&[])),
            (AGGREGATED, &alive, Some(&["period=1"])),
        ];
        let mut contestants: Vec<_> = ways
            .into_iter()
            .map(|(name, endpoint, conf)| {
                let (shared, plugin) = (&shared, plugin.as_path());
                Contestant::new(name, move || {
                    let run = run(endpoint, plugin, conf, jobs);
                    let mut busy = shared.borrow_mut();
                    match busy.iter_mut().find(|(known, _)| *known == name) {
                        Some((_, figures)) => figures.push(run.busy),
                        None => busy.push((name, vec![run.busy])),
                    }
                    run.throughput
                })
            })
            .collect();
        samples.add(rounds, &mut contestants);
        drop(contestants);
        let processor = Samples::beside(busy);

        let jobs = format!("{WHAT}, {jobs} simulated jobs, {rounds} pairs");
        for (name, median) in samples.medians() {
            let processor = processor.median(name);
            report.figure(
                &format!("{jobs}: {name}"),
                format!("{median:.0} jobs/s, {processor:.0} µs of processor a job"),
            );
        }
        for name in [IMMEDIATE, DEAD, AGGREGATED] {
            let [low, ratio, high] = samples.ratio_quartiles(name, WITHOUT);
            report.goal(
                &format!("{jobs}: {name}, of that without"),
                format!("{ratio:.3} (quartiles {low:.3} to {high:.3})"),
                "at least 0.99",
                ratio >= 0.99,
            );
            report.figure(
                &format!("{jobs}: {name}, the broker's processor time against without"),
                format!("{:.3}", processor.ratio(name, WITHOUT)),
            );
        }
        if options.docs {
            plot::bars("broker.svg", "Jobs a second in a broker", &samples.medians());
        }
    }

    struct Run {
        /// Jobs a second.
        throughput: f64,
        /// Microseconds that the broker's threads ran, a job.
        busy: f64,
    }

    /// Runs jobs in a new broker, from the first submission to the last end.
    fn run(endpoint: &str, plugin: &Path, conf: Option<&[&str]>, jobs: usize) -> Run {
        let broker = Setup::new(endpoint.to_owned()).start();
        if let Some(conf) = conf {
            broker.load(plugin, conf).expect("the plugin loads");
        }
        broker.submit(&[SIMULATED, "--cc=1-50"]);
        broker.drain();
        let before = busy(&broker);
        let start = Instant::now();
        broker.submit(&[SIMULATED, &format!("--cc=1-{jobs}")]);
        broker.drain();
        let seconds = start.elapsed().as_secs_f64();
        let busy = (busy(&broker) - before) * 1e6 / jobs as f64;
        broker.end();
        Run { throughput: jobs as f64 / seconds, busy }
    }

    /// Seconds that the broker's threads have run, by the scheduler's books.
    fn busy(broker: &Broker) -> f64 {
        let process = broker.flux(&["getattr", "broker.pid"]);
        let threads = fs::read_dir(format!("/proc/{process}/task")).unwrap();
        let run = threads.map(|thread| {
            let path = thread.unwrap().path().join("schedstat");
            let text = fs::read_to_string(path).unwrap_or_default();
            text.split(' ').next().and_then(|first| first.parse::<f64>().ok()).unwrap_or(0.0)
        });
        run.sum::<f64>() / 1e9
    }
}
