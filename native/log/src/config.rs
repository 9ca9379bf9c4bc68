//! Sizes of the log.

use std::fmt;

use crate::frame;
use crate::layout::BLOCK;

/// How large the log's parts are. All sizes in bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// Length of the very first segment: so small that a node's first start need not wait long for it. What
    /// does not fit into it waits for the next, which is made at once.
    pub founding_segment_bytes: u64,
    /// Length of the second segment.
    pub first_segment_bytes: u64,
    /// Length of later segments. They double from the second's up to this, so that preparing one in the
    /// background never takes longer than filling the one before.
    pub segment_bytes: u64,
    /// The largest frame. Bounds the largest record, and the memory that recovery needs.
    pub frame_bytes_max: u64,
    /// Room at the end of a segment that only hard states, drops, marks and empty entries may use while
    /// no next segment is ready.
    pub reserve_bytes: u64,
    /// Room for entries below which [`crate::Writer::space`] says to hold back while no next segment is
    /// ready. At least as much as may already be on its way to the log.
    pub low_space_bytes: u64,
    /// Free space of the file system that preparing a segment leaves for snapshots.
    pub keep_free_bytes: u64,
    /// Files of segments nobody needs that are kept for later ones, so that those need not be filled with
    /// zeros; as many as a snapshot usually makes needless are enough.
    pub spare_segments_max: usize,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            founding_segment_bytes: 2 << 20,
            first_segment_bytes: 16 << 20,
            segment_bytes: 128 << 20,
            frame_bytes_max: 12 << 20,
            reserve_bytes: 128 << 10,
            low_space_bytes: 1 << 20,
            keep_free_bytes: 64 << 20,
            spare_segments_max: 6,
        }
    }
}

/// A configuration the log cannot work with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError(&'static str);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for ConfigError {}

impl LogConfig {
    /// Checks the sizes against each other.
    ///
    /// # Errors
    /// Says which relation does not hold.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let sizes = [
            self.founding_segment_bytes,
            self.first_segment_bytes,
            self.segment_bytes,
            self.frame_bytes_max,
        ];
        if sizes.iter().any(|size| size % BLOCK != 0) {
            return Err(ConfigError(
                "sizes of segments and frames must be multiples of 4096",
            ));
        }
        if self.frame_bytes_max < BLOCK || self.frame_bytes_max > frame::LENGTH_MAX {
            return Err(ConfigError(
                "the largest frame must be between 4 KiB and 64 MiB",
            ));
        }
        if self.segment_bytes < self.first_segment_bytes {
            return Err(ConfigError(
                "later segments must not be shorter than the second",
            ));
        }
        let least = self
            .reserve_bytes
            .saturating_add(self.low_space_bytes)
            .saturating_add(2 * BLOCK);
        if self.founding_segment_bytes < least {
            return Err(ConfigError(
                "the first segment must hold the reserve, as much as entries are held back for, and 8 KiB",
            ));
        }
        // File header, a frame of full size, the reserve, and the seal must fit into an empty segment.
        let least = self
            .frame_bytes_max
            .saturating_add(self.reserve_bytes)
            .saturating_add(2 * BLOCK);
        if self.first_segment_bytes < least {
            return Err(ConfigError(
                "the second segment must hold the largest frame, the reserve and 8 KiB",
            ));
        }
        Ok(())
    }

    /// Length of the segment after one of `bytes`.
    pub(crate) fn next_segment_bytes(&self, bytes: u64) -> u64 {
        bytes
            .saturating_mul(2)
            .clamp(self.first_segment_bytes, self.segment_bytes)
    }

    /// Length of the largest body a record may have.
    pub fn record_body_bytes_max(&self) -> u64 {
        frame::payload_max(self.frame_bytes_max) - crate::record::HEADER_BYTES as u64
    }
}
