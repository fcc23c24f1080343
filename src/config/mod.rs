//! What an administrator asked for, checked. Pure: the caller brings the texts.
//!
//! Each key is taken from the first of these that has it:
//!
//! 1. the plugin's own conf: `flux flux load state-counts.so KEY=VALUE`, or
//!    `conf` in the broker's `[[job-manager.plugins]]`;
//! 2. the table `[state-counts]` in the broker's configuration, which can change
//!    while the plugin is loaded;
//! 3. for the endpoint, `FLUX_FRIPP_STATSD` in the broker's environment;
//! 4. the default.

mod template;
mod value;

use std::fmt;
use std::ops::RangeInclusive;

use serde_json::{json, Map, Value};

use crate::collectors::CollectorId;
use crate::flux::NameForm;
use crate::jobs::label_table::Dash;
use crate::stats::{Dialect, Endpoint, ENDPOINT_VARIABLE};
use value::quoted_json;

pub use template::{BrokerInfo, Template};

/// The table in the broker's configuration.
pub const TABLE: &str = "state-counts";

/// A key: what it is called, and how its value is read and printed.
pub struct Key {
    /// Its name.
    pub name: &'static str,
    set: fn(&mut Config, &Value) -> Result<(), ValueError>,
    get: fn(&Config) -> Value,
}

/// A shorter timer would keep the reactor busy for nothing.
const TIMER: RangeInclusive<f64> = 0.01..=86400.0;
const SECONDS: RangeInclusive<f64> = 1.0..=86400.0;

/// `resync` where nobody set it. Lost datagrams are rare, and a dashboard that is
/// wrong for ten seconds is bearable.
const RESYNC: f64 = 10.0;
/// The same where each line is a value. That is for servers which forget, or repeat,
/// what did not come since their last flush, every 10 s unless set otherwise
/// (Telegraf, statsite, both statsdaemons, veneur, Datadog's agent, Etsy's with
/// deleteGauges). Half of it, so that whatever their clock, each flush has every
/// gauge.
const RESYNC_OF_VALUES: f64 = 5.0;

/// A row of [`KEYS`].
macro_rules! key {
    ($name:literal, $field:ident: $set:expr, $get:expr) => {
        Key {
            name: $name,
            set: |config, value| {
                let set: fn(&Value) -> Result<_, ValueError> = $set;
                config.$field = set(value)?;
                Ok(())
            },
            get: |config| {
                let get: fn(&_) -> Value = $get;
                get(&config.$field)
            },
        }
    };
}

/// All keys, in the order of the manual. Their defaults are [`Config::default`]'s; that
/// of `resync` is another with `send = "values"`.
pub const KEYS: [Key; 14] = [
    key!("endpoint", endpoints: value::endpoints, |it: &Vec<_>| value::print_endpoints(it)),
    key!("period", period: |value| value::seconds(value, true, TIMER), |it| json!(it)),
    key!("resync", resync: |value| value::seconds(value, true, TIMER), |it| json!(it)),
    key!("verify", verify: |value| value::seconds(value, true, SECONDS), |it| json!(it)),
    key!("send", send: |it| value::parse_keyword(it, value::SEND), |it| value::keyword_of(it, value::SEND)),
    key!("lookup", lookup: |value| value::seconds(value, false, SECONDS), |it| json!(it)),
    key!("prefix", prefix: value::template, |it: &Template| json!(it.as_str())),
    key!("cluster", cluster: |it| value::name(it).map(Some), |it| json!(it)),
    key!(
        "states",
        states: |it| value::parse_keyword(it, value::STATES),
        |it| value::keyword_of(it, value::STATES)
    ),
    key!(
        "dialect",
        dialect: |it| value::parse_keyword(it, value::DIALECTS),
        |it| value::keyword_of(it, value::DIALECTS)
    ),
    key!("tags", tags: value::tags, |it: &Vec<_>| value::print_tags(it)),
    key!("dash", dash: value::dash, value::print_dash),
    key!("metrics", metrics: value::metrics, |it: &Vec<_>| value::shown_metrics(it)),
    key!("telemetry", telemetry: value::switch, |it| json!(it)),
];

/// One plugin's configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where the metrics go; none: nowhere.
    pub endpoints: Vec<Endpoint>,
    /// Seconds over which changes are summed before they are sent; 0 sends them
    /// at the end of the reactor's turn.
    pub period: f64,
    /// Seconds between two sends of every gauge's absolute value; 0 is never.
    pub resync: f64,
    /// Seconds between two checks of the job table; 0 is never.
    pub verify: f64,
    /// How a change of a gauge is sent.
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
    /// What stands for a dash in names that are not the plugin's own.
    pub dash: Dash,
    /// The collectors that are sent.
    pub metrics: Vec<CollectorId>,
    /// Whether the plugin counts its own work, too.
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

/// How a change of a gauge is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendAs {
    /// As a move of the gauge: `+1`, `-1`.
    Increments,
    /// As the gauge's new value, for servers that know no increments.
    Values,
}

/// What is wrong with a value, and what is wanted instead.
pub type ValueError = String;

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
                .map_err(|error| ConfigError(format!("{ENDPOINT_VARIABLE}: {error}")))?;
            config.origins[0] = Origin::Environment;
        }
        if config.send == SendAs::Values && config.origin_of("resync") == Origin::Default {
            config.resync = RESYNC_OF_VALUES;
        }
        if !config.dialect.has_tags() && !config.tags.is_empty() {
            let tags = quoted_json(&value::print_tags(&config.tags));
            return wrong(format!(
                "tags: {tags} (want dialect dogstatsd, graphite or influxdb; plain has no tags)"
            ));
        }
        Ok(config)
    }

    /// Takes over what `object` sets; its errors begin with `context`.
    fn take(
        &mut self,
        context: &str,
        object: Map<String, Value>,
        origin: Origin,
    ) -> Result<(), ConfigError> {
        for (key, value) in object {
            let Some(index) = KEYS.iter().position(|known| known.name == key) else {
                let want = KEYS.each_ref().map(|key| key.name).join(", ");
                let key = crate::stats::quoted(&key);
                return wrong(format!("{context}unknown key {key} (want {want})"));
            };
            (KEYS[index].set)(self, &value).map_err(|error| match key.as_str() {
                // Its errors begin with the key.
                "endpoint" => ConfigError(format!("{context}{error}")),
                _ => ConfigError(format!("{context}{key}: {error}")),
            })?;
            self.origins[index] = origin;
        }
        Ok(())
    }

    /// The effective value of one of [`KEYS`], as it would be configured.
    pub fn get(&self, key: &Key) -> Value {
        (key.get)(self)
    }

    /// Where the value of one of [`KEYS`] is from.
    pub fn origin(&self, key: &Key) -> Origin {
        self.origin_of(key.name)
    }

    fn origin_of(&self, key: &str) -> Origin {
        let index = KEYS.iter().position(|known| known.name == key);
        index.map_or(Origin::Default, |index| self.origins[index])
    }

    /// Whether each change is sent as the gauge's new value.
    pub fn sends_values(&self) -> bool {
        self.send == SendAs::Values
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
            resync: RESYNC,
            verify: 60.0,
            send: SendAs::Increments,
            lookup: 60.0,
            prefix: Template::new("flux.job.state").expect("a good prefix"),
            cluster: None,
            states: NameForm::Long,
            dialect: Dialect::Plain,
            tags: Vec::new(),
            dash: Dash::default(),
            metrics: CollectorId::named("states").into_iter().collect(),
            telemetry: false,
            origins: [Origin::Default; KEYS.len()],
        }
    }
}

impl Origin {
    /// What `flux flux query` calls it.
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
    match conf.map(|conf| serde_json::from_slice(conf.as_bytes())) {
        None => Ok(Map::new()),
        Some(Ok(Value::Object(object))) => Ok(object),
        Some(Ok(other)) => wrong(format!("conf: {} (want an object of keys)", quoted_json(&other))),
        Some(Err(error)) => wrong(format!("conf: not JSON: {error}")),
    }
}

/// Our table in the broker's configuration.
fn table(broker: &str) -> Result<Map<String, Value>, ConfigError> {
    let mut broker: Value = serde_json::from_slice(broker.as_bytes())
        .or_else(|error| wrong(format!("the broker's configuration: not JSON: {error}")))?;
    match broker.get_mut("conf").and_then(|conf| conf.get_mut(TABLE)).map(Value::take) {
        None => Ok(Map::new()),
        Some(Value::Object(table)) => Ok(table),
        Some(other) => wrong(format!("{TABLE}: {} (want a table of keys)", quoted_json(&other))),
    }
}

#[cfg(test)]
mod tests;
