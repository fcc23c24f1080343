//! Parses and prints the values of keys, which are JSON.

use std::ops::RangeInclusive;

use serde_json::{Map, Value};

use super::template::Template;
use super::{SendAs, ValueError};
use crate::collectors::{CollectorId, COLLECTORS};
use crate::flux_formats::parse_seconds;
use crate::jobs::NameForm;
use crate::stats::{quoted, shortened, Dialect, Endpoint};

/// Seconds from a number or a Flux Standard Duration (RFC 23): `500ms`, `10s`, `1m`, `2h`,
/// `1d`. 0 is accepted if `zero` is set.
pub(super) fn seconds(
    value: &Value,
    zero: bool,
    range: RangeInclusive<f64>,
) -> Result<f64, ValueError> {
    let seconds = match value {
        Value::String(text) => parse_seconds(text),
        other => other.as_f64(),
    };
    match seconds {
        Some(seconds) if zero && seconds == 0.0 => Ok(0.0),
        Some(seconds) if range.contains(&seconds) => Ok(seconds),
        Some(_) | None => Err(format!(
            "{} (expected {}{}",
            quoted_json(value),
            if zero { "0, or " } else { "" },
            match *range.start() < 1.0 {
                true => "10ms to 1d, such as 500ms, 10s or 1m)",
                false => "1s to 1d, such as 10s, 1m or 1h)",
            },
        )),
    }
}

/// Keywords with their values.
type Keywords<T> = &'static [(&'static str, T)];

pub(super) const SEND: Keywords<SendAs> =
    &[("increments", SendAs::Increments), ("values", SendAs::Values)];

/// The formats of flux_job_statetostr (libjob/job.h).
pub(super) const STATES: Keywords<NameForm> = &[
    ("L", NameForm::Long),
    ("l", NameForm::LongLower),
    ("S", NameForm::Short),
    ("s", NameForm::ShortLower),
];

pub(super) const DIALECTS: Keywords<Dialect> = &[
    ("plain", Dialect::Plain),
    ("pcp", Dialect::Pcp),
    ("dogstatsd", Dialect::DogStatsD),
    ("graphite", Dialect::Graphite),
    ("influxdb", Dialect::InfluxDb),
];

/// A number of bytes.
pub(super) fn bytes(value: &Value, range: RangeInclusive<u64>) -> Result<usize, ValueError> {
    let number = match value {
        Value::String(text) => text.parse().ok(),
        other => other.as_u64(),
    };
    number.filter(|number| range.contains(number)).map(|number| number as usize).ok_or_else(|| {
        let (min, max) = range.into_inner();
        format!("{} (expected {min} to {max} bytes)", quoted_json(value))
    })
}

pub(super) fn parse_keyword<T: Copy>(
    value: &Value,
    keywords: Keywords<T>,
) -> Result<T, ValueError> {
    let found = keywords.iter().find(|(keyword, _)| value.as_str() == Some(keyword));
    found.map(|(_, value)| *value).ok_or_else(|| {
        let keywords: Vec<_> = keywords.iter().map(|(keyword, _)| *keyword).collect();
        format!("{} (expected {})", quoted_json(value), either(&keywords))
    })
}

/// The keyword of a value.
pub(super) fn keyword_of<T: PartialEq>(value: &T, keywords: Keywords<T>) -> Value {
    keywords.iter().find(|(_, of)| of == value).map_or("", |(keyword, _)| keyword).into()
}

/// `"a", "b" or "c"`.
fn either(keywords: &[&str]) -> String {
    match keywords {
        [first @ .., last] if !first.is_empty() => {
            format!("\"{}\" or \"{last}\"", first.join("\", \""))
        }
        _ => format!("\"{}\"", keywords.concat()),
    }
}

pub(super) fn switch(value: &Value) -> Result<bool, ValueError> {
    value.as_bool().ok_or_else(|| format!("{} (expected true or false)", quoted_json(value)))
}

pub(super) fn template(value: &Value) -> Result<Template, ValueError> {
    match value.as_str() {
        Some(text) => Template::new(text),
        None => Err(format!("{} (expected a string)", quoted_json(value))),
    }
}

/// A name without placeholders.
pub(super) fn name(value: &Value) -> Result<String, ValueError> {
    let template = template(value)?;
    match template.as_str().contains('{') {
        false => Ok(template.as_str().to_owned()),
        true => Err(format!("{} (expected no placeholder here)", quoted_json(value))),
    }
}

/// A string of endpoints with commas between them, or an array of strings.
pub(super) fn endpoints(value: &Value) -> Result<Vec<Endpoint>, ValueError> {
    let Some(texts) = texts(value) else {
        let value = quoted_json(value);
        return Err(format!("endpoint {value} (expected a string, or an array of strings)"));
    };
    let mut endpoints = Vec::new();
    for text in texts {
        for endpoint in Endpoint::list(text).map_err(|error| error.to_string())? {
            // Increments that arrive twice count twice.
            if endpoints.contains(&endpoint) {
                let text = quoted(&endpoint.to_string());
                return Err(format!("duplicate endpoint {text} (expected each once)"));
            }
            endpoints.push(endpoint);
        }
    }
    Ok(endpoints)
}

pub(super) fn print_endpoints(endpoints: &[Endpoint]) -> Value {
    endpoints.iter().map(Endpoint::to_string).collect()
}

/// A string of collectors with commas between them, or an array of strings.
pub(super) fn metrics(value: &Value) -> Result<Vec<CollectorId>, ValueError> {
    let names = CollectorId::all().filter(|it| !has_two_names(it));
    let names: Vec<_> = names.map(|it| it.spec().name).collect();
    let expected = format!("(expected {}, or several)", either(&names));
    let wrong = || format!("{} {expected}", quoted_json(value));
    let mut collectors = Vec::new();
    for text in texts(value).ok_or_else(wrong)?.into_iter().flat_map(|text| text.split(',')) {
        let collector = CollectorId::named(text.trim()).filter(|it| !has_two_names(it));
        let collector = collector.ok_or_else(|| format!("{} {expected}", quoted(text)))?;
        if !collectors.contains(&collector) {
            collectors.push(collector);
        }
    }
    let is_chosen = |name| collectors.iter().any(|collector| collector.spec().name == name);
    let both = |it: &CollectorId| has_two_names(it) && it.spec().name.split('.').all(is_chosen);
    let more: Vec<_> = CollectorId::all().filter(both).collect();
    collectors.extend(more);
    Ok(collectors)
}

fn has_two_names(collector: &CollectorId) -> bool {
    collector.spec().name.contains('.')
}

pub(super) fn print_metrics(collectors: &[CollectorId]) -> Value {
    let chosen = collectors.iter().filter(|collector| !has_two_names(collector));
    chosen.map(|collector| collector.spec().name).collect()
}

/// One string, or a non-empty array of strings.
fn texts(value: &Value) -> Option<Vec<&str>> {
    let texts: Vec<&str> = match value {
        Value::String(text) => vec![text],
        Value::Array(values) => values.iter().map(Value::as_str).collect::<Option<_>>()?,
        _ => return None,
    };
    (!texts.is_empty()).then_some(texts)
}

/// An object of tags.
pub(super) fn tags(value: &Value) -> Result<Vec<(String, Template)>, ValueError> {
    let Some(object) = value.as_object() else {
        return Err(format!("{} (expected an object, such as tags.site=NAME)", quoted_json(value)));
    };
    object.iter().map(|(key, value)| tag(key, value)).collect()
}

fn tag(key: &str, value: &Value) -> Result<(String, Template), ValueError> {
    let is_invalid = |c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.'));
    if key.is_empty() || key.contains(is_invalid) {
        return Err(format!("key {} (expected letters, digits, _, - or .)", quoted(key)));
    }
    if COLLECTORS.iter().any(|collector| collector.tags.contains(&key)) {
        return Err(format!("key \"{key}\" is one of the plugin's own (expected another)"));
    }
    let value = match value {
        // Flux converts a value on the command line that looks like a number to one. Only
        // integers can then be printed as they were typed: 1.10 becomes 1.1, and 1e3 becomes
        // 1000.0.
        Value::Number(number) if number.is_i64() || number.is_u64() => {
            Template::new(&number.to_string())
        }
        Value::Number(number) => Err(format!(
            "{number} is a number (expected an integer or a string: \"1.10\" in TOML, \
                 '\"1.10\"' on a command line)"
        )),
        other => template(other),
    };
    value.map(|value| (key.to_owned(), value)).map_err(|error| format!("{key}: {error}"))
}

pub(super) fn print_tags(tags: &[(String, Template)]) -> Value {
    let mut map = Map::new();
    for (key, value) in tags {
        map.insert(key.clone(), value.as_str().into());
    }
    map.into()
}

pub(super) fn quoted_json(value: &Value) -> String {
    match value {
        Value::String(text) => quoted(text),
        // Its own quotes are not escaped.
        other => shortened(&other.to_string().escape_default().to_string().replace("\\\"", "\"")),
    }
}
