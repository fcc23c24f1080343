//! The dialects of the statsd protocol.

use super::line::LineTemplate;
use super::{Error, MAX_NAME, MAX_TAGS};

/// A dialect of the statsd protocol. Dialects differ in the position of tags and in the
/// characters that they replace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// No tags: a tag's value is a part of the name. `flux.job.state.RUN:1|g`
    #[default]
    Plain,
    /// As plain, with `_` for each `-`: Performance Co-Pilot drops lines that contain `-`.
    Pcp,
    /// Datadog: `flux.job.state:1|g|#state:RUN`
    DogStatsD,
    /// Tags of Graphite, as Etsy's statsd reads them: `flux.job.state;state=RUN:1|g`
    Graphite,
    /// Tags of InfluxDB, as Telegraf reads them: `flux.job.state,state=RUN:1|g`
    InfluxDb,
}

/// The key and the value of a tag.
pub type Tag = (String, String);

impl Dialect {
    /// Returns `true` if tags have their own position in a line.
    pub fn has_tags(self) -> bool {
        !matches!(self, Dialect::Plain | Dialect::Pcp)
    }

    /// The line template of a metric: `prefix` and `name` with a dot between them, then the
    /// metric's own tags and the tags that all metrics share. Empty parts are left out. Without
    /// tags, the values are parts of the name: the first own one follows the first part of
    /// `name`, the others are at its end.
    ///
    /// # Errors
    /// If the prefix, or the name with its own tags, is longer than [`MAX_NAME`], or if the
    /// common tags are longer than [`MAX_TAGS`].
    pub fn template(
        self,
        prefix: &str,
        name: &str,
        own: &[Tag],
        common: &[Tag],
    ) -> Result<LineTemplate, Error> {
        // With two separators for each tag.
        let length = |tags: &[Tag]| tags.iter().map(|(k, v)| k.len() + v.len() + 2).sum::<usize>();
        match (prefix.len(), name.len() + length(own), length(common)) {
            (length, _, _) if length > MAX_NAME => return Err(Error::Prefix { length }),
            (_, length, _) if length > MAX_NAME => return Err(Error::Name { length }),
            (_, _, length) if length > MAX_TAGS => return Err(Error::Tags { length }),
            _ => (),
        }
        let tags = || own.iter().chain(common);
        let mut parts = vec![prefix, name];
        if !self.has_tags() {
            let split = name.split_once('.').filter(|_| !own.is_empty());
            let (first, rest) = split.unwrap_or((name, ""));
            let mut values = tags().map(|(_, value)| value.as_str());
            parts = vec![prefix, first, values.next().unwrap_or_default(), rest];
            parts.extend(values);
        }
        parts.retain(|part| !part.is_empty());
        let mut head = self.clean(&parts.join("."));
        let mut tail = String::new();
        let (start, next, equals) = match self {
            Dialect::Plain | Dialect::Pcp => ("", "", ""),
            Dialect::DogStatsD => ("|#", ",", ":"),
            Dialect::Graphite => (";", ";", "="),
            Dialect::InfluxDb => (",", ",", "="),
        };
        for (index, (key, value)) in tags().enumerate().filter(|_| self.has_tags()) {
            let before = if index == 0 { start } else { next };
            let tag = [before, &self.clean(key), equals, &self.clean(value)].concat();
            if self == Dialect::DogStatsD { &mut tail } else { &mut head }.push_str(&tag);
        }
        head.push(':');
        Ok(LineTemplate::new(head.as_bytes(), tail.as_bytes()))
    }

    /// `text` with `_` for each separator of the dialect and each invisible character.
    fn clean(self, text: &str) -> String {
        let replace = |c: char| match c {
            ':' | '|' | '@' => '_',
            '-' if self == Dialect::Pcp => '_',
            ',' | ';' | '=' | '#' | '~' | ' ' if self.has_tags() => '_',
            // InfluxDB reads a backslash as an escape of the next separator.
            '\\' if self == Dialect::InfluxDb => '_',
            c if is_invisible(c) => '_',
            c => c,
        };
        text.chars().map(replace).collect()
    }
}

/// Returns `true` for control, separator and bidirectional characters.
pub fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}')
        || matches!(c, '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn series(dialect: Dialect, prefix: &str, name: &str, tags: &[(&str, &str)]) -> String {
        let tags: Vec<Tag> = tags.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        let (own, common) = tags.split_at(tags.len().min(1));
        let template = dialect.template(prefix, name, own, common).unwrap();
        let mut text = Vec::new();
        template.append(super::super::Value::GaugeSet(1), &mut text);
        String::from_utf8(text).unwrap().trim_end().to_owned()
    }

    #[test]
    fn each_dialect_has_its_position_for_tags() {
        let tags = [("state", "RUN"), ("cluster", "x-1")];
        let table = [
            (Dialect::Plain, "flux.job-s.state.RUN.x-1:1|g"),
            (Dialect::Pcp, "flux.job_s.state.RUN.x_1:1|g"),
            (Dialect::DogStatsD, "flux.job-s.state:1|g|#state:RUN,cluster:x-1"),
            (Dialect::Graphite, "flux.job-s.state;state=RUN;cluster=x-1:1|g"),
            (Dialect::InfluxDb, "flux.job-s.state,state=RUN,cluster=x-1:1|g"),
        ];
        for (dialect, text) in table {
            assert_eq!(series(dialect, "flux.job-s", "state", &tags), text);
        }
        assert_eq!(series(Dialect::Plain, "", "", &tags), "RUN.x-1:1|g");
        assert_eq!(series(Dialect::Plain, "p", "n", &[]), "p.n:1|g");
        let table = [
            (Dialect::Plain, "p.queue.RUN.use.x-1:1|g"),
            (Dialect::DogStatsD, "p.queue.use:1|g|#state:RUN,cluster:x-1"),
        ];
        for (dialect, text) in table {
            assert_eq!(series(dialect, "p", "queue.use", &tags), text);
        }
    }

    #[test]
    fn names_and_tags_cannot_forge_a_line() {
        let tags = [("a=b,c;d#e:f", "g|h,i=j;k~l m\nn-o\\")];
        let table = [
            (Dialect::Plain, "p\\,q.g_h,i=j;k~l m_n-o\\:1|g"),
            (Dialect::Pcp, "p\\,q.g_h,i=j;k~l m_n_o\\:1|g"),
            (Dialect::DogStatsD, "p\\_q:1|g|#a_b_c_d_e_f:g_h_i_j_k_l_m_n-o\\"),
            (Dialect::Graphite, "p\\_q;a_b_c_d_e_f=g_h_i_j_k_l_m_n-o\\:1|g"),
            (Dialect::InfluxDb, "p__q,a_b_c_d_e_f=g_h_i_j_k_l_m_n-o_:1|g"),
        ];
        for (dialect, text) in table {
            assert_eq!(series(dialect, "p\\,q", "", &tags), text);
        }
    }

    #[test]
    fn invisible_characters_are_replaced_in_every_dialect() {
        let table = [
            ("plain.name_1", "plain.name_1"),
            ("a:1|g\nb:2|c|@0.1", "a_1_g_b_2_c__0.1"),
            ("tab\tnul\0bell\x07del\x7f", "tab_nul_bell_del_"),
            ("c1\u{80}\u{85}\u{9f}", "c1___"),
            ("separators\u{2028}\u{2029}", "separators__"),
            ("marks\u{200e}\u{200f}bom\u{feff}", "marks__bom_"),
            ("embedded\u{202a}\u{202b}\u{202c}\u{202d}\u{202e}", "embedded_____"),
            ("isolated\u{2066}\u{2067}\u{2068}\u{2069}", "isolated____"),
            ("größe\u{2027}\u{202f}\u{2065}\u{206a}", "größe\u{2027}\u{202f}\u{2065}\u{206a}"),
        ];
        for (name, clean) in table {
            for dialect in [Dialect::Plain, Dialect::Pcp, Dialect::DogStatsD, Dialect::Graphite] {
                assert_eq!(dialect.clean(name), clean);
            }
        }
    }

    #[test]
    fn parts_that_are_too_long_are_errors() {
        let tag = |length: usize| vec![("k".to_owned(), "v".repeat(length - 3))];
        let long = |length: usize| "n".repeat(length);
        let table = [
            (long(256), long(256), tag(3), tag(128), Err(Error::Name { length: 259 })),
            (long(256), long(253), tag(3), tag(128), Ok(())),
            (long(257), long(1), tag(3), tag(3), Err(Error::Prefix { length: 257 })),
            (long(1), long(1), tag(255), tag(3), Ok(())),
            (long(1), long(1), tag(256), tag(3), Err(Error::Name { length: 257 })),
            (long(1), long(1), tag(3), tag(129), Err(Error::Tags { length: 129 })),
        ];
        for (prefix, name, own, common, result) in table {
            let template = Dialect::DogStatsD.template(&prefix, &name, &own, &common);
            assert_eq!(template.map(drop), result);
        }
    }
}
