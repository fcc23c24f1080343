//! Packs lines into as few datagrams as possible.

use super::line::{LineTemplate, Value};

/// The datagram that is being filled. After it was full once, it no longer allocates.
#[derive(Debug, Default)]
pub struct DatagramBuffer {
    /// Whole lines, each with its newline.
    lines: Vec<u8>,
}

impl DatagramBuffer {
    /// Appends the line for a value, unless the payload would then be longer than `max`
    /// bytes: then the result is `false`. An empty datagram takes a line of any length. The
    /// two lines of a negative level stay together.
    // Inlined with its callers: it is on the path of every line.
    #[inline(always)]
    pub fn append(&mut self, template: &LineTemplate, value: Value, max: usize) -> bool {
        let start = self.lines.len();
        template.append(value, &mut self.lines);
        // The last newline is not sent.
        let fits = self.lines.len() - 1 <= max || start == 0;
        if !fits {
            self.lines.truncate(start);
        }
        fits
    }

    /// The payload, `None` if there is no line.
    pub fn datagram(&self) -> Option<&[u8]> {
        self.lines.split_last().map(|(_, lines)| lines)
    }

    /// Removes all lines.
    pub fn clear(&mut self) {
        self.lines.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 1432;

    /// The datagrams for these values of one metric.
    fn datagrams(template: &LineTemplate, values: &[Value]) -> Vec<Vec<u8>> {
        let (mut buffer, mut sent) = (DatagramBuffer::default(), Vec::new());
        for &value in values {
            if !buffer.append(template, value, MAX) {
                sent.push(buffer.datagram().unwrap().to_vec());
                buffer.clear();
                assert!(buffer.append(template, value, MAX));
            }
        }
        sent.push(buffer.datagram().unwrap().to_vec());
        buffer.clear();
        assert_eq!(buffer.datagram(), None);
        sent
    }

    #[test]
    fn lines_fill_datagrams_without_a_trailing_newline() {
        let template = LineTemplate::new(b"name.000:", b"");
        let sent = datagrams(&template, &[Value::GaugeSet(1); 200]);
        assert_eq!(sent.len(), 2, "200 lines of 13 bytes");
        assert!(sent.iter().all(|datagram| datagram.len() <= MAX));
        assert!(sent[0].len() + 13 > MAX, "the first is full");
        let lines: Vec<_> = sent.iter().flat_map(|d| d.split(|&byte| byte == b'\n')).collect();
        assert_eq!(lines.len(), 200);
        assert!(lines.iter().all(|line| line.len() == 12));
    }

    #[test]
    fn the_lines_of_a_negative_level_stay_in_one_datagram() {
        let template = LineTemplate::new(&[b"x".repeat(300), b":".to_vec()].concat(), b"");
        let sent = datagrams(&template, &[1, -1, -1].map(Value::GaugeSet));
        let lines = sent.iter().map(|d| d.iter().filter(|&&byte| byte == b'\n').count() + 1);
        assert_eq!(lines.collect::<Vec<_>>(), [3, 2], "not 4 and 1");
    }

    #[test]
    fn a_line_that_is_too_long_has_its_own_datagram() {
        let mut buffer = DatagramBuffer::default();
        let template = LineTemplate::new(b"name:", b"");
        assert!(buffer.append(&template, Value::GaugeSet(1), 3));
        assert!(!buffer.append(&template, Value::GaugeSet(1), 3));
        assert_eq!(buffer.datagram(), Some(&b"name:1|g"[..]));
    }
}
