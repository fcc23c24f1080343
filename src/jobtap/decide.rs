//! Callbacks that decide.

use std::ffi::c_int;

use super::args::Args;
use super::callbacks::{Callbacks, HandlerKind, Notice};
use super::error::Error;
use super::instance::Instance;
use super::job::Job;
use super::json::Json;
use super::plugin::Plugin;
use super::state::JobState;
use super::sys;
use super::text::c_string;

/// What [`job_priority`](Callbacks::job_priority) returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// This one. 0 holds the job.
    Is(u32),
    /// It is not known yet: a job in PRIORITY stays there until
    /// [`reprioritize`](super::Jobtap::reprioritize); one in SCHED keeps what it has.
    Unavailable,
}

/// What [`job_dependency`](Callbacks::job_dependency) returns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dependency {
    /// Nothing is left to wait for.
    Satisfied,
    /// The job waits in DEPEND until [`remove_dependency`](super::Jobtap::remove_dependency)
    /// with this description, which `flux jobs` shows. A job has each once in its life.
    Waits(String),
}

/// A dependency that a user asked for.
pub struct DependencyRequest<'a> {
    /// The part in front of the colon.
    pub scheme: &'a str,
    /// The part behind it.
    pub value: &'a str,
    /// All of it, options too (RFC 26).
    pub json: Json<'a>,
}

/// An update that a user asks for, of one key of the jobspec.
pub struct UpdateRequest<'a> {
    /// `attributes.system.duration`, say.
    pub key: &'a str,
    /// What the key shall be.
    pub value: Json<'a>,
}

/// How [`job_update_of`](Callbacks::job_update_of) allows an update.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Update {
    /// Nobody's `job.validate` is asked.
    pub is_validated: bool,
    /// The scheduler is asked whether it can be had at all.
    pub check_feasibility: bool,
    /// What is changed with it, a JSON object's text:
    /// `{"attributes.system.queue": "batch"}`.
    pub more: Option<String>,
}

/// Callbacks that decide. Of a job that is rejected, Flux calls none of the plugins
/// behind this one for the same topic.
impl<P: Plugin> Callbacks<P> {
    /// `job.create`: a job was submitted, or came back at a restart, or was there when
    /// the plugin was loaded. Nobody has validated one in NEW.
    ///
    /// An error, or a panic, rejects a job in NEW, with its text; of another job it is
    /// logged.
    pub fn job_create(
        &mut self,
        callback: impl Fn(&mut P, &Job<'_>) -> Result<(), Error> + 'static,
    ) {
        self.add::<Verdict, _>(c"job.create", "job.create", callback);
    }

    /// `job.validate`: whether a job is accepted, or an update of its jobspec.
    ///
    /// An error, or a panic, rejects it: its text is what the user reads. Flux cuts it
    /// at 159 bytes.
    pub fn job_validate(
        &mut self,
        callback: impl Fn(&mut P, &Job<'_>) -> Result<(), Error> + 'static,
    ) {
        self.add::<Verdict, _>(c"job.validate", "job.validate", callback);
    }

    /// `job.dependency.SCHEME`: a job has a dependency of this scheme. It is called at
    /// submission, and again for each job in DEPEND when the plugin is loaded. Without a
    /// plugin for a scheme, Flux rejects jobs that name it.
    ///
    /// An error, or a panic, rejects the job, as in [`job_validate`](Self::job_validate).
    pub fn job_dependency(
        &mut self,
        scheme: &str,
        callback: impl Fn(&mut P, &DependencyRequest<'_>, &Job<'_>) -> Result<Dependency, Error>
            + 'static,
    ) {
        let topic = c_string(&format!("job.dependency.{scheme}"));
        self.add::<Depends, _>(&topic, "job.dependency", callback);
    }

    /// `job.state.priority` and `job.priority.get`: the priority of a job in PRIORITY or
    /// SCHED. Of several plugins the last one's is taken, over the urgency, which
    /// Flux's own `.priority-default` returns.
    ///
    /// An error, or a panic, is logged, and the plugins before this one decide.
    pub fn job_priority(
        &mut self,
        callback: impl Fn(&mut P, &Job<'_>) -> Result<Priority, Error> + Copy + 'static,
    ) {
        self.add::<Prioritized, _>(c"job.state.priority", "job.state.priority", callback);
        self.add::<Prioritized, _>(c"job.priority.get", "job.priority.get", callback);
    }

    /// `job.update.KEY`: whether a user may change this key of a jobspec,
    /// `attributes.system.duration` say. Without a plugin for a key, nobody may.
    ///
    /// An error, or a panic, denies it: its text is what the user reads.
    pub fn job_update_of(
        &mut self,
        key: &str,
        callback: impl Fn(&mut P, &UpdateRequest<'_>, &Job<'_>) -> Result<Update, Error> + 'static,
    ) {
        let topic = c_string(&format!("job.update.{key}"));
        self.add::<Updated, _>(&topic, "job.update", callback);
    }

    /// `job.destroy`: a job was rejected, or became inactive, and is forgotten.
    pub fn job_destroy(
        &mut self,
        callback: impl Fn(&mut P, &Job<'_>) -> Result<(), Error> + 'static,
    ) {
        self.add::<Notice, _>(c"job.destroy", "job.destroy", callback);
    }
}

/// Rejects what the callback is about, with this text. Returns what the callback returns.
fn reject<P: Plugin>(instance: &Instance<P>, args: &Args, error: &Error) -> c_int {
    let text = c_string(&error.to_string());
    // SAFETY: the plugin and the args live; the format is constant and names the one
    // string it gets; Flux copies the text.
    unsafe {
        sys::flux_jobtap_reject_job(instance.flux_plugin, args.raw(), c"%s".as_ptr(), text.as_ptr())
    }
}

struct Verdict;

impl<P: Plugin, F> HandlerKind<P, F> for Verdict
where
    F: Fn(&mut P, &Job<'_>) -> Result<(), Error>,
{
    fn call(instance: &Instance<P>, name: &'static str, callback: &F, args: &Args) -> c_int {
        let job = Job::current(instance.flux_plugin, args);
        match instance.try_dispatch(|plugin| callback(plugin, &job)) {
            Ok(()) => 0,
            // job.validate is asked of updates, too, whatever the state.
            Err(error) if name == "job.create" && job.state() != Ok(JobState::NEW) => {
                instance.log_once(name, &error);
                0
            }
            Err(error) => reject(instance, args, &error),
        }
    }
}

struct Depends;

impl<P: Plugin, F> HandlerKind<P, F> for Depends
where
    F: Fn(&mut P, &DependencyRequest<'_>, &Job<'_>) -> Result<Dependency, Error>,
{
    fn call(instance: &Instance<P>, _: &'static str, callback: &F, args: &Args) -> c_int {
        let job = Job::current(instance.flux_plugin, args);
        let outcome = instance.try_dispatch(|plugin| {
            let json = args.items().and_then(|items| items.member(c"dependency"));
            let json = json.ok_or_else(|| Error::new("no dependency"))?;
            let text = |key| json.member(key).and_then(|member| member.text()).unwrap_or_default();
            let request =
                DependencyRequest { scheme: text(c"scheme"), value: text(c"value"), json };
            callback(plugin, &request, &job)
        });
        let added = outcome.and_then(|outcome| match outcome {
            Dependency::Satisfied => Ok(()),
            Dependency::Waits(description) => {
                let (id, description) = (job.id()?, c_string(&description));
                // SAFETY: the plugin lives; Flux copies the text.
                match unsafe {
                    sys::flux_jobtap_dependency_add(instance.flux_plugin, id, description.as_ptr())
                } {
                    0.. => Ok(()),
                    _ => Err(Error::last_os_error("flux_jobtap_dependency_add")),
                }
            }
        });
        match added {
            Ok(()) => 0,
            Err(error) => reject(instance, args, &error),
        }
    }
}

struct Prioritized;

impl<P: Plugin, F> HandlerKind<P, F> for Prioritized
where
    F: Fn(&mut P, &Job<'_>) -> Result<Priority, Error>,
{
    fn call(instance: &Instance<P>, name: &'static str, callback: &F, args: &Args) -> c_int {
        let job = Job::current(instance.flux_plugin, args);
        let outcome = instance.try_dispatch(|plugin| callback(plugin, &job));
        let packed = outcome.and_then(|priority| match priority {
            Priority::Is(priority) => args.answer_integer(c"priority", priority.into()),
            // Flux takes "unavailable" of a job in SCHED for a mistake.
            Priority::Unavailable if job.state()? == JobState::SCHED => {
                args.answer_integer(c"priority", job.facts()?.priority)
            }
            Priority::Unavailable => {
                // SAFETY: the plugin and the args live.
                let code =
                    unsafe { sys::flux_jobtap_priority_unavail(instance.flux_plugin, args.raw()) };
                args.check("add to", code)
            }
        });
        if let Err(error) = packed {
            instance.log_once(name, &error);
        }
        0
    }
}

struct Updated;

impl<P: Plugin, F> HandlerKind<P, F> for Updated
where
    F: Fn(&mut P, &UpdateRequest<'_>, &Job<'_>) -> Result<Update, Error>,
{
    fn call(instance: &Instance<P>, _: &'static str, callback: &F, args: &Args) -> c_int {
        let job = Job::current(instance.flux_plugin, args);
        let outcome = instance.try_dispatch(|plugin| {
            let item = |key| args.items().and_then(|items| items.member(key));
            let (key, value) = (item(c"key").and_then(|key| key.text()), item(c"value"));
            let (Some(key), Some(value)) = (key, value) else {
                return Err(Error::new("no key and value"));
            };
            callback(plugin, &UpdateRequest { key, value }, &job)
        });
        let answered = outcome.and_then(|update| {
            let (validated, feasibility) =
                (u8::from(update.is_validated), u8::from(update.check_feasibility));
            let more = update.more.map(|more| format!(", \"updates\": {more}"));
            let more = more.unwrap_or_default();
            let answer =
                format!("{{\"validated\": {validated}, \"feasibility\": {feasibility}{more}}}");
            args.answer(&c_string(&answer))
        });
        match answered {
            Ok(()) => 0,
            Err(error) => reject(instance, args, &error),
        }
    }
}
