//! How a server wants names and tags written.

use super::line::{sanitized, LineTemplate};

/// A dialect of statsd's protocol. They differ in where tags stand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dialect {
    /// No tags: a tag's value is a part of the name. `flux.job.state.RUN:1|g`
    #[default]
    Plain,
    /// DogStatsD (Datadog): `flux.job.state:1|g|#state:RUN`
    DogStatsD,
    /// Graphite's tags, as Etsy's statsd reads them:
    /// `flux.job.state;state=RUN:1|g`
    Graphite,
    /// InfluxDB's (Telegraf): `flux.job.state,state=RUN:1|g`
    InfluxDb,
}

/// A tag: its key and its value.
pub type Tag = (String, String);

impl Dialect {
    /// The frame of a metric.
    pub(super) fn frame<'a>(
        self,
        prefix: &str,
        name: &str,
        tags: impl Iterator<Item = &'a Tag>,
    ) -> LineTemplate {
        let (mut head, mut tail) = (Vec::new(), Vec::new());
        let parts = [prefix, name].into_iter().filter(|part| !part.is_empty());
        for (index, part) in parts.enumerate() {
            if index > 0 {
                head.push(b'.');
            }
            self.append(part, &mut head);
        }
        for (index, (key, value)) in tags.enumerate() {
            let (before, between) = match self {
                Dialect::Plain => {
                    if !head.is_empty() {
                        head.push(b'.');
                    }
                    self.append(value, &mut head);
                    continue;
                }
                Dialect::DogStatsD if index == 0 => ("|#", b':'),
                Dialect::DogStatsD => (",", b':'),
                Dialect::Graphite => (";", b'='),
                Dialect::InfluxDb => (",", b'='),
            };
            let out = if self == Dialect::DogStatsD { &mut tail } else { &mut head };
            out.extend_from_slice(before.as_bytes());
            self.append(key, out);
            out.push(between);
            self.append(value, out);
        }
        head.push(b':');
        LineTemplate::new(&head, &tail)
    }

    /// Appends a part of a name or a tag so that it ends where it should.
    fn append(self, part: &str, out: &mut Vec<u8>) {
        let start = out.len();
        sanitized(part, out);
        if self != Dialect::Plain {
            for byte in &mut out[start..] {
                if matches!(byte, b',' | b';' | b'=' | b'#' | b'~' | b' ') {
                    *byte = b'_';
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::line::{append, Value};
    use super::*;

    fn line(dialect: Dialect, prefix: &str, name: &str, tags: &[(&str, &str)]) -> String {
        let tags: Vec<Tag> = tags.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
        let frame = dialect.frame(prefix, name, tags.iter());
        let mut text = Vec::new();
        append(&frame, Value::GaugeSet(1), &mut text);
        String::from_utf8(text).unwrap().trim_end().to_owned()
    }

    #[test]
    fn each_dialect_has_its_place_for_tags() {
        let tags = [("state", "RUN"), ("cluster", "x")];
        let table = [
            (Dialect::Plain, "flux.job.state.RUN.x:1|g"),
            (Dialect::DogStatsD, "flux.job.state:1|g|#state:RUN,cluster:x"),
            (Dialect::Graphite, "flux.job.state;state=RUN;cluster=x:1|g"),
            (Dialect::InfluxDb, "flux.job.state,state=RUN,cluster=x:1|g"),
        ];
        for (dialect, text) in table {
            assert_eq!(line(dialect, "flux.job.state", "", &tags), text);
        }
        assert_eq!(line(Dialect::Plain, "", "", &tags), "RUN.x:1|g");
        assert_eq!(line(Dialect::Plain, "p", "n", &[]), "p.n:1|g");
    }

    #[test]
    fn no_name_and_no_tag_can_forge_another() {
        let tags = [("a=b,c;d#e:f", "g|h,i=j;k~l m\nn")];
        let table = [
            (Dialect::Plain, "p,q.g_h,i=j;k~l m_n:1|g"),
            (Dialect::DogStatsD, "p_q:1|g|#a_b_c_d_e_f:g_h_i_j_k_l_m_n"),
            (Dialect::Graphite, "p_q;a_b_c_d_e_f=g_h_i_j_k_l_m_n:1|g"),
            (Dialect::InfluxDb, "p_q,a_b_c_d_e_f=g_h_i_j_k_l_m_n:1|g"),
        ];
        for (dialect, text) in table {
            assert_eq!(line(dialect, "p,q", "", &tags), text);
        }
    }
}
