//! Packs lines into as few datagrams as possible.

use super::line::{LineTemplate, Value};

/// The maximum payload of a datagram in bytes. It fits in an Ethernet frame (statsd,
/// docs/metric_types.md, "Multi-Metric Packets").
const MAX_DATAGRAM: usize = 1432;

/// The datagram that is being filled. After it was full once, it no longer allocates.
#[derive(Debug, Default)]
pub struct DatagramBuffer {
    /// Whole lines, each with its newline.
    lines: Vec<u8>,
}

impl DatagramBuffer {
    /// Appends the line for a value. If the datagram would be too long, the lines before
    /// it are passed to `send` first. The two lines of a negative level stay together.
    // Inlined with its callers: it is on the path of every line.
    #[inline(always)]
    pub fn append(&mut self, template: &LineTemplate, value: Value, send: impl FnOnce(&[u8])) {
        let start = self.lines.len();
        template.append(value, &mut self.lines);
        // The last newline is not sent.
        if self.lines.len() - 1 > MAX_DATAGRAM && start > 0 {
            send(&self.lines[..start - 1]);
            self.lines.drain(..start);
        }
    }

    /// Passes the datagram to `send`, unless it is empty, and empties it.
    pub fn finish(&mut self, send: impl FnOnce(&[u8])) {
        if let Some(end) = self.lines.len().checked_sub(1) {
            send(&self.lines[..end]);
            self.lines.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The datagrams for these values of one metric.
    fn datagrams(template: &LineTemplate, values: &[Value]) -> Vec<Vec<u8>> {
        let (mut buffer, mut sent) = (DatagramBuffer::default(), Vec::new());
        for &value in values {
            buffer.append(template, value, |datagram| sent.push(datagram.to_vec()));
        }
        buffer.finish(|datagram| sent.push(datagram.to_vec()));
        buffer.finish(|_| panic!("the buffer is empty"));
        sent
    }

    #[test]
    fn lines_fill_datagrams_without_a_trailing_newline() {
        let template = LineTemplate::new(b"name.000:", b"");
        let sent = datagrams(&template, &[Value::GaugeSet(1); 200]);
        assert_eq!(sent.len(), 2, "200 lines of 13 bytes");
        assert!(sent.iter().all(|datagram| datagram.len() <= MAX_DATAGRAM));
        assert!(sent[0].len() + 13 > MAX_DATAGRAM, "the first is full");
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
}
