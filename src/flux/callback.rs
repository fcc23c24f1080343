//! The one function that Flux calls, and the topics that it is registered for.

use std::ffi::{c_char, c_int, c_void, CStr};

use super::args::Args;
use super::c_string;
use super::error::Error;
use super::instance::Instance;
use super::job::JobArgs;
use crate::flux_sys as sys;
use crate::os::Uncancelled;

/// Topics and patterns, in the order in which Flux compares them with the topic of each call:
/// the most frequent first.
///
/// `job.[ni]*` matches job.new, job.inactive-add and job.inactive-remove, and no other topic
/// of Flux 0.49 to 0.88. Flux calls fnmatch(3) for each handler at each call, so fewer
/// handlers cost less.
const TOPICS: [&CStr; 5] =
    [c"job.state.*", c"job.[ni]*", c"job.update", c"conf.update", c"plugin.query"];

/// Registers the callback for each topic.
///
/// # Errors
/// If Flux is out of memory.
pub(super) fn register_handlers(instance: &Instance) -> Result<(), Error> {
    let data = instance as *const Instance as *mut c_void;
    for topic in TOPICS {
        // SAFETY: the plugin lives; Flux copies the topic; the instance lives until after the
        // handlers are destroyed.
        let code = unsafe {
            let plugin = instance.flux_plugin;
            sys::flux_plugin_add_handler(plugin, topic.as_ptr(), Some(on_callback), data)
        };
        if code < 0 {
            return Err(Error::last_os_error("flux_plugin_add_handler"));
        }
    }
    Ok(())
}

/// The callback of all topics. It returns -1 only for a configuration that is refused: -1 from
/// any other callback would hide the event from the plugins loaded after this one.
///
/// # Safety
/// - `topic` and `args` are those of the running callback.
/// - `data` points to the `Instance`.
unsafe extern "C" fn on_callback(
    plugin: *mut sys::flux_plugin_t,
    topic: *const c_char,
    args: *mut sys::flux_plugin_arg_t,
    data: *mut c_void,
) -> c_int {
    // SAFETY: all pointers are valid during this call.
    let (instance, topic, args) =
        unsafe { (&*(data as *const Instance), CStr::from_ptr(topic).to_bytes(), Args::new(args)) };
    let job = || JobArgs::current(plugin, &args);
    // A job's event makes no system call, except in `log`, and where it sends timings: there
    // cancellation is off, too.
    let _uncancelled = (!topic.starts_with(b"job.")).then(Uncancelled::new);
    match topic {
        [b'j', b'o', b'b', b'.', b's', b't', b'a', b't', b'e', b'.', ..] => {
            instance.dispatch("job.state", |plugin| {
                #[cfg(feature = "panic-for-tests")]
                assert!(topic != b"job.state.sched", "injected by the tests");
                let job = job();
                plugin.job_state(job.transition()?, &job)
            });
        }
        b"job.new" => instance.dispatch("job.new", |plugin| plugin.job_new(&job())),
        b"job.inactive-add" => {
            instance.dispatch("job.inactive-add", |plugin| plugin.job_inactive_add(&job()));
        }
        b"job.inactive-remove" => {
            instance.dispatch("job.inactive-remove", |plugin| plugin.job_inactive_remove(&job()));
        }
        b"job.update" => instance.dispatch("job.update", |plugin| plugin.job_update(&job())),
        b"plugin.query" => {
            instance.dispatch("plugin.query", |plugin| args.add_result(&plugin.query()));
        }
        b"conf.update" => return conf_update(instance, &args),
        // A topic of a later Flux version that `job.[ni]*` matches.
        _ => (),
    }
    0
}

/// `conf.update`: at load, after `flux_plugin_init`, and at each change of the broker's
/// configuration (twice when a broker starts). An error fails the load or the reload; Flux
/// returns the text, cut at 159 bytes, to the command that caused it.
fn conf_update(instance: &Instance, args: &Args) -> c_int {
    // Replaced unless the callback panics.
    let mut outcome = Err(Error::new("a bug: conf.update panicked (see flux dmesg)"));
    instance.dispatch("conf.update", |plugin| {
        // SAFETY: the plugin lives; the conf belongs to it and does not change during this call.
        let own = unsafe {
            let conf = sys::flux_plugin_get_conf(instance.flux_plugin);
            (!conf.is_null()).then(|| CStr::from_ptr(conf).to_string_lossy())
        };
        let broker = instance.mark().and_then(|()| args.text());
        outcome = broker.and_then(|broker| plugin.conf_update(own.as_deref(), &broker));
        Ok(())
    });
    let Err(error) = outcome else { return 0 };
    let text = c_string(&error.to_string());
    // SAFETY: plugin and args live; the format is constant and takes the one string that is
    // passed; Flux copies the text.
    unsafe {
        let (plugin, args) = (instance.flux_plugin, args.as_ptr());
        sys::flux_jobtap_error(plugin, args, c"%s".as_ptr(), text.as_ptr())
    }
}
