//! The `domp-load` crate.
