//! The layer's pointers, against a Flux of the tests' own: a few functions in Rust, so
//! that Miri can run it. None that takes any number of arguments is called, for those
//! Miri cannot.

use std::cell::RefCell;
use std::ffi::{c_char, c_int, c_void, CStr, CString};
use std::mem;
use std::ptr;
use std::rc::Rc;

use super::*;

type Callback = unsafe extern "C" fn(
    *mut sys::flux_plugin_t,
    *const c_char,
    *mut sys::flux_plugin_arg_t,
    *mut c_void,
) -> c_int;
type Destructor = unsafe extern "C" fn(*mut c_void);

/// What the fake Flux was given.
#[derive(Default)]
struct Flux {
    handlers: Vec<(CString, Callback, *mut c_void)>,
    plugin_aux: Vec<(*mut c_void, Destructor)>,
    job_aux: Vec<(*mut c_void, Destructor)>,
    watchers: Vec<*mut Watcher>,
    futures: Vec<*mut Future>,
}

struct Watcher {
    call: sys::flux_watcher_f,
    arg: *mut c_void,
}

struct Future {
    call: sys::flux_continuation_f,
    arg: *mut c_void,
    references: usize,
}

thread_local! {
    // A plugin has none; these tests do, and each runs in a thread of its own.
    static FLUX: RefCell<Flux> = RefCell::default();
    static LOG: RefCell<Vec<&'static str>> = RefCell::default();
}

fn flux<T>(body: impl FnOnce(&mut Flux) -> T) -> T {
    FLUX.with_borrow_mut(body)
}

fn note(text: &'static str) {
    LOG.with_borrow_mut(|log| log.push(text));
}

fn noted() -> Vec<&'static str> {
    LOG.take()
}

/// The plugin, the handle and the reactor: nobody looks into them.
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
extern "C" fn flux_job_statetostr(_: sys::flux_job_state_t, _: *const c_char) -> *const c_char {
    c"STATE".as_ptr()
}

#[no_mangle]
extern "C" fn flux_log(_: *mut sys::flux_t, _: c_int, _: *const c_char, _: *const c_char) {}

#[no_mangle]
unsafe extern "C" fn flux_plugin_add_handler(
    _: *mut sys::flux_plugin_t,
    topic: *const c_char,
    call: Callback,
    data: *mut c_void,
) -> c_int {
    // SAFETY: the layer passes a C string.
    let topic = unsafe { CStr::from_ptr(topic) }.to_owned();
    flux(|flux| flux.handlers.push((topic, call, data)));
    0
}

#[no_mangle]
extern "C" fn flux_plugin_aux_set(
    _: *mut sys::flux_plugin_t,
    _: *const c_char,
    value: *mut c_void,
    destructor: Destructor,
) -> c_int {
    flux(|flux| flux.plugin_aux.push((value, destructor)));
    0
}

#[no_mangle]
extern "C" fn flux_jobtap_job_aux_set(
    _: *mut sys::flux_plugin_t,
    _: u64,
    _: *const c_char,
    value: *mut c_void,
    destructor: Option<Destructor>,
) -> c_int {
    for (value, destructor) in flux(|flux| mem::take(&mut flux.job_aux)) {
        // SAFETY: it was set so, and is taken out.
        unsafe { destructor(value) };
    }
    if let Some(destructor) = destructor {
        flux(|flux| flux.job_aux.push((value, destructor)));
    }
    0
}

#[no_mangle]
extern "C" fn flux_jobtap_job_aux_get(
    _: *mut sys::flux_plugin_t,
    _: u64,
    _: *const c_char,
) -> *mut c_void {
    flux(|flux| flux.job_aux.first().map_or(ptr::null_mut(), |(value, _)| *value))
}

#[no_mangle]
extern "C" fn flux_timer_watcher_create(
    _: *mut sys::flux_reactor_t,
    _: f64,
    _: f64,
    call: sys::flux_watcher_f,
    arg: *mut c_void,
) -> *mut Watcher {
    let watcher = Box::into_raw(Box::new(Watcher { call, arg }));
    flux(|flux| flux.watchers.push(watcher));
    watcher
}

#[no_mangle]
extern "C" fn flux_prepare_watcher_create(
    reactor: *mut sys::flux_reactor_t,
    call: sys::flux_watcher_f,
    arg: *mut c_void,
) -> *mut Watcher {
    flux_timer_watcher_create(reactor, 0.0, 0.0, call, arg)
}

#[no_mangle]
extern "C" fn flux_watcher_start(_: *mut Watcher) {}

#[no_mangle]
extern "C" fn flux_watcher_stop(_: *mut Watcher) {}

#[no_mangle]
unsafe extern "C" fn flux_watcher_destroy(watcher: *mut Watcher) {
    flux(|flux| flux.watchers.retain(|other| *other != watcher));
    // SAFETY: it was made so; Miri complains of a second time.
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
    let future =
        Box::into_raw(Box::new(Future { call: None, arg: ptr::null_mut(), references: 1 }));
    flux(|flux| flux.futures.push(future));
    future
}

#[no_mangle]
unsafe extern "C" fn flux_future_then(
    future: *mut Future,
    _: f64,
    call: sys::flux_continuation_f,
    arg: *mut c_void,
) -> c_int {
    // SAFETY: it was made by `flux_rpc`, and lives.
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
    // SAFETY: as above; it removed with its last reference.
    unsafe {
        (*future).references -= 1;
        if (*future).references == 0 {
            flux(|flux| flux.futures.retain(|other| *other != future));
            drop(Box::from_raw(future));
        }
    }
}

#[no_mangle]
unsafe extern "C" fn flux_future_destroy(future: *mut Future) {
    // SAFETY: as above.
    unsafe { flux_future_decref(future) };
}

/// A function that leads to callbacks before it returns.
#[no_mangle]
extern "C" fn flux_jobtap_reprioritize_all(_: *mut sys::flux_plugin_t) -> c_int {
    call(c"job.destroy");
    0
}

/// Calls the plugin's handlers of a topic.
fn call(topic: &CStr) {
    for (other, call, data) in flux(|flux| flux.handlers.clone()) {
        if *other == *topic {
            // SAFETY: they were registered so. The callbacks of these tests look at no
            // arguments.
            unsafe { call(opaque(), topic.as_ptr(), ptr::null_mut(), data) };
        }
    }
}

/// All watchers, and then all futures, are ready.
fn turn() {
    for watcher in flux(|flux| flux.watchers.clone()) {
        // One may have destroyed another.
        if flux(|flux| flux.watchers.contains(&watcher)) {
            // SAFETY: it lives.
            let (call, arg) = unsafe { ((*watcher).call.unwrap(), (*watcher).arg) };
            // SAFETY: it was created so.
            unsafe { call(opaque(), watcher.cast(), 0, arg) };
        }
    }
    for future in flux(|flux| flux.futures.clone()) {
        if flux(|flux| flux.futures.contains(&future)) {
            // SAFETY: it lives.
            let (call, arg) = unsafe { ((*future).call.take().unwrap(), (*future).arg) };
            // SAFETY: it was handed over so.
            unsafe { call(future.cast(), arg) };
        }
    }
}

fn load<P: Plugin>() {
    // SAFETY: nobody looks into the plugin.
    assert_eq!(unsafe { register::<P>(opaque()) }, 0);
}

/// What Flux does at a removal; nothing is left.
fn remove() {
    flux_jobtap_job_aux_set(opaque(), 0, ptr::null(), ptr::null_mut(), None);
    flux(|flux| flux.handlers.clear());
    for (value, destructor) in flux(|flux| mem::take(&mut flux.plugin_aux)) {
        // SAFETY: it was set so, and is taken out.
        unsafe { destructor(value) };
    }
    flux(|flux| assert!(flux.watchers.is_empty() && flux.futures.is_empty()));
}

/// Notes when it is dropped.
struct Owned(&'static str);

impl Drop for Owned {
    fn drop(&mut self) {
        note(self.0);
    }
}

/// Declares a plugin that calls a function at each job.new.
macro_rules! plugin {
    ($name:ident { $($field:ident: $kind:ty),* } $job_new:expr) => {
        struct $name { flux: Jobtap<Self>, $($field: $kind),* }

        impl Plugin for $name {
            const NAME: &'static str = "test";

            fn init(flux: Jobtap<Self>, callbacks: &mut Callbacks<Self>) -> Result<Self, Error> {
                callbacks.job_new(|plugin, _| {
                    let job_new: fn(&mut Self) -> Result<(), Error> = $job_new;
                    job_new(plugin)
                });
                callbacks.job_destroy(|_, _| {
                    note("job.destroy");
                    Ok(())
                });
                Ok($name { flux, $($field: Default::default()),* })
            }
        }
    };
}

#[test]
fn what_a_callback_posts_leads_to_callbacks_behind_it() {
    plugin!(
        Posts {} | plugin | {
            note("begin");
            plugin.flux.reprioritize_all();
            plugin.flux.later("test", |_| {
                note("later");
                Ok(())
            });
            plugin.flux.reprioritize_all();
            note("end");
            Ok(())
        }
    );
    load::<Posts>();
    for _ in 0..2 {
        call(c"job.new");
        assert_eq!(noted(), ["begin", "end", "job.destroy", "later", "job.destroy"]);
    }
    remove();
}

#[test]
fn a_key_may_be_dropped_in_its_own_callback() {
    plugin!(Drops { timer: Option<Timer>, turn_end: Option<PrepareWatcher>, rpc: Option<Rpc> } |plugin| {
        let owned = Owned("timer dropped");
        plugin.timer = Some(plugin.flux.timer(0.0, 1.0, move |plugin| {
            plugin.timer = None;
            note("timer");
            let _ = &owned;
        })?);
        let owned = Owned("turn dropped");
        let turn_end = plugin.flux.turn_end(move |plugin| {
            plugin.turn_end = None;
            note("turn");
            let _ = &owned;
        })?;
        turn_end.request();
        plugin.turn_end = Some(turn_end);
        let owned = Owned("rpc dropped");
        plugin.rpc = Some(plugin.flux.rpc(c"topic", None, 1.0, move |plugin, _| {
            plugin.rpc = None;
            note("rpc");
            let _ = &owned;
        })?);
        Ok(())
    });
    load::<Drops>();
    call(c"job.new");
    turn();
    let all = ["timer", "timer dropped", "turn", "turn dropped", "rpc", "rpc dropped"];
    assert_eq!(noted(), all);
    turn();
    // Made again, and dropped with the plugin.
    call(c"job.new");
    remove();
    assert_eq!(noted(), ["timer dropped", "turn dropped", "rpc dropped"]);
}

#[test]
fn a_forgotten_key_works_until_the_end_of_the_plugin() {
    plugin!(
        Forgets {} | plugin | {
            let owned = Owned("timer dropped");
            mem::forget(plugin.flux.timer(0.0, 1.0, move |_| {
                note("timer");
                let _ = &owned;
            })?);
            let owned = Owned("rpc dropped");
            mem::forget(plugin.flux.rpc(c"topic", None, 1.0, move |_, _| {
                note("rpc");
                let _ = &owned;
            })?);
            // It owns its own key.
            let own: Rc<RefCell<Option<Timer>>> = Rc::default();
            let (key, owned) = (own.clone(), Owned("cycle dropped"));
            *own.borrow_mut() = Some(plugin.flux.timer(0.0, 1.0, move |_| {
                let _ = (&key, &owned);
            })?);
            Ok(())
        }
    );
    load::<Forgets>();
    call(c"job.new");
    turn();
    turn();
    assert_eq!(noted(), ["timer", "rpc", "rpc dropped", "timer"]);
    remove();
    assert_eq!(noted(), ["timer dropped", "cycle dropped"]);
}

#[test]
fn a_jobs_data_may_be_replaced_while_it_is_used() {
    plugin!(
        Replaces {} | plugin | {
            let flux = plugin.flux.clone();
            flux.set_job_data(1, Owned("first dropped"))?;
            let outcome = flux.with_job_data(1, |data: &mut Owned| {
                flux.set_job_data(1, (Owned("second dropped"), flux.clone())).unwrap();
                note("replaced");
                data.0 = "first dropped, changed";
            });
            assert!(outcome.is_some());
            assert!(flux.with_job_data(1, |_: &mut Owned| ()).is_none(), "of another type");
            let nested = flux.with_job_data(1, |_: &mut (Owned, Jobtap<Self>)| {
                flux.with_job_data(1, |_: &mut (Owned, Jobtap<Self>)| ()).is_none()
            });
            assert_eq!(nested, Some(true), "in use");
            Ok(())
        }
    );
    load::<Replaces>();
    call(c"job.new");
    assert_eq!(noted(), ["replaced", "first dropped, changed"]);
    remove();
    assert_eq!(noted(), ["second dropped"]);
}

#[test]
fn a_handle_that_outlives_the_plugin_does_nothing() {
    thread_local! {
        static KEPT: RefCell<Option<Jobtap<Kept>>> = const { RefCell::new(None) };
    }
    plugin!(
        Kept {} | plugin | {
            KEPT.set(Some(plugin.flux.clone()));
            Ok(())
        }
    );
    load::<Kept>();
    call(c"job.new");
    let flux = KEPT.take().unwrap();
    assert!(flux.set_job_data(1, 1).is_err(), "no callback runs");
    remove();
    flux.reprioritize_all();
    assert!(flux.timer(0.0, 0.0, |_| ()).is_err());
    assert!(flux.set_job_data(1, 1).is_err());
    assert_eq!(flux.with_job_data(1, |data: &mut i32| *data), None);
    assert_eq!(noted(), [""; 0]);
}
