//! The data directory: who may use it, what it stands on, how its files are
//! written and flushed.

mod directory;
mod doomed;
mod file_system;
mod flush;
mod held;
mod log_owner;
mod real;

#[cfg(test)]
pub(crate) mod tests;

pub use directory::{DataDirectory, OpenDirectoryError};
pub(crate) use directory::{create_durably, replace_durably, sync_directory};
pub(crate) use doomed::STEP_PAUSE;
pub use file_system::FileSystem;
pub(crate) use flush::is_full;
pub use flush::{FlushChoice, FlushMethod};
pub use real::RealDisk;

/// What direct IO must be aligned to, in memory and on disk.
const BLOCK_BYTES: usize = 4096;

/// Memory that direct IO can read from.
#[repr(align(4096))]
struct Aligned<const BYTES: usize>([u8; BYTES]);
