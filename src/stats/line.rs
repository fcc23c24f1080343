//! statsd's lines: `name:value|type` (statsd, docs/metric_types.md).

use std::io::Write;

/// Appends `name` to `out` so that it can neither end its line early nor forge
/// another: statsd's own separators and control bytes become `_`.
pub(super) fn sanitized(name: &str, out: &mut Vec<u8>) {
    out.extend(name.bytes().map(|byte| match byte {
        b':' | b'|' | b'@' => b'_',
        control if control.is_ascii_control() => b'_',
        other => other,
    }));
}

/// What a line says about a metric.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Value {
    /// A gauge moves by this much.
    GaugeAdd(i64),
    /// A gauge stands at this.
    GaugeSet(i64),
    /// A counter counted this many.
    Count(i64),
    /// Something took this long, in milliseconds.
    Timing(f64),
}

/// Appends the lines for `value` to `out`, each with its newline. `head` is the
/// sanitized name and its colon.
pub(super) fn append(head: &[u8], value: Value, out: &mut Vec<u8>) {
    // A server reads "-5" as a decrement, so a negative level goes by way of 0.
    if matches!(value, Value::GaugeSet(..0)) {
        append(head, Value::GaugeSet(0), out);
    }
    out.extend_from_slice(head);
    // Writing to a Vec does not fail.
    let _ = match value {
        Value::GaugeAdd(by) => writeln!(out, "{by:+}|g"),
        Value::GaugeSet(level) => writeln!(out, "{level}|g"),
        Value::Count(count) => writeln!(out, "{count}|c"),
        Value::Timing(milliseconds) => writeln!(out, "{milliseconds}|ms"),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_statsds() {
        let table = [
            (Value::GaugeAdd(1), "x:+1|g\n"),
            (Value::GaugeAdd(-12), "x:-12|g\n"),
            (Value::GaugeSet(5), "x:5|g\n"),
            (Value::GaugeSet(0), "x:0|g\n"),
            (Value::GaugeSet(-5), "x:0|g\nx:-5|g\n"),
            (Value::Count(3), "x:3|c\n"),
            (Value::Timing(1.5), "x:1.5|ms\n"),
            (Value::Timing(320.0), "x:320|ms\n"),
        ];
        for (value, text) in table {
            let mut out = Vec::new();
            append(b"x:", value, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), text, "{value:?}");
        }
    }

    #[test]
    fn a_name_cannot_forge_a_line() {
        let table = [
            ("plain.name-1", "plain.name-1"),
            ("a:1|g\nb:2|c|@0.1", "a_1_g_b_2_c__0.1"),
            ("tab\tnul\0bell\x07del\x7f", "tab_nul_bell_del_"),
            ("größe", "größe"),
        ];
        for (name, want) in table {
            let mut out = Vec::new();
            sanitized(name, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), want);
        }
    }
}
