//! The next few transactions of an entry, taken apart once: their keys are brought into the cache
//! together, then each transaction is executed from its parts.

use domp_protocol::{Guard, Operation, Transaction};

use super::footprint::Mention;
use crate::entry::{Planned, Work};
use crate::index::{Index, PREFETCH_KEYS_MAX};

/// A transaction, taken apart.
#[derive(Clone, Copy)]
pub(super) struct Parts<'w, 'a> {
    pub transaction: Transaction<'a>,
    pub guards: &'w [Guard<'a>],
    pub then: &'w [Operation<'a>],
}

/// Transactions taken apart, one behind the other.
#[derive(Default)]
pub(super) struct Window<'a> {
    guards: Vec<Guard<'a>>,
    operations: Vec<Operation<'a>>,
    /// Where each item's guards and operations end.
    ends: Vec<(usize, usize)>,
    /// The item to come, and where its guards and operations begin.
    next: usize,
    begin: (usize, usize),
    keys: Vec<&'a [u8]>,
}

impl<'a> Window<'a> {
    /// Whether all items of the window have been taken.
    pub fn is_empty(&self) -> bool {
        self.next == self.ends.len()
    }

    /// Takes the next items apart, as many as have keys to fetch at once, and fetches these.
    pub fn fill(
        &mut self,
        items: &[Planned],
        entry: &'a [u8],
        index: &Index,
        recent: &mut RecentKeys,
    ) {
        self.guards.clear();
        self.operations.clear();
        self.ends.clear();
        self.keys.clear();
        (self.next, self.begin) = (0, (0, 0));
        for item in items {
            if let Work::Transaction(outline) = item.work {
                let transaction = outline.over(item.payload(entry));
                for guard in transaction.guards() {
                    self.add_key(Mention::of_guard(&guard), recent);
                    self.guards.push(guard);
                }
                for operation in transaction.then() {
                    self.add_key(Mention::of_operation(&operation), recent);
                    self.operations.push(operation);
                }
            }
            self.ends.push((self.guards.len(), self.operations.len()));
            if self.keys.len() >= PREFETCH_KEYS_MAX || self.ends.len() >= ITEMS_MAX {
                break;
            }
        }
        index.prefetch(&self.keys);
    }

    /// The parts of the next item; empty unless it is a transaction.
    pub fn take(&mut self) -> (&[Guard<'a>], &[Operation<'a>]) {
        let begin = self.begin;
        let end = self.ends.get(self.next).copied().unwrap_or(begin);
        self.next += 1;
        self.begin = end;
        (
            &self.guards[begin.0..end.0],
            &self.operations[begin.1..end.1],
        )
    }

    /// The same window, empty, for other bytes: keeps the memory.
    pub fn recycle<'b>(self) -> Window<'b> {
        Window {
            guards: recycle(self.guards),
            operations: recycle(self.operations),
            ends: recycle(self.ends),
            next: 0,
            begin: (0, 0),
            keys: recycle(self.keys),
        }
    }

    fn add_key(&mut self, mention: Mention<'a>, recent: &mut RecentKeys) {
        if let Mention::Key(key) = mention
            && self.keys.len() < PREFETCH_KEYS_MAX
            && recent.is_new(key)
        {
            self.keys.push(key);
        }
    }
}

/// An empty vector in the memory of another whose elements borrowed from elsewhere. Collecting
/// an emptied vector's iterator reuses its allocation.
fn recycle<T, U>(mut items: Vec<T>) -> Vec<U> {
    items.clear();
    items
        .into_iter()
        .map(|_| -> U { unreachable!("the vector was cleared") })
        .collect()
}

/// Items in one window, however few keys they have: what is fetched must still be there when its
/// turn comes.
const ITEMS_MAX: usize = 64;

/// Remembers roughly which keys were fetched lately and need not be again: hot keys take most of
/// many workloads. Wrong now and then, which costs time and nothing else.
pub(super) struct RecentKeys {
    fingerprints: [u32; 256],
}

impl Default for RecentKeys {
    fn default() -> Self {
        Self {
            fingerprints: [0; 256],
        }
    }
}

impl RecentKeys {
    /// Whether a key was not seen lately; from now on it was.
    fn is_new(&mut self, key: &[u8]) -> bool {
        const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;
        // Keys that are used together mostly differ in their last bytes.
        let last = match key.last_chunk::<8>() {
            Some(last) => u64::from_le_bytes(*last),
            None => key
                .iter()
                .fold(1, |word, byte| word << 8 | u64::from(*byte)),
        };
        let mixed = (last ^ key.len() as u64).wrapping_mul(MULTIPLIER);
        let [.., a, b, c, d, slot] = mixed.to_le_bytes();
        let fingerprint = u32::from_le_bytes([a, b, c, d]);
        let known = &mut self.fingerprints[usize::from(slot)];
        let is_new = *known != fingerprint;
        *known = fingerprint;
        is_new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_seen_lately_are_known_and_older_ones_are_not() {
        let mut recent = RecentKeys::default();
        let name = |number: u32| format!("account/{number:08}");
        assert!(recent.is_new(b"hot"));
        assert!(!recent.is_new(b"hot"));
        let new = (0..64)
            .filter(|number| recent.is_new(name(*number).as_bytes()))
            .count();
        assert!(new >= 63, "other keys are told apart: {new}");
        for number in 0..100_000 {
            recent.is_new(name(number).as_bytes());
        }
        assert!(
            recent.is_new(b"hot"),
            "what was not used for long is fetched again"
        );
    }
}
