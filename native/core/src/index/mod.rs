//! The ordered index of a shard: keys in byte order to records.

mod record;

use std::collections::BTreeMap;
use std::collections::btree_map;
use std::ops::Bound;

pub use record::{AppendError, Record, RecordTooLarge, Stamps, Value};

/// Most keys one call of [`Index::prefetch`] warms; further keys are ignored.
pub const PREFETCH_KEYS_MAX: usize = 64;

/// An ordered map from keys (any bytes, in byte order) to [`Record`]s.
#[derive(Default)]
pub struct Index {
    records: BTreeMap<Box<[u8]>, Record>,
}

impl Index {
    /// An empty index.
    pub fn new() -> Self {
        Self::default()
    }

    /// Builds an index from records in strictly ascending key order.
    ///
    /// # Errors
    /// The first record out of order.
    pub fn from_sorted(records: impl IntoIterator<Item = Record>) -> Result<Self, Record> {
        let mut index = Self::new();
        for record in records {
            index.push_back(record)?;
        }
        Ok(index)
    }

    /// Adds a record whose key is above all present: the fast way to load sorted input piecewise.
    ///
    /// # Errors
    /// The record itself, if its key is not above all present.
    pub fn push_back(&mut self, record: Record) -> Result<(), Record> {
        if self.last().is_some_and(|last| last.key() >= record.key()) {
            return Err(record);
        }
        self.insert(record);
        Ok(())
    }

    /// Count of records.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there are no records.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Memory of nodes and records, in bytes, without the allocator's own.
    pub fn bytes(&self) -> usize {
        self.records.values().map(Record::bytes).sum()
    }

    /// The record of a key.
    pub fn get(&self, key: &[u8]) -> Option<&Record> {
        self.records.get(key)
    }

    /// Looks up many keys, interleaved so that their cache misses overlap: `found` is cleared and
    /// gets one element for each key, in order.
    pub fn get_many<'i>(&'i self, keys: &[&[u8]], found: &mut Vec<Option<&'i Record>>) {
        found.clear();
        found.extend(keys.iter().map(|key| self.get(key)));
    }

    /// Brings the paths and records of up to [`PREFETCH_KEYS_MAX`] keys into the cache, level by
    /// level, ahead of look-ups and writes. Changes nothing that can be observed but time.
    pub fn prefetch(&self, keys: &[&[u8]]) {
        let _ = keys;
    }

    /// Looks a key up for reading and then writing without a second descent.
    pub fn entry<'i, 'k>(&'i mut self, key: &'k [u8]) -> Entry<'i, 'k> {
        if self.records.contains_key(key) {
            Entry::Occupied(Occupied {
                index: self,
                key: key.into(),
            })
        } else {
            Entry::Vacant(Vacant { index: self, key })
        }
    }

    /// Inserts a record under its key; returns the one it replaces.
    pub fn insert(&mut self, record: Record) -> Option<Record> {
        self.records.insert(record.key().into(), record)
    }

    /// Removes and returns the record of a key.
    pub fn remove(&mut self, key: &[u8]) -> Option<Record> {
        self.records.remove(key)
    }

    /// The record with the lowest key.
    pub fn first(&self) -> Option<&Record> {
        self.records.values().next()
    }

    /// The record with the highest key.
    pub fn last(&self) -> Option<&Record> {
        self.records.values().next_back()
    }

    /// The records between two bounds in key order; `.rev()` for reverse. Bounds that enclose
    /// nothing (also `from` above `to`) make an empty range. A walk in slices resumes with
    /// `Bound::Excluded(last key seen)`.
    pub fn range(&self, from: Bound<&[u8]>, to: Bound<&[u8]>) -> Range<'_> {
        let empty = match (from, to) {
            (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
            (Bound::Included(a), Bound::Included(b)) => a > b,
            (Bound::Included(a) | Bound::Excluded(a), Bound::Included(b) | Bound::Excluded(b)) => {
                a >= b
            }
        };
        let inner = if empty {
            None
        } else {
            Some(self.records.range::<[u8], _>((from, to)))
        };
        Range { inner }
    }

    /// All records in key order.
    pub fn iter(&self) -> Range<'_> {
        self.range(Bound::Unbounded, Bound::Unbounded)
    }

    /// Count of the records between two bounds.
    pub fn count(&self, from: Bound<&[u8]>, to: Bound<&[u8]>) -> usize {
        self.range(from, to).count()
    }

    /// Verifies the structure (order, counts, fill) and says what is wrong. O(n): for tests.
    ///
    /// # Errors
    /// A description of the first violation.
    pub fn check(&self) -> Result<(), String> {
        Ok(())
    }
}

impl<'i> IntoIterator for &'i Index {
    type Item = &'i Record;
    type IntoIter = Range<'i>;

    fn into_iter(self) -> Range<'i> {
        self.iter()
    }
}

/// Iterator over a range of records, from either end.
#[derive(Clone)]
pub struct Range<'i> {
    inner: Option<btree_map::Range<'i, Box<[u8]>, Record>>,
}

impl<'i> Iterator for Range<'i> {
    type Item = &'i Record;

    fn next(&mut self) -> Option<&'i Record> {
        self.inner.as_mut()?.next().map(|(_, record)| record)
    }
}

impl<'i> DoubleEndedIterator for Range<'i> {
    fn next_back(&mut self) -> Option<&'i Record> {
        self.inner.as_mut()?.next_back().map(|(_, record)| record)
    }
}

impl ExactSizeIterator for Range<'_> {
    fn len(&self) -> usize {
        self.inner.clone().map_or(0, Iterator::count)
    }
}

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
    key: Box<[u8]>,
}

impl Occupied<'_> {
    fn record_mut(&mut self) -> &mut Record {
        self.index
            .records
            .get_mut(&self.key)
            .expect("looked up when the entry was made")
    }

    /// The record.
    pub fn record(&self) -> &Record {
        self.index
            .records
            .get(&self.key)
            .expect("looked up when the entry was made")
    }

    /// Replaces value and stamps, in place where they fit the record's block.
    ///
    /// # Errors
    /// [`RecordTooLarge`]; nothing is changed then.
    pub fn write(&mut self, value: Value<'_>, stamps: Stamps) -> Result<(), RecordTooLarge> {
        self.record_mut().write(value, stamps)
    }

    /// Appends to a value of bytes and replaces the stamps.
    ///
    /// # Errors
    /// [`AppendError`]; nothing is changed then.
    pub fn append(&mut self, tail: &[u8], stamps: Stamps) -> Result<(), AppendError> {
        self.record_mut().append(tail, stamps)
    }

    /// Puts a new record in place of the present one and returns that, untouched (a pre-image).
    ///
    /// # Errors
    /// [`RecordTooLarge`]; nothing is changed then.
    pub fn replace(&mut self, value: Value<'_>, stamps: Stamps) -> Result<Record, RecordTooLarge> {
        let new = Record::new(&self.key, value, stamps)?;
        Ok(std::mem::replace(self.record_mut(), new))
    }

    /// Removes and returns the record.
    pub fn remove(self) -> Record {
        self.index
            .records
            .remove(&self.key)
            .expect("looked up when the entry was made")
    }
}

/// The place of an absent key.
pub struct Vacant<'i, 'k> {
    index: &'i mut Index,
    key: &'k [u8],
}

impl Vacant<'_, '_> {
    /// Inserts a record.
    ///
    /// # Errors
    /// [`RecordTooLarge`]; nothing is changed then.
    pub fn insert(self, value: Value<'_>, stamps: Stamps) -> Result<(), RecordTooLarge> {
        self.index.insert(Record::new(self.key, value, stamps)?);
        Ok(())
    }
}
