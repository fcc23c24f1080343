//! The plugin's configuration, parsed and checked. Pure: the caller passes the texts.
//!
//! The value of each key is taken from the first of these that sets it:
//!
//! 1. the plugin's own conf: `flux jobtap load state-counts.so KEY=VALUE`, or `conf` in the
//!    broker's `[[job-manager.plugins]]`;
//! 2. the table `[state-counts]` of the broker's configuration, which can change while the
//!    plugin is loaded;
//! 3. for the endpoint, `FLUX_FRIPP_STATSD` in the broker's environment;
//! 4. the default.

mod template;
mod value;

use std::fmt;
use std::ops::RangeInclusive;

use serde_json::{json, Map, Value};

use crate::collectors::CollectorId;
use crate::jobs::NameForm;
use crate::stats::{quoted, Dialect, Endpoint, ENDPOINT_VARIABLE};
use value::quoted_json;

pub use template::{BrokerInfo, Template};

/// The plugin's table in the broker's configuration.
pub const TABLE: &str = "state-counts";

/// A configuration key, with functions that parse and print its value.
pub struct Key {
    /// The name in the configuration.
    pub name: &'static str,
    set: fn(&mut Config, &Value) -> Result<(), ValueError>,
    get: fn(&Config) -> Value,
}

/// The accepted seconds. A shorter interval would only load the reactor.
const TIMER: RangeInclusive<f64> = 0.01..=86400.0;
const SECONDS: RangeInclusive<f64> = 1.0..=86400.0;

/// The default of `resync` in seconds: the maximum time that a gauge is wrong after a lost
/// datagram.
const RESYNC: f64 = 10.0;
/// The default of `resync` with `send = "values"`, in seconds. Servers that need absolute
/// values drop or repeat gauges without an update since their last flush, by default every
/// 10 s (Telegraf, statsite, both statsdaemons, veneur, Datadog's agent, Etsy's statsd with
/// deleteGauges). Half of that interval updates each gauge before each flush.
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

/// All keys, in the order of the manual. The defaults are in [`Config::default`]; `resync`
/// has another default with `send = "values"`.
pub const KEYS: [Key; 13] = [
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
    key!("metrics", metrics: value::metrics, |it: &Vec<_>| value::print_metrics(it)),
    key!("telemetry", telemetry: value::switch, |it| json!(it)),
];

/// The configuration of one loaded plugin.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The servers; if empty, nothing is sent.
    pub endpoints: Vec<Endpoint>,
    /// Seconds for which changes are accumulated before they are sent; 0 sends them at the end
    /// of each reactor loop iteration.
    pub period: f64,
    /// Seconds between two resyncs (all gauges as absolute values); 0 is never.
    pub resync: f64,
    /// Seconds between two reconcile passes; 0 is never.
    pub verify: f64,
    /// How a change of a gauge is sent.
    pub send: SendAs,
    /// Seconds between two lookups of the endpoints' host names.
    pub lookup: f64,
    /// The text before each state's name.
    pub prefix: Template,
    /// The value of `{cluster}`; `None`: the host name without the number at its end.
    pub cluster: Option<String>,
    /// The form of the states' names.
    pub states: NameForm,
    /// The format of names and tags.
    pub dialect: Dialect,
    /// Tags of every metric.
    pub tags: Vec<(String, Template)>,
    /// The enabled collectors.
    pub metrics: Vec<CollectorId>,
    /// `true` if the plugin sends counters of its own work.
    pub telemetry: bool,
    /// The source of each of [`KEYS`].
    origins: [Origin; KEYS.len()],
}

/// The source of a key's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The default.
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
    /// As the difference: `+1`, `-1`.
    Increments,
    /// As the gauge's new value, for servers that do not support increments.
    Values,
}

/// An error text: the value and the accepted form, without the key.
pub type ValueError = String;

/// A configuration that cannot be used, with a text for an administrator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError(String);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}

impl Config {
    /// Parses the plugin's conf object and the broker's `{"conf": …}`, JSON texts from Flux,
    /// and the value of `FLUX_FRIPP_STATSD`. An empty variable counts as unset.
    ///
    /// # Errors
    /// The text names the key, the value and the accepted form.
    pub fn new(
        plugin: Option<&str>,
        broker: &str,
        environment: Option<&str>,
    ) -> Result<Config, ConfigError> {
        let mut config = Config::default();
        config.set_keys("[state-counts] ", table(broker)?, Origin::Broker)?;
        config.set_keys("", object(plugin)?, Origin::Plugin)?;
        // flux-core reads the variable, too, so it is parsed only if it is used.
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
            let dialect = value::keyword_of(&config.dialect, value::DIALECTS);
            return wrong(format!(
                "tags: {tags}: dialect {dialect} has no tags (expected dialect dogstatsd, \
                 graphite or influxdb)"
            ));
        }
        Ok(config)
    }

    /// Sets the keys in `object`; `context` is the beginning of error texts.
    fn set_keys(
        &mut self,
        context: &str,
        object: Map<String, Value>,
        origin: Origin,
    ) -> Result<(), ConfigError> {
        for (key, value) in object {
            let Some(index) = KEYS.iter().position(|known| known.name == key) else {
                return wrong(format!("{context}{}", unknown_key(&key)));
            };
            (KEYS[index].set)(self, &value).map_err(|error| match key.as_str() {
                // These errors begin with the key.
                "endpoint" => ConfigError(format!("{context}{error}")),
                _ => ConfigError(format!("{context}{key}: {error}")),
            })?;
            self.origins[index] = origin;
        }
        Ok(())
    }

    /// The effective value of one of [`KEYS`], as it would be written in a configuration.
    pub fn get(&self, key: &Key) -> Value {
        (key.get)(self)
    }

    /// The source of the value of one of [`KEYS`].
    pub fn origin(&self, key: &Key) -> Origin {
        self.origin_of(key.name)
    }

    fn origin_of(&self, key: &str) -> Origin {
        let index = KEYS.iter().position(|known| known.name == key);
        index.map_or(Origin::Default, |index| self.origins[index])
    }

    /// `true` if each change is sent as the gauge's new value.
    pub fn sends_values(&self) -> bool {
        self.send == SendAs::Values
    }

    /// `true` if only this instance sends these gauges, so that absolute values can be sent.
    pub fn owns_its_gauges(&self) -> bool {
        self.resync > 0.0 || self.send == SendAs::Values
    }

    /// `true` if a name or a tag has a placeholder.
    pub fn has_placeholders(&self) -> bool {
        let tags = self.tags.iter().map(|(_, value)| value);
        [&self.prefix].into_iter().chain(tags).any(|template| template.as_str().contains('{'))
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
            prefix: Template::new("flux.job.state").expect("a valid prefix"),
            cluster: None,
            states: NameForm::Long,
            dialect: Dialect::Plain,
            tags: Vec::new(),
            metrics: CollectorId::named("states").into_iter().collect(),
            telemetry: false,
            origins: [Origin::Default; KEYS.len()],
        }
    }
}

impl Origin {
    /// As `flux jobtap query` prints it.
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

/// The error for a key that does not exist. Flux cuts an error text at 159 bytes, so the text
/// has either a suggestion or the list of keys.
fn unknown_key(key: &str) -> String {
    let names = KEYS.each_ref().map(|key| key.name);
    let nearest = names.into_iter().min_by_key(|name| edit_distance(key, name));
    match nearest.filter(|name| edit_distance(key, name) <= 2) {
        Some(name) => format!("unknown key {}; did you mean \"{name}\"?", quoted(key)),
        None => format!("unknown key {} (expected {})", quoted(key), names.join(", ")),
    }
}

/// The number of bytes to insert, delete or replace to turn `a` into `b` (Levenshtein).
fn edit_distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, a) in a.bytes().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, b) in b.bytes().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// The plugin's conf object.
fn object(conf: Option<&str>) -> Result<Map<String, Value>, ConfigError> {
    match conf.map(|conf| serde_json::from_slice(conf.as_bytes())) {
        None => Ok(Map::new()),
        Some(Ok(Value::Object(object))) => Ok(object),
        Some(Ok(other)) => {
            wrong(format!("conf: {} (expected an object of keys)", quoted_json(&other)))
        }
        Some(Err(error)) => wrong(format!("conf: not JSON: {error}")),
    }
}

/// The names of the queues in the broker's `{"conf": …}`.
pub fn queues(broker: &str) -> Vec<String> {
    let broker: Value = serde_json::from_str(broker).unwrap_or_default();
    let queues = broker["conf"]["queues"].as_object();
    queues.map(|queues| queues.keys().cloned().collect()).unwrap_or_default()
}

/// The plugin's table in the broker's configuration.
fn table(broker: &str) -> Result<Map<String, Value>, ConfigError> {
    let mut broker: Value = serde_json::from_slice(broker.as_bytes())
        .or_else(|error| wrong(format!("the broker's configuration: not JSON: {error}")))?;
    match broker.get_mut("conf").and_then(|conf| conf.get_mut(TABLE)).map(Value::take) {
        None => Ok(Map::new()),
        Some(Value::Object(table)) => Ok(table),
        Some(other) => {
            wrong(format!("{TABLE}: {} (expected a table of keys)", quoted_json(&other)))
        }
    }
}

#[cfg(test)]
mod tests;
