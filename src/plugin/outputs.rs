//! The timers that look after the outputs, and the log lines about them.

use super::StateCounts;
use crate::config::Config;
use crate::jobtap::{Error, LogLevel, Timer};
use crate::output::connect::{Hosts, CHECK_INTERVAL};

/// Seconds between two looks at a look-up under way, or at an address on trial.
const POLL_INTERVAL: f64 = 0.05;

/// The timers that look after the outputs.
#[derive(Default)]
pub(super) struct OutputTimers {
    check: Option<Timer>,
    /// Looks every host up again, whether it answers or not.
    refresh: Option<Timer>,
    /// Only while a look-up is under way, or an address on trial.
    poll: Option<Timer>,
}

/// The timers of a configuration.
pub(super) struct PreparedTimers {
    refresh: Change,
    check: Change,
}

/// What a configuration does to a timer.
enum Change {
    /// The one that is there goes on.
    Keep,
    /// This one takes its place, or none.
    Replace(Option<Timer>),
}

impl StateCounts {
    /// Makes the timers that `config` needs.
    pub(super) fn prepare_outputs(&self, config: &Config) -> Result<PreparedTimers, Error> {
        let old = self.config.as_ref();
        let has_names = config.endpoints.iter().any(|endpoint| endpoint.name().is_some());
        let same_lookup = old.is_some_and(|old| old.lookup == config.lookup);
        let refresh = match has_names {
            true if same_lookup && self.outputs.refresh.is_some() => Change::Keep,
            true => {
                let timer = self.jobtap.timer(config.lookup, config.lookup, Self::refresh_hosts);
                Change::Replace(Some(timer?))
            }
            false => Change::Replace(None),
        };
        let check = match config.endpoints.is_empty() {
            true => Change::Replace(None),
            false if self.outputs.check.is_some() => Change::Keep,
            false => {
                let interval = CHECK_INTERVAL.into();
                Change::Replace(Some(self.jobtap.timer(interval, interval, Self::check_outputs)?))
            }
        };
        Ok(PreparedTimers { refresh, check })
    }

    /// Puts them in place.
    pub(super) fn commit_outputs(&mut self, timers: PreparedTimers) {
        if let Change::Replace(timer) = timers.refresh {
            self.outputs.refresh = timer;
        }
        if let Change::Replace(timer) = timers.check {
            self.outputs.check = timer;
        }
    }

    /// Looks the hosts of a new configuration up.
    pub(super) fn look_up_hosts(&mut self) {
        // All: one may have come to an address that another has now.
        self.publisher.look_up(Hosts::All);
        self.attend_outputs();
    }

    fn refresh_hosts(&mut self) {
        self.publisher.look_up(Hosts::All);
        self.attend_outputs();
    }

    fn check_outputs(&mut self) {
        self.publisher.check_outputs();
        self.attend_outputs();
        let config = self.config.take();
        self.count_telemetry(config.as_ref());
        self.config = config;
    }

    fn poll_outputs(&mut self) {
        self.publisher.poll_lookups();
        self.attend_outputs();
    }

    /// Polls as long as there is something to poll for, and logs what there is to
    /// log.
    pub(super) fn attend_outputs(&mut self) {
        match (self.publisher.is_connecting(), &self.outputs.poll) {
            (true, None) => match self.jobtap.timer(0.0, POLL_INTERVAL, Self::poll_outputs) {
                Ok(timer) => self.outputs.poll = Some(timer),
                Err(error) => self.warn(&error.to_string()),
            },
            (false, Some(_)) => self.outputs.poll = None,
            _ => (),
        }
        self.log_notices();
        // What was flushed for an output may have left a part.
        self.pace_resync();
    }

    /// Logs what the publisher has to say of its outputs.
    fn log_notices(&mut self) {
        for notice in self.publisher.take_notices() {
            let level = if notice.is_warning { LogLevel::Warning } else { LogLevel::Info };
            self.jobtap.log(level, &notice.text);
        }
    }
}
