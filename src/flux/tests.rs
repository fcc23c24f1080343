//! Tests the ownership of watchers and requests with fake functions of Flux, so that Miri can
//! check the pointers. Miri cannot call variadic functions, so tests that need one are
//! ignored there.

use std::cell::RefCell;
use std::ffi::{c_char, c_int, c_void, CStr, CString};
use std::mem;
use std::ptr;

use super::instance::{load, Instance};
use super::*;
use crate::flux_sys as sys;
use crate::plugin::StateCounts;

type Destructor = unsafe extern "C" fn(*mut c_void);

/// The state of the fake functions.
#[derive(Default)]
struct FakeFlux {
    topics: Vec<CString>,
    plugin_aux: Vec<(*mut c_void, Destructor)>,
    watchers: Vec<*mut FakeWatcher>,
    futures: Vec<*mut Future>,
    handlers: Vec<*mut Handler>,
    /// Subscriptions, minus unsubscriptions.
    subscriptions: i32,
    log: Vec<String>,
}

struct FakeWatcher {
    call: sys::flux_watcher_f,
    arg: *mut c_void,
}

struct Handler {
    call: sys::flux_msg_handler_f,
    arg: *mut c_void,
}

struct Future {
    call: sys::flux_continuation_f,
    arg: *mut c_void,
    references: usize,
}

thread_local! {
    // Each test runs in a thread of its own. The plugin itself has no thread-local variables.
    static FLUX: RefCell<FakeFlux> = RefCell::default();
    static EVENTS: RefCell<Vec<&'static str>> = RefCell::default();
    static TIMER: RefCell<Option<Watcher>> = const { RefCell::new(None) };
    static LOOP_END: RefCell<Option<Watcher>> = const { RefCell::new(None) };
    static RPC: RefCell<Option<Rpc>> = const { RefCell::new(None) };
    static SUBSCRIPTION: RefCell<Option<Subscription>> = const { RefCell::new(None) };
}

fn fake<T>(body: impl FnOnce(&mut FakeFlux) -> T) -> T {
    FLUX.with_borrow_mut(body)
}

fn note(event: &'static str) {
    EVENTS.with_borrow_mut(|events| events.push(event));
}

/// A pointer that is never dereferenced: plugin, handle and reactor.
fn opaque<T>() -> *mut T {
    ptr::without_provenance_mut(64)
}

#[no_mangle]
extern "C" fn flux_jobtap_get_flux(_: *mut sys::flux_plugin_t) -> *mut sys::flux_t {
    opaque()
}

#[no_mangle]
extern "C" fn flux_get_reactor(_: *mut sys::flux_t) -> *mut sys::flux_reactor_t {
    opaque()
}

#[no_mangle]
unsafe extern "C" fn flux_log(
    _: *mut sys::flux_t,
    _: c_int,
    _: *const c_char,
    text: *const c_char,
) {
    // SAFETY: the wrapper passes the format "%s" and one C string.
    let text = unsafe { CStr::from_ptr(text) }.to_str().unwrap().to_owned();
    fake(|flux| flux.log.push(text));
}

#[no_mangle]
unsafe extern "C" fn flux_plugin_add_handler(
    _: *mut sys::flux_plugin_t,
    topic: *const c_char,
    _: sys::flux_plugin_f,
    _: *mut c_void,
) -> c_int {
    // SAFETY: the wrapper passes a C string.
    let topic = unsafe { CStr::from_ptr(topic) }.to_owned();
    fake(|flux| flux.topics.push(topic));
    0
}

#[no_mangle]
extern "C" fn flux_plugin_aux_set(
    _: *mut sys::flux_plugin_t,
    _: *const c_char,
    value: *mut c_void,
    destructor: Destructor,
) -> c_int {
    fake(|flux| flux.plugin_aux.push((value, destructor)));
    0
}

#[no_mangle]
extern "C" fn flux_timer_watcher_create(
    _: *mut sys::flux_reactor_t,
    _: f64,
    _: f64,
    call: sys::flux_watcher_f,
    arg: *mut c_void,
) -> *mut FakeWatcher {
    let watcher = Box::into_raw(Box::new(FakeWatcher { call, arg }));
    fake(|flux| flux.watchers.push(watcher));
    watcher
}

#[no_mangle]
extern "C" fn flux_prepare_watcher_create(
    reactor: *mut sys::flux_reactor_t,
    call: sys::flux_watcher_f,
    arg: *mut c_void,
) -> *mut FakeWatcher {
    flux_timer_watcher_create(reactor, 0.0, 0.0, call, arg)
}

#[no_mangle]
extern "C" fn flux_fd_watcher_create(
    reactor: *mut sys::flux_reactor_t,
    _: c_int,
    _: c_int,
    call: sys::flux_watcher_f,
    arg: *mut c_void,
) -> *mut FakeWatcher {
    flux_timer_watcher_create(reactor, 0.0, 0.0, call, arg)
}

#[no_mangle]
extern "C" fn flux_reactor_now(_: *mut sys::flux_reactor_t) -> f64 {
    0.0
}

#[no_mangle]
extern "C" fn flux_watcher_start(_: *mut FakeWatcher) {}

#[no_mangle]
extern "C" fn flux_watcher_stop(_: *mut FakeWatcher) {}

#[no_mangle]
unsafe extern "C" fn flux_watcher_destroy(watcher: *mut FakeWatcher) {
    fake(|flux| flux.watchers.retain(|other| *other != watcher));
    // SAFETY: `flux_timer_watcher_create` made it; Miri reports a second call.
    drop(unsafe { Box::from_raw(watcher) });
}

#[no_mangle]
extern "C" fn flux_rpc(
    _: *mut sys::flux_t,
    _: *const c_char,
    _: *const c_char,
    _: u32,
    _: c_int,
) -> *mut Future {
    let future = Future { call: None, arg: ptr::null_mut(), references: 1 };
    let future = Box::into_raw(Box::new(future));
    fake(|flux| flux.futures.push(future));
    future
}

#[no_mangle]
unsafe extern "C" fn flux_future_then(
    future: *mut Future,
    _: f64,
    call: sys::flux_continuation_f,
    arg: *mut c_void,
) -> c_int {
    // SAFETY: `flux_rpc` made it, and it lives.
    unsafe { ((*future).call, (*future).arg) = (call, arg) };
    0
}

#[no_mangle]
unsafe extern "C" fn flux_future_incref(future: *mut Future) {
    // SAFETY: as above.
    unsafe { (*future).references += 1 };
}

#[no_mangle]
unsafe extern "C" fn flux_future_decref(future: *mut Future) {
    // SAFETY: as above; it is freed with its last reference.
    unsafe {
        (*future).references -= 1;
        if (*future).references == 0 {
            fake(|flux| flux.futures.retain(|other| *other != future));
            drop(Box::from_raw(future));
        }
    }
}

#[no_mangle]
unsafe extern "C" fn flux_future_destroy(future: *mut Future) {
    // SAFETY: as above.
    unsafe { flux_future_decref(future) };
}

/// Miri does not have it.
#[cfg(miri)]
#[no_mangle]
extern "C" fn pthread_setcancelstate(_: c_int, _: *mut c_int) -> c_int {
    0
}

#[no_mangle]
extern "C" fn flux_event_subscribe_ex(
    flux: *mut sys::flux_t,
    topic: *const c_char,
    flags: c_int,
) -> *mut Future {
    fake(|flux| flux.subscriptions += 1);
    flux_rpc(flux, topic, ptr::null(), 0, flags)
}

#[no_mangle]
extern "C" fn flux_event_unsubscribe_ex(
    flux: *mut sys::flux_t,
    topic: *const c_char,
    flags: c_int,
) -> *mut Future {
    fake(|flux| flux.subscriptions -= 1);
    flux_rpc(flux, topic, ptr::null(), 0, flags)
}

#[no_mangle]
unsafe extern "C" fn flux_event_decode(
    _: *const sys::flux_msg_t,
    _: *mut *const c_char,
    text: *mut *const c_char,
) -> c_int {
    // SAFETY: the wrapper passes a pointer to a pointer.
    unsafe { *text = c"{}".as_ptr() };
    0
}

#[no_mangle]
extern "C" fn flux_msg_handler_create(
    _: *mut sys::flux_t,
    _: sys::flux_match,
    call: sys::flux_msg_handler_f,
    arg: *mut c_void,
) -> *mut Handler {
    let handler = Box::into_raw(Box::new(Handler { call, arg }));
    fake(|flux| flux.handlers.push(handler));
    handler
}

#[no_mangle]
extern "C" fn flux_msg_handler_start(_: *mut Handler) {}

#[no_mangle]
unsafe extern "C" fn flux_msg_handler_destroy(handler: *mut Handler) {
    fake(|flux| flux.handlers.retain(|other| *other != handler));
    // SAFETY: `flux_msg_handler_create` made it; Miri reports a second call.
    drop(unsafe { Box::from_raw(handler) });
}

/// Functions that the tests link but do not call.
macro_rules! unused {
    ($($name:ident)+) => { $(
        #[no_mangle]
        extern "C" fn $name() {
            unreachable!(stringify!($name));
        }
    )+ };
}
unused! {
    flux_attr_get flux_aux_get flux_aux_set flux_jobtap_error flux_jobtap_get_job_result
    flux_jobtap_job_event_posted flux_jobtap_job_lookup flux_plugin_arg_destroy
    flux_plugin_arg_get flux_plugin_arg_set flux_plugin_arg_strerror flux_plugin_arg_unpack
    flux_plugin_get_conf flux_plugin_get_path flux_rpc_get
    json_array_get json_integer_value json_number_value json_object_get json_string_length
    json_string_value
}

/// Calls all watchers, then all futures, then all message handlers.
fn run_reactor_once() {
    for watcher in fake(|flux| flux.watchers.clone()) {
        // A callback may have destroyed another watcher.
        if fake(|flux| flux.watchers.contains(&watcher)) {
            // SAFETY: it lives.
            let (call, arg) = unsafe { ((*watcher).call.unwrap(), (*watcher).arg) };
            // SAFETY: it was created with these.
            unsafe { call(opaque(), watcher.cast(), 0, arg) };
        }
    }
    for future in fake(|flux| flux.futures.clone()) {
        if fake(|flux| flux.futures.contains(&future)) {
            // SAFETY: it lives.
            let (call, arg) = unsafe { ((*future).call.take().unwrap(), (*future).arg) };
            // SAFETY: it was created with these.
            unsafe { call(future.cast(), arg) };
        }
    }
    for handler in fake(|flux| flux.handlers.clone()) {
        // SAFETY: it lives.
        let (call, arg) = unsafe { ((*handler).call.unwrap(), (*handler).arg) };
        // SAFETY: it was created with these.
        unsafe { call(opaque(), handler.cast(), opaque(), arg) };
    }
}

/// Loads the plugin; returns its instance, which lives until `remove`.
fn load_plugin<'a>() -> &'a Instance {
    // SAFETY: these functions do not dereference the plugin.
    assert_eq!(unsafe { load(opaque()) }, 0);
    let (instance, _) = fake(|flux| flux.plugin_aux[0]);
    // SAFETY: `load` passed it, and the tests do not use it after `remove`.
    unsafe { &*(instance as *const Instance) }
}

/// Removes the plugin as Flux does; no watcher and no future may be left.
fn remove() {
    fake(|flux| flux.topics.clear());
    for (value, destructor) in fake(|flux| mem::take(&mut flux.plugin_aux)) {
        // SAFETY: they were set together, and are taken out.
        unsafe { destructor(value) };
    }
    fake(|flux| {
        assert!(flux.watchers.is_empty() && flux.futures.is_empty() && flux.handlers.is_empty());
        assert_eq!(flux.subscriptions, 0);
    });
}

#[test]
fn the_most_frequent_topic_is_registered_first_and_literally() {
    load_plugin();
    assert_eq!(fake(|flux| flux.topics[0].clone()), c"job.state.*".to_owned());
    remove();
}

#[test]
#[cfg_attr(miri, ignore = "Miri has no fnmatch")]
fn patterns_match_the_topics_of_flux_that_are_handled_and_no_others() {
    // The topics of Flux, and two of other plugins.
    let handled = [
        "conf.update",
        "job.inactive-add",
        "job.inactive-remove",
        "job.new",
        "job.state.cleanup",
        "job.state.depend",
        "job.state.inactive",
        "job.state.priority",
        "job.state.run",
        "job.state.sched",
        "job.update",
        "plugin.query",
    ];
    let others = [
        "job.create",
        "job.dependency.after",
        "job.destroy",
        "job.event.alloc",
        "job.event.exception",
        "job.priority.get",
        "job.update.duration",
        "job.validate",
        "new.topic",
        "share.lookup",
    ];
    load_plugin();
    let patterns = fake(|flux| mem::take(&mut flux.topics));
    for (topics, expected) in [(&handled[..], 1), (&others[..], 0)] {
        for topic in topics {
            let c_topic = CString::new(*topic).unwrap();
            let matches = patterns.iter().filter(|pattern| {
                // SAFETY: both are C strings.
                unsafe { libc::fnmatch(pattern.as_ptr(), c_topic.as_ptr(), 0) == 0 }
            });
            assert_eq!(matches.count(), expected, "{topic}");
        }
    }
    remove();
}

#[test]
fn timers_watchers_requests_and_subscriptions_may_be_dropped_in_their_own_callback() {
    fn on_timer(_: &mut StateCounts) {
        TIMER.take();
        note("timer");
    }
    fn on_loop_end(_: &mut StateCounts) {
        LOOP_END.take();
        note("loop end");
    }
    fn on_response(_: &mut StateCounts, _: Response<'_>) {
        RPC.take();
        note("response");
    }
    fn on_message(_: &mut StateCounts, text: &str) -> Result<(), Error> {
        SUBSCRIPTION.take();
        assert_eq!(text, "{}");
        note("message {}");
        Ok(())
    }
    let instance = load_plugin();
    // SAFETY: it is dropped before `remove`.
    let flux = unsafe { Flux::new(instance) };
    TIMER.set(Some(Watcher::timer(&flux, 0.0, 1.0, on_timer).unwrap()));
    let loop_end = Watcher::loop_end(&flux, on_loop_end).unwrap();
    loop_end.request();
    LOOP_END.set(Some(loop_end));
    RPC.set(Some(Rpc::send(&flux, c"topic", None, 1.0, on_response).unwrap()));
    SUBSCRIPTION.set(Some(Subscription::new(&flux, c"topic", on_message).unwrap()));
    run_reactor_once();
    run_reactor_once();
    assert_eq!(EVENTS.take(), ["timer", "loop end", "response", "message {}"]);
    remove();
}

#[test]
fn dropped_timers_and_requests_are_not_called() {
    fn on_timer(_: &mut StateCounts) {
        note("timer");
    }
    let instance = load_plugin();
    // SAFETY: it is dropped before `remove`.
    let flux = unsafe { Flux::new(instance) };
    drop(Watcher::timer(&flux, 0.0, 1.0, on_timer).unwrap());
    drop(Rpc::send(&flux, c"topic", None, 1.0, |_, _| note("response")).unwrap());
    run_reactor_once();
    assert_eq!(EVENTS.take(), [""; 0]);
    remove();
}

#[test]
#[cfg_attr(miri, ignore = "flux_log is variadic")]
fn a_callback_within_a_callback_is_an_error() {
    let instance = load_plugin();
    for _ in 0..2 {
        instance.dispatch("outer", |_| {
            instance.dispatch("inner", |_| {
                note("inner");
                Ok(())
            });
            Ok(())
        });
    }
    assert_eq!(EVENTS.take(), [""; 0]);
    let log = fake(|flux| mem::take(&mut flux.log));
    assert_eq!(log.len(), 1, "{log:?}");
    assert!(log[0].contains("inner: called while another callback runs"), "{log:?}");
    remove();
}

#[test]
#[cfg_attr(miri, ignore = "flux_log is variadic")]
fn panics_are_caught_counted_and_logged_once_after_other_errors() {
    let instance = load_plugin();
    for _ in 0..2 {
        instance.dispatch("job.state", |_| Err(Error::new("unreadable")));
    }
    for _ in 0..3 {
        instance.dispatch("job.state", |_| panic!("injected"));
    }
    assert_eq!(instance.panics.get(), 3);
    let log = fake(|flux| mem::take(&mut flux.log));
    assert!(log[0].contains("job.state: unreadable"), "{log:?}");
    assert!(log[1].contains("a bug: job.state: ") && log[1].contains("injected"));
    assert_eq!(log.len(), 2, "{log:?}");
    remove();
}
