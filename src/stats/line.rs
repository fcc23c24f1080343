//! Lines of the statsd protocol: `name:value|type` (statsd, docs/metric_types.md).

use std::io::Write;

/// The value of a line and its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// The change of a gauge.
    GaugeAdd(i64),
    /// The level of a gauge.
    GaugeSet(i64),
    /// The number to add to a counter.
    Count(i64),
    /// A duration in microseconds, written in milliseconds with up to three decimals.
    Timing(u64),
}

impl Value {
    /// A duration in milliseconds, rounded to microseconds; 0 if it is negative or NaN.
    pub fn timing(milliseconds: f64) -> Value {
        Value::Timing((milliseconds * 1000.0).round() as u64)
    }
}

/// A metric's line without the value.
#[derive(Clone, Debug)]
pub struct LineTemplate {
    /// The text before the value, with the colon.
    head: Box<[u8]>,
    /// The text after the value of a gauge: the type, the tags and the newline.
    tail: Box<[u8]>,
}

impl LineTemplate {
    /// `head` is the text before the value, with the colon, and `tail` the text after the
    /// type, without the newline.
    pub fn new(head: &[u8], tail: &[u8]) -> LineTemplate {
        LineTemplate { head: head.into(), tail: [b"|g", tail, b"\n"].concat().into() }
    }

    /// The name and the tags as a server reads them, without value and type: `jobs.RUN`,
    /// `jobs|#state:RUN`.
    pub fn series(&self) -> String {
        let (name, tags) = (&self.head[..self.head.len() - 1], &self.tail[2..self.tail.len() - 1]);
        String::from_utf8_lossy(&[name, tags].concat()).into_owned()
    }

    /// Appends the line for a value to `out`, with its newline.
    pub fn append(&self, value: Value, out: &mut Vec<u8>) {
        // A server reads "-5" as a decrement, so a negative level is a decrement from 0.
        if matches!(value, Value::GaugeSet(..0)) {
            self.append(Value::GaugeSet(0), out);
        }
        out.extend_from_slice(&self.head);
        if matches!(value, Value::GaugeAdd(0..)) {
            out.push(b'+');
        }
        let mut digits = itoa::Buffer::new();
        let (number, kind) = match value {
            Value::GaugeAdd(value) | Value::GaugeSet(value) => (digits.format(value), "|g"),
            Value::Count(count) => (digits.format(count), "|c"),
            Value::Timing(microseconds) => (digits.format(microseconds / 1000), "|ms"),
        };
        out.extend_from_slice(number.as_bytes());
        if let Value::Timing(microseconds) = value {
            if microseconds % 1000 > 0 {
                // A write to a Vec does not fail.
                let _ = write!(out, ".{:03}", microseconds % 1000);
            }
        }
        if kind == "|g" {
            return out.extend_from_slice(&self.tail);
        }
        out.extend_from_slice(kind.as_bytes());
        out.extend_from_slice(&self.tail[b"|g".len()..]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_follow_the_statsd_protocol() {
        let table = [
            (Value::GaugeAdd(1), "x:+1|g\n"),
            (Value::GaugeAdd(-1), "x:-1|g\n"),
            (Value::GaugeAdd(0), "x:+0|g\n"),
            (Value::GaugeAdd(-12), "x:-12|g\n"),
            (Value::GaugeSet(5), "x:5|g\n"),
            (Value::GaugeSet(0), "x:0|g\n"),
            (Value::GaugeSet(-5), "x:0|g\nx:-5|g\n"),
            (Value::Count(3), "x:3|c\n"),
            (Value::Timing(1500), "x:1.500|ms\n"),
            (Value::Timing(25), "x:0.025|ms\n"),
            (Value::timing(320.0), "x:320|ms\n"),
            (Value::timing(-1.0), "x:0|ms\n"),
            (Value::timing(f64::NAN), "x:0|ms\n"),
        ];
        for tail in ["", "|#tag"] {
            let template = LineTemplate::new(b"x:", tail.as_bytes());
            assert_eq!(template.series(), format!("x{tail}"));
            for (value, text) in table {
                let mut out = b"before\n".to_vec();
                template.append(value, &mut out);
                let expected = format!("before\n{}", text.replace('\n', &format!("{tail}\n")));
                assert_eq!(String::from_utf8(out).unwrap(), expected, "{value:?}");
            }
        }
    }
}
