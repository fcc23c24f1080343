//! What became of what was sent.

/// What became of the datagrams.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Datagrams that the kernel took.
    pub datagrams: u64,
    /// Their payload, in bytes.
    pub bytes: u64,
    /// Sends that failed, and their number, by errno: ECONNREFUSED, EAGAIN,
    /// ENOBUFS, ENETUNREACH… Where there was no socket, what kept it from being
    /// made; ENOTCONN while a host is not found.
    pub errors: Vec<(i32, u64)>,
    /// The errno of the last send that failed; 0 if none did.
    pub last_error: i32,
}

impl Counters {
    pub(super) fn failed(&mut self, errno: i32) {
        self.failed_times(errno, 1);
        self.last_error = errno;
    }

    fn failed_times(&mut self, errno: i32, times: u64) {
        match self.errors.iter_mut().find(|(known, _)| *known == errno) {
            Some((_, count)) => *count += times,
            None => self.errors.push((errno, times)),
        }
    }

    /// Sends that failed with this errno.
    pub fn failures_by(&self, errno: i32) -> u64 {
        let found = self.errors.iter().find(|(known, _)| *known == errno);
        found.map_or(0, |(_, count)| *count)
    }

    /// Sends that failed.
    pub fn failures(&self) -> u64 {
        self.errors.iter().map(|(_, count)| count).sum()
    }

    /// What all of these counted.
    pub(crate) fn sum<'a>(all: impl Iterator<Item = &'a Counters>) -> Counters {
        let mut sum = Counters::default();
        for counters in all {
            sum.datagrams += counters.datagrams;
            sum.bytes += counters.bytes;
            for &(errno, count) in &counters.errors {
                sum.failed_times(errno, count);
            }
            if counters.last_error != 0 {
                sum.last_error = counters.last_error;
            }
        }
        sum
    }
}
