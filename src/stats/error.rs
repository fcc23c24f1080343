//! What can be wrong with what a caller or an administrator asked for.

use std::fmt;

/// A refused name, prefix or endpoint. Sends do not fail: see
/// [`Counters`](super::Counters).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// An endpoint that cannot be used; the text says why.
    Endpoint(String),
    /// A metric name longer than [`MAX_NAME`](super::MAX_NAME), or empty.
    Name {
        /// Its length, in bytes.
        length: usize,
    },
    /// Tags that are longer than [`MAX_TAGS`](super::MAX_TAGS) together.
    Tags {
        /// Their length, in bytes.
        length: usize,
    },
    /// A datagram of a size that is not allowed.
    Datagram {
        /// The size, in bytes.
        bytes: usize,
    },
    /// A [`Metric`](super::Metric) that another `Stats` made.
    ForeignMetric,
    /// A prefix longer than [`MAX_NAME`](super::MAX_NAME).
    Prefix {
        /// Its length, in bytes.
        length: usize,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let max = super::MAX_NAME;
        match self {
            Error::Endpoint(text) => write!(f, "endpoint {text}"),
            Error::Name { length: 0 } => write!(f, "metric name is empty"),
            Error::Name { length } => {
                write!(f, "metric name of {length} bytes is too long (want at most {max})")
            }
            Error::Tags { length } => {
                let max = super::MAX_TAGS;
                write!(f, "tags of {length} bytes are too long (want at most {max})")
            }
            Error::Datagram { bytes } => {
                write!(f, "datagram of {bytes} bytes (want 1432 to 65507)")
            }
            Error::ForeignMetric => write!(f, "the metric is not of this Stats"),
            Error::Prefix { length } => {
                write!(f, "prefix of {length} bytes is too long (want at most {max})")
            }
        }
    }
}

impl std::error::Error for Error {}

/// `value` in quotes, escaped, and cut to fit into one short line: Flux keeps
/// 159 bytes of a load's error.
pub(crate) fn quoted(value: &str) -> String {
    const MAX_CHARS: usize = 40;
    let escaped = value.escape_default().to_string();
    match escaped.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("\"{}…\"", &escaped[..end]),
        None => format!("\"{escaped}\""),
    }
}
