//! Which callbacks a plugin wants, and the one trampoline between them and the job manager.

use std::any::Any;
use std::ffi::{c_char, c_int, c_void, CStr, CString};
use std::rc::Rc;

use super::args::{Args, Transition};
use super::error::Error;
use super::instance::Instance;
use super::job::{Job, JobEvent};
use super::plugin::{Conf, Plugin};
use super::sys;
use super::text::{c_string, c_text};
use super::topics::{call_each, call_matching, in_order, registered, Call, Chain, Choice};

/// The callbacks that a plugin wants: each method takes what is called, a function of
/// the plugin's or a closure, and registers it for the topic of that name in
/// flux-flux-plugins(7). Nothing else of the plugin is called, and each costs a call a
/// job: name what you use and no more. (With two or more of job.new, job.state.* and
/// job.inactive-* Flux calls the layer for all of these.)
///
/// Flux looks through them in the order of their registration at each call, so name
/// the most frequent first. A topic may be named more than once (`job_state` and
/// `job_enters`, say): all are called, in their order.
///
/// A callback that decides nothing has no outcome: its errors are logged, the first of
/// each kind, and the plugins behind this one are called all the same.
pub struct Callbacks<P: Plugin> {
    /// It outlives the handlers.
    instance: *const Instance<P>,
    registrations: Vec<Registration>,
}

struct Registration {
    topic: CString,
    call: Call,
    data: *mut c_void,
}

impl<P: Plugin> Callbacks<P> {
    /// `conf.update`: once at load, after `init`, and at each change of the
    /// broker's configuration (twice at start-up).
    ///
    /// An error at load fails the load; later, the reload: the text removed to whoever
    /// asked for it. Flux cuts it at 159 bytes.
    pub fn conf_update(
        &mut self,
        callback: impl Fn(&mut P, Conf<'_>) -> Result<(), Error> + 'static,
    ) {
        self.add::<ConfUpdate, _>(c"conf.update", "conf.update", callback);
    }

    /// `plugin.query`: what `flux flux query` prints, as a JSON object's text.
    pub fn query(&mut self, callback: impl Fn(&mut P) -> String + 'static) {
        self.add::<Query, _>(c"plugin.query", "plugin.query", callback);
    }

    /// `job.new`: a job was accepted, or was active when the plugin was loaded.
    pub fn job_new(&mut self, callback: impl Fn(&mut P, &Job<'_>) -> Result<(), Error> + 'static) {
        self.add::<Notice, _>(c"job.new", "job.new", callback);
    }

    /// `job.state.*`: a job entered a state.
    pub fn job_state(
        &mut self,
        callback: impl Fn(&mut P, Transition, &Job<'_>) -> Result<(), Error> + 'static,
    ) {
        self.add::<Moved, _>(c"job.state.*", "job.state", callback);
    }

    /// `job.event.NAME`, of jobs that were [subscribed](super::Jobtap::subscribe) to: an
    /// event of this name was posted. All events, if the name is `*`.
    pub fn job_event(
        &mut self,
        name: &str,
        callback: impl Fn(&mut P, &JobEvent<'_>, &Job<'_>) -> Result<(), Error> + 'static,
    ) {
        let log_name = match name {
            "exception" => "job.event.exception",
            _ => "job.event",
        };
        self.add::<Posted, _>(&c_string(&format!("job.event.{name}")), log_name, callback);
    }

    /// `job.update`: a job's jobspec was changed.
    pub fn job_update(
        &mut self,
        callback: impl Fn(&mut P, &Job<'_>) -> Result<(), Error> + 'static,
    ) {
        self.add::<Notice, _>(c"job.update", "job.update", callback);
    }

    /// `job.inactive-add`: a job joined the inactive jobs, at its end or read
    /// back from the KVS at a restart. Before 0.87.0 a restart calls it for active
    /// jobs, too, whose `state` says so: restart.c removed through the inactive jobs
    /// with the cursor of the active ones (flux-core #7690).
    pub fn job_inactive_add(
        &mut self,
        callback: impl Fn(&mut P, &Job<'_>) -> Result<(), Error> + 'static,
    ) {
        self.add::<Notice, _>(c"job.inactive-add", "job.inactive-add", callback);
    }

    /// `job.inactive-remove`: an inactive job was purged.
    pub fn job_inactive_remove(
        &mut self,
        callback: impl Fn(&mut P, &Job<'_>) -> Result<(), Error> + 'static,
    ) {
        self.add::<Notice, _>(c"job.inactive-remove", "job.inactive-remove", callback);
    }

    pub(super) fn new(instance: &Rc<Instance<P>>) -> Self {
        Callbacks { instance: Rc::as_ptr(instance), registrations: Vec::new() }
    }

    /// Adds `callback`, of kind `K`, for `topic`; `name` is what the log calls it.
    pub(super) fn add<K: HandlerKind<P, F>, F: 'static>(
        &mut self,
        topic: &CStr,
        name: &'static str,
        callback: F,
    ) {
        let data = self.keep(name, callback);
        self.push(topic, trampoline::<P, K, F>, data);
    }

    /// Keeps a callback until the instance's end: a `Handler<P, F>`, the argument of what
    /// calls it.
    pub(super) fn keep<F: 'static>(&self, name: &'static str, callback: F) -> *mut c_void {
        let handler = Rc::new(Handler { instance: self.instance, name, callback });
        let data = Rc::as_ptr(&handler) as *mut c_void;
        self.own(handler);
        data
    }

    fn own(&self, handler: Rc<dyn Any>) {
        self.instance().handlers.borrow_mut().push(handler);
    }

    /// Not inlined: `add` is in the .so once for each callback, this only once.
    #[inline(never)]
    fn push(&mut self, topic: &CStr, call: Call, data: *mut c_void) {
        self.registrations.push(Registration { topic: topic.to_owned(), call, data });
    }

    pub(super) fn instance(&self) -> &Instance<P> {
        // SAFETY: it made this, and outlives it.
        unsafe { &*self.instance }
    }

    /// Registers all with Flux at the end of `init`, and not one by one: their order
    /// depends on all topics.
    pub(super) fn register(self) -> Result<(), Error> {
        let topics: Vec<_> = self.registrations.iter().map(|one| &*one.topic).collect();
        // Each topic once, with what is called for it.
        let mut handlers: Vec<(CString, Call, *mut c_void)> = Vec::new();
        for (topic, group) in in_order(&topics) {
            let one = &self.registrations[group[0]];
            let (mut call, mut data) = (one.call, one.data);
            if group.len() > 1 {
                let calls = group.iter().map(|&index| &self.registrations[index]);
                let chain = Rc::new(Chain(calls.map(|one| (one.call, one.data)).collect()));
                (call, data) = (call_each, Rc::as_ptr(&chain) as *mut c_void);
                self.own(chain);
            }
            handlers.push((topic.to_owned(), call, data));
        }
        let topics: Vec<_> = handlers.iter().map(|(topic, ..)| &**topic).collect();
        for (topic, group) in registered(&topics) {
            let &(_, mut call, mut data) = &handlers[group[0]];
            if group.len() > 1 {
                let choice =
                    Rc::new(Choice(group.iter().map(|&it| handlers[it].clone()).collect()));
                (call, data) = (call_matching, Rc::as_ptr(&choice) as *mut c_void);
                self.own(choice);
            }
            self.add_handler(topic, call, data)?;
        }
        Ok(())
    }

    fn add_handler(&self, topic: &CStr, call: Call, data: *mut c_void) -> Result<(), Error> {
        let plugin = self.instance().flux_plugin;
        // SAFETY: the plugin lives; Flux copies the topic; the argument lives as long as the
        // instance, which Flux destroys after the handlers.
        let code =
            unsafe { sys::flux_plugin_add_handler(plugin, topic.as_ptr(), Some(call), data) };
        match code {
            0.. => Ok(()),
            _ => Err(Error::last_os_error("flux_plugin_add_handler")),
        }
    }
}

/// The argument of one registered handler.
pub(super) struct Handler<P: Plugin, F> {
    pub(super) instance: *const Instance<P>,
    pub(super) name: &'static str,
    pub(super) callback: F,
}

/// A kind of callback: how it is called, and what becomes of its outcome.
pub(super) trait HandlerKind<P: Plugin, F> {
    /// Calls `callback`, which the log calls `name`. Returns what the callback
    /// returns, 0 or -1.
    fn call(instance: &Instance<P>, name: &'static str, callback: &F, args: &Args) -> c_int;
}

/// The one function that the job manager calls, whatever the callback.
///
/// # Safety
/// - `args` are Flux's, for the callback that is running.
/// - `data` points to a `Handler<P, F>` of a living instance.
unsafe extern "C" fn trampoline<P: Plugin, K: HandlerKind<P, F>, F>(
    _plugin: *mut sys::flux_plugin_t,
    _topic: *const c_char,
    args: *mut sys::flux_plugin_arg_t,
    data: *mut c_void,
) -> c_int {
    // SAFETY: `register` passed the handler, which lives as long as its instance; Flux
    // destroys the instance after the handlers.
    let (handler, instance) = unsafe {
        let handler = &*(data as *const Handler<P, F>);
        (handler, &*handler.instance)
    };
    // SAFETY: Flux passed them, for the time of this call.
    let args = unsafe { Args::new(args) };
    K::call(instance, handler.name, &handler.callback, &args)
}

pub(super) struct Notice;

impl<P: Plugin, F> HandlerKind<P, F> for Notice
where
    F: Fn(&mut P, &Job<'_>) -> Result<(), Error>,
{
    fn call(instance: &Instance<P>, name: &'static str, callback: &F, args: &Args) -> c_int {
        let job = Job::current(instance.flux_plugin, args);
        instance.dispatch(name, |plugin| callback(plugin, &job));
        0
    }
}

struct Moved;

impl<P: Plugin, F> HandlerKind<P, F> for Moved
where
    F: Fn(&mut P, Transition, &Job<'_>) -> Result<(), Error>,
{
    fn call(instance: &Instance<P>, name: &'static str, callback: &F, args: &Args) -> c_int {
        let job = Job::current(instance.flux_plugin, args);
        instance.dispatch(name, |plugin| callback(plugin, args.transition()?, &job));
        0
    }
}

struct Posted;

impl<P: Plugin, F> HandlerKind<P, F> for Posted
where
    F: Fn(&mut P, &JobEvent<'_>, &Job<'_>) -> Result<(), Error>,
{
    fn call(instance: &Instance<P>, name: &'static str, callback: &F, args: &Args) -> c_int {
        let job = Job::current(instance.flux_plugin, args);
        instance.dispatch(name, |plugin| callback(plugin, &JobEvent::new(args), &job));
        0
    }
}

struct ConfUpdate;

impl<P: Plugin, F> HandlerKind<P, F> for ConfUpdate
where
    F: Fn(&mut P, Conf<'_>) -> Result<(), Error>,
{
    fn call(instance: &Instance<P>, _: &'static str, callback: &F, args: &Args) -> c_int {
        // SAFETY: the plugin lives; the conf is its own copy and does not
        // change while this call runs.
        let conf = unsafe { c_text(sys::flux_plugin_get_conf(instance.flux_plugin)) };
        let outcome = instance.try_dispatch(|plugin| {
            let broker = args.json()?;
            callback(plugin, Conf { plugin: conf.as_deref(), broker: &broker })
        });
        match outcome {
            Ok(()) => 0,
            Err(error) => {
                let text = c_string(&error.to_string());
                // SAFETY: the plugin and the args live; the format is constant and
                // names the one string it gets; Flux copies the text.
                unsafe {
                    sys::flux_jobtap_error(
                        instance.flux_plugin,
                        args.raw(),
                        c"%s".as_ptr(),
                        text.as_ptr(),
                    )
                }
            }
        }
    }
}

struct Query;

impl<P: Plugin, F> HandlerKind<P, F> for Query
where
    F: Fn(&mut P) -> String,
{
    fn call(instance: &Instance<P>, name: &'static str, callback: &F, args: &Args) -> c_int {
        instance.dispatch(name, |plugin| args.answer(&c_string(&callback(plugin))));
        0
    }
}
