//! The writing side of a ring.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::memory::{Memory, Word};
use super::{ALIGNMENT, BODY_BYTES_MAX, Direction, HEADER_BYTES, kind, stride};

/// Writes records into a ring. Records are seen by the reader from
/// [`RingWriter::publish`] on, so that many cost one store.
#[derive(Debug)]
pub struct RingWriter {
    memory: Arc<Memory>,
    direction: Direction,
    capacity: u32,
    /// Where the next record begins. Invariant: a multiple of 16.
    tail: u32,
    /// What the reader can see.
    published: u32,
    /// The reader's cursor when last looked at: never ahead of the true one.
    head_seen: u32,
}

impl RingWriter {
    /// The writer of a ring; there must be only one.
    pub fn new(memory: Arc<Memory>, direction: Direction) -> Self {
        let capacity = memory.capacity(direction);
        let mut writer = Self {
            memory,
            direction,
            capacity,
            tail: 0,
            published: 0,
            head_seen: 0,
        };
        writer.tail = writer.tail_word().load(Ordering::Acquire);
        writer.published = writer.tail;
        writer.look();
        writer
    }

    /// Begins a record with a body of exactly `length` bytes. `None` when the
    /// ring has no room now. Nothing is written for good until `Body::finish`.
    ///
    /// # Panics
    /// If `length` is over [`BODY_BYTES_MAX`], or over what the whole ring holds.
    pub fn begin(&mut self, slot: u32, generation: u32, kind: u8, length: u32) -> Option<Body<'_>> {
        assert!(
            length <= BODY_BYTES_MAX && stride(length) <= self.capacity,
            "a record fits its ring"
        );
        let need = stride(length);
        if self.free() < need {
            self.look();
        }
        let mut offset = self.tail & (self.capacity - 1);
        let to_end = self.capacity - offset;
        if need > to_end || self.can_restart(offset, need) {
            if self.free() < to_end {
                return None;
            }
            let mut marker = [0; HEADER_BYTES as usize];
            marker[12] = kind::WRAP;
            self.memory.copy_in(self.direction, offset, &marker);
            self.tail = self.tail.wrapping_add(to_end);
            offset = 0;
        }
        if self.free() < need {
            return None;
        }
        let mut header = [0; HEADER_BYTES as usize];
        header[0..4].copy_from_slice(&slot.to_le_bytes());
        header[4..8].copy_from_slice(&generation.to_le_bytes());
        header[8..12].copy_from_slice(&length.to_le_bytes());
        header[12] = kind;
        self.memory.copy_in(self.direction, offset, &header);
        Some(Body {
            at: offset + HEADER_BYTES,
            left: length,
            writer: self,
            need,
        })
    }

    /// Makes all finished records visible to the reader; true if there were any.
    pub fn publish(&mut self) -> bool {
        if self.published == self.tail {
            return false;
        }
        self.published = self.tail;
        self.tail_word().store(self.tail, Ordering::SeqCst);
        true
    }

    /// The block the ring is in.
    pub fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }

    /// Bytes written and not yet read, as far as is known without looking.
    pub fn fill(&mut self) -> u32 {
        self.look();
        self.tail.wrapping_sub(self.head_seen)
    }

    /// Tells the reader that the writer waits for room, and looks again, so that
    /// a reader that made room just before is not missed. True if there is room
    /// for at least `bytes` now.
    pub fn wait_for_room(&mut self, bytes: u32) -> bool {
        self.wait_for_fetch();
        self.free() >= bytes
    }

    /// Tells the reader that the writer wants to hear of its next fetch, and looks again.
    pub fn wait_for_fetch(&mut self) {
        let blocked = match self.direction {
            Direction::Inbound => Word::InboundBlocked,
            Direction::Outbound => Word::OutboundBlocked,
        };
        self.memory.announce(blocked);
        self.look();
    }

    /// True if the ring is empty and starting again at offset 0 is worth it and fits.
    fn can_restart(&mut self, offset: u32, need: u32) -> bool {
        // Not before half of the ring: what is skipped counts as used until the reader
        // has passed it, and what is before must take a burst meanwhile. An empty ring
        // has nothing unpublished, so this looks at most once a publish.
        if offset < self.capacity / 2 || need > offset || self.published != self.tail {
            return false;
        }
        self.look();
        self.head_seen == self.tail
    }

    fn free(&self) -> u32 {
        self.capacity - self.tail.wrapping_sub(self.head_seen)
    }

    /// Reads the reader's cursor. One that can't be is ignored: the writer never
    /// writes over bytes on the word of a broken reader.
    fn look(&mut self) {
        let head = self.head_word().load(Ordering::SeqCst);
        let fill = self.tail.wrapping_sub(head);
        if fill <= self.capacity && head.is_multiple_of(ALIGNMENT) {
            self.head_seen = head;
        }
    }

    fn tail_word(&self) -> &std::sync::atomic::AtomicU32 {
        self.memory.word(match self.direction {
            Direction::Inbound => Word::InboundTail,
            Direction::Outbound => Word::OutboundTail,
        })
    }

    fn head_word(&self) -> &std::sync::atomic::AtomicU32 {
        self.memory.word(match self.direction {
            Direction::Inbound => Word::InboundHead,
            Direction::Outbound => Word::OutboundHead,
        })
    }
}

/// The body of a record under way. Dropping it unfinished forgets the record.
#[derive(Debug)]
pub struct Body<'a> {
    writer: &'a mut RingWriter,
    at: u32,
    left: u32,
    need: u32,
}

impl Body<'_> {
    /// Appends bytes to the body.
    ///
    /// # Panics
    /// If they are more than announced to `begin`.
    pub fn write(&mut self, bytes: &[u8]) {
        let length = u32::try_from(bytes.len())
            .ok()
            .filter(|length| *length <= self.left)
            .expect("a body gets no more bytes than were announced for it");
        self.writer
            .memory
            .copy_in(self.writer.direction, self.at, bytes);
        self.at += length;
        self.left -= length;
    }

    /// Completes the record. What was announced and not written, and the padding,
    /// becomes zero: the ring's old bytes belong to other connections.
    pub fn finish(mut self) {
        const ZERO: [u8; 64] = [0; 64];
        let start = self.writer.tail & (self.writer.capacity - 1);
        let end = start + self.need;
        while self.at < end {
            let length = (end - self.at).min(64);
            let zero = &ZERO[..length as usize];
            self.writer
                .memory
                .copy_in(self.writer.direction, self.at, zero);
            self.at += length;
        }
        self.writer.tail = self.writer.tail.wrapping_add(self.need);
    }
}
