//! The memory that the Node thread and the worker share: two rings of records
//! and the words that steer them.
//!
//! ```text
//! byte 0       control page: one 32-bit word in each 128 bytes (`Word`)
//!      4096    inbound ring: written by the gateway, read by the worker
//!      4096+in outbound ring: written by the worker, read by the gateway
//! ```
//!
//! A ring holds records, each at a multiple of 16:
//!
//! ```text
//! 0   u32 slot         4   u32 generation    address of a connection
//! 8   u32 length       12  u8 kind           13  three zero bytes
//! 16  body of `length` bytes, then zero bytes to a multiple of 16
//! ```
//!
//! A body therefore stands at a multiple of 8, as the verifier needs, and a
//! header always fits before the ring's end. A record never wraps: where it
//! would not fit before the end, a header of kind [`kind::WRAP`] stands there
//! and the record follows at offset 0.
//!
//! Cursors count bytes since the beginning, modulo 2^32; a ring's capacity is
//! a power of two, so a cursor's low bits are the offset and the difference of
//! two cursors is the fill. The writer alone moves the tail, the reader alone
//! the head. A writer past the middle that finds the ring empty starts again at
//! offset 0, so the other half of a ring that is emptied regularly is never touched.
//!
//! Invariant: bytes in [head, tail) belong to the reader, all others to the
//! writer. The worker trusts none of it: it copies bytes out once, and judges
//! and uses that copy only (`Chunk`).

mod memory;
mod reader;
mod writer;

#[cfg(test)]
mod tests;

pub use memory::{Memory, Word};
pub use reader::{Chunk, Record, RingFault, RingReader};
pub use writer::{Body, RingWriter};

use domp_protocol::limits;

/// Kinds of records.
pub mod kind {
    /// A client's frame (inbound) or a frame for it (outbound).
    pub const FRAME: u8 = 0;
    /// A connection was authenticated and takes the slot.
    pub const ATTACH: u8 = 1;
    /// The connection of the slot is gone.
    pub const DETACH: u8 = 2;
    /// One transaction of a caller without a connection.
    pub const STATELESS: u8 = 3;
    /// Nothing more before the ring's end; go on at offset 0.
    pub const WRAP: u8 = 255;
}

/// Bytes of a record's header.
pub const HEADER_BYTES: u32 = 16;

/// Records start at multiples of this.
const ALIGNMENT: u32 = 16;

/// Bytes that may precede a frame in a body: the larger of attach's and stateless' own fields.
pub const PREFIX_BYTES_MAX: u32 = 64;

/// The longest body: a whole frame behind a prefix.
#[allow(
    clippy::cast_possible_truncation,
    reason = "8 MiB; the const assertion below would fail to compile otherwise"
)]
pub const BODY_BYTES_MAX: u32 = limits::FRAME_BYTES_MAX as u32 + PREFIX_BYTES_MAX;

const _: () = assert!(limits::FRAME_BYTES_MAX < (1 << 30));

/// Which of the two rings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Gateway to worker.
    Inbound,
    /// Worker to gateway.
    Outbound,
}

/// Bytes that a record with a body of `length` bytes takes.
fn stride(length: u32) -> u32 {
    HEADER_BYTES + length.next_multiple_of(ALIGNMENT)
}
