//! Instructions of the job manager's thread in a broker without the plugin, with it, and with
//! a plugin in C that does nothing.
//!
//! Times are too imprecise on a busy machine. Callgrind counts each thread separately. The
//! difference of two brokers that differ only in the number of jobs is the cost of these jobs.

use super::report::Report;
use super::Options;

#[cfg(not(have_flux))]
pub fn measure(report: &mut Report, _: Options) {
    report.leave_out("instructions of a broker's job manager", "needs flux on PATH");
}

#[cfg(have_flux)]
pub use with_flux::measure;

#[cfg(have_flux)]
mod with_flux {
    use std::collections::BTreeMap;
    use std::fs;
    use std::path::Path;

    use super::super::drain::roomy_socket;
    use super::super::support::artifact::release_plugin;
    use super::super::support::broker::{Setup, SIMULATED};
    use super::super::support::fake_job_manager::idle_plugin;
    use super::*;

    const ALL: &str = "metrics=states,queues,timings,results,resources,users,banks,pending";
    /// Without work that depends on the time, which passes slowly under valgrind.
    const QUIET: [&str; 2] = ["verify=0", "resync=0"];
    /// Jobs in the two brokers.
    const FEW: u32 = 100;
    const MANY: u32 = 300;

    pub fn measure(report: &mut Report, _: Options) {
        let ours = release_plugin();
        let idle = "a plugin in C with one handler that does nothing";
        let subjects: [(&str, Option<&Path>, &[&str]); 6] = [
            ("no plugin", None, &[]),
            (idle, Some(idle_plugin()), &[]),
            ("states, period 1 s", Some(&ours), &["period=1", QUIET[0], QUIET[1]]),
            ("states, period 0", Some(&ours), &["period=0", QUIET[0], QUIET[1]]),
            (
                "states and results, period 0",
                Some(&ours),
                &["metrics=states,results", QUIET[0], QUIET[1]],
            ),
            ("all collectors, period 0", Some(&ours), &[ALL, QUIET[0], QUIET[1]]),
        ];
        let mut each = Vec::new();
        for (name, plugin, conf) in subjects {
            let (few, many) = (run(plugin, conf, FEW), run(plugin, conf, MANY));
            let instructions = (many - few) / f64::from(MANY - FEW);
            let figure = format!("{:.0} thousand instructions", instructions / 1e3);
            report.figure(&format!("job manager thread, per job: {name}"), figure);
            each.push((name, instructions));
        }
        let (without, floor) = (each[0].1, each[1].1);
        let what = format!("job manager thread, per job: {idle}, ratio to no plugin");
        report.figure(&what, format!("{:.3}", floor / without));
        // Flux builds the arguments of a call only if a plugin has a handler for it. This cost
        // is not the plugin's.
        for &(name, instructions) in &each[2..] {
            let (ratio, most) =
                (instructions / floor, if name.starts_with("states,") { 1.05 } else { 1.1 });
            let what = format!("job manager thread, per job: {name}, ratio to the plugin in C");
            report.goal(&what, format!("{ratio:.3}"), &format!("at most {most}"), ratio <= most);
        }
    }

    /// Instructions of the job manager's thread from start to end of a broker.
    fn run(plugin: Option<&Path>, conf: &[&str], jobs: u32) -> f64 {
        let folder = tempfile::tempdir().unwrap();
        let server = roomy_socket();
        let out = folder.path().join("out");
        let broker = Setup::new(server.local_addr().unwrap().to_string())
            .wrap(&format!(
                "valgrind,--tool=callgrind,--separate-threads=yes,--callgrind-out-file={}",
                out.display()
            ))
            .start();
        if let Some(plugin) = plugin {
            broker.load(plugin, conf).expect("the plugin loads");
        }
        broker.submit(&[SIMULATED, &format!("--cc=1-{jobs}")]);
        broker.drain();
        broker.end();
        let files = fs::read_dir(folder.path()).unwrap();
        let texts = files.map(|file| fs::read_to_string(file.unwrap().path()).unwrap());
        let threads = texts.filter_map(|text| Some((lines_of_job_manager(&text), total(&text)?)));
        let busiest = threads.max_by_key(|(lines, _)| *lines);
        busiest.filter(|(lines, _)| *lines > 0).expect("one thread runs the job manager").1
    }

    /// Number of job manager code lines in callgrind's file of a thread. The file has
    /// "ob=(7) /…/job-manager.so" once, and "ob=(7)" from then on.
    fn lines_of_job_manager(text: &str) -> usize {
        let (mut names, mut current, mut lines) = (BTreeMap::new(), "", 0);
        for line in text.lines() {
            if let Some(object) = line.strip_prefix("ob=").or_else(|| line.strip_prefix("cob=")) {
                let (id, name) = object.split_once(' ').unwrap_or((object, ""));
                if !name.is_empty() {
                    names.insert(id, name);
                }
                if line.starts_with("ob=") {
                    current = names.get(id).copied().unwrap_or_default();
                }
            }
            let is_cost = line.starts_with(|c: char| c.is_ascii_digit() || c == '+');
            lines += usize::from(is_cost && current.ends_with("/job-manager.so"));
        }
        lines
    }

    fn total(text: &str) -> Option<f64> {
        let total = |line: &str| {
            line.strip_prefix("totals: ").or_else(|| line.strip_prefix("summary: "))?.parse().ok()
        };
        text.lines().find_map(total)
    }
}
