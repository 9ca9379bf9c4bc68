//! The `Results` of a single `get`, laid out by hand.
//!
//! ```text
//!   0  u32  -> 12 Results
//!   4  vtable { 6, 8, 4 }, 2 zero       of Results and of OperationResult: one field, at 4
//!  12  Results          vtable 4, results -> 20
//!  20  vector           1 element -> 28
//!  28  OperationResult  vtable 4, entry -> 60      (an absent entry ends here, see ABSENT)
//!  36  vtable of Entry, 18 bytes, 6 zero
//!  60  Entry            vtable 36
//!  64    key ->         68  value ->              or   72  number
//!  72    created, modified, version[, expires]    or   80  created, modified, version[, expires]
//!      key: length, bytes, zero to 4
//!      value: length, bytes
//! ```
//! Tables stand where their 64-bit fields fall on multiples of 8.

use super::EntryRef;
use crate::generated::fields::entry;
use crate::table::vtable_bytes;
use crate::transaction::ValueRef;

/// `Results` with one `OperationResult` that holds nothing.
const ABSENT: [u8; 36] = {
    let mut bytes = [0; 36];
    bytes[0] = 12;
    bytes[4] = 6; // vtable of Results: one field, at 4, in 8 bytes
    bytes[6] = 8;
    bytes[8] = 4;
    bytes[12] = 8; // Results: its vtable is 8 bytes before
    bytes[16] = 4; // -> 20
    bytes[20] = 1; // one element
    bytes[24] = 8; // -> 32
    bytes[28] = 4; // vtable of an OperationResult without fields
    bytes[30] = 4;
    bytes[32] = 4; // OperationResult: its vtable is 4 bytes before
    bytes
};

/// What stands before the vtable of the entry.
const PRESENT: [u8; 36] = {
    let mut bytes = ABSENT;
    bytes[24] = 4; // -> 28
    bytes[28] = 24; // OperationResult: its vtable is the one at 4
    bytes[30] = 0;
    bytes[32] = 28; // -> 60
    bytes
};

const VTABLE_AT: usize = 36;
const VTABLE_BYTES: u16 = vtable_bytes(entry::EXPIRES_IN_MS);
const ENTRY_AT: usize = 60;
/// Where the fields of an entry stand in it.
const KEY_AT: usize = 4;
const VALUE_AT: usize = 8;
const NUMBER_AT: usize = 12;

/// Bytes up to the end of the longest entry: number, three revisions, expiry.
const HEAD_BYTES_MAX: usize = ENTRY_AT + NUMBER_AT + 5 * 8;

/// One laid-out result, and where its entry's parts are.
#[derive(Debug, Default)]
pub(super) struct LoneGet {
    bytes: Vec<u8>,
    parts: Option<Parts>,
}

/// The entry without its bytes, which stand at these places.
#[derive(Clone, Copy, Debug)]
struct Parts {
    key: (usize, usize),
    value: Option<PartValue>,
    created: u64,
    modified: u64,
    version: u64,
    expires_in_ms: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
enum PartValue {
    Bytes(usize, usize),
    Number(i64),
}

impl LoneGet {
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The entry that was laid out, read back from the bytes.
    pub fn entry(&self) -> Option<EntryRef<'_>> {
        let parts = self.parts?;
        let value = parts.value.map(|value| match value {
            PartValue::Bytes(start, end) => ValueRef::Bytes(&self.bytes[start..end]),
            PartValue::Number(number) => ValueRef::Number(number),
        });
        Some(EntryRef {
            key: &self.bytes[parts.key.0..parts.key.1],
            value,
            created: parts.created,
            modified: parts.modified,
            version: parts.version,
            expires_in_ms: parts.expires_in_ms,
        })
    }

    /// Replaces the bytes by the result of a `get` that found this.
    #[inline]
    pub fn lay_out(&mut self, entry: Option<&EntryRef<'_>>) {
        self.bytes.clear();
        self.parts = None;
        match entry {
            None => self.bytes.extend_from_slice(&ABSENT),
            Some(entry) => self.lay_out_entry(entry),
        }
    }

    #[inline]
    fn lay_out_entry(&mut self, entry: &EntryRef<'_>) {
        let (value, number) = match entry.value {
            Some(ValueRef::Bytes(value)) => (Some(value), None),
            Some(ValueRef::Number(number)) => (None, Some(number)),
            None => (None, None),
        };
        let mut head = [0; HEAD_BYTES_MAX];
        head[..PRESENT.len()].copy_from_slice(&PRESENT);

        // Fields of the table, then the vtable that says where they are.
        let stamps_at = if number.is_some() {
            NUMBER_AT + 8
        } else {
            NUMBER_AT
        };
        let entry_bytes = stamps_at
            + if entry.expires_in_ms.is_some() {
                32
            } else {
                24
            };
        put(&mut head, ENTRY_AT, &24_u32.to_le_bytes());
        if let Some(number) = number {
            put(&mut head, ENTRY_AT + NUMBER_AT, &number.to_le_bytes());
        }
        let stamps = [entry.created, entry.modified, entry.version];
        for (index, stamp) in stamps.into_iter().chain(entry.expires_in_ms).enumerate() {
            put(
                &mut head,
                ENTRY_AT + stamps_at + 8 * index,
                &stamp.to_le_bytes(),
            );
        }
        let slots = [
            VTABLE_BYTES,
            slot(true, entry_bytes),
            slot(true, KEY_AT),
            slot(value.is_some(), VALUE_AT),
            slot(number.is_some(), NUMBER_AT),
            slot(true, stamps_at),
            slot(true, stamps_at + 8),
            slot(true, stamps_at + 16),
            slot(entry.expires_in_ms.is_some(), stamps_at + 24),
        ];
        for (index, slot) in slots.into_iter().enumerate() {
            put(&mut head, VTABLE_AT + 2 * index, &slot.to_le_bytes());
        }

        // Children behind the table.
        let head_bytes = ENTRY_AT + entry_bytes;
        let key_at = head_bytes;
        let value_at = (key_at + 4 + entry.key.len()).next_multiple_of(4);
        put(
            &mut head,
            ENTRY_AT + KEY_AT,
            &distance(ENTRY_AT + KEY_AT, key_at),
        );
        if value.is_some() {
            put(
                &mut head,
                ENTRY_AT + VALUE_AT,
                &distance(ENTRY_AT + VALUE_AT, value_at),
            );
        }
        let value_bytes = value.map_or(0, |value| 4 + value.len());
        self.bytes.reserve(value_at + value_bytes);
        self.bytes.extend_from_slice(&head[..head_bytes]);
        self.push_vector(entry.key);
        let key = (key_at + 4, key_at + 4 + entry.key.len());
        let value = match (value, number) {
            (Some(value), _) => {
                self.bytes
                    .extend_from_slice(&[0; 4][..value_at - self.bytes.len()]);
                self.push_vector(value);
                Some(PartValue::Bytes(value_at + 4, value_at + 4 + value.len()))
            }
            (None, Some(number)) => Some(PartValue::Number(number)),
            (None, None) => None,
        };
        self.parts = Some(Parts {
            key,
            value,
            created: entry.created,
            modified: entry.modified,
            version: entry.version,
            expires_in_ms: entry.expires_in_ms,
        });
    }

    fn push_vector(&mut self, bytes: &[u8]) {
        let length = crate::frame::payload_length(bytes);
        self.bytes.extend_from_slice(&length.to_le_bytes());
        self.bytes.extend_from_slice(bytes);
    }
}

#[inline]
fn put(head: &mut [u8; HEAD_BYTES_MAX], at: usize, bytes: &[u8]) {
    head[at..at + bytes.len()].copy_from_slice(bytes);
}

/// A vtable's slot: where the field stands in the table, or 0.
#[inline]
#[expect(
    clippy::cast_possible_truncation,
    reason = "the table has at most 52 bytes"
)]
fn slot(present: bool, at: usize) -> u16 {
    if present { at as u16 } else { 0 }
}

/// The offset that stands at `from` and points to `to`.
#[inline]
#[expect(
    clippy::cast_possible_truncation,
    reason = "a key of at most 1 KiB lies between"
)]
fn distance(from: usize, to: usize) -> [u8; 4] {
    ((to - from) as u32).to_le_bytes()
}
