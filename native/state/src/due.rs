//! Which keys expire, and when.

use std::collections::BTreeSet;

/// Keys in the order they fall due. Keys that never expire are not here and cost nothing.
#[derive(Debug, Default)]
pub(super) struct DueQueue {
    /// Lease time (8 bytes, big endian), then the key: byte order is due order, ties by key.
    items: BTreeSet<Box<[u8]>>,
    scratch: Vec<u8>,
}

impl DueQueue {
    /// Moves a key from one due time to another; `None` is never.
    pub fn change(&mut self, key: &[u8], before_ms: Option<u64>, after_ms: Option<u64>) {
        if before_ms == after_ms {
            return;
        }
        if let Some(due_ms) = before_ms {
            compose(&mut self.scratch, due_ms, key);
            self.items.remove(self.scratch.as_slice());
        }
        if let Some(due_ms) = after_ms {
            compose(&mut self.scratch, due_ms, key);
            self.items.insert(self.scratch.as_slice().into());
        }
    }

    /// Takes the key that falls due first, if that is at `now_ms` or before.
    pub fn pop_due(&mut self, now_ms: u64) -> Option<DueKey> {
        if self.next_ms()? > now_ms {
            return None;
        }
        self.items.pop_first().map(DueKey)
    }

    /// When the next key falls due.
    pub fn next_ms(&self) -> Option<u64> {
        self.items.first().map(|item| due_ms(item))
    }

    /// Count of keys that will expire.
    pub fn len(&self) -> usize {
        self.items.len()
    }
}

/// A key that fell due.
pub(super) struct DueKey(Box<[u8]>);

impl DueKey {
    /// The key.
    pub fn key(&self) -> &[u8] {
        &self.0[8..]
    }
}

fn compose(scratch: &mut Vec<u8>, due_ms: u64, key: &[u8]) {
    scratch.clear();
    scratch.extend_from_slice(&due_ms.to_be_bytes());
    scratch.extend_from_slice(key);
}

fn due_ms(item: &[u8]) -> u64 {
    let mut word = [0; 8];
    word.copy_from_slice(&item[..8]);
    u64::from_be_bytes(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_fall_due_in_order_and_can_be_moved() {
        let mut queue = DueQueue::default();
        queue.change(b"b", None, Some(5));
        queue.change(b"a", None, Some(5));
        queue.change(b"c", None, Some(300));
        queue.change(b"d", None, Some(4));
        queue.change(b"d", Some(4), Some(301));
        queue.change(b"e", None, Some(1));
        queue.change(b"e", Some(1), None);
        assert_eq!(queue.len(), 4);
        assert_eq!(queue.next_ms(), Some(5));
        assert!(queue.pop_due(4).is_none());
        let mut order = Vec::new();
        while let Some(due) = queue.pop_due(301) {
            order.push(due.key().to_vec());
        }
        assert_eq!(order, [b"a", b"b", b"c", b"d"]);
        assert_eq!(queue.next_ms(), None);
    }
}
