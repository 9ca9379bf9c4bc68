//! Snapshots of a state, taken in slices while entries go on.
//!
//! A snapshot is a row of chunks; a slice is some whole chunks. Little endian,
//! offsets in bytes:
//!
//! ```text
//! chunk   32   0 magic u32 "DMSN"   4 format u8 (2)   5 kind u8   6 zero u16
//!              8 number u32         12 count u32      16 length u32   20 zero u32
//!              24 hash u64          xxh3-64 of the body, seeded by that of bytes 0 to 24
//!              body, `length` bytes
//! ```
//!
//! Chunks are numbered from 0 and come in the order of their kinds:
//!
//! ```text
//! 1 head         applied_index u64   revision u64   lease_ms u64   birth_floor u64
//!                spaces_changed u64  next_space_id u32   kind u8 (0 meta, 1 space)
//!                has_wanted u8       apply_version u16
//!                limits, 32 bytes    wanted limits, 32 bytes, zero if there are none
//!                keys u64   sessions u64   idempotency_keys u64       how many must come
//!                signing_keys u32    checkpoints u32
//!                then the checkpoints: revision u64   lease_ms u64
//! 2 sessions     in the order of their last use, see `sessions/walk.rs`
//! 3 idempotency  in the order of binding, see `idempotency.rs`
//! 4 secrets      signing keys, ascending by id, see `system.rs`; a slice of its own
//! 5 keys         entries in the order of keys
//! 6 end          empty
//! entry   32     0 created u64   8 modified u64   16 version u64   24 value_len u32
//!                28 key_len u16  30 kind u8 (1 bytes, 2 number)    31 flags u8
//!                if bit 0 of flags: expires_at_ms u64; then key and value (number: 8 bytes)
//! ```
//!
//! How much stands in one chunk depends on how the slices were taken. The bodies
//! behind one another ([`snapshot_contents`]) do not: they are a function of the
//! state as it was at the beginning, the same on every replica and whatever is
//! written meanwhile. So a digest of a snapshot is one of its contents.

mod restore;
mod walk;

use crate::bytes::u32_at;

pub use restore::Restore;
pub(super) use walk::Walk;

/// Bytes of a chunk's header.
const CHUNK_HEADER_BYTES: usize = 32;
/// Where the hash stands in it: over what comes before.
const HASH_AT: usize = 24;
const MAGIC: [u8; 4] = *b"DMSN";
const FORMAT: u8 = 2;

/// Bytes before an entry's key.
const ENTRY_BYTES: usize = 32;
const VALUE_BYTES: u8 = 1;
const VALUE_NUMBER: u8 = 2;
const FLAG_EXPIRES: u8 = 1;

/// What a chunk tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum ChunkKind {
    Head = 1,
    Sessions = 2,
    Idempotency = 3,
    Secrets = 4,
    Keys = 5,
    End = 6,
}

impl ChunkKind {
    fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Head,
            2 => Self::Sessions,
            3 => Self::Idempotency,
            4 => Self::Secrets,
            5 => Self::Keys,
            6 => Self::End,
            _ => return None,
        })
    }
}

/// Whether a slice, as `State::snapshot_slice` made it, holds secrets. It then holds nothing else.
pub fn snapshot_slice_is_secret(slice: &[u8]) -> bool {
    slice.len() >= CHUNK_HEADER_BYTES
        && slice[0..4] == MAGIC
        && slice[5] == ChunkKind::Secrets as u8
}

/// What a slice tells, without the headers that depend on how slices were taken: over all slices of
/// a snapshot, in order, the same bytes wherever the same state was at its beginning. Ends early with
/// bytes that are no slice.
pub fn snapshot_contents(slice: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = slice;
    std::iter::from_fn(move || {
        let (header, after) = rest.split_first_chunk::<CHUNK_HEADER_BYTES>()?;
        let (body, after) = after.split_at_checked(u32_at(header, 16) as usize)?;
        rest = after;
        Some(body)
    })
}

/// Where a snapshot stands after a slice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotProgress {
    /// There is more to come.
    More,
    /// The snapshot is complete.
    Done,
    /// Given up: slices were not taken as fast as keys were written, and what had to be kept went
    /// over its limit. What was taken is worthless; begin again.
    Abandoned,
}

/// The hash of a chunk.
fn chunk_hash(header: &[u8], body: &[u8]) -> u64 {
    use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};
    xxh3_64_with_seed(body, xxh3_64(&header[..HASH_AT]))
}
