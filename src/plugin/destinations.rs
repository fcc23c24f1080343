//! The timers that look after the destinations, and the log lines about them.

use super::StateCounts;
use crate::config::Config;
use crate::flux::{Error, LogLevel, Timer};
use crate::publish::connect::{Hosts, CHECK_INTERVAL};

/// Seconds between two looks at a look-up under way, or at an address on trial.
const POLL_INTERVAL: f64 = 0.05;

/// The timers that look after the destinations.
#[derive(Default)]
pub(super) struct DestinationTimers {
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
    /// The one that is there removed on.
    Keep,
    /// This one takes its place, or none.
    Replace(Option<Timer>),
}

impl StateCounts {
    /// Makes the timers that `config` needs.
    pub(super) fn prepare_destinations(&self, config: &Config) -> Result<PreparedTimers, Error> {
        let old = self.config.as_ref();
        let has_names = config.endpoints.iter().any(|endpoint| endpoint.name().is_some());
        let same_lookup = old.is_some_and(|old| old.lookup == config.lookup);
        let refresh = match has_names {
            true if same_lookup && self.destinations.refresh.is_some() => Change::Keep,
            true => {
                let timer = self.flux.timer(config.lookup, config.lookup, Self::refresh_hosts);
                Change::Replace(Some(timer?))
            }
            false => Change::Replace(None),
        };
        let check = match config.endpoints.is_empty() {
            true => Change::Replace(None),
            false if self.destinations.check.is_some() => Change::Keep,
            false => {
                let interval = CHECK_INTERVAL.into();
                Change::Replace(Some(self.flux.timer(
                    interval,
                    interval,
                    Self::check_destinations,
                )?))
            }
        };
        Ok(PreparedTimers { refresh, check })
    }

    /// Puts them in place.
    pub(super) fn commit_destinations(&mut self, timers: PreparedTimers) {
        if let Change::Replace(timer) = timers.refresh {
            self.destinations.refresh = timer;
        }
        if let Change::Replace(timer) = timers.check {
            self.destinations.check = timer;
        }
    }

    /// Looks the hosts of a new configuration up.
    pub(super) fn look_up_hosts(&mut self) {
        // All: one may have come to an address that another has now.
        self.publisher.look_up(Hosts::All);
        self.service_destinations();
    }

    fn refresh_hosts(&mut self) {
        self.publisher.look_up(Hosts::All);
        self.service_destinations();
    }

    fn check_destinations(&mut self) {
        self.publisher.check_destinations();
        self.service_destinations();
        let config = self.config.take();
        self.count_telemetry(config.as_ref());
        self.config = config;
    }

    fn poll_destinations(&mut self) {
        self.publisher.poll_lookups();
        self.service_destinations();
    }

    /// Polls as long as there is something to poll for, and logs what there is to
    /// log.
    pub(super) fn service_destinations(&mut self) {
        match (self.publisher.is_connecting(), &self.destinations.poll) {
            (true, None) => match self.flux.timer(0.0, POLL_INTERVAL, Self::poll_destinations) {
                Ok(timer) => self.destinations.poll = Some(timer),
                Err(error) => self.warn(&error.to_string()),
            },
            (false, Some(_)) => self.destinations.poll = None,
            _ => (),
        }
        self.log_notices();
        // What was flushed for an destination may have left a part.
        self.schedule_resync_part();
    }

    /// Logs what the publisher has to say of its destinations.
    fn log_notices(&mut self) {
        for notice in self.publisher.take_notices() {
            let level = if notice.is_warning { LogLevel::Warning } else { LogLevel::Info };
            self.flux.log(level, &notice.text);
        }
    }
}
