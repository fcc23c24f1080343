//! The plugin trait, and the one shim between it and the job manager.

use std::cell::{Cell, RefCell};
use std::ffi::{CStr, CString};
use std::os::raw::{c_char, c_int, c_void};
use std::ptr::{self, NonNull};
use std::rc::{Rc, Weak};
use std::{fmt, io};

use super::args::{Args, Transition};
use super::job::{FoundJob, Job};
use super::panics::caught;
use super::rpc::{Response, Rpc};
use super::state::JobState;
use super::sys;
use super::timer::Timer;
use super::turn::TurnEnd;

/// A jobtap plugin. One value lives for each load, and is dropped at removal.
///
/// Each method is the callback of that name in flux-jobtap-plugins(7), and is
/// called only if it is among [`CALLBACKS`](Plugin::CALLBACKS). A job callback
/// has nothing to return: -1 would silence the plugins loaded behind this one.
pub trait Plugin: Sized + 'static {
    /// What its log lines begin with.
    const NAME: &'static str;

    /// What the job manager should call. Each costs it a call a job, so name
    /// what you use and no more.
    const CALLBACKS: &'static [Callback];

    /// Makes the plugin, in `flux_plugin_init`. Flux may still refuse the load
    /// afterwards ("already loaded"), so do nothing here that others can see.
    ///
    /// # Errors
    /// Fail the load. Flux says only "flux_plugin_init failed", with this error
    /// in its log; refuse a bad configuration in `conf_update`.
    fn init(jobtap: Jobtap<Self>) -> Result<Self, Error>;

    /// `conf.update`: once at load, after `init`, and at each change of the
    /// broker's configuration (twice at start-up).
    ///
    /// # Errors
    /// At load, fail the load; later, the reload: the text goes to whoever
    /// asked for it. Flux cuts it at 159 bytes.
    fn conf_update(&mut self, conf: Conf<'_>) -> Result<(), Error> {
        let _ = conf;
        Ok(())
    }

    /// `plugin.query`: what `flux jobtap query` prints, as a JSON object's text.
    fn query(&mut self) -> String {
        "{}".to_owned()
    }

    /// `job.new`: a job was accepted, or was active when the plugin was loaded.
    ///
    /// # Errors
    /// Of this and the other job callbacks are logged, the first of each.
    fn job_new(&mut self, state: JobState, job: &Job<'_>) -> Result<(), Error> {
        let _ = (state, job);
        Ok(())
    }

    /// `job.state.*`: a job entered a state.
    ///
    /// # Errors
    /// As [`job_new`](Self::job_new).
    fn job_state(&mut self, transition: Transition, job: &Job<'_>) -> Result<(), Error> {
        let _ = (transition, job);
        Ok(())
    }

    /// `job.event.exception`, of jobs that were [subscribed](Jobtap::subscribe) to:
    /// an exception of this type was raised.
    ///
    /// # Errors
    /// As [`job_new`](Self::job_new).
    fn job_exception(&mut self, kind: &str) -> Result<(), Error> {
        let _ = kind;
        Ok(())
    }

    /// `job.update`: a job's jobspec was changed.
    ///
    /// # Errors
    /// As [`job_new`](Self::job_new).
    fn job_update(&mut self, state: JobState, job: &Job<'_>) -> Result<(), Error> {
        let _ = (state, job);
        Ok(())
    }

    /// `job.inactive-add`: a job joined the inactive jobs, at its end or read
    /// back from the KVS at a restart. Before 0.87.0 a restart calls it for active
    /// jobs, too, whose `state` says so: restart.c goes through the inactive jobs
    /// with the cursor of the active ones (flux-core #7690).
    ///
    /// # Errors
    /// As [`job_new`](Self::job_new).
    fn job_inactive_add(&mut self, state: JobState, job: &Job<'_>) -> Result<(), Error> {
        let _ = (state, job);
        Ok(())
    }

    /// `job.inactive-remove`: an inactive job was purged.
    ///
    /// # Errors
    /// As [`job_new`](Self::job_new).
    fn job_inactive_remove(&mut self, job: &Job<'_>) -> Result<(), Error> {
        let _ = job;
        Ok(())
    }
}

/// What configures a plugin, each a JSON object's text.
#[derive(Clone, Copy, Debug)]
pub struct Conf<'a> {
    /// Given at load: `flux jobtap load`'s KEY=VALUE words, or `conf` in the
    /// broker's `[[job-manager.plugins]]`. It never changes.
    pub plugin: Option<&'a str>,
    /// `{"conf": …}` with all of the broker's configuration.
    pub broker: &'a str,
}

/// A callback that a plugin can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Callback {
    /// [`Plugin::conf_update`]
    ConfUpdate,
    /// [`Plugin::job_new`]
    JobNew,
    /// [`Plugin::job_state`]
    JobState,
    /// [`Plugin::job_exception`]
    JobException,
    /// [`Plugin::job_update`]
    JobUpdate,
    /// [`Plugin::job_inactive_add`]
    JobInactiveAdd,
    /// [`Plugin::job_inactive_remove`]
    JobInactiveRemove,
    /// [`Plugin::query`]
    Query,
}

impl Callback {
    fn topic(self) -> &'static CStr {
        match self {
            Callback::ConfUpdate => c"conf.update",
            Callback::JobNew => c"job.new",
            Callback::JobState => c"job.state.*",
            Callback::JobException => c"job.event.exception",
            Callback::JobUpdate => c"job.update",
            Callback::JobInactiveAdd => c"job.inactive-add",
            Callback::JobInactiveRemove => c"job.inactive-remove",
            Callback::Query => c"plugin.query",
        }
    }
}

/// How much a log line matters: syslog(3)'s levels, as `flux dmesg` shows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum LogLevel {
    /// Something failed that somebody has to mend.
    Error = libc::LOG_ERR,
    /// Something is not as it should be, and the plugin goes on.
    Warning = libc::LOG_WARNING,
    /// Good to know.
    Info = libc::LOG_INFO,
}

/// What went wrong, in words for an administrator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error(String);

impl Error {
    /// An error with this text.
    pub fn new(text: impl Into<String>) -> Self {
        Error(text.into())
    }

    /// A panic.
    #[cold]
    fn bug(panic: &str) -> Self {
        Error(format!("a bug: {panic}"))
    }

    /// `what`, and what errno says of it.
    pub(super) fn last_os_error(what: &str) -> Self {
        Error(format!("{what}: {}", io::Error::last_os_error()))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

/// A plugin's way back to the job manager: log, timers, requests.
pub struct Jobtap<P: Plugin> {
    /// The job manager's own handle, which outlives every plugin.
    flux: NonNull<sys::flux_t>,
    slot: Weak<Slot<P>>,
}

impl<P: Plugin> Jobtap<P> {
    /// Writes one line to the broker's log (`flux dmesg`), behind the plugin's name.
    pub fn log(&self, level: LogLevel, message: &str) {
        log::<P>(self.flux, level, message);
    }

    /// The broker's attribute of this name, if it has it (flux-broker-attributes(7)).
    /// Flux may ask the broker for it and wait: not for the path of a job.
    pub fn attribute(&self, name: &CStr) -> Option<String> {
        // SAFETY: the handle outlives the plugin; the text is the handle's own,
        // and copied.
        unsafe { c_text(sys::flux_attr_get(self.flux.as_ptr(), name.as_ptr())) }
    }

    /// Calls `callback` after `after` seconds, and then every `repeat` seconds
    /// unless that is 0. With `after` 0 it is called when the reactor is free
    /// again, which is after the whole of a load.
    ///
    /// # Errors
    /// If Flux has no memory for it.
    pub fn timer(&self, after: f64, repeat: f64, callback: fn(&mut P)) -> Result<Timer, Error> {
        Timer::start(self.flux, self.slot.clone(), after, repeat, callback)
    }

    /// Makes a callback at the end of those turns of the reactor in which it is
    /// [requested](TurnEnd::request).
    ///
    /// # Errors
    /// If Flux has no memory for it.
    pub fn turn_end(&self, callback: fn(&mut P)) -> Result<TurnEnd, Error> {
        TurnEnd::new(self.flux, self.slot.clone(), callback)
    }

    /// What the job manager knows of a job, active or inactive, at this moment
    /// (flux_jobtap_job_lookup); `None` where it knows none of this id. It takes
    /// some microseconds, and allocates. Not for the path of a job; and not for
    /// a plugin's end, where there is no plugin to ask for any more.
    pub fn job(&self, id: u64) -> Option<FoundJob> {
        let slot = self.slot.upgrade()?;
        // SAFETY: the slot lives, so it is not the plugin's end, and the plugin
        // lives.
        unsafe { FoundJob::new(slot.handle, id) }
    }

    /// Asks for `job.event.*` of an active job from now on.
    ///
    /// # Errors
    /// If there is no such job.
    pub fn subscribe(&self, id: u64) -> Result<(), Error> {
        let Some(slot) = self.slot.upgrade() else { return Ok(()) };
        // SAFETY: the slot lives, so it is not the plugin's end, and the plugin
        // lives.
        match unsafe { sys::flux_jobtap_job_subscribe(slot.handle, id) } {
            0.. => Ok(()),
            _ => Err(Error::last_os_error("flux_jobtap_job_subscribe")),
        }
    }

    /// Sends a request to `topic`, with a JSON payload or without one, and calls
    /// `callback` with the response, or with an error after `timeout` seconds.
    ///
    /// # Errors
    /// If the request cannot be sent.
    pub fn rpc(
        &self,
        topic: &CStr,
        payload: Option<&CStr>,
        timeout: f64,
        callback: fn(&mut P, Response<'_>),
    ) -> Result<Rpc, Error> {
        Rpc::send(self.flux, self.slot.clone(), topic, payload, timeout, callback)
    }
}

/// Logs `message` behind the plugin's name.
fn log<P: Plugin>(flux: NonNull<sys::flux_t>, level: LogLevel, message: &str) {
    let message = c_string(&format!("{}: {message}", P::NAME));
    // SAFETY: the handle is the job manager's own and outlives the plugin; the
    // format is constant and names the one string it gets.
    unsafe {
        sys::flux_log(flux.as_ptr(), level as c_int, c"%s".as_ptr(), message.as_ptr());
    }
}

/// One load of a plugin: what Flux's pointers lead to.
pub(super) struct Slot<P: Plugin> {
    flux: NonNull<sys::flux_t>,
    /// The plugin as Flux has it, which lives as long as the slot.
    handle: *mut sys::flux_plugin_t,
    /// `None` only while `init` runs. Borrowed while a callback runs, so that
    /// one that leads back into the plugin is refused rather than unsound.
    plugin: RefCell<Option<P>>,
    /// What each handler's argument points to.
    handlers: Vec<Handler<P>>,
    /// Callbacks of which an error was logged: the first speaks for all.
    logged: RefCell<Vec<&'static str>>,
}

/// The argument of one registered handler.
struct Handler<P: Plugin> {
    callback: Callback,
    slot: Cell<*const Slot<P>>,
}

impl<P: Plugin> Slot<P> {
    /// Runs `body` on the plugin. Errors and panics end here, logged once for
    /// each `place`. (Not inlined: the most frequent callback would have the
    /// stack frame of all of them.)
    #[inline(never)]
    pub(super) fn enter(
        &self,
        place: &'static str,
        body: impl FnOnce(&mut P) -> Result<(), Error>,
    ) {
        if let Err(error) = self.attempt(body) {
            self.log_once(place, &error);
        }
    }

    /// Runs `body` on the plugin; a panic becomes an error.
    fn attempt(&self, body: impl FnOnce(&mut P) -> Result<(), Error>) -> Result<(), Error> {
        caught(|| match self.plugin.try_borrow_mut() {
            Ok(mut plugin) => plugin.as_mut().map_or(Ok(()), body),
            Err(_) => Err(Error::new("called while another callback runs")),
        })
        .unwrap_or_else(|panic| Err(Error::bug(&panic)))
    }

    #[cold]
    fn log_once(&self, place: &'static str, error: &Error) {
        let mut logged = self.logged.borrow_mut();
        if !logged.contains(&place) {
            logged.push(place);
            let message = format!("{place}: {error} (further errors there are not logged)");
            log::<P>(self.flux, LogLevel::Error, &message);
        }
    }
}

/// Makes a plugin of type `P` and registers its callbacks: the whole of
/// `flux_plugin_init`. Returns what that returns, 0 or -1.
///
/// # Safety
/// - `plugin` is the `flux_plugin_t` that the job manager is loading.
pub unsafe fn register<P: Plugin>(plugin: *mut sys::flux_plugin_t) -> c_int {
    // SAFETY: the caller's promise.
    let Some(flux) = NonNull::new(unsafe { sys::flux_jobtap_get_flux(plugin) }) else {
        return -1;
    };
    let slot = Rc::new(Slot {
        flux,
        handle: plugin,
        plugin: RefCell::new(None),
        handlers: P::CALLBACKS
            .iter()
            .map(|&callback| Handler { callback, slot: Cell::new(ptr::null()) })
            .collect(),
        logged: RefCell::new(Vec::new()),
    });
    let made = caught(|| P::init(Jobtap { flux, slot: Rc::downgrade(&slot) }));
    match made.unwrap_or_else(|panic| Err(Error::bug(&panic))) {
        Ok(made) => *slot.plugin.borrow_mut() = Some(made),
        Err(error) => {
            slot.log_once("flux_plugin_init", &error);
            return -1;
        }
    }
    let address = Rc::into_raw(slot);
    // SAFETY: the plugin lives; from here on the aux item owns the slot, and
    // destroys it while this code is still mapped.
    let code = unsafe {
        sys::flux_plugin_aux_set(plugin, ptr::null(), address as *mut c_void, Some(destroy::<P>))
    };
    if code < 0 {
        // SAFETY: the aux item was not made, so the slot is still ours.
        let slot = unsafe { Rc::from_raw(address) };
        slot.log_once("flux_plugin_init", &Error::last_os_error("flux_plugin_aux_set"));
        return -1;
    }
    // SAFETY: the aux item keeps the slot alive beyond this function.
    for handler in unsafe { &(*address).handlers } {
        handler.slot.set(address);
        // SAFETY: Flux copies the topic; the argument lives as long as the
        // slot, which Flux destroys after the handlers.
        let code = unsafe {
            sys::flux_plugin_add_handler(
                plugin,
                handler.callback.topic().as_ptr(),
                Some(shim::<P>),
                handler as *const Handler<P> as *mut c_void,
            )
        };
        if code < 0 {
            let error = Error::last_os_error("flux_plugin_add_handler");
            // SAFETY: as above.
            unsafe { &*address }.log_once("flux_plugin_init", &error);
            return -1;
        }
    }
    0
}

/// The one function that the job manager calls, whatever the callback.
///
/// # Safety
/// - `plugin` and `args` are Flux's, for the callback that is running.
/// - `data` points to a `Handler<P>` of a living slot.
unsafe extern "C" fn shim<P: Plugin>(
    plugin: *mut sys::flux_plugin_t,
    _topic: *const c_char,
    args: *mut sys::flux_plugin_arg_t,
    data: *mut c_void,
) -> c_int {
    // SAFETY: `register` passed the handler, which lives as long as its slot.
    let handler = unsafe { &*(data as *const Handler<P>) };
    // SAFETY: set in `register`, before the handler could be called; Flux
    // destroys the slot after the handlers.
    let slot = unsafe { &*handler.slot.get() };
    // SAFETY: Flux passed them, for the time of this call.
    let arguments = unsafe { Args::new(args) };
    let job = Job { plugin, args: &arguments };
    match handler.callback {
        Callback::ConfUpdate => {
            // SAFETY: the plugin lives; the conf is its own copy and does not
            // change while this call runs.
            let conf = unsafe { c_text(sys::flux_plugin_get_conf(plugin)) };
            if let Err(error) = slot.attempt(|plugin| {
                let broker = arguments.json()?;
                plugin.conf_update(Conf { plugin: conf.as_deref(), broker: &broker })
            }) {
                let text = c_string(&error.0);
                // SAFETY: the format is constant and names the one string it
                // gets; Flux copies the text into the arguments.
                return unsafe {
                    sys::flux_jobtap_error(plugin, args, c"%s".as_ptr(), text.as_ptr())
                };
            }
        }
        Callback::JobNew => {
            slot.enter("job.new", |plugin| plugin.job_new(arguments.state()?, &job))
        }
        Callback::JobState => {
            slot.enter("job.state", |plugin| plugin.job_state(arguments.transition()?, &job))
        }
        Callback::JobException => {
            slot.enter("job.event.exception", |plugin| plugin.job_exception(&job.exception()?))
        }
        Callback::JobUpdate => {
            slot.enter("job.update", |plugin| plugin.job_update(arguments.state()?, &job))
        }
        Callback::JobInactiveAdd => slot
            .enter("job.inactive-add", |plugin| plugin.job_inactive_add(arguments.state()?, &job)),
        Callback::JobInactiveRemove => {
            slot.enter("job.inactive-remove", |plugin| plugin.job_inactive_remove(&job))
        }
        Callback::Query => {
            slot.enter("plugin.query", |plugin| arguments.answer(&c_string(&plugin.query())))
        }
    }
    0
}

/// `text` for C, less any NUL, which would end it early.
pub(super) fn c_string(text: &str) -> CString {
    let bytes: Vec<u8> = text.bytes().filter(|&byte| byte != 0).collect();
    CString::new(bytes).unwrap_or_default()
}

/// The host's name, as the kernel knows it (gethostname(2)).
pub fn hostname() -> String {
    let mut name = [0u8; 256];
    // SAFETY: the buffer is as long as it is said to be, less the last byte,
    // which stays 0 and ends even a name that was cut.
    unsafe { libc::gethostname(name.as_mut_ptr().cast(), name.len() - 1) };
    CStr::from_bytes_until_nul(&name).map(|name| name.to_string_lossy().into()).unwrap_or_default()
}

/// A copy of a C string, `None` for NULL.
///
/// # Safety
/// - `text` is NULL or a C string.
unsafe fn c_text(text: *const c_char) -> Option<String> {
    // SAFETY: the caller's promise.
    (!text.is_null()).then(|| unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
}

/// The aux item's destructor: the end of the plugin, while its code is mapped.
///
/// # Safety
/// - `slot` is the pointer that `register` gave to the aux item.
unsafe extern "C" fn destroy<P: Plugin>(slot: *mut c_void) {
    // SAFETY: the aux item owned the slot, and gives it up here, once.
    let slot = unsafe { Rc::from_raw(slot as *const Slot<P>) };
    let flux = slot.flux;
    if let Err(panic) = caught(|| drop(slot)) {
        log::<P>(flux, LogLevel::Error, &format!("removal: a bug: {panic}"));
    }
}
