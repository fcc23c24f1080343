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

use std::ops::RangeInclusive;

use serde_json::{json, Map, Value};

use crate::collectors::CollectorId;
use crate::flux_formats::QueueRequirements;
use crate::jobs::NameForm;
use crate::stats::{quoted, Dialect, Endpoint, ENDPOINT_VARIABLE};
use value::quoted_json;

pub use template::{BrokerInfo, Template};

/// `true` if `[access] private-mode` hides the jobs of other users (since Flux 0.87).
pub fn is_private(broker: &str) -> bool {
    let broker: Value = serde_json::from_str(broker).unwrap_or_default();
    broker["conf"]["access"]["private-mode"] == true
}

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

/// The accepted bytes: a line with the usual names, and the maximum of UDP over IPv4.
const DATAGRAM: RangeInclusive<u64> = 512..=65507;

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
pub const KEYS: [Key; 14] = [
    key!("endpoint", endpoints: value::endpoints, |it: &Vec<_>| value::print_endpoints(it)),
    key!("period", period: |value| value::seconds(value, true, TIMER), |it| json!(it)),
    key!("resync", resync: |value| value::seconds(value, true, TIMER), |it| json!(it)),
    key!("verify", verify: |value| value::seconds(value, true, SECONDS), |it| json!(it)),
    key!("send", send: |it| value::parse_keyword(it, value::SEND), |it| value::keyword_of(it, value::SEND)),
    key!("lookup", lookup: |value| value::seconds(value, false, SECONDS), |it| json!(it)),
    key!("datagram", datagram: |value| value::bytes(value, DATAGRAM), |it| json!(it)),
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
    /// The reason why nothing is sent, with the remedy; `None` if there is an endpoint.
    pub silent: Option<String>,
    /// A part of the broker's configuration that is ignored because of its name.
    pub misplaced: Option<String>,
    /// Seconds for which changes are accumulated before they are sent; 0 sends them at the end
    /// of each reactor loop iteration.
    pub period: f64,
    /// Seconds between two resyncs (all gauges as absolute values); 0 is never.
    pub resync: f64,
    /// The maximum number of seconds between two reconcile passes; 0 is never.
    pub verify: f64,
    /// How a change of a gauge is sent.
    pub send: SendAs,
    /// Seconds between two lookups of the endpoints' host names, and between two new UDP
    /// sockets.
    pub lookup: f64,
    /// The maximum payload of a datagram in bytes.
    pub datagram: usize,
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

/// The reason why a configuration cannot be used, a text for an administrator.
pub type ConfigError = String;

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
        let mut broker: Value = serde_json::from_slice(broker.as_bytes())
            .map_err(|error| format!("the broker's configuration: not JSON: {error}"))?;
        let broker = broker.get_mut("conf").map(Value::take).unwrap_or_default();
        let mut config = Config { misplaced: misplaced(&broker), ..Config::default() };
        config.set_keys("[state-counts] ", table(broker)?, Origin::Broker)?;
        config.set_keys("", object(plugin)?, Origin::Plugin)?;
        // flux-core reads the variable, too, so it is parsed only if it is used.
        if let (true, Some(text)) =
            (config.endpoints.is_empty(), environment.filter(|text| !text.is_empty()))
        {
            let value = Value::String(text.to_owned());
            config.endpoints = value::endpoints(&value)
                .map_err(|error| format!("{ENDPOINT_VARIABLE}: {error}"))?;
            config.origins[0] = Origin::Environment;
        }
        if config.send == SendAs::Values && config.origin("resync") == Origin::Default {
            config.resync = RESYNC_OF_VALUES;
        }
        if !config.endpoints.is_empty() {
            config.silent = None;
        }
        Ok(config)
    }

    /// Checks what depends on several keys, and on the nesting level of the instance. Without
    /// a configured prefix a nested instance would overwrite the gauges of its parent, so its
    /// endpoints are removed.
    ///
    /// # Errors
    /// If there are tags, and the dialect has none.
    pub fn check(&mut self, level: &str) -> Result<(), ConfigError> {
        if !self.dialect.has_tags() && !self.tags.is_empty() {
            let tags = quoted_json(&value::print_tags(&self.tags));
            let dialect = value::keyword_of(&self.dialect, value::DIALECTS);
            return Err(format!(
                "tags: {tags}: dialect {dialect} has no tags (expected dialect dogstatsd, \
                 graphite or influxdb)"
            ));
        }
        let is_nested = level.parse().is_ok_and(|level: u32| level > 0);
        if is_nested && self.silent.is_none() && self.origin("prefix") == Origin::Default {
            self.silence(format!(
                "instance-level is {level} and no prefix is set: no metrics are sent, because the \
                 names are those of the parent instance (expected prefix = \
                 \"flux.nested.{{jobid}}.job.state\" for names of each instance, or prefix = \
                 \"flux.nested.job.state\" and resync = 0 for a sum over all nested instances)"
            ));
        }
        Ok(())
    }

    /// Removes the endpoints, for this reason.
    pub fn silence(&mut self, reason: String) {
        self.endpoints.clear();
        self.silent = Some(reason);
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
                return Err(format!("{context}{}", unknown_key(&key)));
            };
            (KEYS[index].set)(self, &value).map_err(|error| match key.as_str() {
                // These errors begin with the key.
                "endpoint" => format!("{context}{error}"),
                _ => format!("{context}{key}: {error}"),
            })?;
            self.origins[index] = origin;
        }
        Ok(())
    }

    /// The effective value of one of [`KEYS`], as it would be written in a configuration.
    pub fn get(&self, key: &Key) -> Value {
        (key.get)(self)
    }

    /// The source of the value of the key with this name.
    pub fn origin(&self, key: &str) -> Origin {
        let index = KEYS.iter().position(|known| known.name == key);
        index.map_or(Origin::Default, |index| self.origins[index])
    }

    /// `true` if several instances may share the gauges: no absolute value is sent.
    pub fn shares_gauges(&self) -> bool {
        self.resync == 0.0 && self.send == SendAs::Increments
    }
}

impl Default for Config {
    fn default() -> Self {
        Config {
            endpoints: Vec::new(),
            silent: Some(format!(
                "no endpoint is set: no metrics are sent (expected endpoint=HOST:PORT at load, \
                 conf = {{ endpoint = \"HOST:PORT\" }} in [job-manager] plugins, endpoint in \
                 [state-counts], or {ENDPOINT_VARIABLE} in the broker's environment)"
            )),
            misplaced: None,
            period: 0.0,
            resync: RESYNC,
            verify: 60.0,
            send: SendAs::Increments,
            lookup: 60.0,
            datagram: 1432,
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
            Err(format!("conf: {} (expected an object of keys)", quoted_json(&other)))
        }
        Some(Err(error)) => Err(format!("conf: not JSON: {error}")),
    }
}

/// The queues in the broker's `{"conf": …}`.
pub fn queues(broker: &str) -> Vec<QueueRequirements> {
    let broker: Value = serde_json::from_str(broker).unwrap_or_default();
    let queues = broker["conf"]["queues"].as_object().into_iter().flatten();
    let requires = |queue: &Value| {
        let properties = queue["requires"].as_array().into_iter().flatten();
        properties.filter_map(|it| it.as_str().map(str::to_owned)).collect()
    };
    queues.map(|(name, queue)| (name.clone(), requires(queue))).collect()
}

/// The plugin's table in the broker's configuration.
fn table(mut broker: Value) -> Result<Map<String, Value>, ConfigError> {
    match broker.get_mut(TABLE).map(Value::take) {
        None => Ok(Map::new()),
        Some(Value::Object(table)) => Ok(table),
        Some(other) => Err(format!("{TABLE}: {} (expected a table of keys)", quoted_json(&other))),
    }
}

/// The first part of the broker's configuration that may be meant for this plugin, but is
/// ignored: a table with another name, or keys beside `load`.
fn misplaced(broker: &Value) -> Option<String> {
    let keys = |value: &Value| value.as_object().map(|it| it.keys().cloned().collect::<Vec<_>>());
    let is_similar = |name: &String| edit_distance(&name.to_lowercase(), TABLE) <= 2;
    let manager = &broker["job-manager"];
    let top = keys(broker).into_iter().flatten().filter(|name| name != TABLE && is_similar(name));
    let below = keys(manager).into_iter().flatten().filter(is_similar);
    let plugins = manager["plugins"].as_array().into_iter().flatten();
    let ours = plugins.filter(|it| it["load"].as_str().is_some_and(|path| path.contains(TABLE)));
    let beside = ours.filter_map(keys).flatten().filter(|it| KEYS.iter().any(|key| key.name == it));
    let found = (top.map(|name| format!("[{}]", name.escape_default())))
        .chain(below.map(|name| format!("[job-manager.{}]", name.escape_default())))
        .chain(beside.map(|key| format!("{key} beside load in [job-manager] plugins")))
        .next()?;
    Some(format!("{found} is ignored (expected [{TABLE}], or conf = {{ … }} beside load)"))
}

#[cfg(test)]
mod tests;
