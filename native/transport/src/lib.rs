//! Connections between nodes: bytes and lanes, and not what they say.
//!
//! Between two nodes there are eight connections: for each lane one that either dialled. Frames travel from the
//! node that dialled; back come only notes of how much was taken. All are TLS 1.3 in which both sides show a
//! certificate of the cluster's authority. One thread serves all of them.
//!
//! What is told apart, since the layers above act differently: a process that is gone ([`Cause::Reset`], then
//! [`Cause::Dial`]), one that takes nothing ([`Cause::Silent`]), one that stops ([`Cause::Closed`]), one that
//! refuses ([`Cause::Refused`]), and bytes that are not those that were sent ([`Cause::Broken`]).

#![deny(unsafe_code)]

mod authority;
mod counters;
mod event;
mod inbox;
mod io;
mod options;
mod shared;
mod tls;
mod transport;
mod verify;

pub use authority::{Authority, AuthorityError, Certificate, Credentials, NodeKey, Validity};
pub use counters::{LaneCounters, Snapshot};
pub use domp_protocol::Lane;
pub use event::{Cause, Closing, ClosingReason, Event, Hello, Refusal, RefusalReason};
pub use inbox::Wake;
pub use options::{Identity, LaneOptions, Options};
pub use shared::SendError;
pub use transport::{Handshake, Transport};
pub use verify::{Dates, Pins};
