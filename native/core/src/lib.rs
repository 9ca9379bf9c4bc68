//! The `domp-core` crate.
pub mod consensus;
