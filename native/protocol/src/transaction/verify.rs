//! The verifier of transactions: one pass, no allocation.

use super::shape::{
    FLAG_KEYS_ONLY, FLAG_REVERSE, GUARD_SHAPES, OPERATION_SHAPES, bits, guard_field,
    operation_field, operation_kind, outcome_field, outcome_of_field, shape_of, transaction_field,
};
use super::{META_SPACE, OutcomeOfRequest, OutcomeRequest, Outline, Span, Transaction, Vector};
use crate::error::ErrorCode;
use crate::limits::{
    GUARDS_MAX, IDEMPOTENCY_KEY_BYTES_MAX, KEY_BYTES_MAX, OPERATIONS_MAX, RESULT_BYTES_MAX,
    SPACE_NAME_BYTES_MAX, TRANSACTION_BYTES_MAX, UNCHANGED_ENTRIES_MAX, VALUE_BYTES_MAX,
};
use crate::session::{SESSION_TOKEN_BYTES, SessionToken};
use crate::table::{Malformed, Position, Table, UnknownFields, ahead};

impl From<Malformed> for ErrorCode {
    #[inline]
    fn from(_: Malformed) -> Self {
        Self::InvalidRequest
    }
}

struct Verifier<'a> {
    bytes: &'a [u8],
    space: u32,
    /// Bytes of all tables and vectors, counted each time something points to them.
    apparent_bytes: usize,
    read_only: bool,
    /// Of all `unchanged` guards; as many as there may be of them cover fewer than 2^32.
    guarded_keys: u64,
}

pub(super) fn transaction(payload: &[u8]) -> Result<Transaction<'_>, ErrorCode> {
    use transaction_field::{GUARDS, IDEMPOTENCY_KEY, KNOWN, OTHERWISE, RESULT, SPACE, THEN};
    if payload.len() as u64 > TRANSACTION_BYTES_MAX {
        return Err(ErrorCode::TooLarge);
    }
    let table = Table::open_root(payload, KNOWN, UnknownFields::Refuse)?;
    let space = table.u32(SPACE)?.unwrap_or_default();
    let apparent_bytes = 4 + table.size();
    let mut verifier = Verifier {
        bytes: payload,
        space,
        apparent_bytes,
        read_only: true,
        guarded_keys: 0,
    };
    let guards = verifier.tables(&table, GUARDS, GUARDS_MAX, Verifier::guard)?;
    let then = verifier.tables(&table, THEN, OPERATIONS_MAX, Verifier::operation)?;
    let otherwise = verifier.tables(&table, OTHERWISE, OPERATIONS_MAX, Verifier::operation)?;
    let (mut idempotency_key, mut result) = (None, None);
    if table.present & bits(&[IDEMPOTENCY_KEY, RESULT]) != 0 {
        idempotency_key = verifier.span(&table, IDEMPOTENCY_KEY, IDEMPOTENCY_KEY_BYTES_MAX)?;
        result = verifier.span(&table, RESULT, RESULT_BYTES_MAX)?;
        // Nothing is kept without a key to keep it under.
        if idempotency_key.is_none_or(|key| key.length == 0) {
            return Err(ErrorCode::InvalidRequest);
        }
    }
    if verifier.apparent_bytes > payload.len() {
        return Err(ErrorCode::InvalidRequest);
    }
    let outline = Outline {
        space,
        guards: guards.unwrap_or_default(),
        then: then.unwrap_or_default(),
        otherwise,
        idempotency_key,
        result,
        read_only: verifier.read_only,
        guarded_keys: u32::try_from(verifier.guarded_keys).map_err(|_| Malformed)?,
    };
    Ok(outline.over(payload))
}

impl<'a> Verifier<'a> {
    /// Verifies a vector of tables.
    #[inline]
    fn tables(
        &mut self,
        table: &Table<'a>,
        field: usize,
        count_max: u64,
        verify: impl Fn(&mut Self, Position) -> Result<(), ErrorCode>,
    ) -> Result<Option<Vector>, ErrorCode> {
        let Some((start, offsets)) = table.elements(field, 4)? else {
            return Ok(None);
        };
        let (offsets, _) = offsets.as_chunks();
        if offsets.len() as u64 > count_max {
            return Err(ErrorCode::TooLarge);
        }
        self.apparent_bytes += 4 + 4 * offsets.len();
        let start = Position::try_from(start).map_err(|_| Malformed)?;
        let mut at = start;
        for &offset in offsets {
            verify(self, ahead(at, u32::from_le_bytes(offset))?)?;
            at = ahead(at, 4)?;
        }
        Ok(Some(Vector {
            start,
            count: u32::try_from(offsets.len()).map_err(|_| Malformed)?,
        }))
    }

    #[inline]
    fn guard(&mut self, at: Position) -> Result<(), ErrorCode> {
        use guard_field::{COUNT, KEY, KIND, KNOWN, SIZES, SPACE, TO, VALUE};
        const SCALARS: u32 = !bits(&[KIND, SPACE, KEY, TO, VALUE, COUNT]);
        let guard = Table::open(self.bytes, at, KNOWN, UnknownFields::Refuse)?;
        self.apparent_bytes += guard.size();
        let shape = shape_of(&GUARD_SHAPES, guard.u8(KIND)?.unwrap_or_default())?;
        if !shape.fits(guard.present) {
            return Err(ErrorCode::InvalidRequest);
        }
        self.same_space(&guard, SPACE)?;
        self.key(&guard, KEY, shape.ranges)?;
        self.vector(&guard, TO, KEY_BYTES_MAX)?;
        self.vector(&guard, VALUE, VALUE_BYTES_MAX)?;
        check_each(&guard, SCALARS, &SIZES)?;
        let count = guard.u64(COUNT)?.unwrap_or_default();
        if count > UNCHANGED_ENTRIES_MAX {
            return Err(ErrorCode::TooLarge);
        }
        self.guarded_keys += count;
        Ok(())
    }

    #[inline]
    fn operation(&mut self, at: Position) -> Result<(), ErrorCode> {
        use operation_field::{KEY, KIND, KNOWN, SPACE, TO, VALUE};
        const SCALARS: u32 = !bits(&[KIND, SPACE, KEY, TO, VALUE]);
        let operation = Table::open(self.bytes, at, KNOWN, UnknownFields::Refuse)?;
        self.apparent_bytes += operation.size();
        let kind = operation.u8(KIND)?.unwrap_or_default();
        let shape = shape_of(&OPERATION_SHAPES, kind)?;
        if !shape.fits(operation.present) {
            return Err(ErrorCode::InvalidRequest);
        }
        self.same_space(&operation, SPACE)?;
        let key = self.key(&operation, KEY, shape.ranges)?;
        self.vector(&operation, TO, KEY_BYTES_MAX)?;
        self.vector(&operation, VALUE, VALUE_BYTES_MAX)?;
        if operation.present & SCALARS != 0 {
            scalars(&operation)?;
        }
        let names_space = kind >= operation_kind::SPACE_CREATE;
        if names_space {
            space_name(key)?;
        }
        // Space 0 is read like any other, but written only by these two, and they only write there.
        if shape.writes && names_space != (self.space == META_SPACE) {
            return Err(ErrorCode::InvalidRequest);
        }
        self.read_only &= !shape.writes;
        Ok(())
    }

    #[inline]
    fn same_space(&self, table: &Table<'a>, field: usize) -> Result<(), ErrorCode> {
        match table.u32(field)? {
            Some(space) if space != self.space => Err(ErrorCode::CrossShard),
            _ => Ok(()),
        }
    }

    /// A vector of bytes of at most `bytes_max`; empty where absent.
    #[inline]
    fn vector(
        &mut self,
        table: &Table<'a>,
        field: usize,
        bytes_max: u64,
    ) -> Result<&'a [u8], ErrorCode> {
        let Some(vector) = table.vector(field)? else {
            return Ok(&[]);
        };
        if vector.len() as u64 > bytes_max {
            return Err(ErrorCode::TooLarge);
        }
        self.apparent_bytes += 4 + vector.len();
        Ok(vector)
    }

    /// Where a vector of bytes stands, of at most `bytes_max`, which fits 16 bits.
    fn span(
        &mut self,
        table: &Table<'a>,
        field: usize,
        bytes_max: u64,
    ) -> Result<Option<Span>, ErrorCode> {
        let vector = self.vector(table, field, bytes_max)?;
        let Some((start, _)) = table.elements(field, 1)? else {
            return Ok(None);
        };
        Ok(Some(Span {
            start: Position::try_from(start).map_err(|_| Malformed)?,
            length: u16::try_from(vector.len()).map_err(|_| Malformed)?,
        }))
    }

    #[inline]
    fn key(
        &mut self,
        table: &Table<'a>,
        field: usize,
        may_be_empty: bool,
    ) -> Result<&'a [u8], ErrorCode> {
        let key = self.vector(table, field, KEY_BYTES_MAX)?;
        if key.is_empty() && !may_be_empty {
            return Err(ErrorCode::InvalidRequest);
        }
        Ok(key)
    }
}

/// Verifies those of the fields that are present.
#[inline]
fn check_each<const N: usize>(
    table: &Table<'_>,
    fields: u32,
    sizes: &[u8; N],
) -> Result<(), Malformed> {
    let mut left = table.present & fields;
    while left != 0 {
        let field = left.trailing_zeros() as usize;
        table.check(field, sizes[field])?;
        left &= left - 1;
    }
    Ok(())
}

/// What is left to check of an operation: its numbers.
#[inline]
fn scalars(operation: &Table<'_>) -> Result<(), ErrorCode> {
    use operation_field::{
        CEILING, EXPIRE_AFTER_MS, FLAGS, FLOOR, KEY, KIND, LIMIT, SIZES, SPACE, TO, VALUE,
    };
    const SCALARS: u32 = !bits(&[KIND, SPACE, KEY, TO, VALUE]);
    const BOUNDED: u32 = bits(&[FLOOR, CEILING, EXPIRE_AFTER_MS, LIMIT, FLAGS]);
    check_each(operation, SCALARS, &SIZES)?;
    if operation.present & BOUNDED == 0 {
        return Ok(());
    }
    let bounds = match (operation.i64(FLOOR)?, operation.i64(CEILING)?) {
        (Some(floor), Some(ceiling)) => floor <= ceiling,
        _ => true,
    };
    let flags = operation.u8(FLAGS)?.unwrap_or_default();
    let valid = bounds
        && operation.u64(EXPIRE_AFTER_MS)? != Some(0)
        && operation.u32(LIMIT)? != Some(0)
        && flags & !(FLAG_REVERSE | FLAG_KEYS_ONLY) == 0;
    if valid {
        Ok(())
    } else {
        Err(ErrorCode::InvalidRequest)
    }
}

fn space_name(name: &[u8]) -> Result<(), ErrorCode> {
    if name.len() as u64 > SPACE_NAME_BYTES_MAX {
        return Err(ErrorCode::TooLarge);
    }
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"._-".contains(byte);
    if name.iter().all(allowed) {
        Ok(())
    } else {
        Err(ErrorCode::InvalidRequest)
    }
}

pub(super) fn outcome_request(payload: &[u8]) -> Result<OutcomeRequest<'_>, ErrorCode> {
    use outcome_field::{KEY, KNOWN, SEQUENCE, SESSION, SPACE};
    if payload.len() as u64 > TRANSACTION_BYTES_MAX {
        return Err(ErrorCode::TooLarge);
    }
    let table = Table::open_root(payload, KNOWN, UnknownFields::Refuse)?;
    let space = table.u32(SPACE)?.unwrap_or_default();
    let apparent_bytes = 4 + table.size();
    let mut verifier = Verifier {
        bytes: payload,
        space,
        apparent_bytes,
        read_only: true,
        guarded_keys: 0,
    };
    let key = verifier.key(&table, KEY, false)?;
    let token = verifier.vector(&table, SESSION, SESSION_TOKEN_BYTES as u64)?;
    let session = if table.has(SESSION) {
        Some(SessionToken::from_bytes(token).ok_or(Malformed)?)
    } else {
        None
    };
    let sequence = table.u64(SEQUENCE)?.unwrap_or_default();
    if sequence == 0 || verifier.apparent_bytes > payload.len() {
        return Err(ErrorCode::InvalidRequest);
    }
    Ok(OutcomeRequest {
        space,
        key,
        sequence,
        session,
    })
}

pub(super) fn outcome_of_request(payload: &[u8]) -> Result<OutcomeOfRequest<'_>, ErrorCode> {
    use outcome_of_field::{IDEMPOTENCY_KEY, KNOWN, SPACE};
    if payload.len() as u64 > TRANSACTION_BYTES_MAX {
        return Err(ErrorCode::TooLarge);
    }
    let table = Table::open_root(payload, KNOWN, UnknownFields::Refuse)?;
    let space = table.u32(SPACE)?.unwrap_or_default();
    let idempotency_key = table.vector(IDEMPOTENCY_KEY)?.unwrap_or_default();
    if idempotency_key.len() as u64 > IDEMPOTENCY_KEY_BYTES_MAX {
        return Err(ErrorCode::TooLarge);
    }
    let apparent_bytes = 4 + table.size() + 4 + idempotency_key.len();
    if idempotency_key.is_empty() || apparent_bytes > payload.len() {
        return Err(ErrorCode::InvalidRequest);
    }
    Ok(OutcomeOfRequest {
        space,
        idempotency_key,
    })
}
