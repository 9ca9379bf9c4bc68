//! What transactions mean: an ordered map, a clone to take back what failed.

use std::collections::BTreeMap;

use domp_protocol::ErrorCode;
use domp_protocol::limits;
use domp_protocol::transaction::{Guard, Operation, ValueRef};

use crate::request::{Request, may_write};

/// What a key holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Bytes.
    Bytes(Vec<u8>),
    /// A 64-bit number.
    Number(i64),
}

impl Value {
    fn of(value: ValueRef<'_>) -> Self {
        match value {
            ValueRef::Bytes(bytes) => Self::Bytes(bytes.to_vec()),
            ValueRef::Number(number) => Self::Number(number),
        }
    }
}

/// A key's entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What it holds.
    pub value: Value,
    /// The revision that created it.
    pub created: u64,
    /// The revision that wrote it last.
    pub modified: u64,
    /// Count of writes since it was created.
    pub version: u64,
    /// Lease time at which it is due.
    pub expires_at_ms: Option<u64>,
}

/// A key that changed, with what it holds now; `None`: nothing.
pub type Change = (Vec<u8>, Option<Entry>);

/// An entry as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its key.
    pub key: Vec<u8>,
    /// What the key holds.
    pub entry: Entry,
    /// Lease time until it expires.
    pub left_ms: Option<u64>,
}

impl Found {
    fn new(key: &[u8], entry: &Entry, now: Moment) -> Self {
        Self {
            key: key.to_vec(),
            entry: entry.clone(),
            left_ms: entry
                .expires_at_ms
                .map(|at_ms| at_ms.saturating_sub(now.lease_ms)),
        }
    }
}

/// What one operation answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// A put, `space_drop`.
    Nothing,
    /// A get.
    Entry(Option<Found>),
    /// A range.
    Entries {
        /// The page.
        entries: Vec<Found>,
        /// Values are left out.
        keys_only: bool,
        /// The page ended before the range did.
        more: bool,
    },
    /// Count, delete, `delete_range`, append.
    Count(u64),
    /// Add, `space_create`.
    Number(i64),
}

/// What a transaction came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Guards were judged and the branch they chose ran.
    Executed {
        /// The guards held.
        applied: bool,
        /// The first that did not.
        failed_guard: Option<u32>,
        /// One for each operation of the branch that ran.
        answers: Vec<Answer>,
    },
    /// It was aborted and left nothing behind.
    Aborted(ErrorCode),
}

/// The keys of one shard.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    /// In their order.
    pub map: BTreeMap<Vec<u8>, Entry>,
    /// Id of the last space ever created, in the meta shard.
    space_last: i64,
}

/// What a write does to the time at which a key expires.
#[derive(Clone, Copy)]
enum Expiry {
    Set(Option<u64>),
    Keep,
}

/// When something is applied, or read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// Of the shard.
    pub revision: u64,
    /// Of the shard.
    pub lease_ms: u64,
}

impl Keys {
    /// When the first is due.
    pub fn next_due_ms(&self) -> Option<u64> {
        self.map
            .values()
            .filter_map(|entry| entry.expires_at_ms)
            .min()
    }

    /// Deletes what is due, earliest first, at most as many as one entry may; what is deleted, in the
    /// order of keys.
    pub(crate) fn expire(&mut self, lease_ms: u64) -> Vec<Vec<u8>> {
        let mut due: Vec<(u64, Vec<u8>)> = self
            .map
            .iter()
            .filter_map(|(key, entry)| {
                let at_ms = entry.expires_at_ms?;
                (at_ms <= lease_ms).then(|| (at_ms, key.clone()))
            })
            .collect();
        due.sort();
        due.truncate(usize::try_from(limits::EXPIRIES_PER_ENTRY_MAX).unwrap_or(usize::MAX));
        let mut keys: Vec<Vec<u8>> = due.into_iter().map(|(_, key)| key).collect();
        for key in &keys {
            self.map.remove(key);
        }
        keys.sort();
        keys
    }

    /// Runs a transaction; with its outcome, what it changed, in the order of keys. `meta`: this is the
    /// shard of the names of spaces.
    pub(crate) fn run(
        &mut self,
        request: &Request<'_>,
        meta: bool,
        now: Moment,
    ) -> (Outcome, Vec<Change>) {
        let failed = request.guards.iter().position(|guard| !self.holds(guard));
        let failed_guard = failed.map(|at| u32::try_from(at).expect("few guards"));
        let branch = match failed {
            None => &request.then,
            Some(_) => &request.otherwise,
        };
        let before = self.clone();
        let mut answers = Vec::new();
        for operation in branch {
            match self.step(operation, meta, now) {
                Ok(answer) => answers.push(answer),
                Err(code) => {
                    *self = before;
                    return (Outcome::Aborted(code), Vec::new());
                }
            }
        }
        let outcome = Outcome::Executed {
            applied: failed.is_none(),
            failed_guard,
            answers,
        };
        (outcome, before.changes_to(self, now.revision))
    }

    /// What a transaction changed: keys that are gone, and those that it wrote, whatever they held.
    fn changes_to(&self, after: &Self, revision: u64) -> Vec<Change> {
        let gone = self.map.keys().filter(|key| !after.map.contains_key(*key));
        let written = after
            .map
            .iter()
            .filter(|(_, entry)| entry.modified == revision);
        let mut changes: Vec<Change> = gone
            .map(|key| (key.clone(), None))
            .chain(written.map(|(key, entry)| (key.clone(), Some(entry.clone()))))
            .collect();
        changes.sort_by(|(one, _), (other, _)| one.cmp(other));
        changes
    }

    /// Whether a guard holds.
    fn holds(&self, guard: &Guard<'_>) -> bool {
        match guard {
            Guard::Exists { key } => self.map.contains_key(*key),
            Guard::Absent { key } => !self.map.contains_key(*key),
            Guard::Version { key, version } => {
                self.map.get(*key).map_or(0, |entry| entry.version) == *version
            }
            Guard::Modified { key, revision } => self
                .map
                .get(*key)
                .is_some_and(|entry| entry.modified == *revision),
            Guard::ModifiedAtMost { key, revision } => self
                .map
                .get(*key)
                .is_none_or(|entry| entry.modified <= *revision),
            Guard::Value { key, value } => self
                .map
                .get(*key)
                .is_some_and(|entry| entry.value == Value::of(*value)),
            Guard::AtLeast { key, number } => self
                .map
                .get(*key)
                .is_some_and(|entry| matches!(entry.value, Value::Number(held) if held >= *number)),
            Guard::Unchanged {
                from,
                to,
                revision,
                count,
            } => {
                let found = self.within(from, *to);
                found.len() as u64 == *count
                    && found.iter().all(|(_, entry)| entry.modified <= *revision)
            }
        }
    }

    fn within(&self, from: &[u8], to: Option<&[u8]>) -> Vec<(&Vec<u8>, &Entry)> {
        self.map
            .iter()
            .filter(|(key, _)| key.as_slice() >= from && to.is_none_or(|to| key.as_slice() < to))
            .collect()
    }

    #[allow(
        clippy::too_many_lines,
        reason = "one arm an operation reads best in one place"
    )]
    fn step(
        &mut self,
        operation: &Operation<'_>,
        meta: bool,
        now: Moment,
    ) -> Result<Answer, ErrorCode> {
        let space_operation = matches!(
            operation,
            Operation::SpaceCreate { .. } | Operation::SpaceDrop { .. }
        );
        if may_write(operation) && space_operation != meta {
            return Err(ErrorCode::Forbidden);
        }
        match operation {
            Operation::Get { key } => {
                let found = self.map.get(*key);
                Ok(Answer::Entry(
                    found.map(|entry| Found::new(key, entry, now)),
                ))
            }
            Operation::Range {
                from,
                to,
                limit,
                reverse,
                keys_only,
            } => {
                let mut found = self.within(from, *to);
                if *reverse {
                    found.reverse();
                }
                let limit = usize::try_from(*limit).unwrap_or(usize::MAX);
                let more = found.len() > limit;
                let entries = found
                    .into_iter()
                    .take(limit)
                    .map(|(key, entry)| Found::new(key, entry, now))
                    .collect();
                Ok(Answer::Entries {
                    entries,
                    keys_only: *keys_only,
                    more,
                })
            }
            Operation::Count { from, to } => Ok(Answer::Count(self.within(from, *to).len() as u64)),
            Operation::Put {
                key,
                value,
                expire_after_ms,
            } => {
                let expires_at_ms = expire_after_ms.map(|after| now.lease_ms.saturating_add(after));
                self.write(key, Value::of(*value), Expiry::Set(expires_at_ms), now);
                Ok(Answer::Nothing)
            }
            Operation::Delete { key } => Ok(Answer::Count(self.map.remove(*key).map_or(0, |_| 1))),
            Operation::DeleteRange { from, to } => {
                let keys: Vec<Vec<u8>> = self
                    .within(from, *to)
                    .into_iter()
                    .map(|(key, _)| key.clone())
                    .collect();
                for key in &keys {
                    self.map.remove(key);
                }
                Ok(Answer::Count(keys.len() as u64))
            }
            Operation::Add {
                key,
                delta,
                floor,
                ceiling,
            } => {
                let held = match self.map.get(*key).map(|entry| &entry.value) {
                    None => 0,
                    Some(Value::Number(number)) => *number,
                    Some(Value::Bytes(_)) => return Err(ErrorCode::WrongKind),
                };
                let sum = held.checked_add(*delta).ok_or(ErrorCode::NumberOverflow)?;
                if floor.is_some_and(|floor| sum < floor)
                    || ceiling.is_some_and(|ceiling| sum > ceiling)
                {
                    return Err(ErrorCode::OutOfBounds);
                }
                self.write(key, Value::Number(sum), Expiry::Keep, now);
                Ok(Answer::Number(sum))
            }
            Operation::Append { key, value } => {
                let mut bytes = match self.map.get(*key).map(|entry| &entry.value) {
                    None => Vec::new(),
                    Some(Value::Bytes(bytes)) => bytes.clone(),
                    Some(Value::Number(_)) => return Err(ErrorCode::WrongKind),
                };
                bytes.extend_from_slice(value);
                let length = bytes.len() as u64;
                self.write(key, Value::Bytes(bytes), Expiry::Keep, now);
                Ok(Answer::Count(length))
            }
            Operation::SpaceCreate { name } => {
                if self.map.contains_key(*name) {
                    return Err(ErrorCode::SpaceExists);
                }
                if self.map.len() as u64 >= limits::SPACES_MAX {
                    return Err(ErrorCode::SpacesFull);
                }
                self.space_last += 1;
                let id = self.space_last;
                self.write(name, Value::Number(id), Expiry::Set(None), now);
                Ok(Answer::Number(id))
            }
            Operation::SpaceDrop { name } => match self.map.remove(*name) {
                Some(_) => Ok(Answer::Nothing),
                None => Err(ErrorCode::SpaceNotFound),
            },
        }
    }

    fn write(&mut self, key: &[u8], value: Value, expiry: Expiry, now: Moment) {
        let before = self.map.get(key);
        let entry = Entry {
            value,
            created: before.map_or(now.revision, |entry| entry.created),
            modified: now.revision,
            version: before.map_or(0, |entry| entry.version) + 1,
            expires_at_ms: match expiry {
                Expiry::Set(at_ms) => at_ms,
                Expiry::Keep => before.and_then(|entry| entry.expires_at_ms),
            },
        };
        self.map.insert(key.to_vec(), entry);
    }
}
