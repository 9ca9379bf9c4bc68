//! How much the log surely takes before it needs more of the disk.

use super::{Next, Space, Writer};
use crate::frame;
use crate::layout::BLOCK;

/// What a frame takes at most beside its payload and [`TABLE_PART`] of it: its header, the rest of the last
/// sectors of payload and table, the rest of the last block.
const FRAME_OVERHEAD_BYTES: u64 = 3 * 512 + BLOCK;
/// The table takes at most one of so many bytes: a word for each sector, one for each block, and tags.
const TABLE_PART: u64 = 50;

impl Writer {
    /// Whether entries may be proposed.
    pub fn space(&self) -> Space {
        match self.next {
            Next::Full if self.room() < self.config.low_space_bytes => Space::Full,
            _ if self.awaits_segment() && self.room() < self.config.low_space_bytes => {
                Space::Waiting
            }
            _ => Space::Ample,
        }
    }

    /// Whether the next segment is being made, and more room will come of it.
    pub fn awaits_segment(&self) -> bool {
        matches!(self.next, Next::Wanted | Next::Preparing(_))
    }

    /// Whether the disk is full and room is running out.
    pub fn low_space(&self) -> bool {
        self.space() == Space::Full
    }

    /// Stored bytes ([`crate::Record::stored_bytes`]) of entries that [`Writer::append`] surely takes before
    /// another segment is prepared, in whatever pieces they come, if they are of groups that the log
    /// holds.
    pub fn room(&self) -> u64 {
        let present = self.limit(false).saturating_sub(self.open.end());
        // A record that does not fit into the present segment leaves the rest of it unused: only what
        // the next one can take by itself is sure, unless all fits into the present one.
        let next = match &self.next {
            Next::Ready(next) => next
                .bytes
                .saturating_sub(2 * BLOCK + self.config.reserve_bytes)
                .saturating_sub(frame::length_of(self.list_bytes()) as u64),
            _ => 0,
        };
        // Any two frames in a row hold more than one of full size could, or they would be one: that
        // bounds how many there are, each with its header and at worst a block left empty.
        let frame = self.config.frame_bytes_max;
        let overhead = 2 * FRAME_OVERHEAD_BYTES + frame / TABLE_PART + 1;
        let frames = present.max(next).saturating_sub(4 * FRAME_OVERHEAD_BYTES);
        let bytes =
            u64::try_from(u128::from(frames) * u128::from(frame) / u128::from(frame + overhead))
                .unwrap_or(0);
        // The node's own records take a place among a frame's groups.
        if self.ledger.len() < frame::GROUPS_LISTED_MAX {
            return bytes;
        }
        // A frame may also end because it lists as many groups as it can. It holds a record of each
        // then, which is half a block at least, and at worst takes a block more than it fills.
        bytes / 3
    }
}
