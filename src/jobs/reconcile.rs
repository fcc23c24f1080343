//! The reconcile pass: decides the next step. The plugin makes the requests, and describes the
//! pass (`plugin::pass`).

use super::cursor::Cursor;
use super::table::JobTable;

/// The maximum number of requests for the number of active jobs in one pass. A request is
/// repeated if an event arrived before its response.
const MAX_REQUESTS: u32 = 20;

/// The progress of a reconcile pass.
#[derive(Debug, Default)]
pub struct Reconcile {
    cursor: Cursor,
    /// [`JobTable::events`] at the last request.
    requested_at: u64,
    requests: u32,
}

/// The result of comparing the job manager's number of active jobs with the table's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// The numbers are equal.
    Equal,
    /// They differ, but an event arrived since the request: request the number again.
    RequestAgain,
    /// As `RequestAgain`, but no requests are left: the next pass compares again.
    TooBusy,
    /// They differ, and no event arrived: request the list of jobs.
    List,
}

impl Reconcile {
    /// Starts a new pass.
    pub fn begin(&mut self) {
        *self = Reconcile::default();
    }

    /// The jobs of the table that are not looked up yet.
    pub fn cursor(&mut self) -> &mut Cursor {
        &mut self.cursor
    }

    /// To be called when the number of active jobs is requested.
    pub fn requested(&mut self, table: &JobTable) {
        self.requested_at = table.events();
        self.requests += 1;
    }

    /// `true` if requests are left in this pass.
    pub fn may_request_again(&self) -> bool {
        self.requests < MAX_REQUESTS
    }

    /// Compares the job manager's number of active jobs with the table's.
    pub fn response(&mut self, active: u64, table: &JobTable) -> Comparison {
        match (active == table.active(), self.requested_at == table.events()) {
            (true, _) => Comparison::Equal,
            (false, true) => Comparison::List,
            (false, false) if self.may_request_again() => Comparison::RequestAgain,
            (false, false) => Comparison::TooBusy,
        }
    }
}
