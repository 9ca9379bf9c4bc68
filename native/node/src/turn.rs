//! What one turn asks the engine to do.

use domp_log::{Job, LogWrite};
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
    /// First byte in [`Replies::bytes`].
    pub start: u32,
    /// Behind the last byte.
    pub end: u32,
    /// A whole frame (welcome, goodbye) rather than one item of a `replies` frame.
    pub frame: bool,
}

/// Replies of a turn, in the order they were decided. The engine puts the
/// items for one socket into one `replies` frame; whole frames keep their place.
#[derive(Debug, Default)]
pub struct Replies {
    /// The encoded items and frames.
    pub bytes: Vec<u8>,
    /// Which bytes are for whom.
    pub spans: Vec<Span>,
}

impl Replies {
    /// Adds one item.
    pub fn push(&mut self, socket: Socket, head: &ReplyHead, payload: &[u8]) {
        if socket == Socket::NOBODY {
            return;
        }
        let start = self.position();
        reply::encode_reply(&mut self.bytes, head, payload);
        let end = self.position();
        self.spans.push(Span {
            socket,
            start,
            end,
            frame: false,
        });
    }

    /// Adds a whole frame.
    pub fn push_frame(&mut self, socket: Socket, frame: &[u8]) {
        let start = self.position();
        self.bytes.extend_from_slice(frame);
        let end = self.position();
        self.spans.push(Span {
            socket,
            start,
            end,
            frame: true,
        });
    }

    /// Forgets everything, keeping the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.spans.clear();
    }

    fn position(&self) -> u32 {
        // A turn's replies are bounded by the frames one turn takes in; 4 GiB is far beyond.
        u32::try_from(self.bytes.len()).expect("a turn's replies stay below 4 GiB")
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
    /// To send.
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
    /// Makes it empty, keeping the memory.
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
