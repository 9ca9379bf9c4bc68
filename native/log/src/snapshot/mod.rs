//! Snapshot files: the state of one replica of a group at one index, in slices,
//! in the same checksummed frames as the log.
//!
//! # Format
//! `snap/GROUP-REPLICA-INDEX.snap` (decimal of 10 digits, hexadecimal of 16, decimal of
//! 20) starts with a file header as segments do (kind "snapshot"), then frames of
//! kinds head, slices (any number), end; sequences count from 1, the chain starts
//! at 0. Nothing is behind the end. The file is written under the ending `.tmp`,
//! synced, renamed, and the directory synced: one under its own name was complete
//! once, so whatever is wrong with it is damage. One that comes from another replica gets
//! the ending `.recv` first, in the same way: it is whole, and of no use until a hard state
//! names it. If none does, the next start removes it; if one does, it is the snapshot, and is
//! given its name, then or by the next start.
//!
//! Payload of the head frame, little endian: the local part ([`SnapshotOrigin`]), made
//! anew by whoever writes a file, then the portable part ([`SnapshotHead`]), the same
//! on all replicas:
//! ```text
//!   0  node             8
//!   8  replica          8
//!  16  position        24   sequence (8) and digest (16) of a frame of the log that was durable then;
//!                           all entries that the state contains stand before it
//!  40  group            8
//!  48  index            8   of the last entry that the state contains
//!  56  term             8   of that entry
//!  64  revision         8   of the state
//!  72  lease_ms         8   lease time of the state
//!  80  key_floor        8   below this revision key tombstones are gone
//!  88  history_floor    8   below this revision history is gone
//!  96  limits          32   StateLimits of log.fbs
//! 128  timeline        24   counter (8), random (16)
//! 152  apply_version    2
//! 154  auto_leave       1
//! 155  zero             1
//! 156  voters           4   how many, and so on
//! 160  voters_outgoing  4
//! 164  learners         4
//! 168  learners_next    4
//! 172  ancestors        4
//! 176  voters, voters_outgoing, learners, learners_next, 8 each
//!      ancestors, the oldest first, 40 each: timeline (24), index (8) and revision (8) at its end
//! ```
//! Payload of a slices frame: for each slice its length (4), its kind (4: 0 state, 1
//! secret), its bytes, zeros to a multiple of 8. Secret slices are for nodes alone; a
//! copy for anybody else leaves them out. Payload of the end frame: number of slices (8), sum
//! of their lengths (8), digest (16).
//!
//! The digest is the same on all replicas, however the content is cut into slices:
//! xxh3-128 without a seed over the portable part, then number of bytes (8) and xxh3-128
//! (16) of the state's slices one behind the other, then the same of the secret ones.

mod content;
mod head;
mod list;
mod load;
mod piece;
mod read;
mod write;

pub use content::ContentDigest;
pub(crate) use read::lift;

pub use head::{Ancestor, ConfState, SnapshotHead, SnapshotOrigin};
pub(crate) use list::list_received;
pub use list::{SnapshotInfo, list, removal};
pub use load::{Candidate, Loaded, SnapshotSink, Start, load};
pub use piece::{
    NoSlice, PieceKind, ReadPlace, SliceStream, SnapshotPiece, SnapshotTotals, read_piece,
};
pub use read::{SnapshotError, SnapshotReader, read_name};
pub use write::{SliceTooLarge, SnapshotOutcome, SnapshotWriter};

/// Bytes of an item's head in a slices frame.
const SLICE_HEAD_BYTES: usize = 8;
/// Payload of the end frame.
const END_BYTES: usize = 32;

/// What a slice is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum SliceKind {
    /// The state.
    State = 0,
    /// What only nodes may know.
    Secret = 1,
}

impl SliceKind {
    fn from_number(number: u32) -> Option<Self> {
        match number {
            0 => Some(Self::State),
            1 => Some(Self::Secret),
            _ => None,
        }
    }
}
