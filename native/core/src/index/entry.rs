//! A key's place in the index: looked up once, then read, written or removed.

use super::Index;
use super::edit::Path;
use super::record::{AppendError, Record, RecordTooLarge, Stamps, Value};

/// A key's place in the index.
pub enum Entry<'i, 'k> {
    /// The key has a record.
    Occupied(Occupied<'i>),
    /// The key has none.
    Vacant(Vacant<'i, 'k>),
}

/// A record in place, for reading, writing and removing.
pub struct Occupied<'i> {
    index: &'i mut Index,
    path: Path,
    slot: usize,
}

impl<'i> Occupied<'i> {
    pub(super) fn new(index: &'i mut Index, path: Path, slot: usize) -> Self {
        Self { index, path, slot }
    }

    /// The record.
    pub fn record(&self) -> &Record {
        self.index.leaf(&self.path).at(self.slot)
    }

    /// Does something to the record and keeps account of its memory.
    fn change<T>(&mut self, change: impl FnOnce(&mut Record) -> T) -> T {
        let record = self
            .index
            .root
            .leaf_mut(self.path.slots())
            .at_mut(self.slot);
        let before = record.bytes();
        let result = change(record);
        self.index.memory.records += record.bytes();
        self.index.memory.records -= before;
        result
    }

    /// Replaces value and stamps, in place where they fit the record's block.
    ///
    /// # Errors
    /// [`RecordTooLarge`]; nothing is changed then.
    pub fn write(&mut self, value: Value<'_>, stamps: Stamps) -> Result<(), RecordTooLarge> {
        self.change(|record| record.write(value, stamps))
    }

    /// Appends to a value of bytes and replaces the stamps.
    ///
    /// # Errors
    /// [`AppendError`]; nothing is changed then.
    pub fn append(&mut self, tail: &[u8], stamps: Stamps) -> Result<(), AppendError> {
        self.change(|record| record.append(tail, stamps))
    }

    /// Puts a new record in place of the present one and returns that, untouched (a pre-image).
    ///
    /// # Errors
    /// [`RecordTooLarge`]; nothing is changed then.
    pub fn replace(&mut self, value: Value<'_>, stamps: Stamps) -> Result<Record, RecordTooLarge> {
        self.change(|record| {
            let new = Record::new(record.key(), value, stamps)?;
            Ok(std::mem::replace(record, new))
        })
    }

    /// Removes and returns the record.
    pub fn remove(self) -> Record {
        self.index.remove_at(&self.path, self.slot)
    }
}

/// The place of an absent key.
pub struct Vacant<'i, 'k> {
    index: &'i mut Index,
    path: Path,
    slot: usize,
    key: &'k [u8],
}

impl<'i, 'k> Vacant<'i, 'k> {
    pub(super) fn new(index: &'i mut Index, path: Path, slot: usize, key: &'k [u8]) -> Self {
        Self {
            index,
            path,
            slot,
            key,
        }
    }

    /// Inserts a record.
    ///
    /// # Errors
    /// [`RecordTooLarge`]; nothing is changed then.
    pub fn insert(self, value: Value<'_>, stamps: Stamps) -> Result<(), RecordTooLarge> {
        let record = Record::new(self.key, value, stamps)?;
        self.index.insert_at(&self.path, self.slot, record);
        Ok(())
    }
}
