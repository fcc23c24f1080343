//! Why jobs wait.

use serde_json::{json, Value};

use crate::support::fake_job_manager::FakeJobManager;
use crate::support::gauges::{gauges_named, Gauges};
use crate::support::jobs::{DEPEND, PRIORITY};

#[test]
fn dependencies_are_requested_only_while_a_job_has_none_in_its_jobspec() {
    let (mut host, mut receiver) =
        FakeJobManager::running(json!({"metrics": "pending", "resync": 3600}));
    let job = |id: u64, dependencies: Value| {
        let system = json!({ "dependencies": dependencies });
        json!({"id": id, "state": DEPEND, "jobspec": {"attributes": {"system": system}}})
    };
    let mut gauges = |host: &mut FakeJobManager| {
        host.counts();
        gauges_named(&mut receiver, |name| name.contains("depend"))
    };
    let expected = |list: &[(&str, i64)]| -> Gauges {
        list.iter().map(|&(name, level)| (name.to_owned(), level)).collect()
    };
    // Without a response, a request would be logged.
    host.respond("job-list.list", Value::Null);
    host.call("job.new", &job(1, json!([{"scheme": "afterany"}])));
    host.advance(100.0);
    let complaints =
        |host: &mut FakeJobManager| host.log().iter().filter(|(level, _)| *level < 6).count();
    assert_eq!(complaints(&mut host), 0);
    let own = [("dependency.afterany", 1), ("pending.dependency", 1)];
    assert_eq!(gauges(&mut host), expected(&own));
    host.call("job.new", &job(2, json!([])));
    host.advance(60.0);
    assert_eq!(complaints(&mut host), 1);
    assert_eq!(gauges(&mut host), expected(&[own[0], ("pending.dependency", 2)]));
    // The list also has jobs that the plugin does not know, and jobs that left DEPEND.
    let listed = |id: u64, dependencies: &[&str]| json!({"id": id, "dependencies": dependencies});
    let limit = "max-running-jobs-user-limit";
    let jobs =
        json!([listed(1, &[limit]), listed(2, &[limit, "x.y=1", "x.y=2"]), listed(9, &["z"])]);
    host.respond("job-list.list", json!({ "jobs": jobs }));
    host.advance(15.0);
    let names = [
        ("dependency.max-running-jobs-user-limit", 2),
        ("dependency.x_y", 1),
        ("pending.dependency", 2),
    ];
    assert_eq!(gauges(&mut host), expected(&names));
    let mut left = job(2, json!([]));
    left["state"] = PRIORITY.into();
    left["prev_state"] = DEPEND.into();
    host.call("job.state.priority", &left);
    host.advance(15.0);
    assert_eq!(gauges(&mut host), expected(&[(names[0].0, 1), ("pending.dependency", 1)]));
    assert_eq!(complaints(&mut host), 0);
    host.end();
}
