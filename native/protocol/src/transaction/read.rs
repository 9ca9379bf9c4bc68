//! Reads guards and operations out of verified bytes.
//!
//! The verifier has walked the same bytes, so every table opens and every
//! required field is there. Reading does not judge again: it only checks that
//! each access stays inside the payload (the crate has no `unsafe`); what can't
//! happen ends the iteration early.

use super::{Guard, Operation, ValueRef, Vector};
use crate::bytes::u32_at;
use crate::generated::operations::{read_guard, read_operation};
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

/// The value or the number; the verifier has seen that exactly one is there.
#[inline]
pub(crate) fn read_value<'a>(
    table: &VerifiedTable<'a>,
    value: usize,
    number: usize,
) -> Option<ValueRef<'a>> {
    match table.i64(number) {
        Some(number) => Some(ValueRef::Number(number)),
        None => table.vector(value).map(ValueRef::Bytes),
    }
}
