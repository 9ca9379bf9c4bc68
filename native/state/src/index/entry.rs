//! A key's place in the index: looked up once, then read and written.

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

/// A record in place, for reading and writing.
pub struct Occupied<'i> {
    record: &'i mut Record,
    /// Memory of all records.
    bytes: &'i mut usize,
}

impl<'i> Occupied<'i> {
    #[inline]
    pub(super) fn new(index: &'i mut Index, path: &Path, slot: usize) -> Self {
        Self {
            record: index.root.leaf_mut(path.slots()).at_mut(slot),
            bytes: &mut index.memory.records,
        }
    }

    /// The record.
    #[inline]
    pub fn record(&self) -> &Record {
        self.record
    }

    /// Does something to the record and keeps account of its memory.
    #[inline]
    fn change<T>(&mut self, change: impl FnOnce(&mut Record) -> T) -> T {
        let before = self.record.bytes();
        let result = change(self.record);
        *self.bytes += self.record.bytes();
        *self.bytes -= before;
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
