//! What an administrator asked for, checked. Pure: the caller brings the texts.
//!
//! Each key is taken from the first of these that has it:
//!
//! 1. the plugin's own conf: `flux jobtap load state-counts.so KEY=VALUE`, or
//!    `conf` in the broker's `[[job-manager.plugins]]`;
//! 2. the table `[state-counts]` in the broker's configuration, which can change
//!    while the plugin is loaded;
//! 3. for the endpoint, `FLUX_FRIPP_STATSD` in the broker's environment;
//! 4. the default.

mod template;
mod value;

use std::fmt;

use serde_json::{json, Map, Value};

use crate::flux::NameForm;
use crate::stats::{Dialect, Endpoint, ENDPOINT_VARIABLE};
use value::shown_json;

pub use template::{Place, Template};

/// The table in the broker's configuration.
pub const TABLE: &str = "state-counts";

/// All keys, in the order of the manual.
pub const KEYS: [&str; 12] = [
    "endpoint",
    "period",
    "resync",
    "send",
    "lookup",
    "prefix",
    "cluster",
    "states",
    "dialect",
    "tags",
    "metrics",
    "telemetry",
];

/// One plugin's configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where the metrics go; none: nowhere.
    pub endpoints: Vec<Endpoint>,
    /// Seconds over which changes are summed before they are sent; 0 sends each
    /// change at once.
    pub period: f64,
    /// Seconds between two sends of every gauge's absolute value; 0 is never.
    pub resync: f64,
    /// How a change of a count is told.
    pub send: SendAs,
    /// Seconds between two look-ups of the endpoints' names.
    pub lookup: f64,
    /// What stands before each state's name.
    pub prefix: Template,
    /// `{cluster}`; `None`: the host's name without the number at its end.
    pub cluster: Option<String>,
    /// How the states' names are written.
    pub states: NameForm,
    /// How names and tags are written.
    pub dialect: Dialect,
    /// Tags that every metric has.
    pub tags: Vec<(String, Template)>,
    /// What is told.
    pub metrics: Vec<Family>,
    /// Whether the plugin tells of itself, too.
    pub telemetry: bool,
    /// Where each of [`KEYS`] is from.
    origins: [Origin; KEYS.len()],
}

/// Where a key's value is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// `FLUX_FRIPP_STATSD`.
    Environment,
    /// `[state-counts]` in the broker's configuration.
    Broker,
    /// The plugin's own conf.
    Plugin,
}

/// How a change of a count is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendAs {
    /// As a move of the gauge: `+1`, `-1`.
    Increments,
    /// As the gauge's new value, for servers that know no increments.
    Values,
}

/// What is wrong with a value, and what is wanted instead.
pub type Problem = String;

/// A family of metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// Gauges of the jobs in each state.
    States,
    /// Gauges of the jobs in each queue and state.
    Queues,
    /// How long jobs stay in each state.
    Timings,
    /// What becomes of jobs, and the exceptions that they meet with.
    Results,
    /// Gauges of what jobs hold, and of what those that wait ask for.
    Resources,
    /// Gauges of the jobs of each user, and of the cores that they hold.
    Users,
    /// The same of each bank.
    Banks,
}

impl Family {
    /// All families, in the order of the manual.
    pub const ALL: [Family; 7] = [
        Family::States,
        Family::Queues,
        Family::Timings,
        Family::Results,
        Family::Resources,
        Family::Users,
        Family::Banks,
    ];

    /// The family's name in a configuration.
    pub fn name(self) -> &'static str {
        match self {
            Family::States => "states",
            Family::Queues => "queues",
            Family::Timings => "timings",
            Family::Results => "results",
            Family::Resources => "resources",
            Family::Users => "users",
            Family::Banks => "banks",
        }
    }
}

/// A configuration that cannot be used, in words for an administrator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError(String);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

impl Config {
    /// Reads the plugin's conf object and the broker's `{"conf": …}`, JSON
    /// texts as Flux hands them over, and the value of `FLUX_FRIPP_STATSD`. An
    /// empty variable counts as unset.
    ///
    /// # Errors
    /// Name the key, the value and what is wanted.
    pub fn new(
        plugin: Option<&str>,
        broker: &str,
        environment: Option<&str>,
    ) -> Result<Config, ConfigError> {
        let mut config = Config::default();
        config.take("[state-counts] ", table(broker)?, Origin::Broker)?;
        config.take("", object(plugin)?, Origin::Plugin)?;
        // The last resort: where it is not needed, a mistake in it harms nobody.
        if let (true, Some(text)) =
            (config.endpoints.is_empty(), environment.filter(|text| !text.is_empty()))
        {
            let value = Value::String(text.to_owned());
            config.endpoints = value::endpoints(&value)
                .map_err(|problem| ConfigError(format!("{ENDPOINT_VARIABLE}: {problem}")))?;
            config.origins[0] = Origin::Environment;
        }
        if config.dialect == Dialect::Plain && !config.tags.is_empty() {
            let tags = shown_json(&config.get("tags"));
            return wrong(format!(
                "tags: {tags} (want dialect dogstatsd, graphite or influxdb; plain has no tags)"
            ));
        }
        Ok(config)
    }

    /// Takes over what `object` sets; `place` stands before its complaints.
    fn take(
        &mut self,
        place: &str,
        object: Map<String, Value>,
        origin: Origin,
    ) -> Result<(), ConfigError> {
        for (key, value) in object {
            let Some(number) = KEYS.iter().position(|&known| known == key) else {
                let want = KEYS.join(", ");
                let key = crate::stats::shown(&key);
                return wrong(format!("{place}unknown key {key} (want {want})"));
            };
            self.set(&key, &value).map_err(|problem| match key.as_str() {
                // Its problems begin with the word.
                "endpoint" => ConfigError(format!("{place}{problem}")),
                _ => ConfigError(format!("{place}{key}: {problem}")),
            })?;
            self.origins[number] = origin;
        }
        Ok(())
    }

    fn set(&mut self, key: &str, value: &Value) -> Result<(), Problem> {
        // A shorter timer would keep the reactor busy for nothing.
        let short = 0.01..=86400.0;
        match key {
            "endpoint" => self.endpoints = value::endpoints(value)?,
            "period" => self.period = value::seconds(value, true, short)?,
            "resync" => self.resync = value::seconds(value, true, short)?,
            "send" => self.send = value::meaning(value, value::SEND)?,
            "lookup" => self.lookup = value::seconds(value, false, 1.0..=86400.0)?,
            "prefix" => self.prefix = value::template(value)?,
            "cluster" => self.cluster = Some(value::name(value)?),
            "states" => self.states = value::meaning(value, value::STATES)?,
            "dialect" => self.dialect = value::meaning(value, value::DIALECTS)?,
            "tags" => self.tags = value::tags(value)?,
            "metrics" => self.metrics = value::metrics(value)?,
            _ => self.telemetry = value::switch(value)?,
        }
        Ok(())
    }

    /// The effective value of one of [`KEYS`], as it would be configured.
    pub fn get(&self, key: &str) -> Value {
        match key {
            "endpoint" => self.endpoints.iter().map(|endpoint| endpoint.to_string()).collect(),
            "period" => json!(self.period),
            "resync" => json!(self.resync),
            "send" => json!(value::word(self.send, value::SEND)),
            "lookup" => json!(self.lookup),
            "prefix" => json!(self.prefix.as_str()),
            "cluster" => json!(self.cluster),
            "states" => json!(value::word(self.states, value::STATES)),
            "dialect" => json!(value::word(self.dialect, value::DIALECTS)),
            "tags" => {
                let mut tags = Map::new();
                for (key, value) in &self.tags {
                    tags.insert(key.clone(), value.as_str().into());
                }
                tags.into()
            }
            "metrics" => {
                let mut names = Vec::new();
                for family in &self.metrics {
                    names.push(family.name().into());
                }
                Value::Array(names)
            }
            "telemetry" => json!(self.telemetry),
            _ => Value::Null,
        }
    }

    /// Where the value of one of [`KEYS`] is from.
    pub fn origin(&self, key: &str) -> Origin {
        KEYS.iter()
            .position(|&known| known == key)
            .map_or(Origin::Default, |number| self.origins[number])
    }

    /// Whether the gauges belong to this instance alone, so that absolute
    /// values may be sent.
    pub fn owns_its_gauges(&self) -> bool {
        self.resync > 0.0 || self.send == SendAs::Values
    }
}

impl Default for Config {
    fn default() -> Self {
        Config {
            endpoints: Vec::new(),
            period: 0.0,
            resync: 10.0,
            send: SendAs::Increments,
            lookup: 60.0,
            prefix: Template::new("flux.job.state").expect("a good prefix"),
            cluster: None,
            states: NameForm::Long,
            dialect: Dialect::Plain,
            tags: Vec::new(),
            metrics: vec![Family::States],
            telemetry: false,
            origins: [Origin::Default; KEYS.len()],
        }
    }
}

impl Origin {
    /// What `flux jobtap query` calls it.
    pub fn name(self) -> &'static str {
        match self {
            Origin::Default => "default",
            Origin::Environment => ENDPOINT_VARIABLE,
            Origin::Broker => "[state-counts]",
            Origin::Plugin => "conf",
        }
    }
}

fn wrong<T>(text: String) -> Result<T, ConfigError> {
    Err(ConfigError(text))
}

/// The plugin's conf object.
fn object(conf: Option<&str>) -> Result<Map<String, Value>, ConfigError> {
    match conf.map(serde_json::from_str) {
        None => Ok(Map::new()),
        Some(Ok(Value::Object(object))) => Ok(object),
        Some(Ok(other)) => wrong(format!("conf: {} (want an object of keys)", shown_json(&other))),
        Some(Err(error)) => wrong(format!("conf: not JSON: {error}")),
    }
}

/// Our table in the broker's configuration.
fn table(broker: &str) -> Result<Map<String, Value>, ConfigError> {
    let mut broker: Value = serde_json::from_str(broker)
        .or_else(|error| wrong(format!("the broker's configuration: not JSON: {error}")))?;
    match broker.get_mut("conf").and_then(|conf| conf.get_mut(TABLE)).map(Value::take) {
        None => Ok(Map::new()),
        Some(Value::Object(table)) => Ok(table),
        Some(other) => wrong(format!("{TABLE}: {} (want a table of keys)", shown_json(&other))),
    }
}

#[cfg(test)]
mod tests;
