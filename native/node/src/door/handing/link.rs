//! What a door has handed on to one node, under which names, and what is on its way to that node.

use std::collections::{BTreeMap, VecDeque};

use super::waiting::{Item, held_bytes};
use crate::commands::earliest;
use crate::peers::requests::{self, Handed, Name};
use crate::replies::Socket;

/// A frame between nodes takes words until it is so long.
const FRAME_BYTES: usize = 1 << 20;

/// An item that was handed on and is not answered.
pub struct Pending {
    /// Without its bytes, if it is not tried again.
    pub item: Item,
    cost: u64,
    /// It has to be answered by then.
    overdue_us: u64,
}

/// What is handed on for one space.
#[derive(Default)]
struct OfSpace {
    bytes: u64,
    /// In which that node was taken for its leader, last.
    term: u64,
}

/// A connection that has something handed on.
struct Stream {
    name: u64,
    /// Items that are not answered.
    open: u64,
}

/// Where in a stream: name, space and sequence.
type Place = (u64, u32, u64);

/// See the module.
#[derive(Default)]
pub struct Link {
    /// Its lane of requests takes what is sent.
    pub to: bool,
    /// That node's lane of requests is there, by which answers come.
    pub from: bool,
    streams: BTreeMap<Socket, Stream>,
    sockets: BTreeMap<u64, Socket>,
    /// In the order they were handed on: a client may send two under one sequence.
    pending: BTreeMap<Place, VecDeque<Pending>>,
    bytes: u64,
    spaces: BTreeMap<u32, OfSpace>,
    next_overdue_us: Option<u64>,
    /// The batch that is being filled.
    filling: Option<(Handed, Vec<u8>)>,
    frames: Vec<Vec<u8>>,
    /// Of the connection that answers come on: which, how much was taken, how much of that was told.
    taken: (u64, u64, u64),
}

impl Link {
    pub fn is_quiet(&self) -> bool {
        self.pending.is_empty()
    }

    /// How many are handed on.
    pub fn len(&self) -> usize {
        self.pending.values().map(VecDeque::len).sum()
    }

    /// Whether an item can go there and be answered.
    pub fn is_open(&self) -> bool {
        self.to && self.from
    }

    /// Whether an item of so many bytes for that space may be handed on beside the others.
    pub fn has_credit(&self, space: u32, item_bytes: usize, bytes_max: u64) -> bool {
        let cost = held_bytes(item_bytes);
        let of_space = self.spaces.get(&space).map_or(0, |space| space.bytes);
        let fits = |held: u64, max: u64| held == 0 || held + cost <= max;
        fits(self.bytes, bytes_max) && fits(of_space, bytes_max / 2)
    }

    /// The name of a connection's stream, if it has one.
    pub fn stream_of(&self, socket: Socket) -> Option<u64> {
        self.streams.get(&socket).map(|stream| stream.name)
    }

    /// Hands an item on, in a stream of that name, behind those before, to the leader of `term`.
    pub fn hand(&mut self, item: Item, head: Handed, term: u64, overdue_us: u64) {
        let socket = item.sender.socket;
        let name = head.name.stream;
        let stream = self.streams.entry(socket);
        stream.or_insert(Stream { name, open: 0 }).open += 1;
        self.sockets.insert(name, socket);
        match &mut self.filling {
            Some((before, items))
                if *before
                    == (Handed {
                        count: before.count,
                        ..head
                    }) =>
            {
                before.count += 1;
                items.extend_from_slice(&item.bytes);
            }
            _ => {
                self.flush();
                self.filling = Some((Handed { count: 1, ..head }, item.bytes.to_vec()));
            }
        }
        let cost = held_bytes(item.bytes.len());
        self.bytes += cost;
        let of_space = self.spaces.entry(item.space).or_default();
        of_space.bytes += cost;
        of_space.term = term;
        earliest(&mut self.next_overdue_us, overdue_us);
        let place = (name, item.space, item.sequence);
        let bytes = if item.refused.is_none() {
            item.bytes
        } else {
            Box::default()
        };
        let pending = Pending {
            item: Item { bytes, ..item },
            cost,
            overdue_us,
        };
        self.pending.entry(place).or_default().push_back(pending);
    }

    fn flush(&mut self) {
        if let Some((head, items)) = self.filling.take() {
            requests::put_handed(&head, &items, self.words());
        }
    }

    /// Where the next word is put.
    pub fn words(&mut self) -> &mut Vec<u8> {
        if self
            .frames
            .last()
            .is_none_or(|frame| frame.len() >= FRAME_BYTES)
        {
            self.frames.push(Vec::new());
        }
        self.frames.last_mut().expect("one was added")
    }

    /// What is to be sent, a frame each.
    pub fn take_sends(&mut self, answers_bytes_max: u64) -> Vec<Vec<u8>> {
        self.flush();
        let (connection, bytes, told) = self.taken;
        let untold = bytes - told;
        let is_due = untold >= answers_bytes_max / 8;
        if is_due || untold > 0 && !self.frames.is_empty() {
            requests::put_taken(connection, bytes, self.words());
            self.taken.2 = bytes;
        }
        std::mem::take(&mut self.frames)
    }

    /// So many bytes of answers came on a connection.
    pub fn take_answers(&mut self, connection: u64, bytes: u64) {
        if self.taken.0 != connection {
            self.taken = (connection, 0, 0);
        }
        self.taken.1 += bytes;
    }

    /// Who waits for an item that is answered, and whether it is the only one under its sequence. `None`: nobody.
    pub fn answered(&mut self, stream: u64, space: u32, sequence: u64) -> Option<(Item, bool)> {
        let place = (stream, space, sequence);
        let open = self.pending.get_mut(&place)?;
        let pending = open.pop_front()?;
        let is_only = open.is_empty();
        if is_only {
            self.pending.remove(&place);
        }
        if self.pending.is_empty() {
            self.next_overdue_us = None;
        }
        self.release(stream, &pending);
        Some((pending.item, is_only))
    }

    fn release(&mut self, stream: u64, pending: &Pending) {
        self.bytes -= pending.cost;
        if let Some(space) = self.spaces.get_mut(&pending.item.space) {
            space.bytes -= pending.cost;
            if space.bytes == 0 {
                self.spaces.remove(&pending.item.space);
            }
        }
        let socket = pending.item.sender.socket;
        if let Some(open) = self.streams.get_mut(&socket) {
            open.open -= 1;
            if open.open == 0 {
                self.streams.remove(&socket);
                self.sockets.remove(&stream);
            }
        }
    }

    /// The lane broke: all that was handed on.
    pub fn lose(&mut self) -> Vec<Item> {
        let pending = std::mem::take(&mut self.pending);
        self.streams.clear();
        self.sockets.clear();
        self.spaces.clear();
        self.bytes = 0;
        self.next_overdue_us = None;
        let lost = pending.into_values().flatten();
        let mut lost: Vec<Item> = lost.map(|pending| pending.item).collect();
        lost.sort_by_key(|item| item.number);
        lost
    }

    /// The spaces for which something is handed on, and in which term that node was taken for their leader.
    pub fn spaces(&self) -> impl Iterator<Item = (u32, u64)> {
        self.spaces.iter().map(|(space, of)| (*space, of.term))
    }

    /// That node leads a space no more: what was handed on for it.
    pub fn lose_space(&mut self, space: u32) -> Vec<Item> {
        let places = self.pending.keys().filter(|(_, of, _)| *of == space);
        let places: Vec<Place> = places.copied().collect();
        let mut lost = Vec::new();
        for (stream, space, sequence) in places {
            while let Some((item, _)) = self.answered(stream, space, sequence) {
                lost.push(item);
            }
        }
        lost.sort_by_key(|item| item.number);
        lost
    }

    /// Takes what should have been answered long ago.
    pub fn take_overdue(&mut self, now_us: u64) -> Vec<Item> {
        if self.next_overdue_us.is_none_or(|at_us| at_us > now_us) {
            return Vec::new();
        }
        let mut overdue = Vec::new();
        let mut next = None;
        for (place, open) in &self.pending {
            for pending in open {
                if pending.overdue_us <= now_us {
                    overdue.push(*place);
                } else {
                    earliest(&mut next, pending.overdue_us);
                }
            }
        }
        self.next_overdue_us = next;
        let mut items = Vec::new();
        for (stream, space, sequence) in overdue {
            items.extend(self.answered(stream, space, sequence).map(|(item, _)| item));
        }
        items
    }

    pub fn next_overdue_us(&self) -> Option<u64> {
        self.next_overdue_us
    }

    /// A connection is gone; the node that works for it is told. Returns how many items that were.
    pub fn forget(&mut self, socket: Socket, incarnation: u64) -> u64 {
        let Some(Stream { name, .. }) = self.streams.get(&socket) else {
            return 0;
        };
        let stream = *name;
        let places = self
            .pending
            .range((stream, 0, 0)..=(stream, u32::MAX, u64::MAX));
        let places: Vec<Place> = places.map(|(place, _)| *place).collect();
        let mut forgotten = 0;
        for (stream, space, sequence) in places {
            while self.answered(stream, space, sequence).is_some() {
                forgotten += 1;
            }
        }
        self.flush();
        let name = Name {
            incarnation,
            stream,
        };
        requests::put_forgotten(name, self.words());
        forgotten
    }
}
