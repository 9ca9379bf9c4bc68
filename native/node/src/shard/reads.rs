//! Transactions that only read, while they wait: first for a read-index, then
//! for room for their answers.
//!
//! What has its read-index is answered at once, as far as the turn has room. The rest
//! goes into queues by connection ([`Flows`]), so that it is in nobody's way: who comes
//! later asks for a read-index of its own and has its turn among them.
//!
//! Invariants:
//! - a read is served from a state at least as new as the index that Raft gave
//!   after the read had come (Promise 3);
//! - a connection's reads are answered in the order they came, but for those whose
//!   deadline passes.

use std::collections::VecDeque;
use std::ops::ControlFlow;

use domp_consensus::ReadContext;
use domp_protocol::error::ErrorCode;
use domp_protocol::frame::Item;
use domp_protocol::limits;
use domp_protocol::reply::ReplyHead;
use domp_protocol::transaction::Outline;
use domp_state::{ReadAnswer, State};

use super::flows::Flows;
use super::keys::Question;
use crate::commands::earliest;
use crate::cost;
use crate::replies::{Replies, Socket, refusal};

/// Reads of one connection that may have their turn before them; more wait unjudged.
const AHEAD_MAX: usize = 1024;

/// A read-index that was not answered by then is asked for again: a message of it was lost.
const ASK_AGAIN_US: u64 = 100_000;

/// A transaction that only reads.
#[derive(Clone, Copy)]
pub struct Read {
    pub socket: Socket,
    sequence: u64,
    start: usize,
    end: usize,
    /// What the verifier said of the bytes.
    pub outline: Outline,
    deadline_us: u64,
}

impl Read {
    /// Says what the state said, and counts what it took.
    pub fn answer(
        &self,
        space: u32,
        answer: Result<ReadAnswer, ErrorCode>,
        results: &[u8],
        replies: &mut Replies,
    ) {
        match answer {
            Ok(answer) => {
                let head = ReplyHead {
                    sequence: self.sequence,
                    revision: answer.revision,
                    code: None,
                    applied: answer.applied,
                    replayed: false,
                    outcome_applied: false,
                };
                replies.push(self.socket, space, &head, results);
            }
            Err(code) => {
                self.refuse(space, code, replies);
                if code == ErrorCode::ResultTooLarge {
                    // It took as long as if it had been answered.
                    replies.charge_keys(limits::VISITED_KEYS_MAX);
                }
            }
        }
        replies.charge_keys(self.outline.guarded_keys());
        replies.charge(cost::REQUEST);
    }

    /// Says why it is not answered.
    pub fn refuse(&self, space: u32, code: ErrorCode, replies: &mut Replies) {
        replies.push(self.socket, space, &refusal(self.sequence, code), &[]);
    }
}

/// Reads that go through read-index together.
#[derive(Default)]
struct Batch {
    reads: VecDeque<Read>,
    /// About idempotency keys.
    questions: Vec<Question>,
    /// Their transactions' bytes, verified.
    bytes: Vec<u8>,
}

impl Batch {
    fn clear(&mut self) {
        self.reads.clear();
        self.questions.clear();
        self.bytes.clear();
    }

    /// Memory that the reads hold.
    fn held_bytes(&self) -> usize {
        let questions: usize = self.questions.iter().map(Question::held_bytes).sum();
        self.bytes.len() + self.reads.len() * size_of::<Read>() + questions
    }

    fn is_empty(&self) -> bool {
        self.reads.is_empty() && self.questions.is_empty()
    }

    /// Keeps the reads of which it is said.
    fn retain(&mut self, keep: impl FnMut(&Read) -> bool) {
        self.reads.retain(keep);
        if self.reads.is_empty() {
            self.bytes.clear();
        }
    }
}

/// The reads of a shard.
#[derive(Default)]
pub struct Reads {
    /// The space they read.
    space: u32,
    /// Came after the read-index in flight left: wait for the next.
    arriving: Batch,
    /// Wait for the read-index in flight, or for its index to be applied.
    asked: Batch,
    /// Have all but room.
    flows: Flows,
    /// From asking until the index is applied.
    in_flight: bool,
    /// When it was asked for, monotonic microseconds.
    asked_at_us: u64,
    /// Index that must be applied before `asked` is served.
    index: Option<u64>,
    /// The latest that was asked for.
    context: ReadContext,
    /// No deadline is earlier.
    next_late_us: Option<u64>,
}

impl Reads {
    /// None yet, of that space; the read-indices count on from `context`.
    pub fn new(space: u32, context: ReadContext) -> Self {
        Self {
            space,
            context,
            ..Self::default()
        }
    }

    /// Takes a verified transaction that only reads.
    pub fn push(&mut self, socket: Socket, item: &Item<'_>, outline: Outline, deadline_us: u64) {
        if self.is_empty() {
            self.next_late_us = None;
        }
        let start = self.arriving.bytes.len();
        self.arriving.bytes.extend_from_slice(item.payload);
        let end = self.arriving.bytes.len();
        earliest(&mut self.next_late_us, deadline_us);
        self.arriving.reads.push_back(Read {
            socket,
            sequence: item.sequence,
            start,
            end,
            outline,
            deadline_us,
        });
    }

    /// Takes a question about an idempotency key.
    pub fn ask_about(&mut self, question: Question) {
        if self.is_empty() {
            self.next_late_us = None;
        }
        earliest(&mut self.next_late_us, question.deadline_us);
        self.arriving.questions.push(question);
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.arriving.is_empty() && self.asked.is_empty() && self.flows.is_empty()
    }

    /// Whether nothing waits, and no read-index has come that nobody waits for any more.
    pub fn are_settled(&self) -> bool {
        self.is_empty() && self.index.is_none()
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        let waiting = |batch: &Batch| batch.reads.len() + batch.questions.len();
        waiting(&self.arriving) + waiting(&self.asked) + self.flows.len()
    }

    /// Memory that waiting reads hold.
    pub fn held_bytes(&self) -> usize {
        self.arriving.held_bytes() + self.asked.held_bytes() + self.flows.held_bytes()
    }

    /// Whether a connection has as many waiting as is of use: more would only be in memory.
    pub fn are_ahead(&self, socket: Socket) -> bool {
        !self.flows.is_empty() && self.flows.len_of(socket) >= AHEAD_MAX
    }

    /// The context to ask a read-index for, if reads wait for one and none is in flight, or the one that is
    /// was not answered for long.
    pub fn ask(&mut self, now_us: u64) -> Option<ReadContext> {
        if self.in_flight {
            let is_late = now_us >= self.asked_at_us.saturating_add(ASK_AGAIN_US);
            if self.index.is_some() || !is_late {
                return None;
            }
        } else if self.arriving.is_empty() {
            return None;
        } else {
            std::mem::swap(&mut self.arriving, &mut self.asked);
        }
        self.context.count += 1;
        self.in_flight = true;
        self.asked_at_us = now_us;
        Some(self.context)
    }

    /// The read-index asked for under `context` came.
    pub fn answered(&mut self, context: ReadContext, index: u64) {
        if context == self.context {
            self.index = Some(index);
        }
    }

    /// Whether reads could be answered at once if there were room.
    pub fn are_due(&self, applied_index: u64, replies: &Replies) -> bool {
        self.flows.are_open(replies) || self.are_asked_due(applied_index)
    }

    fn are_asked_due(&self, applied_index: u64) -> bool {
        self.index.is_some_and(|index| index <= applied_index)
    }

    /// Answers what is due, until the replies are full. Returns how many were answered.
    pub fn serve(&mut self, state: &mut State, replies: &mut Replies) -> u64 {
        let mut served = 0;
        if self.are_asked_due(state.applied_index()) {
            // While nobody waits, who came first is answered first.
            if self.flows.is_empty() && !replies.is_full() && !replies.stalls_any() {
                served = self.serve_asked(state, replies) as u64;
            }
            for question in self.asked.questions.drain(..) {
                question.answer(self.space, state, replies);
                served += 1;
            }
            let Batch { reads, bytes, .. } = &mut self.asked;
            for read in reads.drain(..) {
                self.flows.push(read, &bytes[read.start..read.end]);
            }
            self.settle();
        }
        served + self.flows.serve(self.space, state, replies)
    }

    fn serve_asked(&mut self, state: &mut State, replies: &mut Replies) -> usize {
        let mut served = 0;
        let space = self.space;
        let Batch { reads, bytes, .. } = &self.asked;
        let transactions = reads
            .iter()
            .map(|read| read.outline.over(&bytes[read.start..read.end]));
        let mut waiting = reads.iter();
        state.read_all(transactions, |answer, results| {
            let Some(read) = waiting.next() else {
                return ControlFlow::Break(());
            };
            read.answer(space, answer, results, replies);
            served += 1;
            if replies.is_full() {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        self.asked.reads.drain(..served);
        served
    }

    /// Answers reads whose deadline passed while the shard did not serve, or others
    /// had their turn.
    pub fn refuse_late(&mut self, now_us: u64, replies: &mut Replies) {
        if self.next_late_us.is_none_or(|at_us| at_us > now_us) {
            return;
        }
        let (mut next, space) = (None, self.space);
        let mut is_early = |read: &Read| {
            let early = read.deadline_us > now_us;
            if early {
                earliest(&mut next, read.deadline_us);
            } else {
                read.refuse(space, ErrorCode::DeadlineExceeded, replies);
            }
            early
        };
        self.flows.retain(&mut is_early);
        self.asked.retain(&mut is_early);
        self.arriving.retain(&mut is_early);
        for batch in [&mut self.asked, &mut self.arriving] {
            batch.questions.retain(|question| {
                let early = question.deadline_us > now_us;
                if early {
                    earliest(&mut next, question.deadline_us);
                } else {
                    question.refuse(space, ErrorCode::DeadlineExceeded, replies);
                }
                early
            });
        }
        self.next_late_us = next;
    }

    /// When to call [`Self::refuse_late`] again, if ever.
    pub fn next_late_us(&self) -> Option<u64> {
        if self.is_empty() {
            None
        } else {
            self.next_late_us
        }
    }

    /// Forgets what a connection asked. Returns how many reads that were.
    pub fn forget(&mut self, socket: Socket) -> u64 {
        let mut forgotten = self.flows.forget(socket);
        let mut is_other = |read: &Read| {
            let other = read.socket != socket;
            forgotten += u64::from(!other);
            other
        };
        self.asked.retain(&mut is_other);
        self.arriving.retain(&mut is_other);
        for batch in [&mut self.asked, &mut self.arriving] {
            let before = batch.questions.len();
            batch.questions.retain(|question| question.socket != socket);
            forgotten += (before - batch.questions.len()) as u64;
        }
        forgotten
    }

    /// Everybody who waits hears `code`: the shard is going away.
    pub fn refuse_all(&mut self, code: ErrorCode, replies: &mut Replies) {
        let space = self.space;
        self.flows.refuse_all(space, code, replies);
        for batch in [&mut self.asked, &mut self.arriving] {
            for read in &batch.reads {
                read.refuse(space, code, replies);
            }
            for question in &batch.questions {
                question.refuse(space, code, replies);
            }
            batch.clear();
        }
        self.settle();
    }

    /// Once what had asked is on its way out, the next may ask.
    fn settle(&mut self) {
        if self.index.is_some() && self.asked.is_empty() {
            self.asked.clear();
            self.index = None;
            self.in_flight = false;
        }
    }
}
