//! What a state must do, written as plainly as can be: maps that are copied to be taken back, scans
//! instead of indexes. Slow, and obviously right.

use std::collections::BTreeMap;

use domp_protocol::results::{EntryValue, OwnedEntry, ResultValue, Results};
use domp_protocol::{ErrorCode, Guard, Operation, Transaction, ValueRef};

/// An entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    pub value: EntryValue,
    pub created: u64,
    pub modified: u64,
    pub version: u64,
    pub expires_at_ms: Option<u64>,
}

/// What became of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Executed {
    pub applied: bool,
    pub results: Results,
    /// Changed keys in order, with what they hold now.
    pub effects: Vec<(Vec<u8>, Option<Held>)>,
}

/// Keys by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys {
    held: BTreeMap<Vec<u8>, Held>,
}

fn value_of(value: ValueRef<'_>) -> EntryValue {
    match value {
        ValueRef::Bytes(bytes) => EntryValue::Bytes(bytes.to_vec()),
        ValueRef::Number(number) => EntryValue::Number(number),
    }
}

impl Keys {
    /// Executes a transaction; on an error nothing has changed.
    pub fn execute(
        &mut self,
        transaction: &Transaction<'_>,
        revision: u64,
        lease_ms: u64,
    ) -> Result<Executed, ErrorCode> {
        let before = self.clone();
        let executed = self.attempt(transaction, revision, lease_ms);
        if executed.is_err() {
            *self = before;
            return executed;
        }
        executed.map(|executed| Executed {
            effects: before.changes_to(self, revision),
            ..executed
        })
    }

    /// Deletes what is due, earliest first; the keys deleted.
    pub fn expire(&mut self, lease_ms: u64, most: usize) -> Vec<Vec<u8>> {
        let mut due: Vec<(u64, Vec<u8>)> = self
            .held
            .iter()
            .filter_map(|(key, held)| Some((held.expires_at_ms?, key.clone())))
            .filter(|(due_ms, _)| *due_ms <= lease_ms)
            .collect();
        due.sort();
        due.truncate(most);
        let mut keys: Vec<Vec<u8>> = due.into_iter().map(|(_, key)| key).collect();
        for key in &keys {
            self.held.remove(key);
        }
        keys.sort();
        keys
    }

    pub fn len(&self) -> usize {
        self.held.len()
    }

    pub fn next_due_ms(&self) -> Option<u64> {
        self.held
            .values()
            .filter_map(|held| held.expires_at_ms)
            .min()
    }

    fn changes_to(&self, after: &Self, revision: u64) -> Vec<(Vec<u8>, Option<Held>)> {
        let gone = self
            .held
            .keys()
            .filter(|key| !after.held.contains_key(*key));
        let mut changes: Vec<(Vec<u8>, Option<Held>)> =
            gone.map(|key| (key.clone(), None)).collect();
        for (key, held) in &after.held {
            if held.modified == revision {
                changes.push((key.clone(), Some(held.clone())));
            }
        }
        changes.sort_by(|a, b| a.0.cmp(&b.0));
        changes
    }

    fn attempt(
        &mut self,
        transaction: &Transaction<'_>,
        revision: u64,
        lease_ms: u64,
    ) -> Result<Executed, ErrorCode> {
        let failed = transaction.guards().position(|guard| !self.holds(&guard));
        let failed_guard = failed.map(|at| u32::try_from(at).expect("few guards"));
        let branch: Vec<Operation<'_>> = match failed {
            None => transaction.then().collect(),
            Some(_) => transaction.otherwise().into_iter().flatten().collect(),
        };
        let only_puts = branch.iter().all(|op| matches!(op, Operation::Put { .. }));
        let mut results = Vec::new();
        for operation in &branch {
            results.push(self.operation(operation, revision, lease_ms)?);
        }
        if only_puts {
            results.clear();
        }
        let results = Results {
            results,
            failed_guard,
            kept: None,
        };
        Ok(Executed {
            applied: failed.is_none(),
            results,
            effects: Vec::new(),
        })
    }

    fn holds(&self, guard: &Guard<'_>) -> bool {
        let get = |key: &[u8]| self.held.get(key);
        match *guard {
            Guard::Exists { key } => get(key).is_some(),
            Guard::Absent { key } => get(key).is_none(),
            Guard::Version { key, version } => get(key).map_or(0, |held| held.version) == version,
            Guard::Modified { key, revision } => {
                get(key).is_some_and(|held| held.modified == revision)
            }
            Guard::ModifiedAtMost { key, revision } => {
                get(key).is_none_or(|held| held.modified <= revision)
            }
            Guard::Value { key, value } => {
                get(key).is_some_and(|held| held.value == value_of(value))
            }
            Guard::AtLeast { key, number } => get(key)
                .is_some_and(|held| matches!(held.value, EntryValue::Number(n) if n >= number)),
            Guard::Unchanged {
                from,
                to,
                revision,
                count,
            } => {
                let range = self.range(from, to);
                range.len() as u64 == count
                    && range.iter().all(|(_, held)| held.modified <= revision)
            }
        }
    }

    fn range(&self, from: &[u8], to: Option<&[u8]>) -> Vec<(&Vec<u8>, &Held)> {
        self.held
            .iter()
            .filter(|(key, _)| key.as_slice() >= from && to.is_none_or(|to| key.as_slice() < to))
            .collect()
    }

    fn write(&mut self, key: &[u8], value: EntryValue, expires_at_ms: Option<u64>, revision: u64) {
        let before = self.held.get(key);
        let held = Held {
            value,
            created: before.map_or(revision, |held| held.created),
            modified: revision,
            version: before.map_or(0, |held| held.version) + 1,
            expires_at_ms,
        };
        self.held.insert(key.to_vec(), held);
    }

    fn operation(
        &mut self,
        operation: &Operation<'_>,
        revision: u64,
        lease_ms: u64,
    ) -> Result<ResultValue, ErrorCode> {
        let mut result = ResultValue::default();
        match *operation {
            Operation::Get { key } => {
                result.entry = self
                    .held
                    .get(key)
                    .map(|held| entry(key, held, lease_ms, false));
            }
            Operation::Range {
                from,
                to,
                limit,
                reverse,
                keys_only,
            } => {
                let mut range = self.range(from, to);
                if reverse {
                    range.reverse();
                }
                result.more = range.len() > limit as usize;
                range.truncate(limit as usize);
                result.entries = range
                    .into_iter()
                    .map(|(key, held)| entry(key, held, lease_ms, keys_only))
                    .collect();
            }
            Operation::Count { from, to } => result.count = self.range(from, to).len() as u64,
            Operation::Put {
                key,
                value,
                expire_after_ms,
            } => {
                let expires_at_ms = expire_after_ms.map(|after_ms| lease_ms + after_ms);
                self.write(key, value_of(value), expires_at_ms, revision);
            }
            Operation::Delete { key } => {
                result.count = u64::from(self.held.remove(key).is_some());
            }
            Operation::DeleteRange { from, to } => {
                let keys: Vec<Vec<u8>> = self
                    .range(from, to)
                    .into_iter()
                    .map(|(key, _)| key.clone())
                    .collect();
                for key in &keys {
                    self.held.remove(key);
                }
                result.count = keys.len() as u64;
            }
            Operation::Add {
                key,
                delta,
                floor,
                ceiling,
            } => {
                let held = self.held.get(key);
                let expires_at_ms = held.and_then(|held| held.expires_at_ms);
                let number = match held.map(|held| &held.value) {
                    None => 0,
                    Some(EntryValue::Number(number)) => *number,
                    Some(EntryValue::Bytes(_)) => return Err(ErrorCode::WrongKind),
                };
                let sum = number.checked_add(delta).ok_or(ErrorCode::NumberOverflow)?;
                if floor.is_some_and(|floor| sum < floor)
                    || ceiling.is_some_and(|ceiling| sum > ceiling)
                {
                    return Err(ErrorCode::OutOfBounds);
                }
                self.write(key, EntryValue::Number(sum), expires_at_ms, revision);
                result.number = Some(sum);
            }
            Operation::Append { key, value } => {
                let held = self.held.get(key);
                let expires_at_ms = held.and_then(|held| held.expires_at_ms);
                let mut bytes = match held.map(|held| &held.value) {
                    None => Vec::new(),
                    Some(EntryValue::Bytes(bytes)) => bytes.clone(),
                    Some(EntryValue::Number(_)) => return Err(ErrorCode::WrongKind),
                };
                bytes.extend_from_slice(value);
                result.count = bytes.len() as u64;
                self.write(key, EntryValue::Bytes(bytes), expires_at_ms, revision);
            }
            Operation::SpaceCreate { .. } | Operation::SpaceDrop { .. } => {
                panic!("not in a space's state")
            }
        }
        Ok(result)
    }
}

fn entry(key: &[u8], held: &Held, lease_ms: u64, keys_only: bool) -> OwnedEntry {
    OwnedEntry {
        key: key.to_vec(),
        value: (!keys_only).then(|| held.value.clone()),
        created: held.created,
        modified: held.modified,
        version: held.version,
        expires_in_ms: held
            .expires_at_ms
            .map(|at_ms| at_ms.saturating_sub(lease_ms)),
    }
}
