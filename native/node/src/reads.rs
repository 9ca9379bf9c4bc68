//! Transactions that only read, while they wait: first for a read-index, then
//! for room for their answers.
//!
//! A small request may ask for megabytes, so a turn answers only as many as its
//! replies have room for; the rest keeps its place and is answered by later turns.
//!
//! Invariants:
//! - a read is served from a state at least as new as the index that Raft gave
//!   after the read had come (Promise 3);
//! - reads are answered in the order they came, but for those whose deadline passes.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use domp_core::state::State;
use domp_protocol::error::ErrorCode;
use domp_protocol::frame::Item;
use domp_protocol::limits;
use domp_protocol::reply::ReplyHead;
use domp_protocol::transaction::Outline;

use crate::turn::{Replies, Socket, earliest, refusal};

/// A transaction that only reads.
struct Read {
    socket: Socket,
    sequence: u64,
    start: usize,
    end: usize,
    /// What the verifier said of the bytes.
    outline: Outline,
    deadline_us: u64,
}

/// Reads that go through read-index together.
#[derive(Default)]
struct Batch {
    reads: VecDeque<Read>,
    /// Their transactions' bytes, verified.
    bytes: Vec<u8>,
}

impl Batch {
    fn clear(&mut self) {
        self.reads.clear();
        self.bytes.clear();
    }

    /// Memory that the reads hold.
    fn held_bytes(&self) -> usize {
        self.bytes.len() + self.reads.len() * size_of::<Read>()
    }
}

/// The reads of a shard.
#[derive(Default)]
pub struct Reads {
    /// The space they read.
    space: u32,
    /// Came after the read-index in flight left: wait for the next.
    arriving: Batch,
    /// Wait for the read-index in flight, or have it and wait for room.
    asked: Batch,
    /// From asking until the last of `asked` is answered.
    in_flight: bool,
    /// Index that must be applied before `asked` is served.
    index: Option<u64>,
    context: u64,
}

impl Reads {
    /// None yet, of that space.
    pub fn new(space: u32) -> Self {
        Self {
            space,
            ..Self::default()
        }
    }

    /// Takes a verified transaction that only reads.
    pub fn push(&mut self, socket: Socket, item: &Item<'_>, outline: Outline, deadline_us: u64) {
        let start = self.arriving.bytes.len();
        self.arriving.bytes.extend_from_slice(item.payload);
        let end = self.arriving.bytes.len();
        self.arriving.reads.push_back(Read {
            socket,
            sequence: item.sequence,
            start,
            end,
            outline,
            deadline_us,
        });
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.arriving.reads.is_empty() && self.asked.reads.is_empty()
    }

    /// Memory that waiting reads hold.
    pub fn held_bytes(&self) -> usize {
        self.arriving.held_bytes() + self.asked.held_bytes()
    }

    /// The context to ask a read-index for, if reads wait for one and none is in flight.
    pub fn ask(&mut self) -> Option<u64> {
        if self.in_flight || self.arriving.reads.is_empty() {
            return None;
        }
        std::mem::swap(&mut self.arriving, &mut self.asked);
        self.context += 1;
        self.in_flight = true;
        Some(self.context)
    }

    /// The read-index asked for under `context` came.
    pub fn answered(&mut self, context: u64, index: u64) {
        if context == self.context {
            self.index = Some(index);
        }
    }

    /// Whether reads could be answered at once if there were room.
    pub fn are_due(&self, applied_index: u64) -> bool {
        self.index.is_some_and(|index| index <= applied_index)
    }

    /// Answers what is due, until the replies are full. Returns how many were answered.
    pub fn serve(&mut self, state: &mut State, replies: &mut Replies) -> u64 {
        let mut served = 0;
        let space = self.space;
        if !self.are_due(state.applied_index()) {
            return 0;
        }
        if !replies.is_full() {
            let Batch { reads, bytes } = &self.asked;
            let transactions = reads
                .iter()
                .map(|read| read.outline.over(&bytes[read.start..read.end]));
            let mut waiting = reads.iter();
            state.read_all(transactions, |answer, results| {
                let Some(read) = waiting.next() else {
                    return ControlFlow::Break(());
                };
                match answer {
                    Ok(answer) => {
                        let head = ReplyHead {
                            sequence: read.sequence,
                            revision: answer.revision,
                            code: None,
                            applied: answer.applied,
                            replayed: false,
                            outcome_applied: false,
                        };
                        replies.push(read.socket, space, &head, results);
                    }
                    Err(code) => {
                        replies.push(read.socket, space, &refusal(read.sequence, code), &[]);
                        if code == ErrorCode::ResultTooLarge {
                            // It took as long as if it had been answered.
                            replies.charge(limits::VISITED_KEYS_MAX);
                        }
                    }
                }
                replies.charge(read.outline.guarded_keys());
                served += 1;
                if replies.is_full() {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            });
            self.asked.reads.drain(..served);
        }
        self.settle();
        served as u64
    }

    /// Answers reads whose deadline passed while the shard did not serve, or others
    /// had their turn. Returns the earliest deadline left.
    pub fn refuse_late(&mut self, now_us: u64, replies: &mut Replies) -> Option<u64> {
        let (mut next, space) = (None, self.space);
        for batch in [&mut self.asked, &mut self.arriving] {
            batch.reads.retain(|read| {
                let late = read.deadline_us <= now_us;
                if late {
                    let refusal = refusal(read.sequence, ErrorCode::DeadlineExceeded);
                    replies.push(read.socket, space, &refusal, &[]);
                } else {
                    earliest(&mut next, read.deadline_us);
                }
                !late
            });
            if batch.reads.is_empty() {
                batch.bytes.clear();
            }
        }
        next
    }

    /// Everybody who waits hears `code`: the shard is going away.
    pub fn refuse_all(&mut self, code: ErrorCode, replies: &mut Replies) {
        let space = self.space;
        for batch in [&mut self.asked, &mut self.arriving] {
            for read in &batch.reads {
                replies.push(read.socket, space, &refusal(read.sequence, code), &[]);
            }
            batch.clear();
        }
        self.settle();
    }

    /// Once all that had asked are answered, the next may ask.
    fn settle(&mut self) {
        if self.index.is_some() && self.asked.reads.is_empty() {
            self.asked.clear();
            self.index = None;
            self.in_flight = false;
        }
    }
}
