//! One loaded plugin: the callbacks, the books and the metrics, joined.
//!
//! What a dashboard sees of a plugin's life:
//!
//! - At load nothing is sent until the reactor turns, when all active jobs are
//!   announced and Flux can no longer refuse the load. Then every gauge is sent
//!   once, so that a server that remembers an earlier life starts right.
//! - While it lives, each change is sent, at once or summed over `period`, and
//!   every `resync` seconds each gauge's absolute value.
//! - At removal, which is also how an instance ends, the active states go to 0,
//!   for nobody watches them any more: no ghosts of running jobs. INACTIVE keeps
//!   its last value: those jobs are over whether anybody counts or not.
//! - With `resync` 0 and increments, several instances may share one name and
//!   the server shows their sum. Then no absolute value is ever sent, and at
//!   removal the plugin takes back all that it gave, INACTIVE too.

use std::env;

use crate::accounting::{Accounting, Anomaly, Change, Event, State};
use crate::config::{Config, SendAs};
use crate::flux::{
    Callback, Error, JobState, Jobtap, LogLevel, Plugin, Response, Rpc, Timer, Transition,
};
use crate::stats::{Metric, Stats, ENDPOINT_VARIABLE};

/// What stands before each state's name.
const PREFIX: &str = "flux.job.state";

/// Seconds until a question for the inactive jobs is given up and asked again.
const SURVEY_TIMEOUT: f64 = 10.0;
/// Seconds between two such questions, after an answer and after an error.
const SURVEY_PAUSE: f64 = 0.1;
const SURVEY_PAUSE_AFTER_ERROR: f64 = 10.0;

/// The plugin.
pub struct StateCounts {
    jobtap: Jobtap<Self>,
    books: Accounting,
    stats: Stats,
    /// Each state's gauge, by the state's place in `State::ALL`.
    gauges: Vec<Metric>,
    /// `None` until the first `conf.update`.
    config: Option<Config>,
    /// Whether changes are sent: since the reactor turned after the load.
    live: bool,
    /// Whether a question for the inactive jobs failed: the first is logged.
    survey_failed: bool,
    /// Timers and requests under way. Dropping one stops it.
    start: Option<Timer>,
    flush: Option<Timer>,
    resync: Option<Timer>,
    survey: Option<Rpc>,
    survey_pause: Option<Timer>,
}

impl Plugin for StateCounts {
    const NAME: &'static str = env!("CARGO_PKG_NAME");

    const CALLBACKS: &'static [Callback] = &[
        Callback::ConfUpdate,
        Callback::JobNew,
        Callback::JobState,
        Callback::JobInactiveAdd,
        Callback::JobInactiveRemove,
    ];

    fn init(jobtap: Jobtap<Self>) -> Result<Self, Error> {
        Ok(StateCounts {
            jobtap,
            books: Accounting::default(),
            stats: Stats::disabled(),
            gauges: Vec::new(),
            config: None,
            live: false,
            survey_failed: false,
            start: None,
            flush: None,
            resync: None,
            survey: None,
            survey_pause: None,
        })
    }

    /// The configuration is read once, at load; `conf.update` comes again at
    /// start-up and at each `flux config reload`.
    fn conf_update(&mut self, conf: Option<&str>) -> Result<(), Error> {
        if self.config.is_some() {
            return Ok(());
        }
        let environment = env::var_os(ENDPOINT_VARIABLE);
        let environment = environment.as_ref().map(|text| text.to_string_lossy());
        let config = Config::new(conf, environment.as_deref()).map_err(error)?;

        let stats = self.stats_for(&config)?;
        if stats.enabled() {
            // After 0 seconds: when the reactor turns, after the whole load.
            self.start = Some(self.jobtap.timer(0.0, 0.0, Self::start)?);
        }
        self.stats = stats;
        self.config = Some(config);
        Ok(())
    }

    fn job_new(&mut self, state: JobState) {
        self.happened(Event::New { state: state.0 });
    }

    fn job_state(&mut self, transition: Transition) {
        #[cfg(feature = "panic-for-tests")]
        if transition.state == JobState::ALL[3] {
            panic!("made for a test");
        }
        self.happened(Event::Moved {
            state: transition.state.0,
            previous: transition.previous.map(|state| state.0),
        });
    }

    fn job_inactive_add(&mut self) {
        self.happened(Event::InactiveAdd);
    }

    fn job_inactive_remove(&mut self) {
        self.happened(Event::InactiveRemove);
    }
}

impl Drop for StateCounts {
    fn drop(&mut self) {
        if !self.live {
            return;
        }
        let absolute = self.owns_its_gauges();
        self.for_each_known(|stats, gauge, state, count| match (absolute, state) {
            (true, State::Inactive) => stats.gauge_set(gauge, count),
            (true, _) => stats.gauge_set(gauge, 0),
            (false, _) if count == 0 => Ok(()),
            (false, _) => stats.gauge_add(gauge, -count),
        });
        self.stats.flush();
    }
}

impl StateCounts {
    /// The metrics' source for `config`, ready for use; says what it is.
    fn stats_for(&mut self, config: &Config) -> Result<Stats, Error> {
        let mut stats = match &config.endpoint {
            None => {
                self.warn(&format!(
                    "{ENDPOINT_VARIABLE} is not set: no metrics are sent (set it to HOST:PORT \
                     in the broker's environment, and load the plugin again)"
                ));
                Stats::disabled()
            }
            Some(endpoint) => match Stats::new(endpoint) {
                Ok(stats) => {
                    let how = match config.send {
                        SendAs::Increments => "increments",
                        SendAs::Values => "values",
                    };
                    self.jobtap.log(
                        LogLevel::Info,
                        &format!(
                            "version {}: sends {how} to {endpoint}, period {} s, resync {} s",
                            env!("CARGO_PKG_VERSION"),
                            config.period,
                            config.resync
                        ),
                    );
                    stats
                }
                Err(error) => {
                    self.warn(&format!(
                        "{ENDPOINT_VARIABLE}: {error}: no metrics are sent (load the plugin \
                         again when it can be found)"
                    ));
                    Stats::disabled()
                }
            },
        };
        stats.set_prefix(PREFIX).map_err(error)?;
        stats.set_aggregated(config.period > 0.0);
        self.gauges = JobState::ALL
            .iter()
            .map(|state| stats.metric(&state.name()).map_err(error))
            .collect::<Result<_, _>>()?;
        Ok(stats)
    }

    /// The reactor turned: the load is done, and what it announced is sent.
    fn start(&mut self) {
        self.start = None;
        let Some(config) = &self.config else { return };
        let timer = |seconds: f64, callback: fn(&mut Self)| match seconds {
            0.0 => Ok(None),
            _ => self.jobtap.timer(seconds, seconds, callback).map(Some),
        };
        let timers = (timer(config.period, Self::flush), timer(config.resync, Self::resync));
        for error in [timers.0.as_ref().err(), timers.1.as_ref().err()].into_iter().flatten() {
            self.warn(&error.to_string());
        }
        self.flush = timers.0.unwrap_or_default();
        self.resync = timers.1.unwrap_or_default();

        self.live = true;
        let absolute = self.owns_its_gauges();
        self.for_each_known(|stats, gauge, _, count| give(stats, gauge, count, absolute));
        self.stats.flush();
        self.ask_for_inactive();
    }

    /// The end of a period: what changed is sent.
    fn flush(&mut self) {
        self.stats.flush();
    }

    /// Time to heal: every gauge is sent as an absolute value. Aggregated, they
    /// leave with the next flush.
    fn resync(&mut self) {
        self.for_each_known(|stats, gauge, _, count| stats.gauge_set(gauge, count));
    }

    /// Asks the job manager, through its own front door, how many jobs are
    /// inactive: nobody announces those from before the load.
    fn ask_for_inactive(&mut self) {
        self.survey_pause = None;
        self.books.survey_begin();
        let asked =
            self.jobtap.rpc(c"job-manager.stats-get", SURVEY_TIMEOUT, Self::inactive_answered);
        match asked {
            Ok(rpc) => self.survey = Some(rpc),
            Err(error) => self.no_answer(&error),
        }
    }

    fn inactive_answered(&mut self, response: Response<'_>) {
        self.survey = None;
        let inactive = response.integer(c"inactive_jobs").and_then(|number| {
            u64::try_from(number).map_err(|_| Error::new(format!("inactive_jobs is {number}")))
        });
        match inactive {
            Ok(inactive) => {
                let contradictions = self.books.anomalies();
                if self.books.survey_end(inactive) {
                    self.inactive_is_known();
                } else {
                    self.ask_again(SURVEY_PAUSE);
                }
                if self.books.anomalies() != contradictions {
                    self.log_first(Anomaly::SurveyContradicted);
                }
            }
            Err(error) => self.no_answer(&error),
        }
    }

    /// Without an answer INACTIVE stays withheld: no gauge is better than a
    /// wrong one.
    fn no_answer(&mut self, error: &Error) {
        if !self.survey_failed {
            self.survey_failed = true;
            self.warn(&format!(
                "job-manager.stats-get: {error}: the gauge of inactive jobs is not sent until \
                 this is answered (asked again every {SURVEY_PAUSE_AFTER_ERROR} s)"
            ));
        }
        self.ask_again(SURVEY_PAUSE_AFTER_ERROR);
    }

    fn ask_again(&mut self, pause: f64) {
        match self.jobtap.timer(pause, 0.0, Self::ask_for_inactive) {
            Ok(timer) => self.survey_pause = Some(timer),
            Err(error) => self.warn(&error.to_string()),
        }
    }

    fn inactive_is_known(&mut self) {
        let absolute = self.owns_its_gauges();
        if let Some(count) = self.books.count(State::Inactive) {
            let gauge = self.gauges[State::Inactive as usize];
            must(give(&mut self.stats, gauge, count as i64, absolute));
        }
    }

    /// Enters an event into the books, and sends what it changed.
    fn happened(&mut self, event: Event) {
        let (change, anomaly) = self.books.apply(event);
        if self.live && change != Change::default() {
            self.tell(change);
        }
        if let Some(anomaly) = anomaly {
            self.log_first(anomaly);
        }
    }

    /// Both lines travel in one datagram, the job's arrival before its departure.
    fn tell(&mut self, change: Change) {
        let StateCounts { books, stats, gauges, config, .. } = self;
        let values = config.as_ref().is_some_and(|config| config.send == SendAs::Values);
        must(stats.batch(|stats| {
            for (state, by) in [(change.inc, 1), (change.dec, -1)] {
                let Some(state) = state else { continue };
                let gauge = gauges[state as usize];
                match books.count(state) {
                    Some(count) if values => stats.gauge_set(gauge, count as i64)?,
                    _ => stats.gauge_add(gauge, by)?,
                }
            }
            Ok(())
        }));
    }

    /// Whether absolute values may be sent: the gauges are ours alone.
    fn owns_its_gauges(&self) -> bool {
        self.config
            .as_ref()
            .is_some_and(|config| config.resync > 0.0 || config.send == SendAs::Values)
    }

    /// Calls `body` for each state whose count is known, in one batch.
    fn for_each_known(
        &mut self,
        body: impl Fn(&mut Stats, Metric, State, i64) -> Result<(), crate::stats::Error>,
    ) {
        let StateCounts { books, stats, gauges, .. } = self;
        must(stats.batch(|stats| {
            for state in State::ALL {
                if let Some(count) = books.count(state) {
                    body(stats, gauges[state as usize], state, count as i64)?;
                }
            }
            Ok(())
        }));
    }

    /// Logs an anomaly if it is the first of its kind.
    fn log_first(&self, anomaly: Anomaly) {
        if self.books.anomalies()[anomaly.kind()] > 1 {
            return;
        }
        let what = match anomaly {
            Anomaly::NoJobToMove(state) => format!(
                "a job left {}, where none was counted; that gauge stays 0",
                JobState::ALL[state as usize].name()
            ),
            Anomaly::UnknownState(number) => format!(
                "state {number} is unknown to this version and not counted (is there a newer one?)"
            ),
            Anomaly::SurveyContradicted => {
                "the broker's numbers of inactive jobs contradict each other; the newest counts"
                    .to_owned()
            }
        };
        self.warn(&format!("{what} (further ones are not logged)"));
    }

    fn warn(&self, message: &str) {
        self.jobtap.log(LogLevel::Warning, message);
    }
}

/// Tells a count for the first time: as a value, or as our share in a gauge
/// that others add to as well.
fn give(
    stats: &mut Stats,
    gauge: Metric,
    count: i64,
    absolute: bool,
) -> Result<(), crate::stats::Error> {
    match (absolute, count) {
        (true, _) => stats.gauge_set(gauge, count),
        (false, 0) => Ok(()),
        (false, _) => stats.gauge_add(gauge, count),
    }
}

/// Metrics fail by their name only, and ours were accepted at load.
fn must(sent: Result<(), crate::stats::Error>) {
    debug_assert_eq!(sent, Ok(()));
}

fn error(error: impl std::error::Error) -> Error {
    Error::new(error.to_string())
}
