//! The `domp-protocol` crate.
