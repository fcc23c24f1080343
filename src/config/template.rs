//! Texts with placeholders, such as `{cluster}.jobs`.

use super::ValueError;
use crate::stats::{quoted, MAX_NAME};

/// The values of the placeholders, from the broker's attributes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BrokerInfo {
    /// The cluster's name.
    pub cluster: String,
    /// The host name.
    pub hostname: String,
    /// The broker's rank.
    pub rank: String,
    /// The id of the job that the instance runs in; `top` if it does not run in a job.
    pub jobid: String,
    /// The nesting level of the instance; 0 for a system instance.
    pub level: String,
}

impl BrokerInfo {
    const EXPECTED: &'static str = "{cluster}, {hostname}, {rank}, {jobid} or {level}";

    fn get(&self, name: &str) -> Option<&str> {
        Some(match name {
            "cluster" => &self.cluster,
            "hostname" => &self.hostname,
            "rank" => &self.rank,
            "jobid" => &self.jobid,
            "level" => &self.level,
            _ => return None,
        })
    }
}

/// A checked text with placeholders.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(String);

impl Template {
    /// Checks a text that is used in a name.
    ///
    /// # Errors
    /// If it is empty or longer than [`MAX_NAME`], or has a misplaced dot, an unmatched
    /// brace, an unknown placeholder, or a character that would end a name in a line.
    pub fn new(text: &str) -> Result<Template, ValueError> {
        let wrong = |what: &str| Err(format!("{} {what}", quoted(text)));
        if text.is_empty() {
            return wrong("(expected at least one character)");
        }
        if text.len() > MAX_NAME {
            return wrong(&format!("of {} bytes (expected at most {MAX_NAME})", text.len()));
        }
        let forbidden = |c: char| matches!(c, ':' | '|' | '@') || c.is_control() || c == ' ';
        if let Some(found) = text.chars().find(|&c| forbidden(c)) {
            let found = found.escape_default();
            return wrong(&format!("(expected no '{found}' in a name)"));
        }
        if text.starts_with('.') || text.ends_with('.') || text.contains("..") {
            return wrong("(expected dots between names only)");
        }
        match fill(text, &|name| BrokerInfo::default().get(name).map(str::to_owned)) {
            Ok(_) => Ok(Template(text.to_owned())),
            Err(Some(name)) => wrong(&format!(
                "has the unknown placeholder {{{name}}} (expected {})",
                BrokerInfo::EXPECTED
            )),
            Err(None) => {
                wrong(&format!("has an unmatched brace (expected {})", BrokerInfo::EXPECTED))
            }
        }
    }

    /// The text with the values of the placeholders.
    pub fn fill(&self, broker: &BrokerInfo) -> String {
        // A dot in a value would begin another part of the name.
        let value = |name: &str| broker.get(name).map(|value| value.replace('.', "_"));
        fill(&self.0, &value).unwrap_or_else(|_| self.0.clone())
    }

    /// The text with its placeholders, as configured.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Replaces each placeholder by its `value`. The error is the name of a placeholder without a
/// value, or `None` for an unmatched brace.
fn fill<'a>(
    text: &'a str,
    value: &dyn Fn(&str) -> Option<String>,
) -> Result<String, Option<&'a str>> {
    let mut filled = String::new();
    let mut rest = text;
    while let Some(start) = rest.find(['{', '}']) {
        filled.push_str(&rest[..start]);
        let inner = rest[start..].strip_prefix('{').ok_or(None)?;
        let (name, after) = inner.split_once('}').ok_or(None)?;
        filled.push_str(&value(name).ok_or(Some(name))?);
        rest = after;
    }
    filled.push_str(rest);
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_filled() {
        let broker = BrokerInfo {
            cluster: "tuolumne".into(),
            hostname: "tuolumne1.example.org".into(),
            rank: "0".into(),
            jobid: "fABC".into(),
            level: "1".into(),
        };
        let table = [
            ("flux.job.state", "flux.job.state"),
            ("{cluster}.jobs", "tuolumne.jobs"),
            ("a.{hostname}.{rank}{level}.{jobid}", "a.tuolumne1_example_org.01.fABC"),
        ];
        for (text, filled) in table {
            assert_eq!(Template::new(text).unwrap().fill(&broker), filled);
        }
    }

    #[test]
    fn each_mistake_is_named() {
        let expected = "(expected {cluster}, {hostname}, {rank}, {jobid} or {level})";
        let table = [
            ("", "\"\" (expected at least one character)".to_owned()),
            ("a:b", "\"a:b\" (expected no ':' in a name)".into()),
            ("a b", "\"a b\" (expected no ' ' in a name)".into()),
            ("a\n", "\"a\\n\" (expected no '\\n' in a name)".into()),
            (".a", "\".a\" (expected dots between names only)".into()),
            ("a..b", "\"a..b\" (expected dots between names only)".into()),
            ("{host}", format!("\"{{host}}\" has the unknown placeholder {{host}} {expected}")),
            ("{}", format!("\"{{}}\" has the unknown placeholder {{}} {expected}")),
            ("{rank", format!("\"{{rank\" has an unmatched brace {expected}")),
            ("rank}", format!("\"rank}}\" has an unmatched brace {expected}")),
        ];
        for (text, error) in table {
            assert_eq!(Template::new(text), Err(error));
        }
        let long = Template::new(&"x".repeat(257)).unwrap_err();
        assert!(long.ends_with("of 257 bytes (expected at most 256)"), "{long}");
    }
}
