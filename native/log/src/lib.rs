//! The `domp-log` crate.
