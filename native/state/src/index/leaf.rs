//! Leaves: up to 60 records in key order.

use super::heads::Heads;
use super::prefetch::{LINE_BYTES, prefetch};
use super::record::Record;
use super::slots::{SLOTS, Slots};

/// Cache lines of a record that are worth loading early: header, key and the value's beginning.
const RECORD_LINES: usize = 2;

/// Loads a record early.
#[inline]
pub(super) fn prefetch_record(record: &Record) {
    prefetch(record.address(), RECORD_LINES);
}

/// A leaf.
#[repr(C, align(64))]
pub(super) struct Leaf {
    heads: Heads<0>,
    /// A byte of each key's hash: tells apart keys whose heads tie, without a look at the records.
    tags: [u8; SLOTS],
    records: Slots<Record>,
}

/// A byte that depends on the whole key, the same everywhere.
fn tag(key: &[u8]) -> u8 {
    const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut chunks = key.chunks_exact(8);
    let mut hash = key.len() as u64;
    for chunk in &mut chunks {
        let word = chunk
            .first_chunk()
            .map_or(0, |chunk| u64::from_le_bytes(*chunk));
        hash = (hash ^ word).wrapping_mul(FACTOR).rotate_left(29);
    }
    for byte in chunks.remainder() {
        hash = (hash ^ u64::from(*byte))
            .wrapping_mul(FACTOR)
            .rotate_left(29);
    }
    hash.wrapping_mul(FACTOR).to_be_bytes()[0]
}

impl Leaf {
    pub(super) fn new() -> Box<Self> {
        Box::new(Self {
            heads: Heads::new(),
            tags: [0; SLOTS],
            records: Slots::new(),
        })
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.heads.len()
    }

    #[inline]
    pub(super) fn get(&self, slot: usize) -> Option<&Record> {
        self.records.get(slot)
    }

    /// The record at `slot`, which must be below the length.
    #[inline]
    pub(super) fn at(&self, slot: usize) -> &Record {
        self.records.at(slot)
    }

    /// The record at `slot`, which must be below the length; its key must not change.
    #[inline]
    pub(super) fn at_mut(&mut self, slot: usize) -> &mut Record {
        self.records.at_mut(slot)
    }

    /// The slot of a key, or else its place. `known` as for [`Heads::narrow`].
    #[inline]
    pub(super) fn find(&self, key: &[u8], known: usize) -> Result<usize, usize> {
        if let Some(slot) = self.find_present(key) {
            return Ok(slot);
        }
        let run = self.heads.narrow(key, known, &self.records);
        self.heads.settle(key, run, &self.records)
    }

    /// The record of a key.
    #[inline]
    pub(super) fn look_up(&self, key: &[u8]) -> Option<&Record> {
        self.get(self.find_present(key)?)
    }

    /// The slot of a key that is present. A record with that key confirms the guess, so that the
    /// prefix need not be compared.
    #[inline]
    fn find_present(&self, key: &[u8]) -> Option<usize> {
        let (start, end) = self.heads.guess(key);
        if end - start == 1 {
            return (self.records.key(start) == key).then_some(start);
        }
        self.find_tagged(key, start, end)
    }

    /// The slot of a key in a run of ties, or of none.
    fn find_tagged(&self, key: &[u8], start: usize, end: usize) -> Option<usize> {
        if start == end {
            return None;
        }
        let tag = tag(key);
        (start..end).find(|&slot| self.tags[slot] == tag && self.records.key(slot) == key)
    }

    /// The slot where a key most likely is, without a look at any record.
    #[inline]
    pub(super) fn guess(&self, key: &[u8]) -> usize {
        let (start, end) = self.heads.guess(key);
        if end - start > 1 {
            let tag = tag(key);
            return (start..end)
                .find(|&slot| self.tags[slot] == tag)
                .unwrap_or(start);
        }
        start
    }

    /// Loads all pointers early, while the search for one of them goes on. For a single look-up:
    /// where several go side by side, [`Self::prefetch_slot`] needs an eighth of the memory's time.
    #[inline]
    pub(super) fn prefetch_slots(&self) {
        prefetch(
            &raw const self.records,
            size_of::<Slots<Record>>().div_ceil(LINE_BYTES),
        );
    }

    /// Loads the pointer at a slot early.
    #[inline]
    pub(super) fn prefetch_slot(&self, slot: usize) {
        prefetch(self.records.address(slot), 1);
    }

    /// Loads the record at a slot early, if there is one.
    #[inline]
    pub(super) fn prefetch_record(&self, slot: usize) {
        if let Some(record) = self.records.get(slot) {
            prefetch_record(record);
        }
    }

    /// Inserts a record at its place; the leaf must not be full.
    pub(super) fn insert(&mut self, slot: usize, record: Record) {
        let len = self.len();
        self.heads.insert(slot, record.key(), &self.records);
        self.tags.copy_within(slot..len, slot + 1);
        self.tags[slot] = tag(record.key());
        self.records.insert(len, slot, record);
    }

    /// Takes out the record at `slot`, which must be below the length.
    pub(super) fn remove(&mut self, slot: usize) -> Record {
        let len = self.len();
        self.heads.remove(slot);
        self.tags.copy_within(slot + 1..len, slot);
        self.records.remove(len, slot)
    }

    /// Splits off the records from `at` on.
    pub(super) fn split_off(&mut self, at: usize) -> Box<Self> {
        let mut right = Self::new();
        self.transfer(at, self.len(), &mut right, 0);
        self.heads.tighten(&self.records);
        right.heads.tighten(&right.records);
        right
    }

    /// Moves the records of slots `from..until` to the beginning (`at` 0) or the end (`at` its length)
    /// of another leaf.
    pub(super) fn transfer(&mut self, from: usize, until: usize, into: &mut Self, at: usize) {
        let (len, into_len, moved) = (self.len(), into.len(), until - from);
        self.heads.transfer(
            (from, until),
            &self.records,
            &mut into.heads,
            &into.records,
            at,
        );
        into.tags.copy_within(at..into_len, at + moved);
        into.tags[at..at + moved].copy_from_slice(&self.tags[from..until]);
        self.tags.copy_within(until..len, from);
        self.records
            .transfer(len, (from, until), &mut into.records, into_len, at);
    }

    /// Verifies this leaf.
    pub(super) fn check(&self) -> Result<(), String> {
        self.heads.check(&self.records)?;
        for slot in 0..self.len() {
            if self.tags[slot] != tag(self.records.key(slot)) {
                return Err(format!("wrong tag at slot {slot}"));
            }
        }
        Ok(())
    }
}

impl Drop for Leaf {
    fn drop(&mut self) {
        // The allocator will touch each block in turn; let the misses overlap.
        for slot in 0..self.len() {
            self.prefetch_record(slot);
        }
    }
}
