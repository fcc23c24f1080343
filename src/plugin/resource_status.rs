//! Asking the broker how many nodes there are, and which of them are down.
//!
//! `resource.status` answers that without asking the job manager or the scheduler.
//! (`resource.sched-status`, which `flux resource list` takes, makes the job manager
//! cursor through all of its jobs.) No callback says to a plugin that a node changed, and
//! the events of `resource.journal` come as a stream, since 0.72 only. So it is asked
//! again and again, whatever `resync` is.

use super::StateCounts;
use crate::flux::{Error, Response, Rpc, Timer};
use crate::flux_formats::resource_status;
use crate::jobs::Needs;

/// Seconds until a question is given up and asked again.
const TIMEOUT: f64 = 10.0;
/// Seconds from an answer to the next question: for so long nobody sees that a node is
/// drained or down.
const INTERVAL: f64 = 5.0;
/// Seconds after an error until it is asked again, while it may be about to end, and
/// later.
const PAUSE_AFTER_ERROR: f64 = 0.5;
const LONG_PAUSE_AFTER_ERROR: u32 = 10;
/// Seconds without an answer, in errors or in silence, until the log says so.
const PATIENCE: f64 = 10.0;
/// An answer of so many bytes is worth one interval more until the next question, one
/// of twice as many two: the job manager has other work than to read it, for one or two
/// milliseconds.
/// (Measured on a busy resource_status: 2 KB and 33 µs for 10,000 nodes alike, 600 KB and 8 ms
/// where none is like another, 9.5 MB and 12 ms with a graph that is skipped.)
const LARGE: usize = 1 << 17;

/// The question under way.
#[derive(Default)]
pub(super) struct ResourceStatusPoll {
    rpc: Option<Rpc>,
    pause: Option<Timer>,
    /// From a question until it is answered, or the log says that it is not.
    patience: Option<Timer>,
    /// Whether the answer is overdue.
    is_overdue: bool,
    /// Whether that was logged once.
    has_logged: bool,
    /// What was answered instead.
    error: Option<Error>,
}

impl StateCounts {
    /// Asks, if it is wanted, unless a question is under way or has its time.
    pub(super) fn ask_for_machine(&mut self) {
        if !self.table.needs().contains(Needs::RESOURCE_STATUS) {
            self.resource_status = ResourceStatusPoll::default();
            return;
        }
        let question = &mut self.resource_status;
        if question.rpc.is_some() || question.pause.is_some() {
            return;
        }
        if question.patience.is_none() && !question.is_overdue {
            match self.flux.timer(PATIENCE, 0.0, Self::machine_overdue) {
                Ok(timer) => self.resource_status.patience = Some(timer),
                Err(error) => self.warn(&error.to_string()),
            }
        }
        match self.flux.rpc(c"resource.status", None, TIMEOUT, Self::machine_answered) {
            Ok(rpc) => self.resource_status.rpc = Some(rpc),
            Err(error) => self.no_machine(error),
        }
    }

    fn machine_answered(&mut self, response: Response<'_>) {
        self.resource_status.rpc = None;
        let answer = response.text().and_then(|text| {
            let resource_status = resource_status::parse(&text);
            let wrong = || Error::new("its answer is not understood");
            resource_status.map(|resource_status| (resource_status, text.len())).ok_or_else(wrong)
        });
        match answer {
            Ok((resource_status, bytes)) => {
                let ResourceStatusPoll { patience, is_overdue, error, .. } =
                    &mut self.resource_status;
                (*patience, *is_overdue, *error) = (None, false, None);
                self.table.set_resource_status(Some(resource_status));
                self.machine_changed();
                self.ask_for_machine_after(INTERVAL * (1 + bytes / LARGE) as f64);
            }
            Err(error) => self.no_machine(error),
        }
    }

    fn no_machine(&mut self, error: Error) {
        self.resource_status.error = Some(error);
        // No number is better than an old one. But where several instances share a
        // name, each takes back its part at the end, and has to know it.
        if self.config.as_ref().is_some_and(|config| config.owns_its_gauges()) {
            self.table.set_resource_status(None);
            self.machine_changed();
        }
        self.ask_for_machine_after(match self.resource_status.is_overdue {
            true => LONG_PAUSE_AFTER_ERROR.into(),
            false => PAUSE_AFTER_ERROR,
        });
    }

    /// As an instance added up, the resource module may be loaded after the job
    /// manager, and an administrator may reload it: that it is not there for a moment
    /// is worth no line in the log.
    fn machine_overdue(&mut self) {
        self.resource_status.patience = None;
        self.resource_status.is_overdue = true;
        if std::mem::replace(&mut self.resource_status.has_logged, true) {
            return;
        }
        let error =
            self.resource_status.error.as_ref().map_or("no answer".to_owned(), Error::to_string);
        self.warn(&format!(
            "resource.status: {error}: the gauges of nodes, cores and GPUs in all are not sent \
             until this is answered (asked again every {LONG_PAUSE_AFTER_ERROR} s; further ones \
             are not logged)"
        ));
    }

    fn machine_changed(&mut self) {
        self.collectors.table_gauges_changed(&self.table, &mut self.publisher);
        self.request_flush();
    }

    fn ask_for_machine_after(&mut self, pause: f64) {
        match self.flux.timer(pause, 0.0, Self::machine_paused) {
            Ok(timer) => self.resource_status.pause = Some(timer),
            Err(error) => self.warn(&error.to_string()),
        }
    }

    fn machine_paused(&mut self) {
        self.resource_status.pause = None;
        self.ask_for_machine();
    }
}
