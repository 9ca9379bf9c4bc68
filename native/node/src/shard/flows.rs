//! Reads that are due and found no room in the turn that could have answered them, by
//! connection.
//!
//! A small request may ask for megabytes, and nobody knows what it takes before it is
//! answered. So connections take turns by what their answers did cost (deficit round
//! robin, charged afterwards): each is given a quantum a round and gives back what it
//! took beyond in rounds that it waits. A round asks the state for all its reads at once.
//!
//! Invariant: a connection's reads are answered in the order they came.

use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;

use domp_protocol::error::ErrorCode;
use domp_state::State;

use super::reads::Read;
use crate::cost;
use crate::replies::{Replies, Socket};

/// Reads of a connection that one round takes at most.
const ROUND_READS_MAX: u64 = 64;

/// A read with its transaction's bytes, verified.
struct Waiting {
    read: Read,
    bytes: Box<[u8]>,
}

/// One connection's.
struct Flow {
    reads: VecDeque<Waiting>,
    /// What it may still spend; negative: rounds it has to wait.
    deficit: i64,
    /// What one of its reads may cost, by those before.
    estimate: u64,
}

/// A read that this round is to answer.
struct Chosen {
    socket: Socket,
    waiting: Waiting,
}

/// See the module.
#[derive(Default)]
pub struct Flows {
    by_socket: BTreeMap<Socket, Flow>,
    /// Whose turn comes next; exactly those in `by_socket`.
    round: VecDeque<Socket>,
    held_bytes: usize,
}

impl Flows {
    pub fn is_empty(&self) -> bool {
        self.by_socket.is_empty()
    }

    /// Whether any is of a connection that takes answers.
    pub fn are_open(&self, replies: &Replies) -> bool {
        let mut sockets = self.round.iter();
        sockets.any(|socket| !replies.is_stalled(*socket))
    }

    /// Reads of all connections.
    pub fn len(&self) -> usize {
        self.by_socket.values().map(|flow| flow.reads.len()).sum()
    }

    /// Reads of one connection.
    pub fn len_of(&self, socket: Socket) -> usize {
        let flow = self.by_socket.get(&socket);
        flow.map_or(0, |flow| flow.reads.len())
    }

    /// Memory that the reads hold.
    pub fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Puts a read behind those of its connection.
    pub fn push(&mut self, read: Read, bytes: &[u8]) {
        self.held_bytes += held_bytes(bytes);
        let flow = self.by_socket.entry(read.socket).or_insert_with(|| {
            self.round.push_back(read.socket);
            Flow {
                reads: VecDeque::new(),
                deficit: 0,
                estimate: cost::QUANTUM,
            }
        });
        flow.reads.push_back(Waiting {
            read,
            bytes: bytes.into(),
        });
    }

    /// Answers until the replies are full or none is left. Returns how many were answered.
    pub fn serve(&mut self, space: u32, state: &mut State, replies: &mut Replies) -> u64 {
        let mut served = 0;
        while self.are_open(replies) && !replies.is_full() {
            let chosen = self.choose(replies);
            served += self.answer(chosen, space, state, replies);
        }
        served
    }

    /// What one round answers: of each connection whose turn it is as many as it can
    /// be expected to afford.
    fn choose(&mut self, replies: &Replies) -> VecDeque<Chosen> {
        let mut chosen = VecDeque::new();
        let quantum = i64::try_from(cost::QUANTUM).unwrap_or(i64::MAX);
        for &socket in &self.round {
            if replies.is_stalled(socket) {
                continue;
            }
            let Some(flow) = self.by_socket.get_mut(&socket) else {
                continue;
            };
            flow.deficit = flow.deficit.min(0).saturating_add(quantum);
            let Ok(left) = u64::try_from(flow.deficit) else {
                continue;
            };
            if left == 0 {
                continue;
            }
            let count = (left / flow.estimate.max(1)).clamp(1, ROUND_READS_MAX);
            let count =
                usize::try_from(count).map_or(flow.reads.len(), |n| n.min(flow.reads.len()));
            chosen.extend(
                flow.reads
                    .drain(..count)
                    .map(|waiting| Chosen { socket, waiting }),
            );
        }
        chosen
    }

    /// Answers what was chosen; what the replies have no room for goes back to its place.
    fn answer(
        &mut self,
        mut chosen: VecDeque<Chosen>,
        space: u32,
        state: &mut State,
        replies: &mut Replies,
    ) -> u64 {
        let mut served = 0;
        let transactions = chosen
            .iter()
            .map(|Chosen { waiting, .. }| waiting.read.outline.over(&waiting.bytes));
        let mut asking = chosen.iter();
        state.read_all(transactions, |answer, results| {
            let Some(Chosen { socket, waiting }) = asking.next() else {
                return ControlFlow::Break(());
            };
            let before = replies.spent();
            waiting.read.answer(space, answer, results, replies);
            let spent = (replies.spent() - before) as u64;
            if let Some(flow) = self.by_socket.get_mut(socket) {
                flow.estimate = (3 * flow.estimate + spent) / 4;
                let spent = i64::try_from(spent).unwrap_or(i64::MAX);
                flow.deficit = flow.deficit.saturating_sub(spent);
            }
            self.held_bytes -= held_bytes(&waiting.bytes);
            served += 1;
            if replies.is_full() {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        });
        let next = chosen.get(served).map(|chosen| chosen.socket);
        for Chosen { socket, waiting } in chosen.drain(served..).rev() {
            if let Some(flow) = self.by_socket.get_mut(&socket) {
                flow.reads.push_front(waiting);
            }
        }
        // Who was not reached is first in the next round.
        if let Some(at) = next.and_then(|next| self.round.iter().position(|each| *each == next)) {
            self.round.rotate_left(at);
        }
        self.forget_empty();
        served as u64
    }

    /// Forgets what a connection asked. Returns how many reads that were.
    pub fn forget(&mut self, socket: Socket) -> u64 {
        let Some(flow) = self.by_socket.remove(&socket) else {
            return 0;
        };
        self.round.retain(|other| *other != socket);
        for waiting in &flow.reads {
            self.held_bytes -= held_bytes(&waiting.bytes);
        }
        flow.reads.len() as u64
    }

    /// Keeps the reads of which it is said.
    pub fn retain(&mut self, mut keep: impl FnMut(&Read) -> bool) {
        let held = &mut self.held_bytes;
        for flow in self.by_socket.values_mut() {
            flow.reads.retain(|waiting| {
                let keeps = keep(&waiting.read);
                if !keeps {
                    *held -= held_bytes(&waiting.bytes);
                }
                keeps
            });
        }
        self.forget_empty();
    }

    /// Refuses all.
    pub fn refuse_all(&mut self, space: u32, code: ErrorCode, replies: &mut Replies) {
        for flow in self.by_socket.values() {
            for waiting in &flow.reads {
                waiting.read.refuse(space, code, replies);
            }
        }
        *self = Self::default();
    }

    fn forget_empty(&mut self) {
        let flows = &mut self.by_socket;
        self.round.retain(|socket| {
            let has_some = flows.get(socket).is_some_and(|flow| !flow.reads.is_empty());
            if !has_some {
                flows.remove(socket);
            }
            has_some
        });
    }
}

/// Memory that a read of so many bytes takes.
fn held_bytes(bytes: &[u8]) -> usize {
    bytes.len() + size_of::<Waiting>()
}
