//! Counters of sends.

/// The results of sends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Datagrams that the kernel accepted.
    pub datagrams: u64,
    /// The payload of these datagrams in bytes.
    pub bytes: u64,
    /// The number of failed sends for each errno: ECONNREFUSED, EAGAIN, ENOBUFS,
    /// ENETUNREACH… If there was no socket, the errno is that of the failed socket(2) or
    /// connect(2), or ENOTCONN while a host is not found.
    pub errors: Vec<(i32, u64)>,
    /// The errno of the last failed send; 0 if no send failed.
    pub last_error: i32,
}

impl Counters {
    #[inline]
    pub(crate) fn add_datagram(&mut self, bytes: usize) {
        self.datagrams += 1;
        self.bytes += bytes as u64;
    }

    pub(crate) fn add_failure(&mut self, errno: i32) {
        self.add_failures(errno, 1);
        self.last_error = errno;
    }

    fn add_failures(&mut self, errno: i32, number: u64) {
        match self.errors.iter_mut().find(|(known, _)| *known == errno) {
            Some((_, count)) => *count += number,
            None => self.errors.push((errno, number)),
        }
    }

    /// The number of sends that failed with this errno.
    pub fn failures_by(&self, errno: i32) -> u64 {
        self.errors.iter().filter(|(known, _)| *known == errno).map(|(_, count)| count).sum()
    }

    /// The number of failed sends.
    pub fn failures(&self) -> u64 {
        self.errors.iter().map(|(_, count)| count).sum()
    }

    pub(crate) fn sum<'a>(all: impl Iterator<Item = &'a Counters>) -> Counters {
        let mut sum = Counters::default();
        for counters in all {
            sum.datagrams += counters.datagrams;
            sum.bytes += counters.bytes;
            counters.errors.iter().for_each(|&(errno, count)| sum.add_failures(errno, count));
            if counters.last_error != 0 {
                sum.last_error = counters.last_error;
            }
        }
        sum
    }
}
