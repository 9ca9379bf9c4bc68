//! What the writer tells about itself.

use std::fmt;

/// A record that was not taken. Nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AppendError {
    /// Larger than a frame can hold: see [`crate::LogConfig::record_body_bytes_max`].
    TooLarge,
    /// Neither the present segment nor a next one has room.
    NoRoom,
    /// The body is not what its kind has, or the kind is not for that group. A mistake of the caller.
    Malformed,
    /// The log failed; see [`crate::Writer::failure`].
    Failed,
}

impl fmt::Display for AppendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLarge => "the record is larger than a frame of the log",
            Self::NoRoom => "the log has no room left",
            Self::Malformed => "the record is not what its kind has to be",
            Self::Failed => "the log failed before",
        })
    }
}

impl std::error::Error for AppendError {}

/// Whether the log can take more entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Space {
    /// It can.
    Ample,
    /// The next segment is not ready yet: hold entries back until its job ends.
    Waiting,
    /// The disk is full: refuse what writes, and call [`crate::Writer::retry_prepare`] now and then.
    Full,
}

/// Counters and sizes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Number of the present segment.
    pub segment: u64,
    /// Its length in bytes.
    pub segment_bytes: u64,
    /// Bytes of it in use, what is pending included.
    pub segment_used_bytes: u64,
    /// Live segments, the present one included, a prepared one not.
    pub segments: u64,
    /// Their length in bytes.
    pub segments_bytes: u64,
    /// Files of segments nobody needs that are kept for later ones.
    pub spare_segments: u64,
    /// Sequence of the last durable frame.
    pub durable_sequence: u64,
    /// Group commits built since the start.
    pub writes: u64,
    /// Bytes of them.
    pub written_bytes: u64,
    /// Records taken since the start.
    pub records: u64,
    /// Bytes of their stored form.
    pub record_bytes: u64,
}
