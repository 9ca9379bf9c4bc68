//! What a turn answers, and whom.

use std::ops::Range;

use domp_protocol::error::ErrorCode;
use domp_protocol::limits;
use domp_protocol::reply::{self, ReplyHead};

use crate::cost;

/// The address of a connection in the gateway. A slot is used again by later
/// connections; the generation tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Socket {
    /// Index in the gateway's table.
    pub slot: u32,
    /// Grows each time the slot is used again.
    pub generation: u32,
    /// The number of the door (the gateway's event loop) that has the slot.
    pub door: u16,
}

impl Socket {
    /// Where answers to the node's own requests go: nowhere.
    pub const NOBODY: Self = Self {
        slot: u32::MAX,
        generation: u32::MAX,
        door: u16::MAX,
    };

    /// From this door on: connections of other nodes' doors, one door a node.
    pub(crate) const REMOTE_DOORS: u16 = 1 << 15;

    /// The door of the node's own questions about spaces.
    pub(crate) const NAMES_DOOR: u16 = u16::MAX - 1;

    /// Whether it is a connection of another node's door.
    pub(crate) const fn is_remote(self) -> bool {
        self.door >= Self::REMOTE_DOORS && self.door < Self::NAMES_DOOR
    }
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
    /// What the shard at work began with, and where it has to stop.
    slice: Range<usize>,
    /// Doors of other nodes that take no more answers for now.
    stalled_doors: Vec<u16>,
}

impl Default for Replies {
    /// With the room that one turn is given.
    fn default() -> Self {
        Self {
            bytes: Vec::new(),
            spans: Vec::new(),
            room_bytes: Self::ROOM_BYTES,
            work_bytes: 0,
            slice: 0..usize::MAX,
            stalled_doors: Vec::new(),
        }
    }
}

impl Replies {
    /// The room that one turn is given.
    pub const ROOM_BYTES: usize = room(limits::TURN_REPLY_BYTES_MAX);

    /// What the turn has cost so far: bytes of replies, and work that left none.
    pub fn spent(&self) -> usize {
        self.bytes.len().saturating_add(self.work_bytes)
    }

    /// Whether what can wait must wait for a later turn.
    pub fn is_full(&self) -> bool {
        self.spent() >= self.limit()
    }

    /// Whether the turn is over for all, not only for the shard at work.
    pub(crate) fn is_spent(&self) -> bool {
        self.spent() >= self.room_bytes
    }

    /// As [`Self::is_full`], for committed entries: a quarter is left to the reads,
    /// which could otherwise wait for ever while others write.
    pub(crate) fn is_full_of_entries(&self) -> bool {
        let limit = self.limit();
        self.spent() >= limit - limit.saturating_sub(self.slice.start) / 4
    }

    fn limit(&self) -> usize {
        self.room_bytes.min(self.slice.end)
    }

    /// From here on one of `shards` shards is at work: it may have its share of the room.
    pub(crate) fn begin_slice(&mut self, shards: usize) {
        let share = (self.room_bytes / shards.max(1))
            .max(usize::try_from(cost::QUANTUM).unwrap_or(usize::MAX));
        let start = self.spent();
        self.slice = start..start.saturating_add(share);
    }

    /// Counts work that left nothing in the replies, so that no turn takes long over it either.
    pub(crate) fn charge(&mut self, cost: u64) {
        let bytes = usize::try_from(cost).unwrap_or(usize::MAX);
        self.work_bytes = self.work_bytes.saturating_add(bytes);
    }

    /// Counts keys that were looked at.
    pub(crate) fn charge_keys(&mut self, keys: u64) {
        self.charge(keys.saturating_mul(cost::KEY));
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

    /// Adds one item as another node encoded it.
    pub(crate) fn push_encoded(&mut self, socket: Socket, space: u32, bytes: &[u8]) {
        if let Some((start, end)) = self.span_of(bytes.len()) {
            self.bytes.extend_from_slice(bytes);
            self.spans.push(Span {
                socket,
                space,
                start,
                end,
                frame: false,
            });
        }
    }

    /// Those doors of other nodes take no answers to reads in this turn.
    pub(crate) fn stall(&mut self, doors: impl Iterator<Item = u16>) {
        self.stalled_doors.clear();
        self.stalled_doors.extend(doors);
    }

    /// Whether any does.
    pub(crate) fn stalls_any(&self) -> bool {
        !self.stalled_doors.is_empty()
    }

    /// Whether reads of a connection have to wait.
    pub(crate) fn is_stalled(&self, socket: Socket) -> bool {
        self.stalls_any() && self.stalled_doors.contains(&socket.door)
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
        self.slice = 0..usize::MAX;
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
