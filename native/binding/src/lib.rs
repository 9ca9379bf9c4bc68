//! The `domp-binding` crate.
