//! Reads guards and operations out of verified bytes.
//!
//! The verifier has walked the same bytes, so every table opens and every
//! required field is there. Reading does not judge again: it only checks that
//! each access stays inside the payload (the crate has no `unsafe`); what can't
//! happen ends the iteration early.

use super::shape::{FLAG_KEYS_ONLY, FLAG_REVERSE, guard_kind, operation_kind};
use super::{Guard, Operation, ValueRef, Vector};
use crate::bytes::u32_at;
use crate::generated::fields::{guard as guard_field, operation as operation_field};
use crate::limits::RANGE_PAGE_ENTRIES_MAX;
use crate::table::{Position, VerifiedTable, ahead};

/// Walks the offsets of a verified vector of tables.
#[derive(Clone, Debug)]
struct Places<'a> {
    bytes: &'a [u8],
    at: Position,
    left: usize,
}

impl<'a> Places<'a> {
    fn new(bytes: &'a [u8], vector: Vector) -> Self {
        Self {
            bytes,
            at: vector.start,
            left: vector.count as usize,
        }
    }

    #[inline]
    fn next(&mut self) -> Option<Position> {
        self.left = self.left.checked_sub(1)?;
        let offset = u32_at(self.bytes, self.at as usize)?;
        let place = ahead(self.at, offset).ok();
        self.at = ahead(self.at, 4).ok()?;
        place
    }
}

/// The guards of a transaction, in order.
#[derive(Clone, Debug)]
pub struct Guards<'a>(Places<'a>);

/// The operations of one branch, in order.
#[derive(Clone, Debug)]
pub struct Operations<'a>(Places<'a>);

impl<'a> Guards<'a> {
    pub(super) fn new(bytes: &'a [u8], vector: Vector) -> Self {
        Self(Places::new(bytes, vector))
    }
}

impl<'a> Operations<'a> {
    pub(super) fn new(bytes: &'a [u8], vector: Vector) -> Self {
        Self(Places::new(bytes, vector))
    }
}

impl<'a> Iterator for Guards<'a> {
    type Item = Guard<'a>;

    #[inline]
    fn next(&mut self) -> Option<Guard<'a>> {
        let at = self.0.next()?;
        let guard = read_guard(self.0.bytes, at);
        debug_assert!(guard.is_some(), "the verifier accepted this guard");
        guard
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.0.left, Some(self.0.left))
    }
}

impl<'a> Iterator for Operations<'a> {
    type Item = Operation<'a>;

    #[inline]
    fn next(&mut self) -> Option<Operation<'a>> {
        let at = self.0.next()?;
        let operation = read_operation(self.0.bytes, at);
        debug_assert!(operation.is_some(), "the verifier accepted this operation");
        operation
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.0.left, Some(self.0.left))
    }
}

impl ExactSizeIterator for Guards<'_> {}
impl ExactSizeIterator for Operations<'_> {}

#[inline]
fn read_guard(bytes: &[u8], at: Position) -> Option<Guard<'_>> {
    use guard_field::{COUNT, KEY, KIND, NUMBER, REVISION, TO, VALUE};
    let guard = VerifiedTable::open(bytes, at)?;
    let key = guard.vector(KEY).unwrap_or_default();
    Some(match guard.u8(KIND)? {
        guard_kind::EXISTS => Guard::Exists { key },
        guard_kind::ABSENT => Guard::Absent { key },
        guard_kind::VERSION => Guard::Version {
            key,
            version: guard.u64(REVISION)?,
        },
        guard_kind::MODIFIED => Guard::Modified {
            key,
            revision: guard.u64(REVISION)?,
        },
        guard_kind::MODIFIED_AT_MOST => Guard::ModifiedAtMost {
            key,
            revision: guard.u64(REVISION)?,
        },
        guard_kind::VALUE => Guard::Value {
            key,
            value: read_value(&guard, VALUE, NUMBER)?,
        },
        guard_kind::AT_LEAST => Guard::AtLeast {
            key,
            number: guard.i64(NUMBER)?,
        },
        guard_kind::UNCHANGED => Guard::Unchanged {
            from: key,
            to: guard.vector(TO),
            revision: guard.u64(REVISION)?,
            count: guard.u64(COUNT)?,
        },
        _ => return None,
    })
}

#[inline]
fn read_operation(bytes: &[u8], at: Position) -> Option<Operation<'_>> {
    use operation_field::{
        CEILING, EXPIRE_AFTER_MS, FLAGS, FLOOR, KEY, KIND, LIMIT, NUMBER, TO, VALUE,
    };
    #[expect(clippy::cast_possible_truncation, reason = "a few thousand")]
    const LIMIT_MAX: u32 = RANGE_PAGE_ENTRIES_MAX as u32;
    let operation = VerifiedTable::open(bytes, at)?;
    let key = operation.vector(KEY).unwrap_or_default();
    Some(match operation.u8(KIND)? {
        operation_kind::GET => Operation::Get { key },
        operation_kind::RANGE => {
            let flags = operation.u8(FLAGS).unwrap_or_default();
            Operation::Range {
                from: key,
                to: operation.vector(TO),
                limit: operation
                    .u32(LIMIT)
                    .map_or(LIMIT_MAX, |limit| limit.min(LIMIT_MAX)),
                reverse: flags & FLAG_REVERSE != 0,
                keys_only: flags & FLAG_KEYS_ONLY != 0,
            }
        }
        operation_kind::COUNT => Operation::Count {
            from: key,
            to: operation.vector(TO),
        },
        operation_kind::PUT => Operation::Put {
            key,
            value: read_value(&operation, VALUE, NUMBER)?,
            expire_after_ms: operation.u64(EXPIRE_AFTER_MS),
        },
        operation_kind::DELETE => Operation::Delete { key },
        operation_kind::DELETE_RANGE => Operation::DeleteRange {
            from: key,
            to: operation.vector(TO),
        },
        operation_kind::ADD => Operation::Add {
            key,
            delta: operation.i64(NUMBER)?,
            floor: operation.i64(FLOOR),
            ceiling: operation.i64(CEILING),
        },
        operation_kind::APPEND => Operation::Append {
            key,
            value: operation.vector(VALUE)?,
        },
        operation_kind::SPACE_CREATE => Operation::SpaceCreate { name: key },
        operation_kind::SPACE_DROP => Operation::SpaceDrop { name: key },
        _ => return None,
    })
}

/// The value or the number; the verifier has seen that exactly one is there.
#[inline]
fn read_value<'a>(table: &VerifiedTable<'a>, value: usize, number: usize) -> Option<ValueRef<'a>> {
    match table.i64(number) {
        Some(number) => Some(ValueRef::Number(number)),
        None => table.vector(value).map(ValueRef::Bytes),
    }
}
