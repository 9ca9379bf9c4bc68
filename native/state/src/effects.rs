//! Effects: what one commit changed, in one canonical encoding.
//!
//! The same change has the same bytes on every replica; feeds, sinks and proofs
//! are made of nothing else. Little endian, offsets in bytes:
//!
//! ```text
//! head     32   0 revision u64     8 lease_ms u64    16 count u32    20 cause u8
//!               21 format u8 (1)   22 zero, 10 bytes
//! then `count` changes, keys strictly ascending
//! change   32   0 created u64      8 version u64     16 expires_at_ms u64
//!               24 value_len u32   28 key_len u16    30 kind u8      31 flags u8
//!               key, value, zero bytes to a multiple of 8
//! ```
//!
//! `cause` is 1 for a transaction, 2 for expiry. `kind` is 1 for bytes, 2 for a
//! number (the value is its 8 bytes), 3 for a deletion (created, version,
//! `expires_at_ms` and `value_len` are zero). Bit 0 of `flags`: the entry
//! expires; `expires_at_ms` is zero without. A key stands once, with what it is
//! after the commit; one that was absent before and after does not stand. Every
//! written entry was modified at `revision`. A commit that changed nothing has
//! no effects.
//!
//! Expiry is a transaction of the system at the start of a log entry, with the
//! entry's first revision; its items have those behind it.

use crate::bytes::{u32_at, u64_at};
use crate::entry::EntryError;
use crate::index::{Record, Value};

/// What made the change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A transaction.
    Transaction,
    /// Lease time passed.
    Expiry,
}

/// Bytes of the head.
const HEAD_BYTES: usize = 32;
/// Bytes before a change's key.
const CHANGE_BYTES: usize = 32;
const FORMAT: u8 = 1;
const KIND_BYTES: u8 = 1;
const KIND_NUMBER: u8 = 2;
const KIND_DELETED: u8 = 3;
const FLAG_EXPIRES: u8 = 1;

/// Writes effects into a buffer that is used again.
pub(super) struct EffectsWriter<'b> {
    out: &'b mut Vec<u8>,
    count: u32,
}

impl<'b> EffectsWriter<'b> {
    pub fn begin(out: &'b mut Vec<u8>, revision: u64, lease_ms: u64, cause: Cause) -> Self {
        out.clear();
        out.extend_from_slice(&revision.to_le_bytes());
        out.extend_from_slice(&lease_ms.to_le_bytes());
        out.extend_from_slice(&[0; 4]);
        out.push(match cause {
            Cause::Transaction => 1,
            Cause::Expiry => 2,
        });
        out.push(FORMAT);
        out.extend_from_slice(&[0; 10]);
        Self { out, count: 0 }
    }

    /// The key is now this record.
    pub fn put(&mut self, record: &Record) {
        let stamps = record.stamps();
        let expires = stamps.expires_at_ms;
        let flags = if expires.is_some() { FLAG_EXPIRES } else { 0 };
        let number;
        let (kind, value) = match record.value() {
            Value::Bytes(bytes) => (KIND_BYTES, bytes),
            Value::Number(n) => {
                number = n.to_le_bytes();
                (KIND_NUMBER, number.as_slice())
            }
        };
        self.change(
            [stamps.created, stamps.version, expires.unwrap_or(0)],
            record.key(),
            value,
            kind,
            flags,
        );
    }

    /// The key is now absent.
    pub fn deleted(&mut self, key: &[u8]) {
        self.change([0; 3], key, &[], KIND_DELETED, 0);
    }

    /// Completes the head; whether there are any changes.
    pub fn finish(self) -> bool {
        self.out[16..20].copy_from_slice(&self.count.to_le_bytes());
        self.count > 0
    }

    fn change(&mut self, stamps: [u64; 3], key: &[u8], value: &[u8], kind: u8, flags: u8) {
        for stamp in stamps {
            self.out.extend_from_slice(&stamp.to_le_bytes());
        }
        let value_len = u32::try_from(value.len()).expect("values are at most 1 MiB");
        let key_len = u16::try_from(key.len()).expect("keys are at most 1 KiB");
        self.out.extend_from_slice(&value_len.to_le_bytes());
        self.out.extend_from_slice(&key_len.to_le_bytes());
        self.out.push(kind);
        self.out.push(flags);
        self.out.extend_from_slice(key);
        self.out.extend_from_slice(value);
        let padded = self.out.len().next_multiple_of(8);
        self.out.resize(padded, 0);
        self.count += 1;
    }
}

/// Encoded effects, read.
#[derive(Clone, Copy, Debug)]
pub struct Effects<'a> {
    /// Of the commit.
    pub revision: u64,
    /// Lease time of the commit.
    pub lease_ms: u64,
    /// What made the changes.
    pub cause: Cause,
    count: u32,
    body: &'a [u8],
}

/// One changed key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change<'a> {
    /// The key.
    pub key: &'a [u8],
    /// What it holds now; `None`: it was deleted.
    pub now: Option<Written<'a>>,
}

/// What a changed key holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written<'a> {
    /// The value.
    pub value: Value<'a>,
    /// Revision that created the entry.
    pub created: u64,
    /// Count of its writes.
    pub version: u64,
    /// Lease time at which it expires, if it does.
    pub expires_at_ms: Option<u64>,
}

impl<'a> Effects<'a> {
    /// Reads the head.
    ///
    /// # Errors
    /// [`EntryError::Corrupt`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, EntryError> {
        let (head, body) = bytes
            .split_first_chunk::<HEAD_BYTES>()
            .ok_or(EntryError::Corrupt("effects shorter than their head"))?;
        if head[21] != FORMAT || head[22..] != [0; 10] {
            return Err(EntryError::Corrupt("effects of unknown format"));
        }
        Ok(Self {
            revision: u64_at(head, 0),
            lease_ms: u64_at(head, 8),
            cause: match head[20] {
                1 => Cause::Transaction,
                2 => Cause::Expiry,
                _ => return Err(EntryError::Corrupt("effects of unknown cause")),
            },
            count: u32_at(head, 16),
            body,
        })
    }

    /// The changes, in key order; all or an error.
    ///
    /// # Errors
    /// [`EntryError::Corrupt`].
    pub fn changes(&self) -> Result<Vec<Change<'a>>, EntryError> {
        let mut rest = self.body;
        let mut changes: Vec<Change<'a>> = Vec::new();
        for _ in 0..self.count {
            let change = read_change(&mut rest).ok_or(EntryError::Corrupt(
                "effects that are cut or of unknown kind",
            ))?;
            if changes.last().is_some_and(|last| last.key >= change.key) {
                return Err(EntryError::Corrupt("effects out of order"));
            }
            changes.push(change);
        }
        if !rest.is_empty() {
            return Err(EntryError::Corrupt("bytes behind effects"));
        }
        Ok(changes)
    }
}

fn read_change<'a>(rest: &mut &'a [u8]) -> Option<Change<'a>> {
    let (head, after) = rest.split_first_chunk::<CHANGE_BYTES>()?;
    let key_len = usize::from(u16::from_le_bytes([head[28], head[29]]));
    let value_len = u32_at(head, 24) as usize;
    let (key, after) = after.split_at_checked(key_len)?;
    let (value, after) = after.split_at_checked(value_len)?;
    let padding = (key_len + value_len).next_multiple_of(8) - key_len - value_len;
    let (zeros, after) = after.split_at_checked(padding)?;
    if zeros.iter().any(|&byte| byte != 0) {
        return None;
    }
    *rest = after;
    let (created, version, expires) = (u64_at(head, 0), u64_at(head, 8), u64_at(head, 16));
    let expires_at_ms = match head[31] {
        0 if expires == 0 => None,
        FLAG_EXPIRES => Some(expires),
        _ => return None,
    };
    let value = match head[30] {
        KIND_BYTES => Value::Bytes(value),
        KIND_NUMBER => Value::Number(i64::from_le_bytes(value.try_into().ok()?)),
        KIND_DELETED if value.is_empty() && (created, version, expires) == (0, 0, 0) => {
            return Some(Change { key, now: None });
        }
        _ => return None,
    };
    let now = Some(Written {
        value,
        created,
        version,
        expires_at_ms,
    });
    Some(Change { key, now })
}
