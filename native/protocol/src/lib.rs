//! Every byte between a client and a node, between nodes, and inside a node's log: frames,
//! transactions, replies, session tokens, the table of errors and all limits.
//!
//! What comes from outside is read by this crate's own verifiers, which are
//! stricter than those of `FlatBuffers` (unknown fields are refused) and never allocate;
//! the generated code serves for building, for tests and for payloads that are
//! not hot.

#![deny(unsafe_code)]

pub mod bytes;
pub mod error;
pub mod frame;
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
pub mod handshake;
pub mod limits;
pub mod part;
pub mod peer;
pub mod peer_handshake;
mod peer_lane;
pub mod reply;
pub mod results;
pub mod session;
mod table;
pub mod transaction;

pub use bytes::padding;
pub use error::{ErrorCode, Outcome};
pub use frame::{
    Frame, FrameBuilder, FrameKind, Item, ItemKind, Items, frame_header, items_of_batch,
};
pub use handshake::{
    Goodbye, Hello, Versions, Welcome, WelcomeLimits, encode_goodbye, encode_hello, encode_welcome,
    parse_goodbye, parse_hello, parse_welcome,
};
pub use part::{PartHeader, encode_parts, parse_part};
pub use peer::{PEER_FRAME_HEADER_BYTES, PeerFrameError, PeerFrameReader, PeerFrameWriter};
pub use peer_handshake::{
    HelloHead, NoteHead, PEER_PROTOCOL_VERSION, PEER_WORDS_BYTES_MAX, PeerHandshakeError,
    WelcomeHead,
};
pub use peer_lane::Lane;
pub use reply::{
    ErrorDetail, ReplyHead, encode_error_detail, encode_reply, parse_error_detail, parse_replies,
};
pub use results::{
    EntryRef, EntryValue, KeyOutcome, KeyOutcomeRef, KeyState, OwnedEntry, ResultValue, Results,
    ResultsEncoder, encode_kept_results, encode_key_outcome, parse_key_outcome, parse_results,
};
pub use session::SessionToken;
pub use transaction::{
    Guard, Guards, Operation, Operations, OutcomeOfRequest, OutcomeRequest, Transaction,
    TransactionBuilder, ValueRef, encode_outcome_of_request, encode_outcome_request,
};
