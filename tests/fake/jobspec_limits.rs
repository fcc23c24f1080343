//! Jobspecs beyond the limits are counted and logged once.

use crate::support::fake_job_manager::FakeJobManager;
use crate::support::jobs::{live_as, COURSE};
use serde_json::{json, Value};

/// A job with 2,000 resource vertices, or with 65 dependencies.
fn large(id: i64, what: &str) -> Value {
    let core = json!({"type": "core", "count": 1});
    let (vertices, dependencies) = if what == "resources" { (2000, 0) } else { (1, 65) };
    let jobspec = json!({
        "resources": vec![core; vertices],
        "attributes": {"system": {"dependencies": vec![json!({"scheme": "x"}); dependencies]}},
    });
    json!({"id": id, "userid": 7, "urgency": 16, "jobspec": jobspec})
}

fn limit_lines(host: &mut FakeJobManager) -> usize {
    let log = host.log().into_iter().map(|(_, text)| text);
    log.filter(|text| text.contains("jobspec") && text.contains("dependencies")).count()
}

#[test]
fn each_job_is_counted_once_and_the_first_is_logged() {
    for what in ["resources", "dependencies"] {
        let conf = json!({"metrics": "states,resources,pending", "verify": "2s"});
        let (mut host, _receiver) = FakeJobManager::running(conf);
        host.log();
        for id in 0..3 {
            live_as(&mut host, &large(id, what), &COURSE[..4]);
        }
        host.advance(10.0);
        let query = host.query();
        assert_eq!(query["anomalies"]["jobspec_limit"], 3, "{what}");
        assert_eq!(query["verify"]["repairs"], 0, "{what}");
        assert_eq!(limit_lines(&mut host), 1, "{what}");
        host.end();
    }
}

/// The table forgets what no collector needs: a later pass does not take that for a missed event.
#[test]
fn a_reload_that_disables_a_collector_is_not_followed_by_repairs() {
    for what in ["resources", "dependencies"] {
        let (mut host, _receiver) = FakeJobManager::running(json!({"verify": "2s"}));
        let table = |metrics: &str| json!({"state-counts": {"metrics": metrics}});
        host.reload(&table("states,resources,pending")).unwrap();
        live_as(&mut host, &large(1, what), &COURSE[..4]);
        host.advance(5.0);
        for metrics in ["states,pending", "states,resources", "states"] {
            host.reload(&table(metrics)).unwrap();
            host.advance(5.0);
        }
        assert_eq!(host.query()["verify"]["repairs"], 0, "{what}");
        host.end();
    }
}

/// Found by a reload that enables the collector, while the job waits.
#[test]
fn a_limit_that_a_pass_finds_is_logged() {
    let (mut host, _receiver) = FakeJobManager::running(json!({}));
    live_as(&mut host, &large(1, "resources"), &COURSE[..4]);
    host.log();
    host.reload(&json!({"state-counts": {"metrics": "states,resources"}})).unwrap();
    host.advance(5.0);
    assert_eq!(host.query()["anomalies"]["jobspec_limit"], 1);
    assert_eq!(limit_lines(&mut host), 1);
    host.end();
}
