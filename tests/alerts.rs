//! dashboards/alerts.yml: by promtool, Prometheus' own checker, and by the names of
//! statsd_exporter.yml.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

const ALERTS: &str = "dashboards/alerts.yml";
const CASES: &str = "tests/data/alerts.yml";

fn read(path: &str) -> String {
    fs::read_to_string(format!("{}/{path}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

/// The names of ours in a text.
fn names(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| word.starts_with("flux_")).collect()
}

#[test]
fn alerts_ask_for_what_the_mapping_names_and_each_is_tested() {
    let (alerts, mapping, cases) =
        (read(ALERTS), read("dashboards/statsd_exporter.yml"), read(CASES));
    let mut named: BTreeSet<String> = names(&mapping).into_iter().map(str::to_owned).collect();
    // What the star stands for in the mapping of the plugin's own counters.
    assert!(mapping.contains("name: flux_plugin_${1}_total"));
    named.insert("flux_plugin_datagrams_total".to_owned());
    let asked = names(&alerts);
    assert!(asked.len() >= 4, "{asked:?}");
    for name in asked {
        assert!(named.contains(name), "{name} is not among {named:?}");
    }
    let of = |text: &str, key: &str| -> BTreeSet<String> {
        let values = text.split(key).skip(1);
        values
            .map(|rest| rest.split(|c: char| !c.is_alphanumeric()).next().unwrap().into())
            .collect()
    };
    let (alerts, tested) = (of(&alerts, "- alert: "), of(&cases, "alertname: "));
    assert!(alerts.len() >= 5, "{alerts:?}");
    assert_eq!(alerts, tested);
}

#[test]
#[cfg_attr(not(have_promtool), ignore = "needs promtool (Debian's prometheus)")]
fn promtool_takes_the_alerts_and_they_fire_when_they_should() {
    for arguments in [["check", "rules", ALERTS], ["test", "rules", CASES]] {
        let output = Command::new("promtool")
            .args(arguments)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .expect("promtool is on PATH");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let said = text(&output.stdout) + &text(&output.stderr);
        assert!(output.status.success() && said.contains("SUCCESS"), "{arguments:?}: {said}");
    }
}
