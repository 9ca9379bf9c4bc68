//! The data directory: who may use it, what it stands on, how its files are
//! written and flushed, and the node's identity in it.

mod checked_text;
mod directory;
mod flush;
mod identity;
mod real;
mod state_limits;

#[cfg(test)]
mod tests;

pub use directory::{DataDirectory, FileSystem, OpenDirectoryError};
pub use flush::{FlushChoice, FlushMethod};
pub use identity::{Identity, IdentityError, random_u64};
pub use real::RealDisk;
pub(crate) use state_limits::fields as limit_fields;
pub use state_limits::{StateLimitsError, load_state_limits, store_state_limits};

/// What direct IO must be aligned to, in memory and on disk.
const BLOCK_BYTES: usize = 4096;

/// Memory that direct IO can read from.
#[repr(align(4096))]
struct Aligned<const BYTES: usize>([u8; BYTES]);
