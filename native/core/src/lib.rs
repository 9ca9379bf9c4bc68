//! The `domp-core` crate.
