//! The reading side of a ring: copy a run of records out, then look at the copy.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::memory::{Memory, Word};
use super::{ALIGNMENT, BODY_BYTES_MAX, Direction, HEADER_BYTES, kind, stride};

/// A chunk larger than this gives its memory back after use.
const CHUNK_KEEP_BYTES: usize = 512 * 1024;

/// What a writer did wrong. The unread bytes are gone: nothing in them can be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RingFault {
    /// The tail is no cursor of this ring, or is not aligned.
    Cursor,
    /// A record is longer than any may be.
    Length,
    /// A record or wrap marker runs past what was published or past the ring's end.
    Overrun,
}

impl fmt::Display for RingFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cursor => "the ring's tail is out of place",
            Self::Length => "a record claims to be longer than any may be",
            Self::Overrun => "a record runs past what was published",
        })
    }
}

impl std::error::Error for RingFault {}

/// A record in a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Slot of the connection.
    pub slot: u32,
    /// Generation of the slot.
    pub generation: u32,
    /// What the body is: see [`kind`]. Unknown kinds come through.
    pub kind: u8,
    /// The body; it stands at a multiple of 8.
    pub body: &'a [u8],
}

/// A private copy of consecutive whole records.
#[derive(Debug, Default)]
pub struct Chunk {
    /// Words, so that the bytes stand at a multiple of 8.
    words: Vec<u64>,
    /// Bytes of whole records.
    filled: usize,
    /// Bytes handed out.
    at: usize,
}

impl Chunk {
    /// An empty chunk.
    pub fn new() -> Self {
        Self::default()
    }

    /// Bytes of the records in it.
    pub fn bytes(&self) -> usize {
        self.filled
    }

    /// The next record of the chunk.
    #[allow(
        clippy::should_implement_trait,
        reason = "the record borrows the chunk, which Iterator can't say"
    )]
    pub fn next(&mut self) -> Option<Record<'_>> {
        let at = self.at;
        if at >= self.filled {
            return None;
        }
        let header = Header::read(&self.raw()[at..]);
        self.at += stride(header.length) as usize;
        let body = at + HEADER_BYTES as usize;
        Some(Record {
            slot: header.slot,
            generation: header.generation,
            kind: header.kind,
            body: &self.raw()[body..body + header.length as usize],
        })
    }

    fn raw(&self) -> &[u8] {
        // SAFETY: u64 has no padding or invalid bytes, and the length is that of the vector.
        unsafe { std::slice::from_raw_parts(self.words.as_ptr().cast(), self.words.len() * 8) }
    }

    fn raw_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `raw`; every byte pattern is a valid u64.
        unsafe {
            std::slice::from_raw_parts_mut(self.words.as_mut_ptr().cast(), self.words.len() * 8)
        }
    }

    fn clear(&mut self) {
        self.filled = 0;
        self.at = 0;
        if self.words.len() * 8 > CHUNK_KEEP_BYTES {
            self.words.truncate(CHUNK_KEEP_BYTES / 8);
            self.words.shrink_to_fit();
        }
    }

    fn hold(&mut self, bytes: usize) {
        if self.words.len() * 8 < bytes {
            self.words.resize(bytes.div_ceil(8), 0);
        }
    }
}

/// Reads records from a ring.
#[derive(Debug)]
pub struct RingReader {
    memory: Arc<Memory>,
    direction: Direction,
    capacity: u32,
    head: u32,
}

impl RingReader {
    /// The reader of a ring; there must be only one.
    pub fn new(memory: Arc<Memory>, direction: Direction) -> Self {
        let capacity = memory.capacity(direction);
        let mut reader = Self {
            memory,
            direction,
            capacity,
            head: 0,
        };
        reader.head = reader.head_word().load(Ordering::Acquire);
        reader
    }

    /// True if nothing is there to read. Ordered after an earlier [`Memory::announce`].
    pub fn is_empty(&self) -> bool {
        self.tail_word().load(Ordering::SeqCst) == self.head
    }

    /// Where the reader is.
    pub fn head(&self) -> u32 {
        self.head
    }

    /// Where the writer is.
    pub fn tail(&self) -> u32 {
        self.tail_word().load(Ordering::Acquire)
    }

    /// Bytes waiting, or 0 where the tail is out of place.
    pub fn fill(&self) -> u32 {
        let fill = self.tail().wrapping_sub(self.head);
        if fill <= self.capacity { fill } else { 0 }
    }

    /// Copies the next records into `chunk`, about `bytes_max` bytes of them but
    /// at least one record, and gives their room in the ring back to the writer.
    /// False if there were none.
    ///
    /// # Errors
    /// A [`RingFault`]. Everything unread is skipped, and reading can go on.
    pub fn fill_chunk(&mut self, chunk: &mut Chunk, bytes_max: u32) -> Result<bool, RingFault> {
        chunk.clear();
        let tail = self.tail();
        // Each pass consumes something; only a wrap marker in front asks for another.
        while chunk.filled == 0 {
            let used = tail.wrapping_sub(self.head);
            if used == 0 {
                return Ok(false);
            }
            let consumed = if used > self.capacity || !used.is_multiple_of(ALIGNMENT) {
                Err(RingFault::Cursor)
            } else {
                self.copy_records(chunk, used, bytes_max)
            };
            match consumed {
                Ok(bytes) => self.release(self.head.wrapping_add(bytes)),
                Err(fault) => {
                    chunk.clear();
                    // Wherever the tail is now, the next record is written there.
                    self.release(tail);
                    return Err(fault);
                }
            }
        }
        Ok(true)
    }

    /// Copies and judges; returns how far the head may go, which is more than 0.
    fn copy_records(&self, chunk: &mut Chunk, used: u32, bytes_max: u32) -> Result<u32, RingFault> {
        let offset = self.head & (self.capacity - 1);
        let run = used.min(self.capacity - offset);
        let mut copied = run.min(bytes_max.max(HEADER_BYTES));
        chunk.hold(copied as usize);
        self.memory.copy_out(
            self.direction,
            offset,
            &mut chunk.raw_mut()[..copied as usize],
        );
        let mut at = 0;
        while at + HEADER_BYTES <= copied {
            let header = Header::read(&chunk.raw()[at as usize..]);
            if header.kind == kind::WRAP {
                let to_end = self.capacity - (offset + at);
                if to_end > used - at {
                    return Err(RingFault::Overrun);
                }
                chunk.filled = at as usize;
                return Ok(at + to_end);
            }
            if header.length > BODY_BYTES_MAX {
                return Err(RingFault::Length);
            }
            let stride = stride(header.length);
            if stride > run - at {
                return Err(RingFault::Overrun);
            }
            if stride > copied - at {
                if at > 0 {
                    break;
                }
                // One record longer than the wish: fetch its rest behind the part
                // already copied, whose header stays the one that was judged.
                chunk.hold(stride as usize);
                self.memory.copy_out(
                    self.direction,
                    offset + copied,
                    &mut chunk.raw_mut()[copied as usize..stride as usize],
                );
                copied = stride;
            }
            at += stride;
        }
        if at == 0 {
            // Only a tail that was out of place before can leave less than a header here.
            return Err(RingFault::Overrun);
        }
        chunk.filled = at as usize;
        Ok(at)
    }

    fn release(&mut self, head: u32) {
        self.head = head;
        self.head_word().store(head, Ordering::SeqCst);
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

struct Header {
    slot: u32,
    generation: u32,
    length: u32,
    kind: u8,
}

impl Header {
    /// Reads a header from at least 16 bytes.
    fn read(bytes: &[u8]) -> Self {
        let word = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        Self {
            slot: word(0),
            generation: word(4),
            length: word(8),
            kind: bytes[12],
        }
    }
}
