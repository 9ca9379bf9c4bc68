//! The leader's side of a hop: items that other doors hand on are judged here as at the own door, each connection
//! of each door in its turn, and are answered by name.
//!
//! A door's connection that has something open here has a socket like any other, so that turns, queues and reads
//! know nothing of other doors. Invariants:
//! - a socket is given to a stream while it has something open, then to another under a new generation;
//! - what is open of a door is bounded, and what was answered and not taken too: a write is taken only with room
//!   for its answer, and reads are not answered while there is none.

use std::collections::{BTreeMap, VecDeque};

use domp_protocol::error::ErrorCode;
use domp_protocol::frame::items_of_batch;
use domp_protocol::limits;

use super::handing::held_bytes;
use super::intake::Batch;
use super::queues::Sender;
use crate::commands::Turn;
use crate::node::Node;
use crate::peers::Direction;
use crate::peers::requests::{Answers, Handed, Name, put_answers};
use crate::replies::{Replies, Socket, refusal};
use crate::spaces::META;

/// Room that the answer to anything but a read takes at most, headers included.
const ANSWER_BYTES: u64 = limits::RESULT_BYTES_MAX + 256;

/// What an item that is open holds.
#[derive(Clone, Copy, Default)]
struct Held {
    cost: u64,
    reserved: u64,
}

/// A connection of another door.
struct Stream {
    at: usize,
    name: Name,
    /// By space and sequence, in their order.
    open: BTreeMap<(u32, u64), VecDeque<Held>>,
}

#[derive(Default)]
struct Slot {
    generation: u32,
    stream: Option<Stream>,
}

/// Another node as a door.
#[derive(Default)]
struct Other {
    node: u64,
    /// Of what is open.
    cost: u64,
    reserved: u64,
    /// Of the lane that answers go on.
    connection: u64,
    sent: u64,
    taken: u64,
}

impl Other {
    fn used(&self) -> u64 {
        self.reserved + (self.sent - self.taken)
    }
}

/// See the module.
#[derive(Default)]
pub struct Remote {
    others: Vec<Other>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    names: BTreeMap<(usize, Name), u32>,
}

impl Remote {
    fn place(&mut self, node: u64) -> usize {
        let at = self.others.iter().position(|other| other.node == node);
        at.unwrap_or_else(|| {
            self.others.push(Other {
                node,
                ..Other::default()
            });
            self.others.len() - 1
        })
    }

    fn socket(&self, slot: u32, at: usize) -> Socket {
        Socket {
            slot,
            generation: self.slots[slot as usize].generation,
            door: Socket::REMOTE_DOORS + u16::try_from(at).unwrap_or(u16::MAX >> 2),
        }
    }

    /// The socket of a stream.
    fn open(&mut self, at: usize, name: Name) -> Socket {
        let slot = self.names.get(&(at, name)).copied().unwrap_or_else(|| {
            let slot = self.free.pop().unwrap_or_else(|| {
                self.slots.push(Slot::default());
                u32::try_from(self.slots.len() - 1).expect("what is open is bounded")
            });
            let place = &mut self.slots[slot as usize];
            place.generation = place.generation.wrapping_add(1);
            place.stream = Some(Stream {
                at,
                name,
                open: BTreeMap::new(),
            });
            self.names.insert((at, name), slot);
            slot
        });
        self.socket(slot, at)
    }

    fn stream(&mut self, socket: Socket) -> Option<&mut Stream> {
        let slot = self.slots.get_mut(socket.slot as usize)?;
        let is_it = slot.generation == socket.generation;
        slot.stream.as_mut().filter(|_| is_it)
    }

    /// Takes note of an item.
    fn hold(&mut self, socket: Socket, space: u32, sequence: u64, item_bytes: usize) {
        let cost = held_bytes(item_bytes);
        if let Some(stream) = self.stream(socket) {
            let at = stream.at;
            let open = stream.open.entry((space, sequence)).or_default();
            open.push_back(Held { cost, reserved: 0 });
            self.others[at].cost += cost;
        }
    }

    /// Whether an item of a door may be taken: there is room for its answer. `reads`: that is not kept for it.
    pub fn has_room(&self, socket: Socket, reads: bool, room: u64) -> bool {
        let at = usize::from(socket.door - Socket::REMOTE_DOORS);
        let needed = if reads { 0 } else { ANSWER_BYTES };
        let other = self.others.get(at);
        other.is_none_or(|other| other.used() == 0 || other.used() + needed <= room)
    }

    /// Keeps room for the answer to an item.
    pub fn reserve(&mut self, socket: Socket, space: u32, sequence: u64) {
        let Some(stream) = self.stream(socket) else {
            return;
        };
        let at = stream.at;
        let open = stream.open.get_mut(&(space, sequence));
        if let Some(held) = open.and_then(|open| open.iter_mut().find(|held| held.reserved == 0)) {
            held.reserved = ANSWER_BYTES;
            self.others[at].reserved += ANSWER_BYTES;
        }
    }

    /// An item is answered: the stream's name, and the place of its node. `None`: nobody waits for it any more.
    fn answered(&mut self, socket: Socket, space: u32, sequence: u64) -> Option<(usize, Name)> {
        let stream = self.stream(socket)?;
        let (at, name) = (stream.at, stream.name);
        let open = stream.open.get_mut(&(space, sequence))?;
        let held = open.pop_front()?;
        if open.is_empty() {
            stream.open.remove(&(space, sequence));
        }
        let is_done = stream.open.is_empty();
        self.release(at, held);
        if is_done {
            self.close(socket.slot);
        }
        Some((at, name))
    }

    fn release(&mut self, at: usize, held: Held) {
        let other = &mut self.others[at];
        other.cost -= held.cost;
        other.reserved -= held.reserved;
    }

    fn close(&mut self, slot: u32) {
        let Some(stream) = self.slots[slot as usize].stream.take() else {
            return;
        };
        for held in stream.open.into_values().flatten() {
            self.release(stream.at, held);
        }
        self.names.remove(&(stream.at, stream.name));
        self.free.push(slot);
    }

    /// Nobody waits for a stream, or with stream 0 for any of that process. Returns their sockets.
    pub fn forget(&mut self, node: u64, name: Name) -> Vec<Socket> {
        let at = self.place(node);
        let last = if name.stream == 0 {
            u64::MAX
        } else {
            name.stream
        };
        let last = Name {
            stream: last,
            ..name
        };
        self.forget_between(at, name, last)
    }

    /// The connection that a node's requests come on ended. Returns their sockets.
    pub fn forget_door(&mut self, node: u64) -> Vec<Socket> {
        let at = self.place(node);
        let name = |number| Name {
            incarnation: number,
            stream: number,
        };
        self.forget_between(at, name(0), name(u64::MAX))
    }

    fn forget_between(&mut self, at: usize, first: Name, last: Name) -> Vec<Socket> {
        let slots = self.names.range((at, first)..=(at, last));
        let slots: Vec<u32> = slots.map(|(_, slot)| *slot).collect();
        let mut sockets = Vec::new();
        for slot in slots {
            sockets.push(self.socket(slot, at));
            self.close(slot);
        }
        sockets
    }

    /// A lane of requests to or from that node began.
    pub fn connected(&mut self, node: u64, direction: Direction) {
        if direction == Direction::To {
            let at = self.place(node);
            let other = &mut self.others[at];
            other.connection += 1;
            (other.sent, other.taken) = (0, 0);
        }
    }

    /// A node took so many bytes of the answers of a connection.
    pub fn taken(&mut self, node: u64, connection: u64, bytes: u64) {
        let at = self.place(node);
        let other = &mut self.others[at];
        if other.connection == connection {
            other.taken = other.taken.max(bytes).min(other.sent);
        }
    }

    /// The doors whose reads have to wait.
    pub fn stalled_doors(&self, room: u64) -> impl Iterator<Item = u16> {
        let full = self.others.iter().enumerate();
        let full = full.filter(move |(_, other)| other.used() >= room);
        full.filter_map(|(at, _)| Some(Socket::REMOTE_DOORS + u16::try_from(at).ok()?))
    }
}

impl Node {
    /// Items that another door hands on.
    pub(super) fn take_handed(&mut self, node: u64, head: &Handed, items: &[u8], turn: &mut Turn) {
        let at = self.remote.place(node);
        let items_of = || items_of_batch(items, head.count).map_while(Result::ok);
        let cost: u64 = items_of().map(|item| held_bytes(item.bytes.len())).sum();
        // Twice what is allowed: what was forgotten here may still be on its way back there.
        let before = self.remote.others[at].cost;
        if before > 0 && before + cost > 2 * self.config.handed_on_bytes_max {
            self.handing.counters.refused += u64::from(head.count);
            return;
        }
        let socket = self.remote.open(at, head.name);
        for item in items_of() {
            self.remote
                .hold(socket, head.space, item.sequence, item.bytes.len());
        }
        let now_us = self.clock.monotonic_us;
        let deadline_us = head.deadline.own_us(self.config.incarnation(), now_us);
        let born = head.batch.birth.max(head.batch.epoch);
        let is_in_time = born <= self.clock_ceiling();
        let Some(deadline_us) = deadline_us.filter(|_| is_in_time) else {
            // Named on another's clock, or of a session that is not yet: nothing of it is proposed.
            self.handing.counters.overdue += u64::from(deadline_us.is_none());
            self.handing.counters.refused += u64::from(!is_in_time);
            for item in items_of() {
                let head_of = refusal(item.sequence, ErrorCode::Unavailable);
                turn.replies.push(socket, head.space, &head_of, &[]);
            }
            return;
        };
        // So that what is stamped from here on is above it: a shard admits no session that is born later.
        self.hlc.observe(born);
        if deadline_us <= now_us {
            self.handing.counters.overdue += u64::from(head.count);
        }
        let latest_us = now_us.saturating_add(limits::TIMEOUT_MS_MAX * 1000);
        let sender = Sender {
            socket,
            principal: head.batch.principal,
            grants: head.grants,
            batch: head.batch,
            late: self.draining,
        };
        let batch = Batch {
            space: head.space,
            count: head.count,
            bytes: items,
            deadline_us: deadline_us.min(latest_us),
        };
        self.take_batch(sender, &batch, items_of(), turn);
    }

    /// Takes what the turn answered to other doors out of its replies, and puts it on its way.
    pub(crate) fn answer_doors(&mut self, turn: &mut Turn) {
        let mut spans = std::mem::take(&mut turn.replies.spans);
        let mut filling: Option<(Answers, usize, Vec<u8>)> = None;
        spans.retain(|span| {
            if span.socket.door < Socket::REMOTE_DOORS {
                return true;
            }
            let bytes = &turn.replies.bytes[span.start as usize..span.end as usize];
            let Some(answer) = crate::peers::requests::answers_of(bytes).next() else {
                return false;
            };
            if span.socket.door == Socket::NAMES_DOOR {
                let revision = answer.head.code.is_none().then_some(answer.head.revision);
                self.on_names(span.socket, revision);
                return false;
            }
            let answered = self
                .remote
                .answered(span.socket, span.space, answer.head.sequence);
            let Some((at, name)) = answered else {
                return false;
            };
            let fits = filling.as_ref().is_some_and(|(head, to, answers)| {
                (head.name, head.space, *to) == (name, span.space, at)
                    && answers.len() < ANSWERS_BYTES
            });
            if !fits {
                self.flush_answers(filling.take());
                let (term, leader) = self.known_leader(span.space.into());
                let head = Answers {
                    space: span.space,
                    count: 0,
                    name,
                    connection: self.remote.others[at].connection,
                    term,
                    leader,
                };
                filling = Some((head, at, Vec::new()));
            }
            if let Some((head, _, answers)) = &mut filling {
                head.count += 1;
                answers.extend_from_slice(bytes);
            }
            false
        });
        self.flush_answers(filling);
        turn.replies.spans = spans;
    }

    fn flush_answers(&mut self, filling: Option<(Answers, usize, Vec<u8>)>) {
        if let Some((head, at, answers)) = filling {
            let other = &mut self.remote.others[at];
            let words = self.handing.words_to(other.node);
            other.sent += put_answers(&head, &answers, words);
        }
    }

    fn known_leader(&self, group: u64) -> (u64, u64) {
        let shard = self.shards.get(&group).or(self.shards.get(&META));
        let known = shard.filter(|shard| shard.id() == group);
        known.map_or((0, 0), |shard| {
            (shard.term(), shard.leader().unwrap_or_default())
        })
    }

    /// Reads of doors that do not take their answers have to wait.
    pub(crate) fn note_stalled_doors(&self, replies: &mut Replies) {
        replies.stall(self.remote.stalled_doors(self.config.answers_bytes_max));
    }
}

/// Answers of one word, before the last.
const ANSWERS_BYTES: usize = 1 << 20;
