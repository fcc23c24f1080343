//! Lines, packed into as few datagrams as possible.

/// The most payload that a datagram carries unless more is allowed, in bytes:
/// what fits an Ethernet frame (statsd, docs/metric_types.md, "Multi-Metric
/// Packets").
pub(super) const MAX_DATAGRAM: usize = 1432;

/// The datagram being filled. It allocates nothing once its buffer is warm.
#[derive(Debug)]
pub(super) struct Packet {
    /// Whole lines, each with its newline.
    buffer: Vec<u8>,
    /// The most payload, in bytes.
    max: usize,
}

impl Packet {
    pub(super) fn new(max: usize) -> Self {
        // Room for a full datagram and the group that overflows it.
        Packet { buffer: Vec::with_capacity(max + MAX_DATAGRAM), max }
    }

    /// Adds the lines that `write` appends; they stay together in one datagram.
    /// If they do not fit behind the lines before them, returns the length of those:
    /// they have to be sent first.
    #[inline(always)]
    pub(super) fn group(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> Option<usize> {
        let start = self.buffer.len();
        write(&mut self.buffer);
        // The last newline does not travel.
        (self.buffer.len() - 1 > self.max && start > 0).then_some(start)
    }

    /// The datagram of the first `length` bytes.
    pub(super) fn datagram(&self, length: usize) -> &[u8] {
        &self.buffer[..length - 1]
    }

    /// The first `length` bytes were sent.
    pub(super) fn sent(&mut self, length: usize) {
        self.buffer.drain(..length);
    }

    /// How many bytes are there.
    pub(super) fn length(&self) -> usize {
        self.buffer.len()
    }

    /// All was sent.
    pub(super) fn clear(&mut self) {
        self.buffer.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_fill_datagrams_without_a_trailing_newline() {
        let mut packet = Packet::new(MAX_DATAGRAM);
        let mut sent: Vec<Vec<u8>> = Vec::new();
        for index in 0..200 {
            let line = format!("name.{index:03}:1|g\n");
            if let Some(full) = packet.group(|out| out.extend_from_slice(line.as_bytes())) {
                sent.push(packet.datagram(full).to_vec());
                packet.sent(full);
            }
        }
        sent.push(packet.datagram(packet.length()).to_vec());

        assert_eq!(sent.len(), 2, "200 lines of 13 bytes");
        assert!(sent.iter().all(|datagram| datagram.len() <= MAX_DATAGRAM));
        assert!(sent[0].len() + 13 > MAX_DATAGRAM, "the first is full");
        let lines: Vec<_> = sent.iter().flat_map(|d| d.split(|&byte| byte == b'\n')).collect();
        assert_eq!(lines.len(), 200);
        assert!(lines.iter().all(|line| line.len() == 12));
    }

    #[test]
    fn a_group_stays_in_one_datagram() {
        let mut packet = Packet::new(MAX_DATAGRAM);
        assert_eq!(packet.group(|out| out.resize(1400, b'x')), None);
        assert_eq!(packet.group(|out| out.resize(1500, b'y')), Some(1400));
        assert_eq!(packet.datagram(1400), [b'x'; 1399]);
        packet.sent(1400);
        assert_eq!(packet.datagram(packet.length()), [b'y'; 99]);
    }
}
