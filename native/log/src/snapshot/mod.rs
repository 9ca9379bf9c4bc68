//! Snapshot files: the state of one group at one index, in slices, in the same
//! checksummed frames as the log.
//!
//! # Format
//! `snap/GROUP-INDEX.snap`, both in decimal, starts with a file header as
//! segments do (kind "snapshot"), then frames of kinds head, slices (any
//! number), end; sequences count from 1, the chain starts at 0. Nothing is behind
//! the end. The file is written under the ending `.tmp`, synced, renamed, and the
//! directory synced: one under its own name was complete once, so whatever is
//! wrong with it is damage.
//!
//! Payload of the head frame: [`SnapshotHead`], little endian:
//! ```text
//!   0  group      8
//!   8  index      8   of the last entry that the state contains
//!  16  term       8   of that entry
//!  24  revision   8   of the state
//!  32  lease_ms   8   lease time of the state
//!  40  voters     4   how many
//!  44  learners   4   how many
//!  48  voters, then learners, 8 each
//! ```
//! Payload of a slices frame: for each slice its length (4), zero (4), its bytes,
//! zeros to a multiple of 8. Payload of the end frame: number of slices (8), sum of
//! their lengths (8).

mod list;
mod load;
mod read;
mod write;

use crate::bytes::{put, u32_at, u64_at};

pub use list::{SnapshotInfo, list, removal};
pub use load::{Loaded, SnapshotSink, Start, load};
pub use read::{SnapshotError, SnapshotReader};
pub use write::{SliceTooLarge, SnapshotOutcome, SnapshotWriter};

/// Bytes of an item's head in a slices frame.
const SLICE_HEAD_BYTES: usize = 8;
/// Payload of the end frame.
const END_BYTES: usize = 16;
const HEAD_FIXED_BYTES: usize = 48;
/// Voters and learners that a head can have together.
const MEMBERS_MAX: usize = 1024;

/// What a snapshot is of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SnapshotHead {
    /// The Raft group.
    pub group: u64,
    /// Raft index of the last entry that the state contains.
    pub index: u64,
    /// Raft term of that entry.
    pub term: u64,
    /// Revision of the state.
    pub revision: u64,
    /// Lease time of the state, in milliseconds.
    pub lease_ms: u64,
    /// Voters of the group's configuration at that index.
    pub voters: Vec<u64>,
    /// Learners of the group's configuration at that index.
    pub learners: Vec<u64>,
}

impl SnapshotHead {
    fn encode(&self) -> Vec<u8> {
        let count = |members: &[u64]| u32::try_from(members.len()).expect("bounded by MEMBERS_MAX");
        let mut out = vec![0; HEAD_FIXED_BYTES];
        let fields = [
            self.group,
            self.index,
            self.term,
            self.revision,
            self.lease_ms,
        ];
        for (place, field) in fields.into_iter().enumerate() {
            put(&mut out, place * 8, &field.to_le_bytes());
        }
        put(&mut out, 40, &count(&self.voters).to_le_bytes());
        put(&mut out, 44, &count(&self.learners).to_le_bytes());
        for member in self.voters.iter().chain(&self.learners) {
            out.extend_from_slice(&member.to_le_bytes());
        }
        out
    }

    fn decode(payload: &[u8]) -> Option<Self> {
        let fixed = payload.get(..HEAD_FIXED_BYTES)?;
        let (voters, learners) = (u32_at(fixed, 40) as usize, u32_at(fixed, 44) as usize);
        let (members, rest) = payload[HEAD_FIXED_BYTES..].as_chunks::<8>();
        if !rest.is_empty()
            || members.len() > MEMBERS_MAX
            || voters.checked_add(learners)? != members.len()
        {
            return None;
        }
        let mut members = members.iter().map(|bytes| u64::from_le_bytes(*bytes));
        Some(Self {
            group: u64_at(fixed, 0),
            index: u64_at(fixed, 8),
            term: u64_at(fixed, 16),
            revision: u64_at(fixed, 24),
            lease_ms: u64_at(fixed, 32),
            voters: members.by_ref().take(voters).collect(),
            learners: members.collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_back_and_any_other_bytes_are_refused_or_read() {
        let head = SnapshotHead {
            group: 1,
            index: 2,
            term: 3,
            revision: 4,
            lease_ms: 5,
            voters: vec![6, 7],
            learners: vec![8],
        };
        let bytes = head.encode();
        assert_eq!(SnapshotHead::decode(&bytes), Some(head));
        for len in 0..bytes.len() {
            assert_eq!(SnapshotHead::decode(&bytes[..len]), None, "{len} bytes");
        }
        for at in 40..48 {
            let mut wrong = bytes.clone();
            wrong[at] = 0xff;
            assert_eq!(SnapshotHead::decode(&wrong), None, "byte {at}");
        }
        let many = vec![0; HEAD_FIXED_BYTES + (MEMBERS_MAX + 1) * 8];
        assert_eq!(SnapshotHead::decode(&many), None);
    }
}
