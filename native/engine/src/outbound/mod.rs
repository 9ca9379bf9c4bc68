//! From the node's replies to frames in the outbound ring: the items for one
//! connection about one space become one `replies` frame a turn.

use std::collections::VecDeque;

use domp_node::{Replies, Socket, Span};
use domp_protocol::frame::{FrameKind, frame_header};
use domp_protocol::limits;

use crate::rings::{HEADER_BYTES, RingWriter, kind};

/// A frame of several replies ends before it would pass this: a slow reader
/// then gets what there is in pieces, and no buffer grows by much at once.
const FRAME_BYTES_WISH: u32 = 1 << 20;

/// Bytes before the items of a frame.
const FRAME_HEADER_BYTES: u32 = 24;

/// Slots up to this are grouped through a table; the gateway has fewer.
const TABLE_SLOTS_MAX: usize = 1 << 18;

/// No span: the end of a chain.
const NONE: u32 = u32::MAX;

/// What one [`Outbound::emit`] put into the ring or kept for later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Emitted {
    pub replies: u64,
    pub frames: u64,
    pub bytes: u64,
    /// Frames that found no room and wait.
    pub blocked: u64,
}

/// The outbound ring, the grouping, and the frames that found no room in it.
///
/// What waits is bounded by what one turn can answer: while anything waits the
/// worker takes nothing from the inbound ring. It keeps no connection behind another's
/// slow reading: the gateway fetches for all, and keeps for each what it does not read.
#[derive(Debug)]
pub(crate) struct Outbound {
    ring: RingWriter,
    /// By slot: the chain of its spans in this turn. Invariant: all empty between turns.
    chains: Vec<Chain>,
    /// By span: the next one of the same slot.
    next: Vec<u32>,
    /// Slots in the order of their first span.
    order: Vec<u32>,
    /// Spans of one connection, while they are put into the order of their spaces.
    mixed: Vec<u32>,
    waiting: Waiting,
}

#[derive(Clone, Copy, Debug)]
struct Chain {
    first: u32,
    last: u32,
}

#[derive(Debug, Default)]
struct Waiting {
    bytes: Vec<u8>,
    frames: VecDeque<(Socket, std::ops::Range<usize>)>,
}

impl Outbound {
    pub fn new(ring: RingWriter) -> Self {
        Self {
            ring,
            chains: Vec::new(),
            next: Vec::new(),
            order: Vec::new(),
            mixed: Vec::new(),
            waiting: Waiting::default(),
        }
    }

    /// Puts a turn's replies into the ring, or behind those that wait already.
    /// They are seen from [`Outbound::publish`] on.
    pub fn emit(&mut self, replies: &Replies) -> Emitted {
        let mut emitted = Emitted::default();
        if replies.spans.is_empty() {
            return emitted;
        }
        self.chain(&replies.spans);
        for at in 0..self.order.len() {
            let slot = self.order[at] as usize;
            let first = self.chains[slot].first;
            self.chains[slot] = Chain {
                first: NONE,
                last: NONE,
            };
            self.emit_chain(replies, first, &mut emitted);
        }
        // Spans of slots beyond the table stand alone, after the others.
        for at in 0..replies.spans.len() {
            if replies.spans[at].socket.slot as usize >= TABLE_SLOTS_MAX {
                self.emit_chain(replies, index(at), &mut emitted);
            }
        }
        emitted
    }

    /// Tries again to place what waits; true if nothing does any more.
    pub fn retry(&mut self) -> bool {
        while let Some((socket, range)) = self.waiting.frames.front() {
            let length = index(range.len());
            let Some(mut body) =
                self.ring
                    .begin(socket.slot, socket.generation, kind::FRAME, length)
            else {
                let record = length.saturating_add(2 * HEADER_BYTES);
                if self.ring.wait_for_room(record) {
                    continue;
                }
                return false;
            };
            body.write(&self.waiting.bytes[range.clone()]);
            body.finish();
            self.waiting.frames.pop_front();
        }
        self.waiting.bytes.clear();
        // A burst's memory is not kept for ever.
        self.waiting.bytes.shrink_to(1 << 20);
        true
    }

    /// Whether frames wait for room.
    pub fn is_blocked(&self) -> bool {
        !self.waiting.frames.is_empty()
    }

    /// Whether less than `wish_bytes` wait for the gateway. If not, it wakes the worker once it
    /// has fetched some.
    pub fn has_room(&mut self, wish_bytes: u32) -> bool {
        if self.is_blocked() {
            return false;
        }
        if self.ring.fill() < wish_bytes {
            return true;
        }
        self.ring.wait_for_fetch();
        self.ring.fill() < wish_bytes
    }

    /// Makes everything placed visible; true if there was anything.
    pub fn publish(&mut self) -> bool {
        self.ring.publish()
    }

    /// Bytes in the ring that the gateway has not taken.
    pub fn fill(&mut self) -> u32 {
        self.ring.fill()
    }

    /// Links the spans of each slot, in one pass and without hashing or sorting.
    fn chain(&mut self, spans: &[Span]) {
        self.order.clear();
        self.next.clear();
        self.next.resize(spans.len(), NONE);
        for (at, span) in spans.iter().enumerate() {
            let slot = span.socket.slot as usize;
            if slot >= TABLE_SLOTS_MAX {
                continue;
            }
            if self.chains.len() <= slot {
                self.chains.resize(
                    slot + 1,
                    Chain {
                        first: NONE,
                        last: NONE,
                    },
                );
            }
            let chain = &mut self.chains[slot];
            if chain.first == NONE {
                chain.first = index(at);
                self.order.push(span.socket.slot);
            } else {
                self.next[chain.last as usize] = index(at);
            }
            chain.last = index(at);
        }
    }

    /// Emits the spans of a chain: runs of items of one socket about one space as `replies` frames,
    /// whole frames as they are.
    fn emit_chain(&mut self, replies: &Replies, first: u32, emitted: &mut Emitted) {
        let mut at = first;
        let mut sorted_until = first;
        while at != NONE {
            let head = &replies.spans[at as usize];
            if head.frame {
                self.emit_frame(replies, at, 0, head.end - head.start, emitted);
                at = self.next[at as usize];
                sorted_until = at;
                continue;
            }
            if at == sorted_until {
                (at, sorted_until) = self.sort_run(&replies.spans, at);
            }
            let head = &replies.spans[at as usize];
            let (mut count, mut bytes) = (0_u32, FRAME_HEADER_BYTES);
            let mut end = at;
            while end != NONE {
                let span = &replies.spans[end as usize];
                let length = span.end - span.start;
                let full = count > 0
                    && (bytes.saturating_add(length) > FRAME_BYTES_WISH
                        || u64::from(count) == limits::FRAME_ITEMS_MAX);
                let other = span.socket != head.socket || span.space != head.space;
                if span.frame || other || full {
                    break;
                }
                count += 1;
                bytes = bytes.saturating_add(length);
                end = self.next[end as usize];
            }
            self.emit_frame(replies, at, count, bytes, emitted);
            at = end;
        }
    }

    /// Puts the items of one socket from `first` on, up to a whole frame or another socket, into the
    /// order of their spaces, those of one space in their own. Returns the first of them, and what
    /// follows the last.
    fn sort_run(&mut self, spans: &[Span], first: u32) -> (u32, u32) {
        let head = &spans[first as usize];
        let mut mixed = false;
        let mut end = first;
        self.mixed.clear();
        while end != NONE {
            let span = &spans[end as usize];
            if span.frame || span.socket != head.socket {
                break;
            }
            mixed |= span.space != head.space;
            self.mixed.push(end);
            end = self.next[end as usize];
        }
        if !mixed {
            return (first, end);
        }
        self.mixed.sort_by_key(|&at| spans[at as usize].space);
        for pair in self.mixed.windows(2) {
            self.next[pair[0] as usize] = pair[1];
        }
        let last = self.mixed[self.mixed.len() - 1];
        self.next[last as usize] = end;
        (self.mixed[0], end)
    }

    /// Emits one frame of `bytes` bytes: `count` items from span `first` on, or
    /// with a count of 0 the whole frame that the span is.
    fn emit_frame(
        &mut self,
        replies: &Replies,
        first: u32,
        count: u32,
        bytes: u32,
        emitted: &mut Emitted,
    ) {
        let Span { socket, space, .. } = replies.spans[first as usize];
        emitted.frames += 1;
        emitted.replies += u64::from(count);
        emitted.bytes += u64::from(bytes);
        let header = (count > 0).then(|| frame_header(FrameKind::Replies, count, 0, 0, space));
        let pieces = Pieces {
            replies,
            next: &self.next,
            at: first,
            left: count.max(1),
        };
        if self.waiting.frames.is_empty()
            && let Some(mut body) =
                self.ring
                    .begin(socket.slot, socket.generation, kind::FRAME, bytes)
        {
            if let Some(header) = &header {
                body.write(header);
            }
            for piece in pieces {
                body.write(piece);
            }
            body.finish();
            return;
        }
        emitted.blocked += 1;
        let start = self.waiting.bytes.len();
        if let Some(header) = &header {
            self.waiting.bytes.extend_from_slice(header);
        }
        for piece in pieces {
            self.waiting.bytes.extend_from_slice(piece);
        }
        let end = self.waiting.bytes.len();
        self.waiting.frames.push_back((socket, start..end));
    }
}

/// The bytes of consecutive spans of a chain; neighbours in memory come as one piece.
struct Pieces<'a> {
    replies: &'a Replies,
    next: &'a [u32],
    at: u32,
    left: u32,
}

impl<'a> Iterator for Pieces<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        if self.left == 0 {
            return None;
        }
        let span = &self.replies.spans[self.at as usize];
        let start = span.start as usize;
        let mut end = span.end;
        loop {
            self.at = self.next[self.at as usize];
            self.left -= 1;
            if self.left == 0 {
                break;
            }
            let span = &self.replies.spans[self.at as usize];
            if span.start != end {
                break;
            }
            end = span.end;
        }
        Some(&self.replies.bytes[start..end as usize])
    }
}

/// Indices and lengths of a turn's replies: the node keeps them below 4 GiB.
fn index(value: usize) -> u32 {
    u32::try_from(value).expect("a turn's replies stay below 4 GiB")
}

#[cfg(test)]
mod tests;
