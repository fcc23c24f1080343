//! A plugin that forgets what it should drop: at each job it sees run it starts a
//! timer, asks for the end of the turn and sends a request, and keeps no key. All of
//! them still work; and the plugin's end ends them.

use std::cell::RefCell;
use std::mem;
use std::rc::Rc;

use state_counts::jobtap::{
    Callbacks, Error, Job, JobState, Jobtap, LogLevel, Plugin, Timer, Transition,
};

struct Forgetful(Jobtap<Self>);

/// What a closure owns: more than all that forgotten keys leave behind.
fn ballast() -> Vec<u8> {
    vec![1; 64 * 1024]
}

impl Plugin for Forgetful {
    const NAME: &'static str = "forgetful";

    fn init(jobtap: Jobtap<Self>, callbacks: &mut Callbacks<Self>) -> Result<Self, Error> {
        callbacks.job_enters(JobState::RUN, Self::job_runs);
        Ok(Forgetful(jobtap))
    }
}

impl Forgetful {
    fn job_runs(&mut self, transition: Transition, _: &Job) -> Result<(), Error> {
        let id = transition.id;
        let (mut fired, owned) = (0, ballast());
        mem::forget(self.0.timer(0.0, 1.0, move |plugin| {
            fired += owned[0];
            plugin.log(&format!("timer {fired}"));
        })?);
        let owned = ballast();
        let turn_end = self.0.turn_end(move |plugin| plugin.log(&format!("turn {}", owned[0])))?;
        turn_end.request();
        mem::forget(turn_end);
        let owned = ballast();
        mem::forget(self.0.rpc(
            c"job-manager.stats-get",
            None,
            10.0,
            move |plugin, response| {
                let answer = response.integer(c"active_jobs").is_ok();
                plugin.log(&format!("answered {answer} {}", owned[0]));
            },
        )?);
        // A job's data, which is in use when it is replaced, and owns a key; and of a job
        // that is active at the removal.
        self.0.set_job_data(id, (self.0.timer(1e9, 0.0, |_| ())?, ballast()))?;
        let seen = self.0.with_job_data(id, |data: &mut (Timer, Vec<u8>)| {
            self.0.set_job_data(id, String::from("a job's data"))?;
            Ok(data.1.len())
        });
        let replaced = self.0.with_job_data(id, |data: &mut String| data.clone());
        self.log(&format!("{:?}, then {replaced:?}", seen.transpose()?));
        // One that owns its own key: nobody else can drop it.
        let own: Rc<RefCell<Option<Timer>>> = Rc::default();
        let (key, owned) = (own.clone(), ballast());
        *own.borrow_mut() = Some(self.0.timer(1e9, 0.0, move |_| {
            let _ = (&key, &owned);
        })?);
        Ok(())
    }

    fn log(&self, text: &str) {
        self.0.log(LogLevel::Info, text);
    }
}

state_counts::export_plugin!(Forgetful);
