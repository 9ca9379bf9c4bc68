//! From records of the inbound ring to events of the node. The layout of the
//! bodies, which only the gateway writes:
//!
//! ```text
//! attach      0 u64 principal   8 u8 flags   9 seven zero bytes
//!             16 the token of the session to resume: nothing, or 56 bytes
//! stateless   0 u64 principal   8 u8 flags   9 seven zero bytes
//!             16 a submit frame of one item
//! frame       the client's bytes as they came
//! detach      nothing
//! ```
//!
//! Flags: bit 0 may only read.

use domp_node::{Attach, Grants, Node, Socket, Stateless, Turn};

use crate::rings::{Record, kind};

/// The door of the one pair of rings there is.
const DOOR: u16 = 0;

const READ_ONLY: u8 = 1;

/// What stands before the token or the frame.
const CALLER_BYTES: usize = 16;

/// What a record was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// A request or several; watched for its latency.
    Frame,
    /// Anything else that made sense.
    Other,
    /// Nothing a gateway in its right mind writes; it was dropped.
    Malformed,
}

/// Hands one record to the node.
pub(crate) fn take(node: &mut Node, record: &Record<'_>, waited_us: u64, turn: &mut Turn) -> Taken {
    let socket = socket(record);
    let body = record.body;
    match record.kind {
        kind::FRAME => {
            node.on_frame(socket, body, waited_us, turn);
            Taken::Frame
        }
        kind::ATTACH if body.len() >= CALLER_BYTES => {
            let attach = Attach {
                principal: principal(body),
                grants: grants(body),
                resume: &body[CALLER_BYTES..],
            };
            node.on_attach(socket, &attach, turn);
            Taken::Other
        }
        kind::DETACH => {
            node.on_detach(socket);
            Taken::Other
        }
        kind::STATELESS if body.len() >= CALLER_BYTES => {
            let request = Stateless {
                principal: principal(body),
                grants: grants(body),
                frame: &body[CALLER_BYTES..],
            };
            node.on_stateless(socket, &request, waited_us, turn);
            Taken::Other
        }
        _ => Taken::Malformed,
    }
}

/// Whom a record is about.
pub(crate) fn socket(record: &Record<'_>) -> Socket {
    Socket {
        slot: record.slot,
        generation: record.generation,
        door: DOOR,
    }
}

fn grants(body: &[u8]) -> Grants {
    if body[8] & READ_ONLY != 0 {
        Grants::READ
    } else {
        Grants::WRITE
    }
}

fn principal(body: &[u8]) -> u64 {
    u64::from_le_bytes(body[..8].try_into().expect("eight bytes were cut out"))
}
