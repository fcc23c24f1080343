//! The release build: its exported and imported symbols, and the libraries that it needs.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::json;

use crate::support::artifact::{release_plugin, NAME};
use crate::support::fake_job_manager::FakeJobManager;
use crate::support::receiver::Receiver;
use crate::support::trace;

/// All imports from Flux. flux-core 0.49.0, the oldest supported version, exports each of
/// them.
const IMPORTS: [&str; 38] = [
    "flux_attr_get",
    "flux_aux_get",
    "flux_aux_set",
    "flux_event_decode",
    "flux_event_subscribe_ex",
    "flux_event_unsubscribe_ex",
    "flux_fd_watcher_create",
    "flux_future_decref",
    "flux_future_destroy",
    "flux_future_incref",
    "flux_future_then",
    "flux_get_reactor",
    "flux_jobtap_error",
    "flux_jobtap_get_flux",
    "flux_jobtap_get_job_result",
    "flux_jobtap_job_event_posted",
    "flux_jobtap_job_lookup",
    "flux_log",
    "flux_msg_handler_create",
    "flux_msg_handler_destroy",
    "flux_msg_handler_start",
    "flux_plugin_add_handler",
    "flux_plugin_arg_destroy",
    "flux_plugin_arg_get",
    "flux_plugin_arg_set",
    "flux_plugin_arg_strerror",
    "flux_plugin_arg_unpack",
    "flux_plugin_aux_set",
    "flux_plugin_get_conf",
    "flux_plugin_get_path",
    "flux_prepare_watcher_create",
    "flux_reactor_now",
    "flux_rpc",
    "flux_rpc_get",
    "flux_timer_watcher_create",
    "flux_watcher_destroy",
    "flux_watcher_start",
    "flux_watcher_stop",
];

#[test]
fn the_release_build_exports_one_symbol_and_imports_what_flux_0_49_has() {
    let plugin = release_plugin();

    let exported = symbols(&plugin, "--defined-only");
    assert_eq!(exported, ["flux_plugin_init"]);

    let imported = symbols(&plugin, "--undefined-only");
    let imported: Vec<_> = imported.iter().filter(|name| name.starts_with("flux_")).collect();
    assert_eq!(imported, IMPORTS.iter().collect::<Vec<_>>());
    // Functions of jansson, which libflux-core loads; all versions 2 of jansson have them.
    let imported = symbols(&plugin, "--undefined-only");
    let imported: Vec<_> = imported.iter().filter(|name| name.starts_with("json")).collect();
    assert_eq!(
        imported,
        [
            "json_array_get",
            "json_integer_value",
            "json_number_value",
            "json_object_get",
            "json_string_length",
            "json_string_value",
        ]
    );

    let needed = run(Command::new("readelf").arg("-d").arg(&plugin));
    let needed: Vec<_> = needed.lines().filter(|line| line.contains("(NEEDED)")).collect();
    assert!(
        !needed.is_empty()
            && needed.iter().all(|line| !line.contains("flux") && !line.contains("jansson")),
        "{needed:?}"
    );
}

/// The host of the benchmarks uses libflux-core without a job manager, and so must define the
/// functions of the job manager that the plugin imports.
#[test]
fn the_host_of_the_benchmarks_has_each_imported_function_of_the_job_manager() {
    let host = include_str!("../../benches/host/flux.c");
    for name in IMPORTS.iter().filter(|name| name.starts_with("flux_jobtap_")) {
        assert!(host.contains(&format!("{name} (flux_plugin_t *p")), "{name}");
    }
}

fn symbols(plugin: &Path, which: &str) -> Vec<String> {
    let output = run(Command::new("nm").args(["-D", which, "--format=just-symbols"]).arg(plugin));
    let mut names: Vec<_> = output.lines().map(str::to_owned).collect();
    names.sort();
    names
}

fn run(command: &mut Command) -> String {
    let output = command.output().expect("binutils are installed");
    assert!(output.status.success(), "{command:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// All other tests use the debug build.
#[test]
fn the_release_build_counts_the_recorded_run() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(NAME);
    fs::copy(release_plugin(), &file).unwrap();
    let mut receiver = Receiver::start();
    let mut host = FakeJobManager::start(Some(&receiver.endpoint()));
    host.load(&file, json!({})).unwrap();
    host.advance(0.1);
    trace::replay(&mut host, 500, |host| {
        host.counts();
    });
    host.counts();
    let seen =
        receiver.wait(Duration::from_secs(5), |seen| seen.gauges == trace::truth("after-purge"));
    assert_eq!(seen.gauges, trace::truth("after-purge"));
    host.remove(NAME).unwrap();
    assert!(!host.mapped(NAME));
    host.end();
}
