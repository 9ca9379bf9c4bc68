//! What one turn asks the engine to do.

use domp_log::{Job, LogWrite};
use domp_protocol::error::ErrorCode;
use domp_protocol::limits;
use domp_protocol::reply::{self, ReplyHead};

use crate::control::ControlReply;

/// The address of a connection in the gateway. A slot is used again by later
/// connections; the generation tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Socket {
    /// Index in the gateway's table.
    pub slot: u32,
    /// Grows each time the slot is used again.
    pub generation: u32,
}

impl Socket {
    /// Where answers to the node's own requests go: nowhere.
    pub const NOBODY: Self = Self {
        slot: u32::MAX,
        generation: u32::MAX,
    };
}

/// One piece of [`Replies`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Whom it is for.
    pub socket: Socket,
    /// The space it is about; 0 with a whole frame.
    pub space: u32,
    /// First byte in [`Replies::bytes`].
    pub start: u32,
    /// Behind the last byte.
    pub end: u32,
    /// A whole frame (welcome, goodbye) rather than one item of a `replies` frame.
    pub frame: bool,
}

/// Looking at a key takes about as long as copying so many bytes.
const KEY_WORK_BYTES: usize = 16;

/// Replies of a turn, in the order they were decided. The engine puts the
/// items for one socket about one space into one `replies` frame; whole frames keep their place.
///
/// Bounded: what may answer much (committed entries, reads) is answered only
/// while [`Self::is_full`] says no, and passes [`Self::room_bytes`] by one entry's
/// or one read's answer at most. Everything else is a refusal or a welcome, a few
/// bytes for each item or connection that was taken in.
#[derive(Debug)]
pub struct Replies {
    /// The encoded items and frames.
    pub bytes: Vec<u8>,
    /// Which bytes are for whom.
    pub spans: Vec<Span>,
    /// Once the replies have grown to this, what can wait waits for a later turn;
    /// with 0, as while no reply can be passed on, from the start.
    pub room_bytes: usize,
    /// Work of the turn that left no bytes, in those.
    work_bytes: usize,
}

impl Default for Replies {
    /// With the room that one turn is given.
    fn default() -> Self {
        Self {
            bytes: Vec::new(),
            spans: Vec::new(),
            room_bytes: Self::ROOM_BYTES,
            work_bytes: 0,
        }
    }
}

impl Replies {
    /// The room that one turn is given.
    pub const ROOM_BYTES: usize = room(limits::TURN_REPLY_BYTES_MAX);

    /// Whether what can wait must wait for a later turn.
    pub fn is_full(&self) -> bool {
        self.bytes.len().saturating_add(self.work_bytes) >= self.room_bytes
    }

    /// Counts keys that were looked at and left nothing in the replies, so that no
    /// turn takes long over them either.
    pub(crate) fn charge(&mut self, keys: u64) {
        let bytes =
            usize::try_from(keys).map_or(usize::MAX, |keys| keys.saturating_mul(KEY_WORK_BYTES));
        self.work_bytes = self.work_bytes.saturating_add(bytes);
    }

    /// Adds one item, the answer to a request for that space.
    pub fn push(&mut self, socket: Socket, space: u32, head: &ReplyHead, payload: &[u8]) {
        if socket == Socket::NOBODY {
            return;
        }
        let Some((start, end)) = self.span_of(reply::reply_bytes(payload.len())) else {
            return;
        };
        reply::encode_reply(&mut self.bytes, head, payload);
        self.spans.push(Span {
            socket,
            space,
            start,
            end,
            frame: false,
        });
    }

    /// Adds a whole frame.
    pub fn push_frame(&mut self, socket: Socket, frame: &[u8]) {
        let Some((start, end)) = self.span_of(frame.len()) else {
            return;
        };
        self.bytes.extend_from_slice(frame);
        self.spans.push(Span {
            socket,
            space: 0,
            start,
            end,
            frame: true,
        });
    }

    /// Forgets everything, keeping the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.spans.clear();
        self.work_bytes = 0;
    }

    /// Where the next `bytes` bytes will stand; `None` if spans can't say so. The
    /// bound above is far below that. Were it broken, a reply would be left out:
    /// its client times out not knowing, which is true, and the node goes on.
    fn span_of(&self, bytes: usize) -> Option<(u32, u32)> {
        let start = u32::try_from(self.bytes.len()).ok()?;
        let end = u32::try_from(self.bytes.len().checked_add(bytes)?).ok()?;
        Some((start, end))
    }
}

#[expect(clippy::cast_possible_truncation, reason = "checked by the assertion")]
const fn room(limit: u64) -> usize {
    // Behind a full turn there is space for everything that is not asked whether it fits.
    assert!(limit <= 1 << 30, "spans of a turn's replies fit 32 bits");
    limit as usize
}

/// The head of a reply that refuses.
pub(crate) fn refusal(sequence: u64, code: ErrorCode) -> ReplyHead {
    ReplyHead {
        sequence,
        revision: 0,
        code: Some(code),
        applied: false,
        replayed: false,
        outcome_applied: false,
    }
}

/// An entry that was applied in a turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The shard.
    pub group: u64,
    /// Its Raft index.
    pub index: u64,
    /// Its bytes, as the core's entry reader takes them; empty for a leader's first.
    pub entry: Vec<u8>,
}

/// Commands of one turn. The engine clears it with [`Turn::clear`] and hands
/// it in again.
#[derive(Debug, Default)]
pub struct Turn {
    /// To write and flush; then tell [`Node::on_written`](crate::Node::on_written).
    /// None comes while one is under way.
    pub write: Option<LogWrite>,
    /// To run in the background, in order; each ends with
    /// [`Node::on_job`](crate::Node::on_job) under its id.
    pub jobs: Vec<(u64, Job)>,
    /// To send. [`Replies::room_bytes`] is the engine's to set before the turn ends.
    pub replies: Replies,
    /// Answers to control requests.
    pub controls: Vec<(u32, ControlReply)>,
    /// Monotonic time of the next turn at the latest; `None`: when something happens.
    pub wake_at_us: Option<u64>,
    /// The drain is complete: everything accepted is durable and answered.
    pub drained: bool,
    /// What was applied, in order, for whoever follows the log. `None`:
    /// nobody does, and nothing is copied.
    pub applied: Option<Vec<Applied>>,
    /// The node can't go on; why. Nothing it decided after is carried out.
    pub fatal: Option<String>,
}

impl Turn {
    /// Makes it empty, keeping the memory and the room for replies.
    pub fn clear(&mut self) {
        self.write = None;
        self.jobs.clear();
        self.replies.clear();
        self.controls.clear();
        self.wake_at_us = None;
        self.drained = false;
        if let Some(applied) = &mut self.applied {
            applied.clear();
        }
        self.fatal = None;
    }
}

/// Moves `at` forward to `candidate` if that is sooner.
pub(crate) fn earliest(at: &mut Option<u64>, candidate: u64) {
    *at = Some(at.map_or(candidate, |at| at.min(candidate)));
}
