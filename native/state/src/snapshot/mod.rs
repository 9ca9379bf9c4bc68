//! Snapshots of a state, taken in slices while entries go on.
//!
//! A snapshot is a row of chunks; a slice is some whole chunks. Little endian,
//! offsets in bytes:
//!
//! ```text
//! chunk   32   0 magic u32 "DMSN"   4 format u8 (1)   5 kind u8   6 zero u16
//!              8 number u32         12 count u32      16 length u32   20 zero u32
//!              24 hash u64          xxh3-64 of the body, seeded by that of bytes 0 to 24
//!              body, `length` bytes
//! ```
//!
//! Chunks are numbered from 0. The first is the head, the last the end; between
//! them the others may come in any order, because what is written while the
//! snapshot is taken makes things to be told early:
//!
//! ```text
//! 1 head         applied_index u64   revision u64   lease_ms u64   forgotten_birth u64
//!                spaces_changed u64  next_space_id u32   kind u8 (0 meta, 1 space)   zero 3
//!                keys u64   sessions u64   idempotency_keys u64       how many must come
//!                then `count` checkpoints: revision u64   lease_ms u64
//! 2 keys         `count` entries, ascending over all chunks of this kind
//! 3 pre-images   `count` entries in any order, none of them also among the keys
//! 4 sessions     see `sessions/walk.rs`
//! 5 idempotency  see `idempotency.rs`
//! 6 end          empty
//! entry   32     0 created u64   8 modified u64   16 version u64   24 value_len u32
//!                28 key_len u16  30 kind u8 (1 bytes, 2 number)    31 flags u8
//!                if bit 0 of flags: expires_at_ms u64; then key and value (number: 8 bytes)
//! ```
//!
//! A state that is not written to meanwhile always makes the same bytes.

mod restore;
mod walk;

pub use restore::Restore;
pub(super) use walk::Walk;

/// Bytes of a chunk's header.
const CHUNK_HEADER_BYTES: usize = 32;
/// Where the hash stands in it: over what comes before.
const HASH_AT: usize = 24;
const MAGIC: [u8; 4] = *b"DMSN";
const FORMAT: u8 = 1;

/// Bytes before an entry's key.
const ENTRY_BYTES: usize = 32;
const VALUE_BYTES: u8 = 1;
const VALUE_NUMBER: u8 = 2;
const FLAG_EXPIRES: u8 = 1;

/// What a chunk tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ChunkKind {
    Head = 1,
    Keys = 2,
    PreImages = 3,
    Sessions = 4,
    Idempotency = 5,
    End = 6,
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
