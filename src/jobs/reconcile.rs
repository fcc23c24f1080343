//! The self-check: the table against the job manager's own jobs.
//!
//! An event that another plugin keeps from us is made good by the job's next one.
//! But the last one of a job has none. So the table is compared, every `verify`
//! seconds: each job that it has is looked up, some in each turn of the reactor;
//! then the job manager says how many jobs it has. If that is another number than
//! the table's, while nothing happens, it lists them, and those that the table has
//! not are looked up as well.
//!
//! This module says what added next; the plugin asks Flux.

use super::cursor::Cursor;
use super::table::JobTable;

/// How often the job manager is asked again for its number of jobs, where
/// something changed while its answer was under way.
const MAX_REQUESTS: u32 = 20;

/// A check, under way or not.
#[derive(Debug, Default)]
pub struct Reconcile {
    cursor: Cursor,
    /// The table's events when the job manager was asked.
    asked_at: u64,
    questions: u32,
}

/// What the number of active jobs came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// The table has as many.
    Agrees,
    /// Something changed meanwhile: ask again in a moment.
    AskAgain,
    /// Something happens all the time. The next check asks again.
    TooBusy,
    /// It is another number: ask for a list.
    List,
}

impl Reconcile {
    /// A check begins: nothing is compared yet.
    pub fn begin(&mut self) {
        self.cursor.begin();
        (self.asked_at, self.questions) = (0, 0);
    }

    /// The jobs that are still to be looked up.
    pub fn cursor(&mut self) -> &mut Cursor {
        &mut self.cursor
    }

    /// The job manager is asked for its number of active jobs.
    pub fn asked(&mut self, table: &JobTable) {
        self.asked_at = table.events();
        self.questions += 1;
    }

    /// Whether the job manager may be asked once more in this check.
    pub fn may_ask_again(&self) -> bool {
        self.questions < MAX_REQUESTS
    }

    /// The job manager has so many active jobs.
    pub fn answered(&mut self, active: u64, table: &JobTable) -> Comparison {
        match (self.asked_at == table.events(), active == table.active()) {
            (_, true) => Comparison::Agrees,
            (true, false) => Comparison::List,
            (false, false) if self.may_ask_again() => Comparison::AskAgain,
            (false, false) => Comparison::TooBusy,
        }
    }
}
