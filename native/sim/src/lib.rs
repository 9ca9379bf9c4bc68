//! The `domp-sim` crate.
