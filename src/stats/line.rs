//! statsd's lines: `name:value|type` (statsd, docs/metric_types.md).

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// A gauge moves by this much.
    GaugeAdd(i64),
    /// A gauge stands at this.
    GaugeSet(i64),
    /// A counter counted this many.
    Count(i64),
    /// Something took this long, in microseconds. Servers read milliseconds, and
    /// decimals of them.
    Timing(u64),
}

/// A metric's line without the value.
#[derive(Clone, Debug, Default)]
pub(super) struct LineTemplate {
    /// The line of a gauge that rises by one, ready to be copied: the plugin
    /// sends little else. Zeros follow it, up to the length of a `BLOCK`.
    rise: Vec<u8>,
    /// How many bytes of the line stand before the value.
    head: usize,
    /// The length of the line, without the zeros.
    length: usize,
}

/// How many bytes are copied for a line that is not longer. A copy of a constant length
/// is a few instructions rather than a call.
const BLOCK: usize = 64;

impl LineTemplate {
    /// The value in `rise`.
    const ONE: &'static [u8] = b"+1";

    /// `head` is what stands before the value, the colon too, and `tail` what
    /// stands behind the type.
    pub(super) fn new(head: &[u8], tail: &[u8]) -> LineTemplate {
        let mut rise = [head, Self::ONE, b"|g", tail, b"\n"].concat();
        let length = rise.len();
        rise.resize(length.max(BLOCK), 0);
        LineTemplate { rise, head: head.len(), length }
    }

    /// The length of the line of a gauge that rises by one, with its newline, in bytes.
    pub(super) fn length(&self) -> usize {
        self.length
    }

    /// The name and the tags, without value and type: `jobs.RUN`, `jobs|#state:RUN`.
    pub(super) fn series(&self) -> String {
        let name = &self.rise[..self.head - b":".len()];
        let tags = self.tail();
        let text = [name, &tags[..tags.len() - b"\n".len()]].concat();
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Appends the first `length` bytes of `rise`. Inlined, so that the copy of a block
    /// is no call.
    #[inline(always)]
    fn append(&self, length: usize, out: &mut Vec<u8>) {
        match self.rise.first_chunk::<BLOCK>() {
            Some(block) if length <= BLOCK => {
                let end = out.len() + length;
                out.extend_from_slice(block);
                out.truncate(end);
            }
            _ => out.extend_from_slice(&self.rise[..length]),
        }
    }

    /// What is behind a gauge's value, with the newline.
    fn gauge(&self) -> &[u8] {
        &self.rise[self.head + Self::ONE.len()..self.length]
    }

    /// What is behind the type, with the newline.
    fn tail(&self) -> &[u8] {
        &self.gauge()[b"|g".len()..]
    }
}

/// Appends the lines for `value` to `out`, each with its newline. Inlined for the
/// common case, a gauge that moves by one.
#[inline(always)]
pub(super) fn append(frame: &LineTemplate, value: Value, out: &mut Vec<u8>) {
    match value {
        Value::GaugeAdd(by @ (1 | -1)) => {
            let sign = out.len() + frame.head;
            frame.append(frame.length, out);
            if by < 0 {
                out[sign] = b'-';
            }
        }
        value => append_any(frame, value, out),
    }
}

/// Not inlined: it would make every caller of `append` longer, for the rare case.
#[inline(never)]
fn append_any(frame: &LineTemplate, value: Value, out: &mut Vec<u8>) {
    // A server reads "-5" as a decrement, so a negative level removed by way of 0.
    if matches!(value, Value::GaugeSet(..0)) {
        append_any(frame, Value::GaugeSet(0), out);
    }
    frame.append(frame.head, out);
    let mut digits = itoa::Buffer::new();
    match value {
        Value::GaugeAdd(by) => {
            if by >= 0 {
                out.push(b'+');
            }
            out.extend_from_slice(digits.format(by).as_bytes());
            out.extend_from_slice(frame.gauge());
        }
        Value::GaugeSet(level) => {
            out.extend_from_slice(digits.format(level).as_bytes());
            out.extend_from_slice(frame.gauge());
        }
        Value::Count(count) => {
            out.extend_from_slice(digits.format(count).as_bytes());
            out.extend_from_slice(b"|c");
            out.extend_from_slice(frame.tail());
        }
        Value::Timing(microseconds) => {
            out.extend_from_slice(digits.format(microseconds / 1000).as_bytes());
            let rest = microseconds % 1000;
            if rest > 0 {
                out.extend([b'.', b'0' + (rest / 100) as u8]);
                out.extend([b'0' + (rest / 10 % 10) as u8, b'0' + (rest % 10) as u8]);
            }
            out.extend_from_slice(b"|ms");
            out.extend_from_slice(frame.tail());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_statsds() {
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
            (Value::Timing(320_000), "x:320|ms\n"),
        ];
        for tail in ["", "|#tag"] {
            let frame = LineTemplate::new(b"x:", tail.as_bytes());
            for (value, text) in table {
                let mut out = b"before\n".to_vec();
                append(&frame, value, &mut out);
                let want = format!("before\n{}", text.replace('\n', &format!("{tail}\n")));
                assert_eq!(String::from_utf8(out).unwrap(), want, "{value:?}");
            }
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
