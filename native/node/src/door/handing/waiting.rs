//! Items that wait until somebody leads their shard, by shard and in the order they came.

use std::collections::BTreeMap;

use crate::commands::earliest;
use crate::door::Sender;
use crate::replies::Socket;

/// An item with all that is known of it.
#[derive(Clone, Debug)]
pub struct Item {
    pub sender: Sender,
    pub space: u32,
    pub sequence: u64,
    pub deadline_us: u64,
    /// It needs no entry of the log.
    pub reads: bool,
    /// The whole item, verified.
    pub bytes: Box<[u8]>,
    /// Its place in the order, given when it came.
    pub number: u64,
    /// Until then somebody has to lead.
    pub until_us: u64,
    /// Who refused it, in which term, and from when on that one may be asked again; it is not tried a third time.
    pub refused: Option<(u64, u64, u64)>,
}

/// Memory of an item beside its bytes, and what one costs a node that holds it for another.
const ITEM_BYTES: u64 = 128;

/// What an item of so many bytes takes where it is held.
pub fn held_bytes(item_bytes: usize) -> u64 {
    item_bytes as u64 + ITEM_BYTES
}

/// See the module.
#[derive(Default)]
pub struct Waiting {
    items: BTreeMap<(u64, u64), Item>,
    bytes: u64,
    last: u64,
    /// Nothing is late before.
    next_late_us: Option<u64>,
}

impl Waiting {
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Whether something of a group waits.
    pub fn holds(&self, group: u64) -> bool {
        let mut of_group = self.items.range((group, 0)..=(group, u64::MAX));
        of_group.next().is_some()
    }

    /// Whether an item of so many bytes may wait beside the others.
    pub fn has_room(&self, item_bytes: usize, bytes_max: u64) -> bool {
        self.bytes == 0 || self.bytes + held_bytes(item_bytes) <= bytes_max
    }

    /// The number of the next item that comes.
    pub fn next_number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    /// The last that was given.
    pub fn last_number(&self) -> u64 {
        self.last
    }

    /// Puts an item in its place.
    pub fn put(&mut self, item: Item) {
        self.bytes += held_bytes(item.bytes.len());
        earliest(&mut self.next_late_us, item.deadline_us.min(item.until_us));
        self.items
            .insert((u64::from(item.space), item.number), item);
    }

    /// The groups that something waits for.
    pub fn groups(&self) -> Vec<u64> {
        let mut groups = Vec::new();
        let mut from = 0;
        while let Some(((group, _), _)) = self.items.range((from, 0)..).next() {
            groups.push(*group);
            let Some(next) = group.checked_add(1) else {
                break;
            };
            from = next;
        }
        groups
    }

    /// The first of a group.
    pub fn first(&self, group: u64) -> Option<&Item> {
        let mut of_group = self.items.range((group, 0)..=(group, u64::MAX));
        of_group.next().map(|(_, item)| item)
    }

    /// Takes the first of a group.
    pub fn pop(&mut self, group: u64) -> Option<Item> {
        let number = self.first(group)?.number;
        self.take((group, number))
    }

    fn take(&mut self, place: (u64, u64)) -> Option<Item> {
        let item = self.items.remove(&place)?;
        self.bytes -= held_bytes(item.bytes.len());
        if self.items.is_empty() {
            self.next_late_us = None;
        }
        Some(item)
    }

    /// Takes what has waited for too long.
    pub fn take_late(&mut self, now_us: u64) -> Vec<Item> {
        if self.next_late_us.is_none_or(|at_us| at_us > now_us) {
            return Vec::new();
        }
        let mut next = None;
        let mut late = Vec::new();
        for (place, item) in &self.items {
            let at_us = item.deadline_us.min(item.until_us);
            if at_us <= now_us {
                late.push(*place);
            } else {
                earliest(&mut next, at_us);
            }
        }
        let late: Vec<Item> = late
            .into_iter()
            .filter_map(|place| self.take(place))
            .collect();
        self.next_late_us = next;
        late
    }

    /// When something will have waited for too long.
    pub fn next_late_us(&self) -> Option<u64> {
        self.next_late_us
    }

    /// Forgets what a connection has waiting. Returns how many items that were.
    pub fn forget(&mut self, socket: Socket) -> u64 {
        let of_socket = self.items.iter();
        let of_socket = of_socket.filter(|(_, item)| item.sender.socket == socket);
        let places: Vec<_> = of_socket.map(|(place, _)| *place).collect();
        for place in &places {
            self.take(*place);
        }
        places.len() as u64
    }
}
