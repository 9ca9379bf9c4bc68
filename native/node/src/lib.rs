//! The `domp-node` crate.
