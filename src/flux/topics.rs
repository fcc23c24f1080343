//! Under which topics and patterns Flux finds a plugin's handlers, and in which order.

use std::ffi::{c_char, c_int, c_void, CStr, CString};

use super::sys;

/// What Flux calls.
pub(super) type Call = unsafe extern "C" fn(
    *mut sys::flux_plugin_t,
    *const c_char,
    *mut sys::flux_plugin_arg_t,
    *mut c_void,
) -> c_int;

/// The pattern that is registered for several topics: job.new, job.state.*,
/// job.inactive-add and job.inactive-remove.
///
/// For each job Flux makes a dozen calls. Each time it compares the topic with all handlers
/// of a plugin until one matches, up to twice, whether or not the plugin wants that topic;
/// and fnmatch(3) in a UTF-8 locale is slow. Eight handlers that do nothing took 11 % of the
/// job manager's processor time a job, three of them 5, and one 4 (flux-core 0.88.0; the
/// medians of twelve batches of 500 jobs).
///
/// It matches no other topic of Flux 0.49 to 0.88 (flux.c), and one that may come is not
/// handled. Not job.update: Flux takes the update of a key as allowed if a handler matches
/// job.update.KEY. Nor what does not begin with `job.`: those may be other plugins' own
/// topics, and `flux_jobtap_call` returns how many handlers matched.
const PATTERN: &CStr = c"job.[nsi]*";

/// Whether the pattern stands for a topic.
fn is_grouped(topic: &CStr) -> bool {
    let first = topic.to_bytes().strip_prefix(b"job.").and_then(|rest| rest.first());
    matches!(first, Some(b'n' | b's' | b'i'))
}

/// What Flux is to find under one topic, or under the pattern: these topics, by their index.
pub(super) fn registered<'a>(topics: &[&'a CStr]) -> Vec<(&'a CStr, Vec<usize>)> {
    let mut registered: Vec<(&CStr, Vec<usize>)> = Vec::new();
    for (index, topic) in topics.iter().enumerate() {
        let group = registered.iter_mut().find(|(_, members)| is_grouped(topics[members[0]]));
        match group.filter(|_| is_grouped(topic)) {
            Some((text, members)) => {
                *text = PATTERN;
                members.push(index);
            }
            None => registered.push((topic, vec![index])),
        }
    }
    registered
}

/// The handlers of each topic, by index, in the order in which they have to be found. The
/// first is called whose topic, or pattern, matches: so a topic added before a pattern that
/// would hide it, and is handled by that pattern's handlers, too.
pub(super) fn in_order<'a>(topics: &[&'a CStr]) -> Vec<(&'a CStr, Vec<usize>)> {
    let mut order: Vec<&'a CStr> = Vec::new();
    for (index, topic) in topics.iter().enumerate() {
        let hidden = topics[index + 1..].iter().filter(|other| hides(topic, other));
        for next in hidden.chain([topic]) {
            if !order.contains(next) {
                order.push(next);
            }
        }
    }
    let handlers = |topic| {
        let is_handler = |&index: &usize| topics[index] == topic || hides(topics[index], topic);
        (topic, (0..topics.len()).filter(is_handler).collect())
    };
    order.into_iter().map(handlers).collect()
}

/// Whether a topic ends with `*`, and another, which does not, begins with the rest.
fn hides(pattern: &CStr, topic: &CStr) -> bool {
    let (pattern, topic) = (pattern.to_bytes(), topic.to_bytes());
    pattern.strip_suffix(b"*").is_some_and(|start| topic.starts_with(start))
        && !topic.ends_with(b"*")
}

/// The handlers of one topic.
pub(super) struct Chain(pub(super) Vec<(Call, *mut c_void)>);

/// Calls each handler of one topic, until one fails.
///
/// # Safety
/// - `plugin`, `topic` and `args` are Flux's, for the callback that is running.
/// - `data` points to a `Chain` whose handlers live.
pub(super) unsafe extern "C" fn call_each(
    plugin: *mut sys::flux_plugin_t,
    topic: *const c_char,
    args: *mut sys::flux_plugin_arg_t,
    data: *mut c_void,
) -> c_int {
    // SAFETY: the instance owns the chain, and Flux destroys it after the handlers.
    let chain = unsafe { &*(data as *const Chain) };
    for (call, data) in &chain.0 {
        // SAFETY: the caller's promises, handed on; each handler has its own data.
        if unsafe { call(plugin, topic, args, *data) } < 0 {
            return -1;
        }
    }
    0
}

/// The topics that are registered under one pattern, in their order.
pub(super) struct Choice(pub(super) Vec<(CString, Call, *mut c_void)>);

/// Calls the handler of the first topic that matches; where none does, that is no error.
///
/// # Safety
/// - `plugin`, `topic` and `args` are Flux's, for the callback that is running.
/// - `data` points to a `Choice` whose handlers live.
pub(super) unsafe extern "C" fn call_matching(
    plugin: *mut sys::flux_plugin_t,
    topic: *const c_char,
    args: *mut sys::flux_plugin_arg_t,
    data: *mut c_void,
) -> c_int {
    // SAFETY: the instance owns the choice, and Flux destroys it after the handlers; the
    // topic is a C string.
    let (choice, name) = unsafe { (&*(data as *const Choice), CStr::from_ptr(topic)) };
    for (pattern, call, data) in &choice.0 {
        if **pattern == *name || hides(pattern, name) {
            // SAFETY: the caller's promises, handed on; each handler has its own data.
            return unsafe { call(plugin, topic, args, *data) };
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    type Function = for<'a> fn(&[&'a CStr]) -> Vec<(&'a CStr, Vec<usize>)>;

    /// The result of a function of topics, as texts.
    fn of(topics: &[&str], function: Function) -> Vec<(String, Vec<usize>)> {
        let topics: Vec<_> = topics.iter().map(|topic| CString::new(*topic).unwrap()).collect();
        let topics: Vec<_> = topics.iter().map(|topic| &**topic).collect();
        let found = function(&topics).into_iter();
        found.map(|(topic, indices)| (topic.to_str().unwrap().to_owned(), indices)).collect()
    }

    type Expected<'a> = &'a [(&'a str, &'a [usize])];

    fn texts(expected: Expected<'_>) -> Vec<(String, Vec<usize>)> {
        expected.iter().map(|(topic, indices)| (topic.to_string(), indices.to_vec())).collect()
    }

    #[test]
    fn a_pattern_hides_no_topic_and_every_handler_is_called() {
        let table: [(&[&str], Expected<'_>); 5] = [
            (&[], &[]),
            (&["b", "a"], &[("b", &[0]), ("a", &[1])]),
            (&["a", "b", "a"], &[("a", &[0, 2]), ("b", &[1])]),
            (
                &["job.state.*", "job.new", "job.state.run", "job.state.sched"],
                &[
                    ("job.state.run", &[0, 2]),
                    ("job.state.sched", &[0, 3]),
                    ("job.state.*", &[0]),
                    ("job.new", &[1]),
                ],
            ),
            // The update of a key is no update of a job.
            (
                &["job.update.x", "job.update", "job.update.*"],
                &[("job.update.x", &[0, 2]), ("job.update", &[1]), ("job.update.*", &[2])],
            ),
        ];
        for (topics, wanted) in table {
            assert_eq!(of(topics, in_order), texts(wanted), "{topics:?}");
        }
    }

    #[test]
    fn topics_that_a_pattern_stands_for_are_registered_once() {
        let table: [(&[&str], Expected<'_>); 4] = [
            // One alone keeps its topic.
            (&["job.state.*", "conf.update"], &[("job.state.*", &[0]), ("conf.update", &[1])]),
            (
                &["job.state.*", "job.validate", "job.new", "plugin.query", "conf.update"],
                &[
                    ("job.[nsi]*", &[0, 2]),
                    ("job.validate", &[1]),
                    ("plugin.query", &[3]),
                    ("conf.update", &[4]),
                ],
            ),
            // What decides is asked for what it decides alone.
            (
                &[
                    "job.update",
                    "job.update.x",
                    "job.dependency.y",
                    "job.event.*",
                    "job.priority.get",
                ],
                &[
                    ("job.update", &[0]),
                    ("job.update.x", &[1]),
                    ("job.dependency.y", &[2]),
                    ("job.event.*", &[3]),
                    ("job.priority.get", &[4]),
                ],
            ),
            (
                &["job.inactive-remove", "job.inactive-add", "job.state.run", "job.state.*"],
                &[("job.[nsi]*", &[0, 1, 2, 3])],
            ),
        ];
        for (topics, wanted) in table {
            assert_eq!(of(topics, registered), texts(wanted), "{topics:?}");
        }
    }

    #[test]
    fn the_pattern_matches_what_it_stands_for_and_nothing_else() {
        // What Flux calls, and what plugins call of each other.
        let calls = [
            "conf.update",
            "job.create",
            "job.dependency.after",
            "job.destroy",
            "job.event.alloc",
            "job.inactive-add",
            "job.inactive-remove",
            "job.new",
            "job.priority.get",
            "job.state.cleanup",
            "job.state.depend",
            "job.state.inactive",
            "job.state.priority",
            "job.state.run",
            "job.state.sched",
            "job.update",
            "job.update.duration",
            "job.validate",
            "plugin.query",
            "new.topic",
            "share.lookup",
        ];
        for call in calls {
            let topic = CString::new(call).unwrap();
            // SAFETY: both are C strings.
            let matches = unsafe { libc::fnmatch(PATTERN.as_ptr(), topic.as_ptr(), 0) == 0 };
            assert_eq!(matches, is_grouped(&topic), "{call}");
            let wanted =
                ["job.inactive-", "job.new", "job.state."].iter().any(|it| call.starts_with(it));
            assert_eq!(matches, wanted, "{call}");
        }
    }
}
