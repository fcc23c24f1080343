//! A plugin that decides: what it does to a job, the job's name says. Each of the layer's
//! functions is in it that no example shows, but for those that old Fluxes have not.

use std::cell::Cell;
use std::rc::Rc;

use state_counts::jobtap::{
    Access, Callbacks, Error, Job, JobEvent, JobState, Jobtap, LogLevel, Plugin, Priority,
    ServiceRequest, Timer, Transition, Update, UpdateRequest,
};

struct Deciding {
    jobtap: Jobtap<Self>,
    timers: Vec<Timer>,
    /// How many values of job data were dropped, and how many states they counted.
    dropped: Rc<Cell<u32>>,
    states: Rc<Cell<u32>>,
    destroyed: u32,
}

/// A job's own data.
struct Data {
    dropped: Rc<Cell<u32>>,
    states: Rc<Cell<u32>>,
    /// What a destructor asks for is not lost, and not made in its midst.
    jobtap: Jobtap<Deciding>,
    id: u64,
}

impl Drop for Data {
    fn drop(&mut self) {
        self.dropped.set(self.dropped.get() + 1);
        self.jobtap.raise_exception(self.id, "dropped", 7, "its data");
        // Refused outside callbacks; harmless within.
        let _ = self.jobtap.event_posted(self.id, "submit");
    }
}

impl Plugin for Deciding {
    const NAME: &'static str = "deciding";

    fn init(jobtap: Jobtap<Self>, callbacks: &mut Callbacks<Self>) -> Result<Self, Error> {
        callbacks.job_state(Self::job_state);
        callbacks.job_create(Self::job_create);
        callbacks.job_validate(Self::job_validate);
        callbacks.job_priority(Self::job_priority);
        callbacks.job_new(Self::job_new);
        callbacks.job_event("start", Self::job_starts);
        callbacks.job_update_of("attributes.system.color", Self::job_update_of);
        callbacks.job_destroy(Self::job_destroy);
        callbacks.query(Self::query);
        callbacks.service("echo", Access::Users, Self::echo);
        Ok(Deciding {
            jobtap,
            timers: Vec::new(),
            dropped: Rc::default(),
            states: Rc::default(),
            destroyed: 0,
        })
    }
}

impl Deciding {
    fn job_create(&mut self, job: &Job) -> Result<(), Error> {
        match name(job)? {
            "create" => Err(Error::new("not created")),
            _ => Ok(()),
        }
    }

    fn job_validate(&mut self, job: &Job) -> Result<(), Error> {
        match name(job)? {
            "validate" => Err(Error::new("not valid: 100%s")),
            "panic" => panic!("made for a test"),
            _ => Ok(()),
        }
    }

    fn job_priority(&mut self, job: &Job) -> Result<Priority, Error> {
        match name(job)? {
            "later" if job.facts()?.priority < 100 => {
                let id = job.id()?;
                let later = self.jobtap.timer(0.1, 0.0, move |plugin| {
                    plugin.jobtap.reprioritize(id, 4_294_967_290);
                })?;
                self.timers.push(later);
                Ok(Priority::Unavailable)
            }
            "later" => Ok(Priority::Unavailable),
            "error" => Err(Error::new("no priority")),
            _ => Ok(Priority::Is(5)),
        }
    }

    fn job_new(&mut self, job: &Job) -> Result<(), Error> {
        let id = job.id()?;
        self.jobtap.subscribe(id)?;
        assert!(self.jobtap.event_posted(id, "submit")?);
        assert!(!self.jobtap.event_posted(id, "alloc")?);
        if name(job)? == "flag" {
            self.jobtap.set_flag(id, "debug");
        }
        self.jobtap.set_job_data(id, 7u8)?;
        assert_eq!(self.jobtap.with_job_data(id, |data: &mut u8| *data), Some(7));
        self.jobtap.set_job_data(id, self.data(id))?;
        // It has another type now.
        assert_eq!(self.jobtap.with_job_data(id, |data: &mut u8| *data), None);
        Ok(())
    }

    fn data(&self, id: u64) -> Data {
        let (dropped, states) = (self.dropped.clone(), self.states.clone());
        Data { dropped, states, jobtap: self.jobtap.clone(), id }
    }

    fn job_state(&mut self, transition: Transition, job: &Job) -> Result<(), Error> {
        let Transition { id, state, .. } = transition;
        self.jobtap.with_job_data(id, |data: &mut Data| data.states.set(data.states.get() + 1));
        match (name(job)?, state) {
            ("fatal", JobState::SCHED) => self.jobtap.raise_exception(id, "test", 0, "100%s"),
            ("perilog", JobState::RUN) => {
                self.jobtap.prolog_start(job, "before")?;
                let finish = move |plugin: &mut Self| {
                    plugin.jobtap.prolog_finish(id, "before", 0);
                };
                self.timers.push(self.jobtap.timer(0.1, 0.0, finish)?);
            }
            ("perilog", JobState::CLEANUP) => {
                self.jobtap.epilog_start(job, "behind")?;
                let finish = move |plugin: &mut Self| {
                    plugin.jobtap.epilog_finish(id, "behind", 3);
                };
                self.timers.push(self.jobtap.timer(0.1, 0.0, finish)?);
            }
            ("replace", JobState::RUN) => {
                // In the midst of its use.
                let mut other = Some(self.data(id));
                self.jobtap.with_job_data(id, |data: &mut Data| {
                    let other = other.take().unwrap();
                    self.jobtap.set_job_data(id, other).unwrap();
                    data.states.set(data.states.get() + 100);
                });
            }
            ("remove", JobState::RUN) => self.jobtap.remove_job_data(id)?,
            _ => (),
        }
        // A job that was looked up is not the callback's own.
        let refused = self.jobtap.with_job(id, |job| self.jobtap.prolog_start(job, "never"));
        assert!(refused.is_none_or(|outcome| outcome.is_err()));
        Ok(())
    }

    fn job_starts(&mut self, event: &JobEvent, job: &Job) -> Result<(), Error> {
        assert_eq!(event.name()?, "start");
        self.jobtap.unsubscribe(job.id()?);
        self.jobtap.later("a test's own call", |plugin| {
            assert!(!plugin.is_null());
            Ok(())
        });
        Ok(())
    }

    fn job_update_of(&mut self, asked: &UpdateRequest, _: &Job) -> Result<Update, Error> {
        match (asked.key, asked.value.text()) {
            ("attributes.system.color", Some("red")) => {
                let more = Some(r#"{"attributes.system.shade": "dark"}"#.to_owned());
                Ok(Update { is_validated: true, more, ..Update::default() })
            }
            (_, other) => Err(Error::new(format!("want red, not {other:?}"))),
        }
    }

    fn job_destroy(&mut self, _: &Job) -> Result<(), Error> {
        self.destroyed += 1;
        Ok(())
    }

    fn echo(&mut self, request: ServiceRequest<'_>) -> Result<String, Error> {
        match request.payload {
            Some(payload) if payload.contains("panic") => panic!("made for a test"),
            Some(payload) => Ok(format!(r#"{{"user": {}, "echo": {payload}}}"#, request.user)),
            None => Err(Error::new("nothing to echo: 100%s")),
        }
    }

    fn query(&mut self) -> String {
        let (dropped, states) = (self.dropped.get(), self.states.get());
        self.jobtap.log(LogLevel::Info, "queried");
        format!(r#"{{"dropped": {dropped}, "states": {states}, "destroyed": {}}}"#, self.destroyed)
    }
}

/// The job's name.
fn name<'a>(job: &'a Job) -> Result<&'a str, Error> {
    let system = job.facts()?.jobspec.member(c"attributes").and_then(|it| it.member(c"system"));
    let name = system.and_then(|system| system.member(c"job")?.member(c"name"));
    Ok(name.and_then(|name| name.text()).unwrap_or_default())
}

state_counts::export_plugin!(Deciding);
