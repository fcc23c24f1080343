//! What an administrator asked for: the plugin's conf object and the
//! environment, checked. Pure: the caller brings the texts.

use std::fmt;

use serde_json::{Map, Value};

use crate::stats::{shown, Endpoint, ENDPOINT_VARIABLE};

/// One plugin's configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where the metrics go; `None`: nowhere.
    pub endpoint: Option<Endpoint>,
    /// Seconds over which changes are summed before they are sent; 0 sends each
    /// change at once.
    pub period: f64,
    /// Seconds between two sends of every gauge's absolute value; 0 is never.
    pub resync: f64,
    /// How a change of a count is told.
    pub send: SendAs,
}

/// How a change of a count is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendAs {
    /// As a move of the gauge: `+1`, `-1`.
    Increments,
    /// As the gauge's new value, for servers that know no increments.
    Values,
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

/// The shortest and the longest period and resync, in seconds, besides 0. A
/// shorter timer would keep the reactor busy for nothing.
const SECONDS: std::ops::RangeInclusive<f64> = 0.01..=86400.0;

impl Config {
    /// Reads the plugin's conf object (JSON text, as Flux hands it over) and
    /// the value of `FLUX_FRIPP_STATSD`. An empty variable counts as unset.
    ///
    /// # Errors
    /// Name the key, the value and what is wanted.
    pub fn new(conf: Option<&str>, environment: Option<&str>) -> Result<Config, ConfigError> {
        let mut config =
            Config { endpoint: None, period: 0.0, resync: 10.0, send: SendAs::Increments };
        for (key, value) in object(conf)? {
            match key.as_str() {
                "period" => config.period = seconds(&key, &value)?,
                "resync" => config.resync = seconds(&key, &value)?,
                "send" => config.send = send_as(&value)?,
                _ => {
                    let key = shown(&key);
                    return wrong(format!("unknown key {key} (want period, resync or send)"));
                }
            }
        }
        if let Some(text) = environment.filter(|text| !text.is_empty()) {
            config.endpoint = match text.parse() {
                Ok(endpoint) => Some(endpoint),
                Err(error) => return wrong(format!("{ENDPOINT_VARIABLE}: {error}")),
            };
        }
        Ok(config)
    }
}

fn wrong<T>(text: String) -> Result<T, ConfigError> {
    Err(ConfigError(text))
}

fn object(conf: Option<&str>) -> Result<Map<String, Value>, ConfigError> {
    match conf.map(serde_json::from_str) {
        None => Ok(Map::new()),
        Some(Ok(Value::Object(object))) => Ok(object),
        Some(Ok(other)) => {
            wrong(format!("conf: {} (want an object of keys)", shown(&other.to_string())))
        }
        Some(Err(error)) => wrong(format!("conf: not JSON: {error}")),
    }
}

fn seconds(key: &str, value: &Value) -> Result<f64, ConfigError> {
    match value.as_f64() {
        Some(seconds) if seconds == 0.0 || SECONDS.contains(&seconds) => Ok(seconds),
        _ => wrong(format!(
            "{key}: {} (want seconds: 0, or {} to {})",
            shown_json(value),
            SECONDS.start(),
            SECONDS.end()
        )),
    }
}

fn send_as(value: &Value) -> Result<SendAs, ConfigError> {
    match value.as_str() {
        Some("increments") => Ok(SendAs::Increments),
        Some("values") => Ok(SendAs::Values),
        _ => wrong(format!("send: {} (want \"increments\" or \"values\")", shown_json(value))),
    }
}

fn shown_json(value: &Value) -> String {
    match value {
        Value::String(text) => shown(text),
        other => shown(&other.to_string()).trim_matches('"').to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_configurations_are_read() {
        let default =
            Config { endpoint: None, period: 0.0, resync: 10.0, send: SendAs::Increments };
        let table = [
            (None, None, default.clone()),
            (Some("{}"), Some(""), default.clone()),
            (
                None,
                Some("localhost:8125"),
                Config { endpoint: "localhost:8125".parse().ok(), ..default.clone() },
            ),
            (
                Some(r#"{"period": 1, "resync": 0, "send": "values"}"#),
                None,
                Config { period: 1.0, resync: 0.0, send: SendAs::Values, ..default.clone() },
            ),
            (
                Some(r#"{"period": 0.5, "send": "increments"}"#),
                None,
                Config { period: 0.5, ..default },
            ),
        ];
        for (conf, environment, want) in table {
            assert_eq!(Config::new(conf, environment), Ok(want), "{conf:?} {environment:?}");
        }
    }

    #[test]
    fn bad_configurations_are_refused_with_key_value_and_what_is_wanted() {
        let seconds = "(want seconds: 0, or 0.01 to 86400)";
        let table = [
            (r#"{"perod": 1}"#, "unknown key \"perod\" (want period, resync or send)".to_owned()),
            (r#"{"period": "fast"}"#, format!("period: \"fast\" {seconds}")),
            (r#"{"period": -1}"#, format!("period: -1 {seconds}")),
            (r#"{"period": 0.001}"#, format!("period: 0.001 {seconds}")),
            (r#"{"resync": 1e9}"#, format!("resync: 1000000000.0 {seconds}")),
            (r#"{"resync": true}"#, format!("resync: true {seconds}")),
            (
                r#"{"send": "both"}"#,
                "send: \"both\" (want \"increments\" or \"values\")".to_owned(),
            ),
            (r#"{"send": 3}"#, "send: 3 (want \"increments\" or \"values\")".to_owned()),
            ("[1]", "conf: \"[1]\" (want an object of keys)".to_owned()),
        ];
        for (conf, want) in table {
            assert_eq!(Config::new(Some(conf), None).unwrap_err().to_string(), want, "{conf}");
        }
        let error = Config::new(None, Some("localhost")).unwrap_err().to_string();
        assert_eq!(
            error,
            "FLUX_FRIPP_STATSD: endpoint \"localhost\": missing \":PORT\" \
             (want HOST:PORT or [IPv6]:PORT)"
        );
    }
}
