//! A shard's keys, changed under one transaction at a time.
//!
//! Every write keeps what it replaced until [`Keys::commit`] or
//! [`Keys::rollback`]: a transaction that fails midway leaves nothing behind,
//! and what it replaced is at hand when a snapshot under way needs it.
//!
//! Invariant: between transactions `undo` is empty and `due` holds exactly the
//! keys whose records expire.

use std::ops::Bound;

use domp_protocol::{ErrorCode, limits};

use crate::due::DueQueue;
use crate::effects::{Cause, EffectsWriter};
use crate::index::{AppendError, Entry, Index, Place, Record, Stamps, Value};
use crate::keep::{Keeper, KeptRecords};

/// When a change happens.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment {
    /// Of the commit.
    pub revision: u64,
    /// Lease time of the entry.
    pub lease_ms: u64,
}

/// The keys of a shard.
#[derive(Default)]
pub(super) struct Keys {
    index: Index,
    due: DueQueue,
    undo: Vec<Undo>,
    /// Keys that `undo` speaks of and that no record at hand holds.
    key_bytes: Vec<u8>,
    changes: u64,
    change_bytes: u64,
    keeper: Option<Keeper>,
    /// What ended snapshots had kept.
    discarded: Vec<KeptRecords>,
    scratch: Vec<u8>,
}

/// What undoes one write.
enum Undo {
    /// The key was absent.
    Inserted { key: UndoKey },
    /// Another record stood here.
    Replaced { before: Record },
    /// The key was there.
    Removed { before: Record },
    /// The number was another; written in place.
    Number {
        key: UndoKey,
        number: i64,
        stamps: Stamps,
    },
    /// The value was shorter; written in place.
    Appended {
        key: UndoKey,
        value_len: usize,
        stamps: Stamps,
    },
}

/// A key inside `key_bytes`.
#[derive(Clone, Copy)]
struct UndoKey {
    start: u32,
    len: u32,
}

/// What an addition asks for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sum {
    pub delta: i64,
    /// The sum must not be below.
    pub floor: Option<i64>,
    /// The sum must not be above.
    pub ceiling: Option<i64>,
}

impl Sum {
    fn after(&self, number: i64) -> Result<i64, ErrorCode> {
        let sum = number
            .checked_add(self.delta)
            .ok_or(ErrorCode::NumberOverflow)?;
        let low = self.floor.is_some_and(|floor| sum < floor);
        let high = self.ceiling.is_some_and(|ceiling| sum > ceiling);
        if low || high {
            Err(ErrorCode::OutOfBounds)
        } else {
            Ok(sum)
        }
    }
}

/// A transaction's effects would be over the limit.
const TOO_MANY: ErrorCode = ErrorCode::EffectsTooLarge;

impl Keys {
    /// Keys loaded from a snapshot.
    pub fn restored(index: Index, due: DueQueue) -> Self {
        Self {
            index,
            due,
            ..Self::default()
        }
    }

    /// For reading.
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// When the next key falls due.
    pub fn next_due_ms(&self) -> Option<u64> {
        self.due.next_ms()
    }

    /// Count of keys that will expire.
    pub fn expiring(&self) -> usize {
        self.due.len()
    }

    /// Begins to keep what a snapshot needs.
    pub fn begin_walk(&mut self, begin_revision: u64) {
        self.keeper = Some(Keeper::new(begin_revision));
    }

    /// Keeps no longer.
    pub fn end_walk(&mut self) {
        if let Some(keeper) = self.keeper.take() {
            self.discarded.push(keeper.into_kept());
        }
    }

    /// Frees some of what was kept in vain: all at once could take long.
    pub fn free_discarded(&mut self) {
        const MOST: usize = 4096;
        let Some(last) = self.discarded.last_mut() else {
            return;
        };
        for _ in 0..MOST {
            if last.pop_first().is_none() {
                self.discarded.pop();
                break;
            }
        }
        if self.discarded.is_empty() {
            self.discarded = Vec::new();
        }
    }

    /// The keeper and what it walks over.
    pub fn keeper_and_index(&mut self) -> (Option<&mut Keeper>, &Index) {
        (self.keeper.as_mut(), &self.index)
    }

    /// Memory of what was kept for a snapshot under way.
    pub fn kept_bytes(&self) -> usize {
        self.keeper.as_ref().map_or(0, Keeper::bytes)
    }

    /// Whether old records must be kept at every write, also where nothing can fail any more.
    pub fn keeps(&self) -> bool {
        self.keeper.is_some()
    }

    /// Writes a value over whatever is there; like all writes, with a look at `place` for it first. With `undoable` false nothing of this transaction
    /// can be rolled back any more, counted, or told as effects: for transactions known to
    /// succeed.
    pub fn put(
        &mut self,
        key: &[u8],
        place: Place,
        value: Value<'_>,
        expires_at_ms: Option<u64>,
        now: Moment,
        undoable: bool,
    ) -> Result<(), ErrorCode> {
        match self.index.entry_at(key, place) {
            Entry::Occupied(mut place) => {
                let before = place.record().stamps();
                let stamps = Stamps {
                    created: before.created,
                    modified: now.revision,
                    version: before.version.saturating_add(1),
                    expires_at_ms,
                };
                if undoable {
                    let before = place.replace(value, stamps).map_err(|_| TOO_MANY)?;
                    let size = size_of_change(&before, now);
                    self.undo.push(Undo::Replaced { before });
                    self.count(size, key.len() + value_bytes(value))?;
                } else {
                    place.write(value, stamps).map_err(|_| TOO_MANY)?;
                }
                self.due.change(key, before.expires_at_ms, expires_at_ms);
            }
            Entry::Vacant(place) => {
                let stamps = Stamps {
                    created: now.revision,
                    modified: now.revision,
                    version: 1,
                    expires_at_ms,
                };
                place.insert(value, stamps).map_err(|_| TOO_MANY)?;
                if undoable {
                    let key = self.undo_key(key);
                    self.undo.push(Undo::Inserted { key });
                }
                self.due.change(key, None, expires_at_ms);
                if undoable {
                    self.count(None, key.len() + value_bytes(value))?;
                }
            }
        }
        Ok(())
    }

    /// Adds to a number (absent: 0) inside its bounds; the sum.
    pub fn add(
        &mut self,
        key: &[u8],
        place: Place,
        sum: &Sum,
        now: Moment,
    ) -> Result<i64, ErrorCode> {
        match self.index.entry_at(key, place) {
            Entry::Occupied(mut place) => {
                let record = place.record();
                let Value::Number(number) = record.value() else {
                    return Err(ErrorCode::WrongKind);
                };
                let stamps = record.stamps();
                let size = size_of_change(record, now);
                let sum = sum.after(number)?;
                place
                    .write(Value::Number(sum), rewritten(stamps, now))
                    .map_err(|_| TOO_MANY)?;
                let undo_key = self.undo_key(key);
                self.undo.push(Undo::Number {
                    key: undo_key,
                    number,
                    stamps,
                });
                self.count(size, key.len() + NUMBER_BYTES)?;
                Ok(sum)
            }
            Entry::Vacant(_) => {
                let sum = sum.after(0)?;
                self.put(key, place, Value::Number(sum), None, now, true)?;
                Ok(sum)
            }
        }
    }

    /// Appends to bytes (absent: none); the value's new length.
    pub fn append(
        &mut self,
        key: &[u8],
        place: Place,
        tail: &[u8],
        now: Moment,
    ) -> Result<u64, ErrorCode> {
        let keeps = self.keeps();
        match self.index.entry_at(key, place) {
            Entry::Occupied(mut place) => {
                let record = place.record();
                let Value::Bytes(value) = record.value() else {
                    return Err(ErrorCode::WrongKind);
                };
                let value_len = value.len();
                let new_len = value_len + tail.len();
                if new_len as u64 > limits::VALUE_BYTES_MAX {
                    return Err(TOO_MANY);
                }
                let stamps = record.stamps();
                let size = size_of_change(record, now);
                if keeps {
                    self.scratch.clear();
                    self.scratch.extend_from_slice(value);
                    self.scratch.extend_from_slice(tail);
                    let before = place
                        .replace(Value::Bytes(&self.scratch), rewritten(stamps, now))
                        .map_err(|_| TOO_MANY)?;
                    self.undo.push(Undo::Replaced { before });
                } else {
                    place
                        .append(tail, rewritten(stamps, now))
                        .map_err(|error| match error {
                            AppendError::NotBytes => ErrorCode::WrongKind,
                            AppendError::TooLarge => TOO_MANY,
                        })?;
                    let key = self.undo_key(key);
                    self.undo.push(Undo::Appended {
                        key,
                        value_len,
                        stamps,
                    });
                }
                self.count(size, key.len() + new_len)?;
                Ok(new_len as u64)
            }
            Entry::Vacant(_) => {
                if tail.len() as u64 > limits::VALUE_BYTES_MAX {
                    return Err(TOO_MANY);
                }
                self.put(key, place, Value::Bytes(tail), None, now, true)?;
                Ok(tail.len() as u64)
            }
        }
    }

    /// Deletes a key; whether it was there.
    pub fn delete(&mut self, key: &[u8], place: Place, now: Moment) -> Result<bool, ErrorCode> {
        let Some(before) = self.index.remove_at_place(key, place) else {
            return Ok(false);
        };
        self.due.change(key, before.expires_at_ms(), None);
        let size = size_of_change(&before, now);
        self.undo.push(Undo::Removed { before });
        self.count(size, key.len())?;
        Ok(true)
    }

    /// Deletes the keys in `[from, to)`; how many there were.
    pub fn delete_range(
        &mut self,
        from: &[u8],
        to: Option<&[u8]>,
        now: Moment,
    ) -> Result<u64, ErrorCode> {
        let (low, high) = bounds(from, to);
        let count = self.index.count(low, high) as u64;
        // Told from the count alone: a range over everything must not cost its length.
        if count > limits::EFFECTS_KEYS_MAX {
            return Err(TOO_MANY);
        }
        let mut key = std::mem::take(&mut self.scratch);
        let mut result = Ok(count);
        for _ in 0..count {
            key.clear();
            let (low, high) = bounds(from, to);
            match self.index.range(low, high).next() {
                Some(record) => key.extend_from_slice(record.key()),
                None => break,
            }
            if let Err(error) = self.delete(&key, Place::UNKNOWN, now) {
                result = Err(error);
                break;
            }
        }
        self.scratch = key;
        result
    }

    /// Deletes up to `most` keys that are due, earliest first; with `effects` also writes what
    /// that changed. Whether there are effects in the buffer.
    pub fn expire(&mut self, now: Moment, most: u64, effects: Option<&mut Vec<u8>>) -> bool {
        for _ in 0..most {
            let Some(due) = self.due.pop_due(now.lease_ms) else {
                break;
            };
            if let Some(before) = self.index.remove(due.key()) {
                self.undo.push(Undo::Removed { before });
            }
        }
        if self.undo.is_empty() {
            return false;
        }
        let told = effects.is_some_and(|out| self.effects(now, Cause::Expiry, out));
        self.commit();
        told
    }

    /// Writes what the transaction changed so far; whether it changed anything. Comes before
    /// [`Self::commit`].
    pub fn effects(&self, now: Moment, cause: Cause, out: &mut Vec<u8>) -> bool {
        let mut changed: Vec<(&[u8], bool)> = self
            .undo
            .iter()
            .map(|undo| match undo {
                Undo::Inserted { key } => (self.key_of(*key), false),
                Undo::Number { key, .. } | Undo::Appended { key, .. } => (self.key_of(*key), true),
                Undo::Replaced { before } | Undo::Removed { before } => (before.key(), true),
            })
            .collect();
        // Stable: the first of equal keys tells whether it was there before the transaction.
        changed.sort_by_key(|(key, _)| *key);
        changed.dedup_by_key(|(key, _)| *key);
        let mut writer = EffectsWriter::begin(out, now.revision, now.lease_ms, cause);
        for (key, was_there) in changed {
            match self.index.get(key) {
                Some(record) => writer.put(record),
                None if was_there => writer.deleted(key),
                None => {}
            }
        }
        writer.finish()
    }

    /// Makes the transaction's writes final.
    pub fn commit(&mut self) {
        if self.keeper.is_some() {
            self.keep_replaced();
        }
        self.forget();
    }

    /// Takes the transaction's writes back.
    pub fn rollback(&mut self) {
        let mut undo = std::mem::take(&mut self.undo);
        while let Some(step) = undo.pop() {
            self.take_back(step);
        }
        self.undo = undo;
        self.forget();
    }

    fn forget(&mut self) {
        self.undo.clear();
        self.key_bytes.clear();
        self.changes = 0;
        self.change_bytes = 0;
    }

    fn take_back(&mut self, step: Undo) {
        match step {
            Undo::Inserted { key } => {
                if let Some(now) = self.index.remove(slice(&self.key_bytes, key)) {
                    self.due.change(now.key(), now.expires_at_ms(), None);
                }
            }
            Undo::Replaced { before } | Undo::Removed { before } => {
                let due = before.expires_at_ms();
                let key = std::mem::take(&mut self.scratch);
                let key = copied(key, before.key());
                let after = self.index.insert(before);
                self.due
                    .change(&key, after.and_then(|after| after.expires_at_ms()), due);
                self.scratch = key;
            }
            // In place: neither changes when the key expires.
            Undo::Number {
                key,
                number,
                stamps,
            } => {
                if let Entry::Occupied(mut place) = self.index.entry(slice(&self.key_bytes, key)) {
                    place
                        .write(Value::Number(number), stamps)
                        .expect("a number fits where a number is");
                }
            }
            Undo::Appended {
                key,
                value_len,
                stamps,
            } => {
                if let Entry::Occupied(mut place) = self.index.entry(slice(&self.key_bytes, key)) {
                    self.scratch.clear();
                    if let Value::Bytes(value) = place.record().value() {
                        self.scratch.extend_from_slice(&value[..value_len]);
                    }
                    place
                        .write(Value::Bytes(&self.scratch), stamps)
                        .expect("what was there before fits");
                }
            }
        }
    }

    /// Hands what was replaced to the snapshot under way. Of several writes of one key only the
    /// first replaced something older than this transaction; the keeper sees that by its stamps.
    fn keep_replaced(&mut self) {
        let Some(keeper) = &mut self.keeper else {
            return;
        };
        for undo in self.undo.drain(..) {
            match undo {
                Undo::Replaced { before } | Undo::Removed { before } => keeper.keep(before),
                Undo::Number {
                    key,
                    number,
                    stamps,
                } => {
                    let key = slice(&self.key_bytes, key);
                    if keeper.wants(key, stamps.modified) {
                        let before = Record::new(key, Value::Number(number), stamps)
                            .expect("a key that was in the index fits a record");
                        keeper.keep(before);
                    }
                }
                // While a snapshot is under way appending replaces; see `append`.
                Undo::Inserted { .. } | Undo::Appended { .. } => {}
            }
        }
    }

    fn undo_key(&mut self, key: &[u8]) -> UndoKey {
        let fits = "a transaction's keys fill at most 4 MiB";
        let start = u32::try_from(self.key_bytes.len()).expect(fits);
        let len = u32::try_from(key.len()).expect(fits);
        self.key_bytes.extend_from_slice(key);
        UndoKey { start, len }
    }

    fn key_of(&self, key: UndoKey) -> &[u8] {
        slice(&self.key_bytes, key)
    }

    /// Counts a write against the limits of effects. A key written twice counts once, with what
    /// it holds in the end; one deleted and written again counts twice.
    fn count(&mut self, counted_before: Option<usize>, bytes: usize) -> Result<(), ErrorCode> {
        match counted_before {
            Some(before) => self.change_bytes -= before as u64,
            None => self.changes += 1,
        }
        self.change_bytes += bytes as u64;
        if self.changes > limits::EFFECTS_KEYS_MAX || self.change_bytes > limits::EFFECTS_BYTES_MAX
        {
            return Err(TOO_MANY);
        }
        Ok(())
    }
}

/// Bytes a number counts for.
pub(super) const NUMBER_BYTES: usize = 8;

/// Bytes a value counts for.
pub(super) fn value_bytes(value: Value<'_>) -> usize {
    match value {
        Value::Bytes(bytes) => bytes.len(),
        Value::Number(_) => NUMBER_BYTES,
    }
}

/// What this transaction has counted for the key already: something if it wrote the record.
fn size_of_change(before: &Record, now: Moment) -> Option<usize> {
    (before.modified() == now.revision).then(|| before.key().len() + before.value_len())
}

/// Stamps after a write that keeps the expiry.
fn rewritten(before: Stamps, now: Moment) -> Stamps {
    Stamps {
        modified: now.revision,
        version: before.version.saturating_add(1),
        ..before
    }
}

fn slice(keys: &[u8], key: UndoKey) -> &[u8] {
    let start = key.start as usize;
    &keys[start..start + key.len as usize]
}

fn copied(mut buffer: Vec<u8>, bytes: &[u8]) -> Vec<u8> {
    buffer.clear();
    buffer.extend_from_slice(bytes);
    buffer
}

/// The bounds of `[from, to)`; without `to` up to the end.
pub(super) fn bounds<'a>(
    from: &'a [u8],
    to: Option<&'a [u8]>,
) -> (Bound<&'a [u8]>, Bound<&'a [u8]>) {
    (
        Bound::Included(from),
        to.map_or(Bound::Unbounded, Bound::Excluded),
    )
}
