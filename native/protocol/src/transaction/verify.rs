//! The verifier of transactions: one pass, no allocation.

use super::shape::{
    FLAG_KEYS_ONLY, FLAG_REVERSE, GUARD_SHAPES, OPERATION_SHAPES, bits, guard_field,
    operation_field, operation_kind, outcome_field, shape_of, transaction_field,
};
use super::{META_SPACE, OutcomeRequest, Transaction, Vector};
use crate::bytes::u32_at;
use crate::error::ErrorCode;
use crate::limits::{
    GUARDS_MAX, KEY_BYTES_MAX, OPERATIONS_MAX, SPACE_NAME_BYTES_MAX, TRANSACTION_BYTES_MAX,
    UNCHANGED_ENTRIES_MAX, VALUE_BYTES_MAX,
};
use crate::session::SessionToken;
use crate::table::{Malformed, Table, UnknownFields, vector_at};

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
}

pub(super) fn transaction(payload: &[u8]) -> Result<Transaction<'_>, ErrorCode> {
    if payload.len() as u64 > TRANSACTION_BYTES_MAX {
        return Err(ErrorCode::TooLarge);
    }
    let table = Table::<4>::open_root(payload, &transaction_field::SIZES, UnknownFields::Refuse)?;
    let mut verifier = Verifier {
        bytes: payload,
        space: table.u32(transaction_field::SPACE).unwrap_or_default(),
        apparent_bytes: 4 + table.size,
        read_only: true,
    };
    let mut transaction = Transaction {
        bytes: payload,
        space: verifier.space,
        guards: Vector::default(),
        then: Vector::default(),
        otherwise: None,
        read_only: true,
    };
    if let Some(place) = table.place(transaction_field::GUARDS) {
        transaction.guards = verifier.tables(place, GUARDS_MAX, Verifier::guard)?;
    }
    if let Some(place) = table.place(transaction_field::THEN) {
        transaction.then = verifier.tables(place, OPERATIONS_MAX, Verifier::operation)?;
    }
    if let Some(place) = table.place(transaction_field::OTHERWISE) {
        transaction.otherwise =
            Some(verifier.tables(place, OPERATIONS_MAX, Verifier::operation)?);
    }
    if verifier.apparent_bytes > payload.len() {
        return Err(ErrorCode::InvalidRequest);
    }
    transaction.read_only = verifier.read_only;
    Ok(transaction)
}

impl<'a> Verifier<'a> {
    /// Verifies the vector of tables that the u32 at `place` points to.
    #[inline]
    fn tables(
        &mut self,
        place: usize,
        count_max: u64,
        verify: impl Fn(&mut Self, usize) -> Result<(), ErrorCode>,
    ) -> Result<Vector, ErrorCode> {
        let (start, offsets) = vector_at(self.bytes, place, 4)?;
        let count = offsets.len() / 4;
        if count as u64 > count_max {
            return Err(ErrorCode::TooLarge);
        }
        self.apparent_bytes += 4 + offsets.len();
        for index in 0..count {
            let at = start + 4 * index;
            verify(self, at + u32_at(self.bytes, at).ok_or(Malformed)? as usize)?;
        }
        Ok(Vector { start, count })
    }

    #[inline]
    fn guard(&mut self, at: usize) -> Result<(), ErrorCode> {
        use guard_field::{COUNT, KEY, KIND, SIZES, SPACE, TO, VALUE};
        let guard = Table::<8>::open(self.bytes, at, &SIZES, UnknownFields::Refuse)?;
        self.apparent_bytes += guard.size;
        let shape = shape_of(&GUARD_SHAPES, guard.u8(KIND).unwrap_or_default())?;
        if !shape.fits(guard.present) {
            return Err(ErrorCode::InvalidRequest);
        }
        self.same_space(guard.u32(SPACE))?;
        self.key(&guard, KEY, shape.ranges)?;
        self.vector(&guard, TO, KEY_BYTES_MAX)?;
        self.vector(&guard, VALUE, VALUE_BYTES_MAX)?;
        match guard.u64(COUNT) {
            Some(count) if count > UNCHANGED_ENTRIES_MAX => Err(ErrorCode::TooLarge),
            _ => Ok(()),
        }
    }

    #[inline]
    fn operation(&mut self, at: usize) -> Result<(), ErrorCode> {
        use operation_field::{KEY, KIND, SIZES, SPACE, TO, VALUE};
        let operation = Table::<11>::open(self.bytes, at, &SIZES, UnknownFields::Refuse)?;
        self.apparent_bytes += operation.size;
        let kind = operation.u8(KIND).unwrap_or_default();
        let shape = shape_of(&OPERATION_SHAPES, kind)?;
        if !shape.fits(operation.present) {
            return Err(ErrorCode::InvalidRequest);
        }
        self.same_space(operation.u32(SPACE))?;
        let key = self.key(&operation, KEY, shape.ranges)?;
        self.vector(&operation, TO, KEY_BYTES_MAX)?;
        self.vector(&operation, VALUE, VALUE_BYTES_MAX)?;
        scalars(&operation)?;
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
    fn same_space(&self, space: Option<u32>) -> Result<(), ErrorCode> {
        match space {
            Some(space) if space != self.space => Err(ErrorCode::CrossShard),
            _ => Ok(()),
        }
    }

    /// A vector of bytes of at most `bytes_max`; empty where absent.
    #[inline]
    fn vector<const N: usize>(
        &mut self,
        table: &Table<'a, N>,
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

    #[inline]
    fn key<const N: usize>(
        &mut self,
        table: &Table<'a, N>,
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

/// What is left to check of an operation: its numbers.
#[inline]
fn scalars(operation: &Table<'_, 11>) -> Result<(), ErrorCode> {
    use operation_field::{CEILING, EXPIRE_AFTER_MS, FLAGS, FLOOR, LIMIT};
    const CHECKED: u32 = bits(&[FLOOR, CEILING, EXPIRE_AFTER_MS, LIMIT, FLAGS]);
    if operation.present & CHECKED == 0 {
        return Ok(());
    }
    let bounds = match (operation.i64(FLOOR), operation.i64(CEILING)) {
        (Some(floor), Some(ceiling)) => floor <= ceiling,
        _ => true,
    };
    let flags = operation.u8(FLAGS).unwrap_or_default();
    let valid = bounds
        && operation.u64(EXPIRE_AFTER_MS) != Some(0)
        && operation.u32(LIMIT) != Some(0)
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
    use outcome_field::{KEY, SEQUENCE, SESSION, SIZES, SPACE};
    if payload.len() as u64 > TRANSACTION_BYTES_MAX {
        return Err(ErrorCode::TooLarge);
    }
    let table = Table::<4>::open_root(payload, &SIZES, UnknownFields::Refuse)?;
    let key = table.vector(KEY)?.unwrap_or_default();
    if key.len() as u64 > KEY_BYTES_MAX {
        return Err(ErrorCode::TooLarge);
    }
    let token = table.vector(SESSION)?;
    let session = token
        .map(|bytes| SessionToken::from_bytes(bytes).ok_or(Malformed))
        .transpose()?;
    let sequence = table.u64(SEQUENCE).unwrap_or_default();
    let apparent_bytes = 4
        + table.size
        + table.vector(KEY)?.map_or(0, |key| 4 + key.len())
        + token.map_or(0, |token| 4 + token.len());
    if key.is_empty() || sequence == 0 || apparent_bytes > payload.len() {
        return Err(ErrorCode::InvalidRequest);
    }
    Ok(OutcomeRequest {
        space: table.u32(SPACE).unwrap_or_default(),
        key,
        sequence,
        session,
    })
}
