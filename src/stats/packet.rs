//! Lines, packed into as few datagrams as possible.

/// The most payload a datagram carries, in bytes: what fits an Ethernet frame
/// (statsd, docs/metric_types.md, "Multi-Metric Packets").
pub(super) const MAX_DATAGRAM: usize = 1432;

/// The datagram being filled. It allocates nothing once its buffer is warm.
#[derive(Debug)]
pub(super) struct Packet {
    /// Whole lines, each with its newline.
    buffer: Vec<u8>,
}

impl Packet {
    pub(super) fn new() -> Self {
        // Room for a full datagram and the group that overflows it.
        Packet { buffer: Vec::with_capacity(2 * MAX_DATAGRAM) }
    }

    /// Adds the lines that `write` appends; they stay together in one datagram.
    /// If they do not fit behind what is there, that is sent first.
    pub(super) fn group(&mut self, write: impl FnOnce(&mut Vec<u8>), send: impl FnMut(&[u8])) {
        let start = self.buffer.len();
        write(&mut self.buffer);
        // The last newline does not travel.
        if self.buffer.len() - 1 > MAX_DATAGRAM && start > 0 {
            self.send_first(start, send);
        }
    }

    /// Sends what is there.
    pub(super) fn flush(&mut self, send: impl FnMut(&[u8])) {
        self.send_first(self.buffer.len(), send);
    }

    /// Sends the first `length` bytes, less the last newline, and keeps the rest.
    fn send_first(&mut self, length: usize, mut send: impl FnMut(&[u8])) {
        if length > 0 {
            send(&self.buffer[..length - 1]);
            if length == self.buffer.len() {
                self.buffer.clear();
            } else {
                self.buffer.drain(..length);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_fill_datagrams_without_a_trailing_newline() {
        let mut packet = Packet::new();
        let mut sent: Vec<Vec<u8>> = Vec::new();
        for number in 0..200 {
            packet.group(
                |out| out.extend_from_slice(format!("name.{number:03}:1|g\n").as_bytes()),
                |datagram| sent.push(datagram.to_vec()),
            );
        }
        packet.flush(|datagram| sent.push(datagram.to_vec()));
        packet.flush(|datagram| sent.push(datagram.to_vec()));

        assert_eq!(sent.len(), 2, "200 lines of 13 bytes");
        assert!(sent.iter().all(|datagram| datagram.len() <= MAX_DATAGRAM));
        assert!(sent[0].len() + 13 > MAX_DATAGRAM, "the first is full");
        let lines: Vec<_> = sent.iter().flat_map(|d| d.split(|&byte| byte == b'\n')).collect();
        assert_eq!(lines.len(), 200);
        assert!(lines.iter().all(|line| line.len() == 12));
    }

    #[test]
    fn a_group_stays_in_one_datagram() {
        let mut packet = Packet::new();
        let mut sent: Vec<Vec<u8>> = Vec::new();
        packet.group(|out| out.resize(1400, b'x'), |_| unreachable!());
        let group = [b'y'; 100];
        packet.group(|out| out.extend_from_slice(&group), |datagram| sent.push(datagram.to_vec()));
        packet.flush(|datagram| sent.push(datagram.to_vec()));
        assert_eq!(sent.iter().map(Vec::len).collect::<Vec<_>>(), [1399, 99]);
    }
}
