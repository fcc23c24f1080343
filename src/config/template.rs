//! Texts with placeholders: `{cluster}.jobs`.

use super::ValueError;
use crate::stats::{quoted, MAX_NAME};

/// What fills the placeholders: what the broker says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BrokerInfo {
    /// The cluster's name.
    pub cluster: String,
    /// The host that the broker runs on.
    pub hostname: String,
    /// The broker's rank in its instance.
    pub rank: String,
    /// The job that the instance runs as; `top` if it runs as none.
    pub jobid: String,
    /// How deep the instance is nested: 0 for a system's.
    pub level: String,
}

impl BrokerInfo {
    const WANT: &'static str = "{cluster}, {hostname}, {rank}, {jobid} or {level}";

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

/// A text with placeholders, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template(String);

impl Template {
    /// Checks a template for a name.
    ///
    /// # Errors
    /// If it is empty, too long, has a placeholder that nothing fills, or a
    /// character that would end a name on the wire.
    pub fn new(text: &str) -> Result<Template, ValueError> {
        let wrong = |what: &str| Err(format!("{} {what}", quoted(text)));
        if text.is_empty() {
            return wrong("(want at least one character)");
        }
        if text.len() > MAX_NAME {
            return wrong(&format!("of {} bytes (want at most {MAX_NAME})", text.len()));
        }
        let forbidden = |c: char| matches!(c, ':' | '|' | '@') || c.is_control() || c == ' ';
        if let Some(found) = text.chars().find(|&c| forbidden(c)) {
            let found = found.escape_default();
            return wrong(&format!("(want no '{found}' in a name)"));
        }
        if text.starts_with('.') || text.ends_with('.') || text.contains("..") {
            return wrong("(want dots between names only)");
        }
        match fill(text, &|name| BrokerInfo::default().get(name).map(str::to_owned)) {
            Ok(_) => Ok(Template(text.to_owned())),
            Err(Some(name)) => wrong(&format!(
                "has the unknown placeholder {{{name}}} (want {})",
                BrokerInfo::WANT
            )),
            Err(None) => wrong(&format!("has an unmatched brace (want {})", BrokerInfo::WANT)),
        }
    }

    /// The text with the placeholders filled.
    pub fn fill(&self, broker: &BrokerInfo) -> String {
        // A dot within a value would divide it in two.
        let value = |name: &str| broker.get(name).map(|value| value.replace('.', "_"));
        fill(&self.0, &value).unwrap_or_else(|_| self.0.clone())
    }

    /// The text as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Fills the placeholders by `value`. Fails with the name of one that has no
/// value, or with `None` for a brace without its other half.
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
        let want = "(want {cluster}, {hostname}, {rank}, {jobid} or {level})";
        let table = [
            ("", "\"\" (want at least one character)".to_owned()),
            ("a:b", "\"a:b\" (want no ':' in a name)".into()),
            ("a b", "\"a b\" (want no ' ' in a name)".into()),
            ("a\n", "\"a\\n\" (want no '\\n' in a name)".into()),
            (".a", "\".a\" (want dots between names only)".into()),
            ("a..b", "\"a..b\" (want dots between names only)".into()),
            ("{host}", format!("\"{{host}}\" has the unknown placeholder {{host}} {want}")),
            ("{}", format!("\"{{}}\" has the unknown placeholder {{}} {want}")),
            ("{rank", format!("\"{{rank\" has an unmatched brace {want}")),
            ("rank}", format!("\"rank}}\" has an unmatched brace {want}")),
        ];
        for (text, error) in table {
            assert_eq!(Template::new(text), Err(error));
        }
        let long = Template::new(&"x".repeat(257)).unwrap_err();
        assert!(long.ends_with("of 257 bytes (want at most 256)"), "{long}");
    }
}
