//! The `domp-engine` crate.
