//! dashboards/netdata-health.conf in Netdata: each alarm is raised and cleared.

use std::collections::BTreeMap;
use std::fs;
use std::net::UdpSocket;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::found::TOP;
use crate::support::servers::http::get;
use crate::support::servers::netdata::Netdata;

/// The limit for a change of all alarms: many of their evaluations.
const PATIENCE: Duration = Duration::from_secs(120);

/// The ages of three queues. None exceeds the limit of the alarm; their sum does.
const QUEUES: [&str; 3] = ["a", "all", "b"];
const AGE: u32 = 500_000;

const NEWS: &str = "flux.job.plugin.datagrams:1|c";

/// The gauge of each alarm with a value at which it is clear, and one at which it is raised.
const GAUGES: &[(&str, &str, &str, u32, u32)] = &[
    ("flux_scheduler_not_ready", "CRITICAL", "scheduler.ready", 1, 0),
    ("flux_queue_stopped", "WARNING", "pending.stopped", 0, 1),
    ("flux_job_waits_long", "WARNING", "pending.oldest_seconds", 604_000, 605_000),
    ("flux_housekeeping_old", "WARNING", "housekeeping.oldest_seconds", 1700, 1900),
    ("flux_nodes_drained", "WARNING", "resource.nodes.drained", 1, 2),
    ("flux_node_drained_long", "WARNING", "resource.drain.oldest_seconds", 604_000, 605_000),
];

fn dashboard(name: &str) -> String {
    fs::read_to_string(format!("{TOP}/dashboards/{name}")).unwrap()
}

/// The alarms, evaluated each second over a few seconds instead of minutes, and without
/// notifications, for which Netdata would start a script.
fn quick(health: &str) -> String {
    let lines = health.lines().map(|line| match line.trim().split_once(": ") {
        Some(("every", interval)) => line.replace(interval, "1s"),
        Some(("lookup", rest)) => {
            let range = rest.split(' ').nth(1).unwrap();
            assert!(range.starts_with('-') && range.ends_with('m'), "{line}");
            line.replace(range, "-5s")
        }
        Some(("to", recipient)) => line.replace(recipient, "silent"),
        _ => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n") + "\n"
}

/// The status of an alarm, and its value.
type Alarm = (String, Option<f64>);

/// The alarms of Netdata by name; empty if it does not respond.
fn alarms(server: &Netdata) -> BTreeMap<String, Alarm> {
    let answer = get(server.web, "/api/v1/alarms?all");
    let answer: Value = serde_json::from_str(&answer).unwrap_or_default();
    let alarms = answer["alarms"].as_object().into_iter().flatten().map(|(_, alarm)| {
        let text = |key: &str| alarm[key].as_str().unwrap_or_default().to_owned();
        (text("name"), (text("status"), alarm["value"].as_f64()))
    });
    alarms.collect()
}

fn send(server: &Netdata, line: &str) {
    UdpSocket::bind("127.0.0.1:0").unwrap().send_to(line.as_bytes(), server.address).unwrap();
}

#[test]
#[cfg_attr(not(have_netdata), ignore = "needs Debian's netdata-core: scripts/test")]
fn each_alarm_of_netdata_is_raised_and_cleared() {
    let health = dashboard("netdata-health.conf");
    let named = health.lines().filter_map(|line| line.trim().strip_prefix("alarm: "));
    let mut tested: Vec<_> = GAUGES.iter().map(|(alarm, ..)| *alarm).collect();
    tested.insert(0, "flux_no_news");
    assert_eq!(named.collect::<Vec<_>>(), tested);

    let server = Netdata::with(vec![
        ("statsd.d/flux.conf", dashboard("netdata.conf")),
        ("health.d/flux.conf", quick(&health)),
    ]);
    let wait_for = |what: &str, lines: &[String], is_there: &dyn Fn(&str, &Alarm) -> bool| {
        let end = Instant::now() + PATIENCE;
        loop {
            lines.iter().for_each(|line| send(&server, line));
            let alarms = alarms(&server);
            if alarms.len() == tested.len()
                && alarms.iter().all(|(name, alarm)| is_there(name, alarm))
            {
                return;
            }
            assert!(Instant::now() < end, "{what}: {alarms:?}");
            thread::sleep(Duration::from_millis(200));
        }
    };
    let lines = |is_bad: bool, nodes: u32| -> Vec<String> {
        let gauges = GAUGES.iter().map(|(_, _, gauge, good, bad)| {
            format!("flux.job.{gauge}:{}|g", if is_bad { bad } else { good })
        });
        let ages =
            QUEUES.map(|queue| format!("flux.job.queue.{queue}.pending.oldest_seconds:{AGE}|g"));
        let others = [format!("flux.job.resource.nodes.total:{nodes}|g"), NEWS.into()];
        gauges.chain(ages).chain(others).collect()
    };
    let is_clear = |_: &str, (status, _): &Alarm| status == "CLEAR";
    let raised: BTreeMap<_, _> =
        GAUGES.iter().map(|(alarm, status, ..)| (*alarm, *status)).collect();

    wait_for("ordinary values", &lines(false, 12), &is_clear);
    wait_for("each fault", &lines(true, 12), &|name, (status, _)| {
        status == raised.get(name).copied().unwrap_or("CLEAR")
    });
    wait_for("the faults have ended", &lines(false, 12), &is_clear);

    // The broker ends, and with it the plugin, whose last values are 0.
    GAUGES.iter().for_each(|(_, _, gauge, ..)| send(&server, &format!("flux.job.{gauge}:0|g")));
    send(&server, "flux.job.resource.nodes.total:0|g");
    wait_for("no news", &[], &|name, (status, value)| match name {
        "flux_no_news" => status == "CRITICAL",
        _ => status == "CLEAR" && *value == Some(0.0),
    });
    wait_for("news again", &lines(false, 12), &is_clear);
}
