//! Every byte between a client and a node, and inside a node's log: frames,
//! transactions, replies, session tokens, the table of errors and all limits.
//!
//! What comes from outside is read by this crate's own verifiers, which are
//! stricter than FlatBuffers' (unknown fields are refused) and never allocate;
//! the generated code serves for building, for tests and for payloads that are
//! not hot.

#![deny(unsafe_code)]

pub mod error;
// flatc's output keeps its own style and needs `unsafe` inside its accessors.
#[allow(
    warnings,
    unsafe_code,
    missing_docs,
    unused_qualifications,
    clippy::all,
    clippy::pedantic,
    clippy::undocumented_unsafe_blocks
)]
#[rustfmt::skip]
pub mod generated;
pub mod limits;

pub use error::{ErrorCode, Outcome};
