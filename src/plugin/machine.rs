//! Asking the broker how many nodes there are, and which of them are down.
//!
//! `resource.status` answers that without asking the job manager or the scheduler.
//! (`resource.sched-status`, which `flux resource list` takes, makes the job manager
//! walk through all of its jobs.) No callback says to a plugin that a node changed, and
//! the events of `resource.journal` come as a stream, since 0.72 only. So it is asked
//! at each resync, just as lost datagrams are healed.

use super::StateCounts;
use crate::jobs::Needs;
use crate::jobtap::{Error, Response, Rpc, Timer};
use crate::rfc::status;

/// Seconds until a question is given up and asked again.
const TIMEOUT: f64 = 10.0;
/// Seconds between two questions where nothing is ever resynced.
const WITHOUT_RESYNC: f64 = 10.0;
/// Seconds after an error until it is asked again, while it may be about to end, and
/// later.
const PAUSE_AFTER_ERROR: f64 = 0.5;
const LONG_PAUSE_AFTER_ERROR: u32 = 10;
/// Failed questions in a row until one is logged: with the pauses between them, ten
/// seconds.
const PATIENCE: u32 = 20;
/// An answer of so many bytes is worth one resync without a question, one of twice as
/// many two: the job manager has other work than to read it, for one or two
/// milliseconds.
/// (Measured on a busy machine: 2 KB and 33 µs for 10,000 nodes alike, 600 KB and 8 ms
/// where none is like another, 9.5 MB and 12 ms with a graph that is skipped.)
const LARGE: usize = 1 << 17;

/// The question under way.
#[derive(Default)]
pub(super) struct MachineQuestion {
    rpc: Option<Rpc>,
    pause: Option<Timer>,
    /// Questions that failed in a row.
    failures: u32,
    /// Whether one is in the log.
    has_logged: bool,
    /// How many resyncs come before the next question.
    resyncs_to_skip: usize,
}

impl StateCounts {
    /// Asks, if it is wanted, unless a question is under way or has its time.
    pub(super) fn ask_for_machine(&mut self) {
        if !self.table.needs().contains(Needs::MACHINE) {
            self.machine = MachineQuestion::default();
            return;
        }
        let question = &mut self.machine;
        if question.rpc.is_some() || question.pause.is_some() {
            return;
        }
        if let Some(rest) = question.resyncs_to_skip.checked_sub(1) {
            question.resyncs_to_skip = rest;
            if self.config.as_ref().is_some_and(|config| config.resync == 0.0) {
                self.ask_for_machine_after(WITHOUT_RESYNC);
            }
            return;
        }
        match self.jobtap.rpc(c"resource.status", None, TIMEOUT, Self::machine_answered) {
            Ok(rpc) => self.machine.rpc = Some(rpc),
            Err(error) => self.no_machine(&error),
        }
    }

    fn machine_answered(&mut self, response: Response<'_>) {
        self.machine.rpc = None;
        let answer = response.text().and_then(|text| {
            let machine = status::machine(&text);
            let wrong = || Error::new("its answer is not understood");
            machine.map(|machine| (machine, text.len())).ok_or_else(wrong)
        });
        match answer {
            Ok((machine, bytes)) => {
                self.machine.failures = 0;
                self.machine.resyncs_to_skip = bytes / LARGE;
                self.table.set_machine(Some(machine));
                self.machine_changed();
                if self.config.as_ref().is_some_and(|config| config.resync == 0.0) {
                    self.ask_for_machine_after(WITHOUT_RESYNC);
                }
            }
            Err(error) => self.no_machine(&error),
        }
    }

    /// As an instance comes up, the resource module may be loaded after the job
    /// manager, and an administrator may reload it: that it is not there for a moment
    /// is worth no line in the log.
    fn no_machine(&mut self, error: &Error) {
        self.machine.failures += 1;
        // No number is better than an old one. But where several instances share a
        // name, each takes back its part at the end, and has to know it.
        if self.config.as_ref().is_some_and(|config| config.owns_its_gauges()) {
            self.table.set_machine(None);
            self.machine_changed();
        }
        if self.machine.failures < PATIENCE {
            return self.ask_for_machine_after(PAUSE_AFTER_ERROR);
        }
        if !std::mem::replace(&mut self.machine.has_logged, true) {
            self.warn(&format!(
                "resource.status: {error}: the gauges of nodes, cores and GPUs in all are not \
                 sent until this is answered (asked again every {LONG_PAUSE_AFTER_ERROR} s; \
                 further ones are not logged)"
            ));
        }
        self.ask_for_machine_after(LONG_PAUSE_AFTER_ERROR.into());
    }

    fn machine_changed(&mut self) {
        self.families.numbers_changed(&self.table, &mut self.publisher);
        self.request_flush();
    }

    fn ask_for_machine_after(&mut self, pause: f64) {
        match self.jobtap.timer(pause, 0.0, Self::machine_paused) {
            Ok(timer) => self.machine.pause = Some(timer),
            Err(error) => self.warn(&error.to_string()),
        }
    }

    fn machine_paused(&mut self) {
        self.machine.pause = None;
        self.ask_for_machine();
    }
}
