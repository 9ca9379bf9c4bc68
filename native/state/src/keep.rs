//! What writes keep for a snapshot under way.
//!
//! A snapshot is consistent as of its begin although writes go on. It walks
//! over the keys in order and tells by a record's `modified` stamp whether it
//! still is what it was: what was written since is skipped. The first write
//! to a key the walk has not reached hands the record it replaced to the
//! [`Keeper`] (a pre-image; moved, not copied), and the walk tells it when it comes
//! to its key. So each record of the beginning is told exactly once and in the
//! order of keys, whatever is written meanwhile.

use std::ops::Bound;

use crate::index::{Index, Record};

/// Records in the order of their keys. Keeping one is on the way of every write while a snapshot is
/// taken, so they stand in the structure that is made for that.
#[derive(Default)]
pub(super) struct KeptRecords {
    index: Index,
    /// A key to be removed.
    key: Vec<u8>,
}

impl KeptRecords {
    /// Adds a record, of whose key there is none.
    fn insert(&mut self, record: Record) {
        let other = self.index.insert(record);
        debug_assert!(
            other.is_none(),
            "a key's next record is from after the beginning"
        );
    }

    /// Takes the first; None: there is none left.
    pub fn pop_first(&mut self) -> Option<Record> {
        let mut records = self.index.range(Bound::Unbounded, Bound::Unbounded);
        self.key.clear();
        self.key.extend_from_slice(records.next()?.key());
        self.index.remove(&self.key)
    }
}

/// How far the walk over the keys is.
enum Walked {
    Nothing,
    /// This key and all below.
    UpTo(Vec<u8>),
    All,
}

/// Keeps the records of a snapshot's beginning that writes replace before the walk got there.
pub(super) struct Keeper {
    begin_revision: u64,
    walked: Walked,
    kept: KeptRecords,
    kept_bytes: usize,
}

impl Keeper {
    /// Nothing walked, nothing kept.
    pub fn new(begin_revision: u64) -> Self {
        Self {
            begin_revision,
            walked: Walked::Nothing,
            kept: KeptRecords::default(),
            kept_bytes: 0,
        }
    }

    /// Whether a record belongs to the snapshot and has not been told yet.
    pub fn wants(&self, key: &[u8], modified: u64) -> bool {
        modified <= self.begin_revision
            && match &self.walked {
                Walked::Nothing => true,
                Walked::UpTo(last) => key > last.as_slice(),
                Walked::All => false,
            }
    }

    /// Takes a record that was replaced or removed.
    pub fn keep(&mut self, before: Record) {
        if self.wants(before.key(), before.modified()) {
            self.kept_bytes += before.bytes();
            self.kept.insert(before);
        }
    }

    /// Whether a record found by the walk is what it was at the beginning.
    pub fn is_of_beginning(&self, record: &Record) -> bool {
        record.modified() <= self.begin_revision
    }

    /// Takes the first kept record, to be told when the walk comes to its key.
    pub fn take_first(&mut self) -> Option<Record> {
        let record = self.kept.pop_first()?;
        self.kept_bytes -= record.bytes();
        Some(record)
    }

    /// Takes one back that the walk did not come to.
    pub fn put_back(&mut self, record: Record) {
        self.kept_bytes += record.bytes();
        self.kept.insert(record);
    }

    /// The key behind which the walk goes on; `None`: from the first.
    pub fn position(&self) -> Option<&[u8]> {
        match &self.walked {
            Walked::UpTo(last) => Some(last),
            Walked::Nothing | Walked::All => None,
        }
    }

    /// The walk has passed this key.
    pub fn walked_to(&mut self, key: &[u8]) {
        if let Walked::UpTo(last) = &mut self.walked {
            last.clear();
            last.extend_from_slice(key);
        } else {
            self.walked = Walked::UpTo(key.to_vec());
        }
    }

    /// The walk has passed every key.
    pub fn walked_all(&mut self) {
        self.walked = Walked::All;
    }

    /// What is kept, to be freed by whoever has the time.
    pub fn into_kept(self) -> KeptRecords {
        self.kept
    }

    /// Memory of what is kept.
    pub fn bytes(&self) -> usize {
        self.kept_bytes
    }
}
