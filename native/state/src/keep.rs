//! What writes keep for a snapshot under way.
//!
//! A snapshot is consistent as of its begin although writes go on. It walks
//! over the keys in order and tells by a record's `modified` stamp whether it
//! still is what it was: what was written since is skipped. The first write
//! to a key the walk has not reached hands the record it replaced to the
//! [`Keeper`] (a pre-image; moved, not copied), and the walk tells it when it comes
//! to its key. So each record of the beginning is told exactly once and in the
//! order of keys, whatever is written meanwhile.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::BTreeSet;

use crate::index::Record;

/// Records in the order of their keys, of which each has its own.
pub(super) type KeptRecords = BTreeSet<ByKey>;

/// A record that is nothing but its key to those who compare it.
pub(super) struct ByKey(Record);

impl PartialEq for ByKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.key() == other.0.key()
    }
}

impl Eq for ByKey {}

impl PartialOrd for ByKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for ByKey {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.key().cmp(other.0.key())
    }
}

impl Borrow<[u8]> for ByKey {
    fn borrow(&self) -> &[u8] {
        self.0.key()
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
            kept: KeptRecords::new(),
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
            let is_first = self.kept.insert(ByKey(before));
            debug_assert!(is_first, "a key's next record is from after the beginning");
        }
    }

    /// Whether a record found by the walk is what it was at the beginning.
    pub fn is_of_beginning(&self, record: &Record) -> bool {
        record.modified() <= self.begin_revision
    }

    /// Takes the first kept record, to be told now, if it comes before `next` or stands for it.
    pub fn take_before(&mut self, next: Option<&Record>) -> Option<Record> {
        let first = self.kept.first()?;
        if next.is_some_and(|next| next.key() < first.0.key()) {
            return None;
        }
        let ByKey(record) = self.kept.pop_first()?;
        self.kept_bytes -= record.bytes();
        Some(record)
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
