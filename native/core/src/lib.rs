//! The `domp-core` crate.
pub mod consensus;
pub mod index;
